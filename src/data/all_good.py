"""A control: only the triplets that the annotator rates as good in everything; a filter, not a condition."""

from typing import final

from rich.progress import track

from src.data.dataset import RewardedTriplets
from src.records import MAX_SCORE, NO_FAILURE, Reward, Triplet


@final
class AllGood:
    """The triplets of another dataset that are annotated 5/5/5 and "None". They are few, so training repeats
    each of them often.

    Args:
        dataset: rated triplets; all are made once to find the good ones (1 to 2 s per thousand).

    Raises:
        ValueError: the triplets are unrated, or none is good.
    """

    def __init__(self, dataset: RewardedTriplets) -> None:
        self.dataset = dataset
        self.indices = [
            index
            for index in track(range(len(dataset)), "looking for good triplets", transient=True)
            if self._good(index)
        ]
        if not self.indices:
            raise ValueError(
                f"none of {len(dataset)} triplets is annotated 5/5/5 with nothing failed: "
                "make the dataset longer, or keep the best (+control=best_rated)"
            )

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Triplet, Reward | None]:
        return self.dataset[self.indices[index]]

    def _good(self, index: int) -> bool:
        triplet, reward = self.dataset[index]
        if reward is None:
            raise ValueError(
                f"triplet {triplet.case.id!r} is unrated and can't be filtered by reward: "
                "give annotator=noisy"
            )
        return all_good(reward)


def all_good(reward: Reward) -> bool:
    """Whether all three scores are 5 and all three texts "None"."""
    return all(verdict.score == MAX_SCORE and verdict.feedback == NO_FAILURE for verdict in reward.verdicts)
