"""A control: only the triplets that the annotator rates highest, a filter for datasets without perfect
triplets.
"""

from typing import final

from rich.progress import track

from src.data.dataset import RewardedTriplets
from src.records import NO_FAILURE, Reward, Triplet


@final
class BestRated:
    """The triplets of another dataset with the highest mean score: what a filter can get where `AllGood`
    finds nothing (conf/world).

    For triplets that are made on the fly; rows on disk, by any judge's reward file, are chosen by
    `python -m src.curate curation=top` (src/curation/rules.py).

    Ties go to triplets with fewer texts that name a failure, then to the lower index. So the triplets of
    `AllGood` come first.

    Args:
        dataset: rated triplets; all are made once to rank them (1 to 2 s per thousand unless their rewards
            are cached).
        share: of the triplets to keep, in (0, 1]; rounded to a whole number of triplets.

    Raises:
        ValueError: the triplets are unrated, or the share is none.
    """

    def __init__(self, dataset: RewardedTriplets, share: float) -> None:
        if not 0 < share <= 1:
            raise ValueError(
                f"share={share} of the triplets can't be kept: give a share more than 0 and at most 1"
            )
        number = round(share * len(dataset))
        if number < 1:
            raise ValueError(
                f"share={share} of {len(dataset)} triplets is none: raise data.control.share or "
                "data.dataset.length"
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
                f"triplet {triplet.case.id!r} is unrated, so it can't be ranked: give annotator=noisy"
            )
        return rank(reward)


def rank(reward: Reward) -> tuple[float, int]:
    """Sort key, best first: the negative sum of the scores, then the number of texts that name a failure.

    Raises:
        ValueError: a failed verdict.
    """
    scores = [verdict.score for verdict in reward.verdicts if verdict.score is not None]
    if len(scores) < len(reward.verdicts):
        raise ValueError(
            f"the reward of {reward.id!r} by {reward.judge!r} has failed verdicts and can't be ranked"
        )
    return -sum(scores), sum(verdict.feedback != NO_FAILURE for verdict in reward.verdicts)
