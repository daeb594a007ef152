"""How well a judge orders pairs of edits as people do, as pure functions of arrays.

Of every pair there is what people said, `human`: 1 if the first edit is better, -1 if the second one is, 0 if
they are equal; and the judge's `margin`: its score of the first less that of the second, or 1, 0, -1 where it
was asked for a verdict; NaN where it gave no usable answer. A rule turns both into the `right` of each pair:
1, 0 or a half, and NaN where the pair doesn't count, so that every figure is the mean of what counts, and its
interval and bounds come from the same numbers. A failed answer is wrong under every rule; it is never
dropped.

The rule decides who wins (a rater of three levels ties often): figures of different rules don't compare.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float, Int

from src.evaluation.statistics import Interval

DECIMALS = 9
"""Margins are rounded to this many decimals: equal ones must count as equal although they come from other
sums or roots.
"""

Human = Int[np.ndarray, " n"]
Margin = Float[np.ndarray, " n"]
Right = Float[np.ndarray, " n"]
Codes = Int[np.ndarray, " n"]
Rule = Callable[[Human, Margin, Codes], Right]
"""(human, margin, cluster of each pair) -> right."""


def margins(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> Margin:
    """The difference of two scores, rounded."""
    return np.round(first - second, DECIMALS)


def strict(human: Human, margin: Margin, clusters: Codes) -> Right:
    """Decided pairs: right if the judge prefers the same edit; its ties are wrong."""
    return np.where(human == 0, np.nan, human * margin > 0)


def half(human: Human, margin: Margin, clusters: Codes) -> Right:
    """Decided pairs: the judge's ties count half, as a coin would decide them."""
    return np.where(human == 0, np.nan, (human * margin > 0) + 0.5 * (margin == 0))


def excluded(human: Human, margin: Margin, clusters: Codes) -> Right:
    """Pairs that both people and the judge decide."""
    return np.where((human == 0) | (margin == 0), np.nan, human * margin > 0)


def three_classes(human: Human, margin: Margin, clusters: Codes) -> Right:
    """All pairs: first, second or equal, a tie of the judge being an exact one."""
    return with_ties(human, margin, 0.0)


def with_ties(human: Human, margin: Margin, width: float) -> Right:
    """All pairs: margins of at most `width` are ties of the judge, and all ties have to be found."""
    is_tie = np.abs(margin) <= width
    return np.where(human == 0, is_tie, (human * margin > 0) & ~is_tie).astype(float)


@final
class TieFit(NamedTuple):
    """The best that any tie width gives.

    Attributes:
        value: share of pairs that are right.
        width: the smallest that gives it; -inf: no margin, not even 0, is a tie.
    """

    value: float
    width: float


@final
class TieLadder:
    """Pairs sorted by how far apart the judge sees them, so that all tie widths can be tried in one pass.

    "Accuracy with ties" is the best over all widths (Deutsch et al., "Ties Matter", EMNLP 2023). Widths are
    tried at the ends of blocks of equal margins only: in the middle of one the value would depend on the
    order of the rows, as it does in EditReward's release. O(n log n).

    Args:
        human, margin: see the module.
    """

    def __init__(self, human: Human, margin: Margin) -> None:
        size = np.where(np.isnan(margin), np.inf, np.abs(margin))
        self.order = np.argsort(size, kind="stable")
        sizes = size[self.order]
        self.right = (human * margin > 0)[self.order].astype(float)
        # calling a pair a tie gains it if people call it one, loses it if it was right; failures do neither
        self.gain = ((human == 0) & ~np.isnan(margin))[self.order] - self.right
        self.ends = np.flatnonzero(
            np.append(sizes[1:] != sizes[:-1], np.ones(min(len(sizes), 1), dtype=bool))
        )
        self.widths = sizes[self.ends]

    def fit(self, weights: Float[np.ndarray, " n"] | None = None) -> TieFit:
        """The best width for pairs that count `weights` times each, in the order of the arrays given."""
        return self.fit_sorted(np.ones(len(self.order)) if weights is None else weights[self.order])

    def fit_sorted(self, weight: Float[np.ndarray, " n"]) -> TieFit:
        """The same for weights in the order of this ladder."""
        total, untied = float(weight.sum()), float(weight @ self.right)
        steps = np.cumsum(weight * self.gain)[self.ends]
        best = int(steps.argmax()) if len(steps) else 0
        if total == 0.0 or steps[best] <= 0:
            return TieFit(untied / total if total else np.nan, -np.inf)
        return TieFit((untied + float(steps[best])) / total, float(self.widths[best]))


