"""A dataset as the workers of a DataLoader see it: visits in, transformed triplets out, another row in place
of one that can't be read.
"""

from pathlib import Path
from typing import final

from src.data.check import Problem, append_problem
from src.data.dataset import RewardedTriplets
from src.data.order import SampleIndex
from src.data.transforms import Transform
from src.records import Reward, Triplet
from src.seeds import fold_seed

MOST_ATTEMPTS = 100


@final
class TransformedDataset:
    """Visits of a dataset. What is served depends on the visit, the seed and the files alone: not on workers,
    ranks or what was served before.

    Args:
        dataset: rows at native size.
        transform: of both images; None serves them as they are.
        seed: of crops and flips.
        broken: indices that are known to be of no use.
        listed: the file that names rows which turn out to be; None lets them end the training.
        augmentations: how many transformed versions of a triplet there are, taken in turn, the same for every
            seed; None for a new one in each pass.
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

    def __getitem__(self, visit: SampleIndex) -> tuple[Triplet, Reward | None]:
        """The triplet of a visit, whole.

        In place of a row that can't be used stands one drawn from all others, which is as if it had never
        been in the dataset.

        Raises:
            ValueError, FileNotFoundError: the row can't be used and `listed` is None, or a hundred rows in a
                row can't.
        """
        index = visit.index
        for attempt in range(MOST_ATTEMPTS):
            if index not in self.broken:
                try:
                    return self._transformed(index, visit.epoch)
                except (ValueError, FileNotFoundError) as error:
                    if self.listed is None:
                        raise
                    self.broken.add(index)
                    append_problem(
                        self.listed, Problem(index, f"row {index}", "unreadable", str(error), found="while")
                    )
            index = fold_seed("instead", self.seed, visit.epoch, visit.index, attempt) % len(self.dataset)
        raise ValueError(
            f"{MOST_ATTEMPTS} rows drawn in place of row {visit.index} can't be used either; see {self.listed}"
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
