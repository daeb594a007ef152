"""A ceiling: the cases of the training triplets with the exact edit in place of the corrupted one."""

from typing import final

from src.data.synthetic import SyntheticTriplets
from src.records import Reward, Triplet


@final
class ExactTargets:
    """A synthetic dataset in which every edit is exact. It is unrated, as rewards of perfect edits are all
    equal.

    Args:
        dataset: the cases. Each triplet is also rendered with its flaws, so an unrated dataset is faster.
    """

    def __init__(self, dataset: SyntheticTriplets) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Triplet, Reward | None]:
        triplet, _ = self.dataset[index]
        return Triplet(triplet.case, self.dataset.world.exact_edit(triplet.case.id)), None
