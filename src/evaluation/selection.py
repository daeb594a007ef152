"""Which of several edits of a case is the best by a judge's scores, and what choosing among fewer of them
would have given: functions of arrays.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Int

from src.records import PERSPECTIVES, three

TOLERANCE = 9
"""Decimals to which weighted sums are rounded: equal ones must count as equal although they are added up in
another order.
"""


@final
@dataclass(frozen=True)
class Selection:
    """What a choice is by: the highest weighted mean of the three scores.

    `pareto` first leaves out every candidate that another one dominates (at least as good in all three
    perspectives, better in one), then takes the highest weighted mean, and among equal ones the highest plain
    mean. With weights that are all above 0 this never changes a choice, as the highest weighted mean is never
    dominated; it matters where a weight is 0: `weights=[1, 0, 0] pareto=true` is the best following, and of
    several equally good ones none that another one beats in preserving or quality without a loss.

    Attributes:
        weights: of following, preserving and quality; only their ratios count. (1, 1, 1) is the mean, (1, 0,
            0) following alone.
        pareto: see above.

    Raises:
        ValueError: not three weights, a negative one, or none above 0.
    """

    weights: Sequence[float | int] = (1.0, 1.0, 1.0)
    pareto: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "weights", three([float(weight) for weight in self.weights], "selection.weights")
        )
        if not (
            all(weight >= 0 and math.isfinite(weight) for weight in self.weights) and sum(self.weights) > 0
        ):
            raise ValueError(
                f"selection.weights={list(self.weights)}: weights are 0 or more, and one at least is above 0"
            )

    @property
    def label(self) -> str:
        """In a few words: "mean", "following", "2F+1P+0.5Q"; with "Pareto" where that is asked for."""
        used = [
            (weight, perspective)
            for weight, perspective in zip(self.weights, PERSPECTIVES, strict=True)
            if weight
        ]
        if len(used) == 1:
            words = used[0][1].value
        elif len(set(self.weights)) == 1:
            words = "mean"
        else:
            words = "+".join(f"{weight:g}{perspective.value[0].upper()}" for weight, perspective in used)
        return f"{words} Pareto" if self.pareto else words

    def utility(self, scores: Float[np.ndarray, "*cases 3"]) -> Float[np.ndarray, "*cases"]:
        """The weighted mean in [0, 5]; NaN where a score that counts is missing (NaN)."""
        weights = np.array(self.weights) / sum(self.weights)
        used = weights > 0
        return np.round(scores[..., used] @ weights[used], TOLERANCE)

    def deviation(self, deviations: Float[np.ndarray, "*cases 3"]) -> Float[np.ndarray, "*cases"]:
        """Of the weighted mean, of deviations of the scores whose errors are independent."""
        weights = np.array(self.weights) / sum(self.weights)
        used = weights > 0
        return np.sqrt(np.square(deviations[..., used] * weights[used]).sum(axis=-1))

    def preference(self, scores: Float[np.ndarray, "cases n 3"]) -> Int[np.ndarray, "cases n"]:
        """The order of each case's candidates: the higher, the better; equal where the choice is a tie; -1
        for those that can't be compared.

        Args:
            scores: by case, candidate and perspective; NaN where the judge failed. A candidate without a
                score that the choice needs (with `pareto` all three, else those of weight above 0) is below
                all others.
        """
        utility, total = self.utility(scores), np.round(scores.sum(axis=-1), TOLERANCE)
        # The highest plain mean among equal weighted ones is dominated by nobody, and is an order, so that
        # all of a subset's candidates compare.
        keys = np.stack([utility, total if self.pareto else np.zeros_like(utility)], axis=-1)
        known = np.logical_and.reduce(np.isfinite(keys), axis=-1)
        ranks = np.full(known.shape, -1)
        for case in range(len(keys)):
            if known[case].any():
                ranks[case, known[case]] = np.unique(keys[case, known[case]], axis=0, return_inverse=True)[
                    1
                ].ravel()
        return ranks


def chosen(preference: Int[np.ndarray, "cases n"]) -> Int[np.ndarray, " cases"]:
    """The candidate of each case that is preferred; of equal ones that of the lowest number, so candidate 0
    where all failed.
    """
    return preference.argmax(axis=1)


def ties(preference: Int[np.ndarray, "cases n"]) -> Bool[np.ndarray, " cases"]:
    """Whether the best place is shared, where there is a candidate that was judged."""
    best = preference.max(axis=1)
    return ((preference == best[:, None]).sum(axis=1) > 1) & (best >= 0)


def dominated(scores: Float[np.ndarray, "n 3"]) -> Bool[np.ndarray, " n"]:
    """Whether another candidate is at least as good in all perspectives and better in one; one with a missing
    score (NaN) compares with none.
    """
    one, other = scores[:, None], scores[None]
    return np.logical_or.reduce((one >= other).all(axis=-1) & (one > other).any(axis=-1), axis=0)


def choice_probabilities(preference: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n n"]:
    """P(candidate is chosen among k), over all subsets of k of the n candidates, ties decided by lot. Row k -
    1, column: candidate.

    The best place of a subset falls to a group of m equal candidates below b better ones if it holds none of
    the b and one of the m: (C(n - b, k) - C(n - b - m, k)) / C(n, k), divided among the m. Without ties this
    is the unbiased best-of-k estimator of the code generation literature (pass@k, Chen et al. 2021) with
    scores in place of passes.

    Args:
        preference: the higher, the better.
    """
    better = (preference[None, :] > preference[:, None]).sum(axis=1)
    equal = (preference[None, :] == preference[:, None]).sum(axis=1)
    n = len(preference)
    return np.array(
        [[_share(n, k, int(b), int(m)) for b, m in zip(better, equal, strict=True)] for k in range(1, n + 1)]
    ).reshape(n, n)


@cache
def _share(n: int, k: int, better: int, equal: int) -> float:
    return (math.comb(n - better, k) - math.comb(n - better - equal, k)) / (equal * math.comb(n, k))


def expected_best(
    preference: Int[np.ndarray, "cases n"], values: Float[np.ndarray, "cases n"]
) -> Float[np.ndarray, "cases n"]:
    """The value that the preferred one of k candidates has on average over all subsets of size k, case by
    case. Column k - 1.

    Args:
        preference: by whom is chosen; see `Selection.preference`.
        values: what the chosen one is worth, by another judge; a case with a missing one (NaN) has NaN
            throughout.
    """
    means = [choice_probabilities(order) @ value for order, value in zip(preference, values, strict=True)]
    # 0 x NaN is NaN, which is meant: a case whose candidates are not all scored has no unbiased mean
    return np.array(means).reshape(values.shape)
