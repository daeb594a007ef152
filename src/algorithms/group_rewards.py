"""Edits of groups, judged and compared: what an online algorithm learns from."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from src.aggregation import Aggregation
from src.algorithms.advantages import Advantages, Scale, advantages
from src.judges.judge import Judge
from src.records import Case, Image, Reward, Triplet

REMEMBERED = 200
"""Judged edits over which the share of failures is watched."""


@final
class JudgedGroups(NamedTuple):
    """Judged edits of p cases, g each.

    Attributes:
        scores: in [0, 5]; NaN where the judge failed.
        values: what is maximised, in [0, 1], the mean of several; NaN where the judge failed.
        advantages: within each group.
        seconds: that the judge took.
    """

    scores: Float[Tensor, "p g 3"]
    values: Float[Tensor, "p g"]
    advantages: Advantages
    seconds: float


@final
class GroupRewards:
    """Judges edits and compares those of a case with each other.

    Args:
        judge: scores them; failed verdicts count for nothing and are never replaced by a number.
        aggregation: what is maximised.
        scale: of the advantages, see advantages.py.
        floor: their least divisor, in units of the aggregated reward, [0, 1].
        most_failed: share of failed verdicts among the last two hundred that ends the training.
    """

    def __init__(
        self,
        judge: Judge,
        aggregation: Aggregation,
        scale: Scale = "group",
        floor: float = 0.05,
        most_failed: float = 0.05,
    ) -> None:
        if not 0.0 <= most_failed < 1.0:
            raise ValueError(f"most_failed={most_failed}: a share in [0, 1) is needed")
        self.judge, self.aggregation = judge, aggregation
        self.scale: Scale = scale
        self.floor, self.most_failed = floor, most_failed
        self.failed: deque[bool] = deque(maxlen=REMEMBERED)

    def __call__(
        self,
        cases: Sequence[Case],
        edits: Sequence[Image],
        over_ranks: Callable[[Float[Tensor, "3"]], Float[Tensor, "3"]] = lambda sums: sums,
    ) -> JudgedGroups:
        """Judge the edits of p cases.

        Args:
            cases: p of them.
            edits: g of the first case, then g of the second, ...
            over_ranks: sums three numbers over all ranks; see `advantages`.

        Raises:
            ValueError: the judge fails too often.
        """
        members = len(edits) // len(cases)
        asked = [case for case in cases for _ in range(members)]
        begun = time.perf_counter()
        rewards = self.judge.judge([Triplet(case, edit) for case, edit in zip(asked, edits, strict=True)])
        seconds = time.perf_counter() - begun
        self._watch(rewards)
        scores = torch.tensor([scores_or_nan(reward) for reward in rewards])
        values = self.aggregation(scores).T.reshape(-1, len(cases), members)
        each = [advantages(column, self.scale, self.floor, over_ranks) for column in values]
        compared = Advantages(
            torch.stack([one.value for one in each]).mean(0),
            torch.stack([one.valid for one in each]).any(0),
            torch.stack([one.spread for one in each]).mean(0),
        )
        return JudgedGroups(scores.view(len(cases), members, 3), values.mean(0), compared, seconds)

    def _watch(self, rewards: Sequence[Reward]) -> None:
        self.failed.extend(reward.failed for reward in rewards)
        count = sum(self.failed)
        if count > max(1.0, self.most_failed * len(self.failed)):
            reasons = [
                verdict.feedback for reward in rewards for verdict in reward.verdicts if verdict.score is None
            ]
            raise ValueError(
                f"the judge {self.judge.name} failed on {count} of the last {len(self.failed)} edits, more "
                f"than {self.most_failed:.0%} (most_failed), the last time with: {' '.join(reasons[-1:])}"
            )


def scores_or_nan(reward: Reward) -> list[float]:
    """Its three scores; all NaN if one is missing, as they count together."""
    scores = [verdict.score for verdict in reward.verdicts]
    known = [score for score in scores if score is not None]
    return [float(score) for score in known] if len(known) == len(scores) else [float("nan")] * len(scores)
