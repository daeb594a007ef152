"""Means over tasks with intervals, bounds and paired tests, as pure functions.

The field reports the mean of the means of tasks, whose numbers of cases differ. As a mean over cases it is
weighted: with T tasks, a case of a task of n_t cases counts 1 / (T n_t). Its error is that of the sum of the
influences (value - mean of its task) / (T n_t), over whole photographs, so that `clustered_interval` gives it
from the influences alone.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, final

import numpy as np
from jaxtyping import Float

from src.evaluation.field_protocol import FieldCase, MeasureScale
from src.evaluation.statistics import Interval, clustered_interval, holm, sign_flip_p

Weighting = Literal["tasks", "cases"]


@final
@dataclass(frozen=True)
class FieldFigure:
    """A mean as we count it.

    Attributes:
        mean: over the cases with a score; None if there are none.
        ci95: of the mean, clustered by photograph; None with fewer than two photographs.
        bounds: lowest and highest mean that the cases without a score allow.
        n, failed: number of cases, and of those without a score.
        clusters: number of photographs.
        empty: tasks of which no case has a score, in no mean but in the bounds.
    """

    mean: float | None
    ci95: Interval | None
    bounds: Interval
    n: int
    failed: int
    clusters: int
    empty: tuple[str, ...] = ()


@final
class Scored(NamedTuple):
    """A case's score in one measure."""

    id: str
    photograph: str
    task: str
    score: float | None


@final
@dataclass(frozen=True)
class FieldDifference:
    """A row's headline less that of another row, over the cases that both have.

    Attributes:
        key: part and measure.
        row, against: names.
        difference: of the means; None if the rows share no scored case.
        ci95: of the difference.
        p, p_holm: two-sided, exact sign flips over whole photographs; then after Holm's correction over the
            parts of this pair of rows. None with fewer than two photographs.
        n, clusters: cases and photographs of both.
    """

    key: str
    row: str
    against: str
    difference: float | None
    ci95: Interval | None
    p: float | None
    p_holm: float | None
    n: int
    clusters: int


def scored(cases: Sequence[FieldCase], part: str, measure: str) -> list[Scored]:
    """The cases of a part with their score in a measure."""
    return [
        Scored(case.id, case.photograph, case.task, case.scores[measure])
        for case in cases
        if part in case.parts
    ]


def influences(
    values: Float[np.ndarray, " n"], tasks: Sequence[str], weighting: Weighting
) -> Float[np.ndarray, " n"]:
    """Values whose plain mean is the weighted one, and whose deviations from it are the cases' influences;
    the values themselves if cases are weighted alike.
    """
    if weighting == "cases":
        return values
    counts = Counter(tasks)
    means = {task: float(np.mean(values[[each == task for each in tasks]])) for task in counts}
    whole = float(np.mean(list(means.values())))
    share = [len(values) / (len(counts) * counts[task]) for task in tasks]
    deviations = values - np.array([means[task] for task in tasks])
    return whole + np.array(share) * deviations


def field_figure(cases: Sequence[Scored], scale: MeasureScale) -> FieldFigure:
    """The mean of a measure over cases.

    Raises:
        ValueError: no case at all.
    """
    if not cases:
        raise ValueError("a mean of no case at all; a benchmark needs cases")
    known = [(case.score, case.task, case.photograph) for case in cases if case.score is not None]
    tasks, heard = list(dict.fromkeys(case.task for case in cases)), {task for _, task, _ in known}
    mean, interval = None, None
    if known:
        values = np.array([value for value, _, _ in known], dtype=float)
        linear = influences(values, [task for _, task, _ in known], scale.weighting)
        mean = float(linear.mean())
        interval = _within(clustered_interval(linear, [photograph for *_, photograph in known]), scale)
    return FieldFigure(
        mean,
        interval,
        Interval(_bound(cases, scale, scale.low), _bound(cases, scale, scale.high)),
        len(cases),
        len(cases) - len(known),
        len({case.photograph for case in cases}),
        tuple(task for task in tasks if task not in heard),
    )


def _within(interval: Interval | None, scale: MeasureScale) -> Interval | None:
    return (
        None if interval is None else Interval(max(scale.low, interval.low), min(scale.high, interval.high))
    )


def _bound(cases: Sequence[Scored], scale: MeasureScale, filled: float) -> float:
    """The mean with every failure counted as one number."""
    values = np.array([filled if case.score is None else case.score for case in cases], dtype=float)
    return float(influences(values, [case.task for case in cases], scale.weighting).mean())


def figures_of(cases: Sequence[FieldCase], measures: Mapping[str, MeasureScale]) -> dict[str, FieldFigure]:
    """All means of a row: by part and measure, and by part, measure and task."""
    found = {}
    for part in dict.fromkeys(part for case in cases for part in case.parts):
        for measure, scale in measures.items():
            own = scored(cases, part, measure)
            found[f"{part}/{measure}"] = field_figure(own, scale)
            for task in dict.fromkeys(case.task for case in own):
                of_task = [case for case in own if case.task == task]
                found[f"{part}/{measure}/{task}"] = field_figure(of_task, scale)
    return found


def differences_of(
    row: str,
    cases: Sequence[FieldCase],
    against: str,
    others: Sequence[FieldCase],
    measure: str,
    scale: MeasureScale,
) -> list[FieldDifference]:
    """The headline of two rows, part by part, over the cases that both have a score of."""
    parts = list(dict.fromkeys(part for case in cases for part in case.parts))
    found = [
        _difference(row, against, f"{part}/{measure}", _pairs(cases, others, part, measure), scale)
        for part in parts
    ]
    tested = [each.p for each in found if each.p is not None]
    corrected = iter(holm(tested))
    return [
        each if each.p is None else FieldDifference(**{**vars(each), "p_holm": next(corrected)})
        for each in found
    ]


def _pairs(
    cases: Sequence[FieldCase], others: Sequence[FieldCase], part: str, measure: str
) -> list[tuple[float, str, str]]:
    """Difference, task and photograph of the cases that both rows have a score of."""
    other = {case.id: case.score for case in scored(others, part, measure)}
    found = []
    for case in scored(cases, part, measure):
        theirs = other.get(case.id)
        if case.score is not None and theirs is not None:
            found.append((case.score - theirs, case.task, case.photograph))
    return found


def _difference(
    row: str, against: str, key: str, pairs: Sequence[tuple[float, str, str]], scale: MeasureScale
) -> FieldDifference:
    clusters = [photograph for *_, photograph in pairs]
    count = len(set(clusters))
    if not pairs:
        return FieldDifference(key, row, against, None, None, None, None, 0, 0)
    tasks, values = [task for _, task, _ in pairs], np.array([value for value, *_ in pairs], dtype=float)
    linear = influences(values, tasks, scale.weighting)
    counts = Counter(tasks) if scale.weighting == "tasks" else None
    weighted = values if counts is None else values / np.array([counts[task] for task in tasks])
    p = sign_flip_p(weighted, clusters) if count > 1 else None  # one photograph has two flips of equal size
    interval = clustered_interval(linear, clusters)
    return FieldDifference(key, row, against, float(linear.mean()), interval, p, None, len(pairs), count)
