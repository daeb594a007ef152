"""A ceiling: the cases of the training triplets with the exact answer in place of the corrupted one."""

from typing import final

from src.data.synthetic import SyntheticTriplets
from src.records import Reward, Triplet


@final
class ExactTargets:
    """A synthetic dataset whose every edit is right. It is unrated: with nothing but perfect edits, a reward
    would say nothing.

    Args:
        dataset: which cases; each triplet is drawn with its flaws too, so an unrated dataset is the faster
            one.
    """

    def __init__(self, dataset: SyntheticTriplets) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Triplet, Reward | None]:
        triplet, _ = self.dataset[index]
        return Triplet(triplet.case, self.dataset.world.exact_edit(triplet.case.id)), None
