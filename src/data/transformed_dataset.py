"""A dataset as the workers of a DataLoader see it: SampleIndex -> transformed triplet, with another row in
place of one that can't be read.
"""

from pathlib import Path
from typing import final

from src.data.dataset import RewardedTriplets
from src.data.order import SampleIndex
from src.data.problems import Problem, append_problem
from src.data.transforms import Transform
from src.records import Reward, Triplet
from src.seeds import fold_seed

MOST_ATTEMPTS = 100


@final
class TransformedDataset:
    """Triplets by SampleIndex. A result depends on index, pass, seed and files alone: not on workers, ranks
    or earlier requests.

    Args:
        dataset: rows at native size.
        transform: of both images; None serves them unchanged.
        seed: of crops and flips.
        broken: indices known to be unusable.
        listed: the file that lists rows that turn out to be unusable; None lets them end the training.
        augmentations: number of transformed versions of a triplet, taken in turn, the same for every seed;
            None for a new one in each pass.
    """

    def __init__(
        self,
        dataset: RewardedTriplets,
        transform: Transform | None,
        seed: int,
        broken: frozenset[int],
        listed: Path | None,
        augmentations: int | None = None,
    ) -> None:
        self.dataset = dataset
        self.transform = transform
        self.seed = seed
        self.broken = set(broken)
        self.listed = listed
        self.augmentations = augmentations

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, sample: SampleIndex) -> tuple[Triplet, Reward | None]:
        """Return the triplet of a sample. A row that can't be used is replaced by one drawn from all others,
        as if it had never been in the dataset.

        Raises:
            ValueError, FileNotFoundError: the row can't be used and `listed` is None, or a hundred
                consecutive rows can't.
        """
        index = sample.index
        for attempt in range(MOST_ATTEMPTS):
            if index not in self.broken:
                try:
                    return self._transformed(index, sample.epoch)
                except (ValueError, FileNotFoundError) as error:
                    if self.listed is None:
                        raise
                    self.broken.add(index)
                    append_problem(
                        self.listed, Problem(index, f"row {index}", "unreadable", str(error), found="while")
                    )
            index = fold_seed("instead", self.seed, sample.epoch, sample.index, attempt) % len(self.dataset)
        raise ValueError(
            f"{MOST_ATTEMPTS} rows drawn in place of row {sample.index} can't be used either; "
            f"see {self.listed}"
        )

    def _transformed(self, index: int, epoch: int) -> tuple[Triplet, Reward | None]:
        triplet, reward = self.dataset[index]
        if self.transform is None:
            return triplet, reward
        if self.augmentations is None:
            seed = fold_seed("transform", self.seed, epoch, triplet.case.id)
        else:
            seed = fold_seed("augmentation", epoch % self.augmentations, triplet.case.id)
        return self.transform(triplet, reward, seed), reward
