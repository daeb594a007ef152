"""A control: the same triplets in the same order, each rewarded with one number, the mean of its three
scores.

It asks whether three perspectives are better than one number. Everything else is as in the row it is compared
with, the `score` row of Table 4 (`model/reward_encoder=score`): the same encoder gets the mean three times,
so the parameters are equally many. The mean is not rounded, so only the division into perspectives is lost.
Feedback becomes "None", as a text would say which perspective failed.
"""

from dataclasses import replace
from typing import final

from src.data.dataset import RewardedTriplets
from src.records import NO_FAILURE, Reward, Triplet


@final
class ScalarReward:
    """Another dataset with rewards that say only how good a triplet is overall.

    Args:
        dataset: rated triplets.
    """

    def __init__(self, dataset: RewardedTriplets) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Triplet, Reward]:
        triplet, reward = self.dataset[index]
        if reward is None:
            raise ValueError(
                f"triplet {triplet.case.id!r} is unrated and has no scores to average: give annotator=noisy"
            )
        return triplet, scalar(reward)


def scalar(reward: Reward) -> Reward:
    """A reward whose three scores are their mean, in [0, 5], without feedback.

    Raises:
        ValueError: a failed verdict.
    """
    scores = [verdict.score for verdict in reward.verdicts if verdict.score is not None]
    if len(scores) < len(reward.verdicts):
        raise ValueError(f"the reward of {reward.id!r} by {reward.judge!r} has failed verdicts and no mean")
    following, preserving, quality = (
        replace(verdict, score=sum(scores) / len(scores), feedback=NO_FAILURE) for verdict in reward.verdicts
    )
    return replace(
        reward, judge=f"scalar {reward.judge}", following=following, preserving=preserving, quality=quality
    )
