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
    clustered_mean,
    difference_of,
    holm,
    interval_of,
    sign_flip_p,
    smallest_detectable,
    student_p,
    with_trainings,
)
from src.records import MAX_SCORE, PERSPECTIVES

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
        ci95: of the difference, clustered, and over trainings where there are several; None with fewer than
            two photographs.
        p: two-sided, from sign flips of whole photographs if paired, else from Welch's t on clustered errors;
            with several trainings the larger of this and Student's t on the error that includes them; None if
            undefined.
        p_holm: corrected over the perspectives of these two rows.
        detectable: the smallest true difference, in points, that this test finds with 80 % power at the 5 %
            level after Holm's correction, with these photographs and trainings; None if the rows are
            unpaired, or so few photographs find nothing.
        deviation: standard deviation of the difference over trainings; None unless there are several, paired.
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
    deviation: float | None = None


Groups = Sequence[Sequence[float]]
"""Mean scores or differences of single trainings, see `with_trainings`; () for one training of each row."""


def compare(
    row: str,
    cases: Sequence[CaseScores],
    against: str,
    others: Sequence[CaseScores],
    trainings: Sequence[Groups] = ((), (), ()),
) -> tuple[Comparison, ...]:
    """The three perspectives of two rows.

    They form one family for Holm's correction. A larger family could never be significant: with 8 photographs
    no p is below 2 / 256, which the correction for seven comparisons already raises above 5 %.

    Args:
        row, against: names.
        cases, others: of the two rows; paired by id if they share any case.
        trainings: per perspective, the single trainings over which the cases were averaged.
    """
    found = [
        compare_scores(
            row,
            scores_in(cases, index),
            against,
            scores_in(others, index),
            perspective.value,
            len(PERSPECTIVES),
            trainings[index],
        )
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
    """The overall scores of two rows of one training each; p is not corrected, as it belongs to no family.

    Args:
        row, against: names.
        cases, others: of the two rows; paired by id if they share any case.
    """
    return compare_scores(row, overall_scores(cases), against, overall_scores(others), OVERALL, family=1)


def compare_scores(
    row: str,
    scores: Sequence[CaseScore],
    against: str,
    others: Sequence[CaseScore],
    perspective: str,
    family: int,
    trainings: Groups = (),
) -> Comparison:
    """Two rows in one kind of score, without a correction for others.

    Args:
        row, against: names.
        scores, others: of the two rows; paired by id if they share any case.
        perspective: what the scores are of.
        family: number of tests that are going to be corrected together.
        trainings: the single trainings over which the scores were averaged.
    """
    paired = bool({case.id for case in scores} & {other.id for other in others})
    if not paired:
        return _unpaired(row, scores, against, others, perspective, trainings)
    return _paired(row, scores, against, others, perspective, family, trainings)


def _paired(
    row: str,
    scores: Sequence[CaseScore],
    against: str,
    others: Sequence[CaseScore],
    perspective: str,
    family: int,
    trainings: Groups,
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
    estimate, interval, detectable = clustered_mean(differences, clusters), None, None
    if estimate is not None and p is not None:
        whole = with_trainings(estimate, *trainings)
        interval = possible(interval_of(whole.mean, whole.error, whole.freedom))
        p = p if whole is estimate else max(p, student_p(whole))
        detectable = smallest_detectable(estimate, trainings, family=family)
    return Comparison(
        row,
        against,
        perspective,
        True,
        n,
        count,
        n,
        count,
        mean,
        interval,
        p,
        detectable=detectable,
        deviation=_deviation(trainings),
    )


def possible(interval: Interval) -> Interval:
    """The interval of a difference of scores, cut off where no difference lies: at -5 and 5."""
    return Interval(max(-MAX_SCORE, interval.low), min(MAX_SCORE, interval.high))


def _deviation(trainings: Groups) -> float | None:
    return float(np.std(trainings[0], ddof=1)) if len(trainings) == 1 and len(trainings[0]) > 1 else None


def _unpaired(
    row: str,
    scores: Sequence[CaseScore],
    against: str,
    others: Sequence[CaseScore],
    perspective: str,
    trainings: Groups,
) -> Comparison:
    (values, clusters), (other_values, other_clusters) = (_known(each) for each in (scores, others))
    first, second = clustered_mean(values, clusters), clustered_mean(other_values, other_clusters)
    difference = float(values.mean() - other_values.mean()) if len(values) and len(other_values) else None
    ci95, p = None, None
    if first is not None and second is not None:
        whole = with_trainings(difference_of(first, second), *trainings)
        difference, p = whole.mean, student_p(whole)
        ci95 = possible(interval_of(whole.mean, whole.error, whole.freedom))
    sizes = (len(values), len(set(clusters)), len(other_values), len(set(other_clusters)))
    deviation = _deviation(trainings)
    return Comparison(row, against, perspective, False, *sizes, difference, ci95, p, deviation=deviation)


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
    "Detectable: the smallest true difference that this test finds in 8 of 10 repetitions at the 5 % level "
    "after Holm's correction, with as many photographs that differ as much (simulated with normal means of "
    "photographs, the other perspectives showing nothing). Where the difference above is smaller and not "
    "significant, nothing is decided. A dash: fewer than 7 photographs, which can't find any difference."
)


def detectable_cells(comparisons: Sequence[Comparison]) -> list[str]:
    """The cells below DETECTABLE_HEADER for one pair of rows; "-" if nothing can be found."""
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