def with_ties_fitted(human: Human, margin: Margin, clusters: Codes) -> Right:
    """`with_ties` at the width that is best for these very pairs. Even a constant scorer then gets the share
    of ties, and one of any luck gets more than it deserves.
    """
    return with_ties(human, margin, TieLadder(human, margin).fit().width)


def with_ties_cross(human: Human, margin: Margin, clusters: Codes, folds: int = 5) -> Right:
    """`with_ties` at the width that is best for the other folds' clusters: what a user who calibrates on one
    part gets on another.
    """
    ladder, fold_of = TieLadder(human, margin), folds_of(clusters, folds)
    right = np.zeros(len(human))
    for fold in range(folds):
        held = fold_of == fold
        width = ladder.fit((~held).astype(float)).width
        right[held] = with_ties(human[held], margin[held], width)
    return right


def ties_beside(human: Human, margin: Margin, clusters: Codes) -> Right:
    """EditReward's rule for K = 2: people's ties are found within the width fitted by `with_ties`, and pairs
    that people decide are judged without it. No threshold could do both; to reproduce only.
    """
    width = TieLadder(human, margin).fit().width
    return np.where(human == 0, np.abs(margin) <= width, human * margin > 0).astype(float)


def folds_of(clusters: Codes, folds: int) -> Int[np.ndarray, " n"]:
    """The fold of each pair: a drawn division of the clusters, the same however the pairs are ordered.

    Args:
        clusters: numbers of the clusters in the order of their names.
        folds: how many.
    """
    names, member_of = np.unique(clusters, return_inverse=True)
    fold_of = np.empty(len(names), dtype=int)
    for fold, members in enumerate(np.array_split(np.random.default_rng(0).permutation(len(names)), folds)):
        fold_of[members] = fold
    return fold_of[member_of]


def bounds_of(right: Right, failed: Bool[np.ndarray, " n"]) -> Interval:
    """The mean with every failed answer counted wrong, and with every one counted right."""
    counts = ~np.isnan(right)
    n, known = int(counts.sum()), float(right[counts & ~failed].sum())
    return Interval(known / n, (known + int((counts & failed).sum())) / n) if n else Interval(0.0, 1.0)


def mean_right(right: Right) -> float:
    """The mean over the pairs that count; NaN if none does."""
    counts = ~np.isnan(right)
    return float(right[counts].mean()) if counts.any() else np.nan


def fitted_interval(
    human: Human, margin: Margin, clusters: Codes, draws: int, level: float = 0.95
) -> Interval | None:
    """Percentile bootstrap of `with_ties_fitted` over whole clusters, the width fitted anew in each draw;
    None with fewer than two clusters.
    """
    names, member_of = np.unique(clusters, return_inverse=True)
    if len(names) < 2:
        return None
    ladder, rng = TieLadder(human, margin), np.random.default_rng(0)
    sorted_members, values = member_of[ladder.order], []
    for _ in range(draws):
        drawn = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        values.append(ladder.fit_sorted(drawn.astype(float)[sorted_members]).value)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def draws_within(n: int, most: int, budget: float = 2e7, least: int = 3) -> int:
    """How often something over n pairs may be repeated, so that a million pairs take seconds."""
    return int(max(least, min(most, budget / max(n, 1))))


def whole_order(scores: Sequence[Float[np.ndarray, " k"]], places: Sequence[Int[np.ndarray, " k"]]) -> Right:
    """Whether scores put all candidates of a group into people's order.

    A tie of the scorer is wrong: the release sorts with numpy, which decides ties by position.

    Args:
        scores: of each group's candidates; NaN where the judge failed.
        places: people's, 0 the best; without ties.
    """
    right = [
        bool(np.all(np.diff(score[np.argsort(place)]) < 0))
        for score, place in zip(scores, places, strict=True)
    ]
    return np.array(right, dtype=float)
