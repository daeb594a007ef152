"""A control: the same triplets in the same order, each with one number for its reward, the mean of its three
scores.

Are three perspectives better than one number? For the answer to be about that alone, everything else is as in
the row it is compared with, the `score` row of Table 4 (`model/reward_encoder=score`): the same encoder,
which gets the mean three times, so no parameter more or less. The mean is not rounded, so that nothing but
the division into perspectives is lost, and feedback becomes "None", as a text would say which perspective
failed.
"""

from dataclasses import replace
from typing import final

from src.data.dataset import RewardedTriplets
from src.records import NO_FAILURE, Reward, Triplet


@final
class ScalarReward:
    """Another dataset whose rewards say how good a triplet is on the whole, and no more.

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
                f"triplet {triplet.case.id!r} is unrated, so it has no scores to average: say annotator=noisy"
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
        replace(each, score=sum(scores) / len(scores), feedback=NO_FAILURE) for each in reward.verdicts
    )
    return replace(
        reward, judge=f"scalar {reward.judge}", following=following, preserving=preserving, quality=quality
    )
