"""Tests whether one row of a report is better than another: paired if they share cases, clustered by
photograph, with Holm's correction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from src.evaluation.overall import overall_score
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

OVERALL = "overall"
"""Name of the score that combines the three perspectives."""


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
class CaseScore:
    """One score of a case: of one perspective, or overall.

    Attributes:
        id: the triplet's id.
        photograph: its cluster.
        score: in [0, 5]; None if it is missing.
    """

    id: str
    photograph: str
    score: float | None


def scores_in(cases: Sequence[CaseScores], index: int) -> tuple[CaseScore, ...]:
    """The scores of one perspective, by its place in PERSPECTIVES."""
    return tuple(CaseScore(case.id, case.photograph, case.scores[index]) for case in cases)


def overall_scores(cases: Sequence[CaseScores]) -> tuple[CaseScore, ...]:
    """The overall score of each case; None where one of its three scores is missing."""
    return tuple(CaseScore(case.id, case.photograph, overall_score(*case.scores)) for case in cases)


@final
@dataclass(frozen=True)
class Comparison:
    """The comparison of two rows in one perspective, or in the overall score.

    Attributes:
        row, against: the rows' names.
        perspective: its name, or OVERALL.
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
    found = [
        compare_scores(row, scores_in(cases, index), against, scores_in(others, index), perspective.value)
        for index, perspective in enumerate(PERSPECTIVES)
    ]
    tested = [comparison.p for comparison in found if comparison.p is not None]
    corrected = iter(holm(tested))
    return tuple(
        comparison if comparison.p is None else replace(comparison, p_holm=next(corrected))
        for comparison in found
    )


def compare_overall(
    row: str, cases: Sequence[CaseScores], against: str, others: Sequence[CaseScores]
) -> Comparison:
    """The overall scores of two rows; p is not corrected and belongs to no family, as it sums the three up.

    Args:
        row, against: names.
        cases, others: of the two rows; paired by id if they share any case.
    """
    return compare_scores(row, overall_scores(cases), against, overall_scores(others), OVERALL)


def compare_scores(
    row: str, scores: Sequence[CaseScore], against: str, others: Sequence[CaseScore], perspective: str
) -> Comparison:
    """Two rows in one kind of score, without a correction for others.

    Args:
        row, against: names.
        scores, others: of the two rows; paired by id if they share any case.
        perspective: what the scores are of.
    """
    paired = bool({case.id for case in scores} & {other.id for other in others})
    return (_paired if paired else _unpaired)(row, scores, against, others, perspective)


def _paired(
    row: str, scores: Sequence[CaseScore], against: str, others: Sequence[CaseScore], perspective: str
) -> Comparison:
    other_scores = {other.id: other.score for other in others}
    pairs = [(case.photograph, case.score, other_scores.get(case.id)) for case in scores]
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
        row, against, perspective, True, n, count, n, count, mean, interval, p, detectable=detectable
    )


def _unpaired(
    row: str, scores: Sequence[CaseScore], against: str, others: Sequence[CaseScore], perspective: str
) -> Comparison:
    (values, clusters), (other_values, other_clusters) = (_known(each) for each in (scores, others))
    first, second = clustered_mean(values, clusters), clustered_mean(other_values, other_clusters)
    difference = float(values.mean() - other_values.mean()) if len(values) and len(other_values) else None
    ci95, p = None, None
    if first is not None and second is not None:
        difference, ci95, p = two_sample(first, second)
    sizes = (len(values), len(set(clusters)), len(other_values), len(set(other_clusters)))
    return Comparison(row, against, perspective, False, *sizes, difference, ci95, p)


def _known(scores: Sequence[CaseScore]) -> tuple[np.ndarray, list[str]]:
    answered = [(case.score, case.photograph) for case in scores if case.score is not None]
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
    "overall difference",
)
COMPARISON_NOTES = (
    "Difference: mean score of the row less that of the other, with its 95 % interval (Student's t on errors "
    "clustered by photograph). "
    "p: two-sided, exact sign-flip test over whole photographs on the same cases (10,000 random flips beyond "
    "16 photographs), after Holm's "
    "correction over the three perspectives; with g photographs no p is below 2 / 2^g before it. Rows marked "
    "unpaired are over other cases: "
    "Welch's t on clustered errors. "
    "Overall: of sqrt(min(F, P) Q) of each case, not tested."
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


def comparison_cells(comparisons: Sequence[Comparison], overall: Comparison) -> list[str]:
    """The cells below COMPARISON_HEADER for one pair of rows.

    Args:
        comparisons: of the perspectives in order.
        overall: of their overall scores.
    """
    first = comparisons[0]
    sizes = [(first.n, first.n_against), (first.clusters, first.clusters_against)]
    counts = [str(own) if first.paired else f"{own} / {other}" for own, other in sizes]
    cells = [first.against if first.paired else f"{first.against} (unpaired)", *counts]
    for comparison in comparisons:
        cells += [_difference_cell(comparison), _p_cell(comparison.p_holm)]
    return [*cells, _difference_cell(overall)]


def _p_cell(p: float | None) -> str:
    return "-" if p is None else "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def _difference_cell(comparison: Comparison) -> str:
    if comparison.difference is None:
        return "-"
    interval = (
        "" if comparison.ci95 is None else f" [{comparison.ci95.low:+.2f}, {comparison.ci95.high:+.2f}]"
    )
    return f"{comparison.difference:+.2f}{interval}"
