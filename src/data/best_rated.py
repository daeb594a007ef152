"""A control: only the triplets that the annotator rates highest, as one filters a dataset of which nothing is
good throughout.
"""

from typing import final

from rich.progress import track

from src.data.dataset import RewardedTriplets
from src.records import NO_FAILURE, Reward, Triplet


@final
class BestRated:
    """The triplets of another dataset with the highest mean score: the best that a filter can get where
    `AllGood` finds nothing (conf/world).

    Of equal means those come first in which fewer texts name a failure, then those with the lower index. So
    the first ones are those of `AllGood`, and as many as it has are the same.

    Args:
        dataset: rated triplets; all of them are made once, to rank them (a thousand take one to two seconds
            unless their rewards are kept).
        share: of the triplets that is kept, in (0, 1]; rounded to a whole number of triplets.

    Raises:
        ValueError: the triplets are unrated, or the share is none.
    """

    def __init__(self, dataset: RewardedTriplets, share: float) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share={share} of the triplets can't be kept: it is more than 0 and at most 1")
        number = round(share * len(dataset))
        if number < 1:
            raise ValueError(
                f"share={share} of {len(dataset)} triplets is none: raise data.control.share or data.dataset.length"
            )
        self.dataset = dataset
        ranks = [
            self._rank(index) for index in track(range(len(dataset)), "ranking triplets", transient=True)
        ]
        self.indices = sorted(sorted(range(len(dataset)), key=ranks.__getitem__)[:number])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Triplet, Reward | None]:
        return self.dataset[self.indices[index]]

    def _rank(self, index: int) -> tuple[float, int]:
        triplet, reward = self.dataset[index]
        if reward is None:
            raise ValueError(
                f"triplet {triplet.case.id!r} is unrated, so nobody knows how good it is: say annotator=noisy"
            )
        return rank(reward)


def rank(reward: Reward) -> tuple[float, int]:
    """Sort key, the best first: the sum of the scores, downwards, then how many texts name a failure.

    Raises:
        ValueError: a failed verdict.
    """
    scores = [verdict.score for verdict in reward.verdicts if verdict.score is not None]
    if len(scores) < len(reward.verdicts):
        raise ValueError(
            f"the reward of {reward.id!r} by {reward.judge!r} has failed verdicts and can't be ranked"
        )
    return -sum(scores), sum(verdict.feedback != NO_FAILURE for verdict in reward.verdicts)
