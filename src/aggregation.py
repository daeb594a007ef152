"""One number, or several, from the three scores of an edit: what reinforcement learning maximises."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from src.records import MAX_SCORE, PERSPECTIVES, three

Scores = Float[Tensor, "n 3"]
"""Following, preserving and quality in [0, 5]; NaN where the judge failed."""


class Aggregation(ABC):
    """Rewards in [0, 1] from scores."""

    @abstractmethod
    def __call__(self, scores: Scores) -> Float[Tensor, "n k"]:
        """The rewards of each edit; NaN where a score that counts is missing. Of several, each is compared
        within its group on its own.
        """


@final
class Overall(Aggregation):
    """The root of min(following, preserving) quality, as in GEdit-Bench and EditScore: 0 for a copy of the
    input.
    """

    def __call__(self, scores: Scores) -> Float[Tensor, "n 1"]:
        """One reward."""
        following, preserving, quality = scores.unbind(1)
        return ((torch.minimum(following, preserving) * quality).sqrt() / MAX_SCORE).unsqueeze(1)


@final
class WeightedMean(Aggregation):
    """The weighted mean of the scores. With equal weights doing nothing is worth 0.67, more than the edits of
    a weak editor: maximising it teaches copying. Kept to show that such a hack is noticed.

    Args:
        weights: of following, preserving and quality; not negative, not all 0.
    """

    def __init__(self, weights: Sequence[float] = (1.0, 1.0, 1.0)) -> None:
        given = three(weights, "weights")
        if min(given) < 0.0 or sum(given) <= 0.0:
            raise ValueError(f"weights={list(given)}: none may be negative, and one must be positive")
        self.weights = torch.tensor(given, dtype=torch.float32) / sum(given)

    def __call__(self, scores: Scores) -> Float[Tensor, "n 1"]:
        """One reward."""
        counted = torch.where(self.weights > 0.0, scores * self.weights, 0.0)
        return counted.sum(1, keepdim=True) / MAX_SCORE


@final
class PerPerspective(Aggregation):
    """Three rewards, each compared within its group before they are added (GDPO): a perspective that hardly
    varies is not drowned by one that varies a lot.
    """

    def __call__(self, scores: Scores) -> Float[Tensor, "n 3"]:
        """A reward per perspective."""
        assert scores.shape[1] == len(PERSPECTIVES)
        return scores / MAX_SCORE
