"""Tests whether one row of a report is better than another: paired if they share cases, clustered by
photograph, with Holm's correction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from src.evaluation.statistics import (
    Interval,
    clustered_interval,
    clustered_mean,
    holm,
    sign_flip_p,
    smallest_detectable,
    two_sample,
)
from src.records import PERSPECTIVES


@final
@dataclass(frozen=True)
class CaseScores:
    """One case of a row.

    Attributes:
        id: the triplet's id.
        photograph: its cluster.
        scores: in the order of PERSPECTIVES, in [0, 5]; None if the judge failed or was not asked.
    """

    id: str
    photograph: str
    scores: tuple[float | None, float | None, float | None]


@final
@dataclass(frozen=True)
class Comparison:
    """The comparison of two rows in one perspective.

    Attributes:
        row, against: the rows' names.
        perspective: its name.
        paired: whether it is over the same cases; if not, the rows have none in common.
        n, clusters: numbers of cases and photographs; of `row` if not paired.
        n_against, clusters_against: the same for the other row; equal to n and clusters if paired.
        difference: mean score of `row` minus that of `against`, in points; None without cases.
        ci95: of the difference, clustered; None with fewer than two photographs.
        p: two-sided, from sign flips of whole photographs if paired, else from Welch's t on clustered errors;
            None if undefined.
        p_holm: corrected over the perspectives of these two rows.
        detectable: the smallest true difference, in points, that is found with 80 % power at the 5 % level
            with this number of cases, before Holm's correction; None if the rows are unpaired or have fewer
            than two photographs.
    """

    row: str
    against: str
    perspective: str
    paired: bool
    n: int
    clusters: int
    n_against: int
    clusters_against: int
    difference: float | None
    ci95: Interval | None
    p: float | None
    p_holm: float | None = None
    detectable: float | None = None


def compare(
    row: str, cases: Sequence[CaseScores], against: str, others: Sequence[CaseScores]
) -> tuple[Comparison, ...]:
    """The three perspectives of two rows.

    They form one family for Holm's correction. A larger family could never be significant: with 8 photographs
    no p is below 2 / 256, which the correction for seven comparisons already raises above 5 %.

    Args:
        row, against: names.
        cases, others: of the two rows; paired by id if they share any case.
    """
    paired = bool({case.id for case in cases} & {other.id for other in others})
    found = [
        (_paired if paired else _unpaired)(row, cases, against, others, index)
        for index in range(len(PERSPECTIVES))
    ]
    tested = [comparison.p for comparison in found if comparison.p is not None]
    corrected = iter(holm(tested))
    return tuple(
        comparison if comparison.p is None else replace(comparison, p_holm=next(corrected))
        for comparison in found
    )


def _paired(
    row: str, cases: Sequence[CaseScores], against: str, others: Sequence[CaseScores], index: int
) -> Comparison:
    other_scores = {other.id: other.scores[index] for other in others}
    pairs = [(case.photograph, case.scores[index], other_scores.get(case.id)) for case in cases]
    both = [
        (photograph, score - other)
        for photograph, score, other in pairs
        if score is not None and other is not None
    ]
    clusters = [photograph for photograph, _ in both]
    differences = np.array([difference for _, difference in both], dtype=float)
    n, count = len(both), len(set(clusters))
    mean = float(differences.mean()) if both else None
    # A single photograph has two flips of equal size, so p would always be 1.
    p = sign_flip_p(differences, clusters) if count > 1 else None
    interval, estimate = clustered_interval(differences, clusters), clustered_mean(differences, clusters)
    detectable = None if estimate is None else smallest_detectable(estimate)
    return Comparison(
        row,
        against,
        PERSPECTIVES[index].value,
        True,
        n,
        count,
        n,
        count,
        mean,
        interval,
        p,
        detectable=detectable,
    )


def _unpaired(
    row: str, cases: Sequence[CaseScores], against: str, others: Sequence[CaseScores], index: int
) -> Comparison:
    (scores, clusters), (other_scores, other_clusters) = (_scored(each, index) for each in (cases, others))
    first, second = clustered_mean(scores, clusters), clustered_mean(other_scores, other_clusters)
    difference = float(scores.mean() - other_scores.mean()) if len(scores) and len(other_scores) else None
    ci95, p = None, None
    if first is not None and second is not None:
        difference, ci95, p = two_sample(first, second)
    sizes = (len(scores), len(set(clusters)), len(other_scores), len(set(other_clusters)))
    return Comparison(row, against, PERSPECTIVES[index].value, False, *sizes, difference, ci95, p)


def _scored(cases: Sequence[CaseScores], index: int) -> tuple[np.ndarray, list[str]]:
    answered = [(case.scores[index], case.photograph) for case in cases if case.scores[index] is not None]
    return np.array([score for score, _ in answered], dtype=float), [photograph for _, photograph in answered]


COMPARISON_HEADER = (
    "against",
    "n",
    "clusters",
    "F difference",
    "F p",
    "P difference",
    "P p",
    "Q difference",
    "Q p",
)
COMPARISON_NOTES = (
    "Difference: mean score of the row less that of the other, with its 95 % interval (Student's t on errors "
    "clustered by photograph). "
    "p: two-sided, exact sign-flip test over whole photographs on the same cases (10,000 random flips beyond "
    "16 photographs), after Holm's "
    "correction over the three perspectives; with g photographs no p is below 2 / 2^g before it. Rows marked "
    "unpaired are over other cases: "
    "Welch's t on clustered errors."
)


DETECTABLE_HEADER = ("against", "F detectable", "P detectable", "Q detectable")
DETECTABLE_NOTES = (
    "Detectable: the smallest true difference that this number of cases and photographs finds in 8 of 10 "
    "repetitions "
    "at the 5 % level (two-sided t-test on "
    "clustered errors, before Holm's correction). Where the difference above is smaller and not significant, "
    "nothing is decided."
)


def detectable_cells(comparisons: Sequence[Comparison]) -> list[str]:
    """The cells below DETECTABLE_HEADER for one pair of rows; "-" if they are unpaired or have fewer than two
    photographs.
    """
    return [
        comparisons[0].against,
        *("-" if each.detectable is None else f"{each.detectable:.2f}" for each in comparisons),
    ]


def comparison_cells(comparisons: Sequence[Comparison]) -> list[str]:
    """The cells below COMPARISON_HEADER for one pair of rows, given its perspectives in order."""
    first = comparisons[0]
    sizes = [(first.n, first.n_against), (first.clusters, first.clusters_against)]
    counts = [str(own) if first.paired else f"{own} / {other}" for own, other in sizes]
    cells = [first.against if first.paired else f"{first.against} (unpaired)", *counts]
    for comparison in comparisons:
        cells += [_difference_cell(comparison), _p_cell(comparison.p_holm)]
    return cells


def _p_cell(p: float | None) -> str:
    return "-" if p is None else "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def _difference_cell(comparison: Comparison) -> str:
    if comparison.difference is None:
        return "-"
    interval = (
        "" if comparison.ci95 is None else f" [{comparison.ci95.low:+.2f}, {comparison.ci95.high:+.2f}]"
    )
    return f"{comparison.difference:+.2f}{interval}"
