"""What a reward model learns from: comparisons and ratings of edits in five aspects, from several sources.

Each source has parameters of its own, learnt beside the network: up to which difference it calls edits equal,
what an overall judgement weighs, and where the levels of its scales lie.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from src.batch import ComparedEdits, ContestBatch, RatedEdits
from src.data.contests import ContestSource
from src.records import ASPECTS, PERSPECTIVES
from src.reward_models.aspects import SHARPNESS, AspectUtilities, aspect_utilities
from src.reward_models.losses import (
    PairKind,
    RatingKind,
    gaussian_rating,
    ordinal_rating,
    pair_losses,
    squared_rating,
)
from src.reward_models.reward_model import Estimates

START_WIDTH = 0.4
"""Of ties: of equal edits, a fifth are called equal."""

UNCERTAIN = ("gaussian", "gaussian_outside")
"""Losses that use a deviation."""


@final
class Judged(NamedTuple):
    """A batch's estimates beside its labels.

    Attributes:
        difference: of utilities of each pair, better minus worse.
        spread: the deviation of each difference; 0 for a network that says none.
        pairs: the loss of each pair.
        ratings: the loss of each rating.
    """

    difference: Float[Tensor, " p"]
    spread: Float[Tensor, " p"]
    pairs: Float[Tensor, " p"]
    ratings: Float[Tensor, " r"]


@final
class ContestLoss(nn.Module):
    """The losses of comparisons and ratings.

    Args:
        sources: who compared and rated.
        pairs: of comparisons, see losses.py; None leaves them out.
        ratings: of ratings; None leaves them out.
        rating_weight: of ratings, relative to comparisons.
        weighted: learn what each source's overall judgement weighs; false: all perspectives the same.
        sharpness: of the minimum in "semantic".

    Raises:
        ValueError: nothing to learn from.
    """

    def __init__(
        self,
        sources: Sequence[ContestSource],
        pairs: PairKind | None = "rao_kupper",
        ratings: RatingKind | None = "gaussian",
        rating_weight: float = 0.5,
        weighted: bool = True,
        sharpness: float = SHARPNESS,
    ) -> None:
        super().__init__()
        rated = any(source.scales for source in sources)
        if not sources or (pairs is None and not (ratings is not None and rated)):
            raise ValueError(
                f"algorithm.loss: pairs={pairs} ratings={ratings}, and {'no' if not rated else 'a'} source "
                "has ratings: nothing is left to learn from"
            )
        self.names = [source.name for source in sources]
        self.kind: PairKind | None = pairs
        self.rating_kind: RatingKind | None = ratings
        self.levels: Int[Tensor, "s 5"]
        self.rating_weight, self.sharpness = rating_weight, sharpness
        start = torch.full((len(sources), len(ASPECTS)), START_WIDTH)
        # what nothing asks of gets no gradient, which several processes would wait for
        compares = pairs in ("rao_kupper", "davidson")
        weighs = weighted and any("overall" in (*source.aspects, *source.scales) for source in sources)
        self.raw_widths = nn.Parameter(torch.log(torch.expm1(start)), requires_grad=compares)
        self.raw_weights = nn.Parameter(torch.zeros(len(sources), len(PERSPECTIVES)), requires_grad=weighs)
        levels = [[_levels(source, aspect) for aspect in ASPECTS] for source in sources]
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        most = max(1, int(torch.tensor(levels).max()) - 1)
        steps = torch.full((len(sources), len(ASPECTS), most), 5.0 / (most + 1))
        steps[..., 0] = -2.5 + 2.5 / most
        self.raw_thresholds = nn.Parameter(
            torch.cat((steps[..., :1], torch.log(torch.expm1(steps[..., 1:]))), -1),
            requires_grad=ratings == "ordinal",
        )

    @property
    def widths(self) -> Float[Tensor, "s 5"]:
        """Kappa of each source and aspect."""
        return F.softplus(self.raw_widths)

    @property
    def weights(self) -> Float[Tensor, "s 3"]:
        """Of the perspectives in each source's overall judgement; their sum is 1."""
        return self.raw_weights.softmax(-1)

    @property
    def thresholds(self) -> Float[Tensor, "s 5 levels"]:
        """Between the levels of each scale, ascending; infinite where a scale has fewer levels."""
        first, steps = self.raw_thresholds[..., :1], F.softplus(self.raw_thresholds[..., 1:])
        ascending = torch.cat((first, steps), -1).cumsum(-1)
        number = torch.arange(ascending.shape[-1], device=ascending.device)
        return ascending.masked_fill(number >= self.levels[..., None] - 1, torch.inf)

    def check(self, has_deviation: bool) -> None:
        """Raise ValueError if a loss needs a deviation that the network doesn't say."""
        needs = self.kind in UNCERTAIN or self.rating_kind in ("gaussian", "ordinal")
        if needs and not has_deviation:
            raise ValueError(
                f"algorithm.loss.pairs={self.kind} and ratings={self.rating_kind} need a network that says "
                "how sure it is: choose pairs=rao_kupper and ratings=squared, or reward_model.deviation=true"
            )

    def forward(self, estimates: Estimates, batch: ContestBatch) -> Judged:
        """The losses of a batch's labels, none of them weighted."""
        each = [self._utilities(estimates, weights) for weights in self.weights]
        means = torch.stack([one.mean for one in each])
        variances = torch.stack(
            [torch.zeros_like(one.mean) if one.variance is None else one.variance for one in each]
        )
        said = batch.compared
        difference = _at(means, said.source, said.better, said.aspect) - _at(
            means, said.source, said.worse, said.aspect
        )
        spread = _sum_at(variances, said).clamp_min(1e-8).sqrt()
        pairs = (
            torch.zeros_like(difference)
            if self.kind is None
            else pair_losses(self.kind, difference, spread, said.tie, self.widths[said.source, said.aspect])
        )
        return Judged(difference, spread, pairs, self._of_ratings(means, variances, batch.rated))

    def _utilities(self, estimates: Estimates, weights: Float[Tensor, "3"]) -> AspectUtilities:
        return aspect_utilities(estimates, weights, self.sharpness)

    def _of_ratings(self, means: Tensor, variances: Tensor, rated: RatedEdits) -> Float[Tensor, " r"]:
        utility = _at(means, rated.source, rated.edit, rated.aspect)
        if self.rating_kind is None:
            return torch.zeros_like(utility)
        if self.rating_kind == "squared":
            return squared_rating(utility, rated.value)
        variance = _at(variances, rated.source, rated.edit, rated.aspect)
        if self.rating_kind == "gaussian":
            return gaussian_rating(utility, 0.5 * variance.log(), rated.value)
        thresholds = self.thresholds[rated.source, rated.aspect]
        return ordinal_rating(utility, variance.sqrt(), rated.level.clamp_min(0), thresholds)


def _levels(source: ContestSource, aspect: str) -> int:
    return source.scales[aspect].levels if aspect in source.scales else 0


def _at(values: Float[Tensor, "s n 5"], source: Tensor, edit: Tensor, aspect: Tensor) -> Tensor:
    return values[source, edit, aspect]


def _sum_at(variances: Float[Tensor, "s n 5"], said: ComparedEdits) -> Tensor:
    return _at(variances, said.source, said.better, said.aspect) + _at(
        variances, said.source, said.worse, said.aspect
    )


Reduce = Callable[[float | int], float | int]
"""The mean of a number over all ranks."""


def total_loss(judged: Judged, batch: ContestBatch, rating_weight: float, over_ranks: Reduce) -> Tensor:
    """Weighted sums of both, each divided by its weight in the batches of all ranks, so that two ranks learn
    what one would.
    """
    weight = over_ranks(float(batch.compared.weight.sum()))
    count = over_ranks(len(batch.rated.value))
    pairs = (judged.pairs * batch.compared.weight).sum() / max(weight, 1e-8)
    return pairs + rating_weight * judged.ratings.sum() / max(count, 1)
