"""The numbers of one line: rows that differ in nothing but their seeds, averaged case by case, and how two
lines differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from src.evaluation.comparison import CaseScores, compare
from src.evaluation.metrics import METRICS
from src.evaluation.statistics import Interval, clustered_interval, holm
from src.records import MAX_SCORE, PERSPECTIVES
from src.tabulation.runs import RunRow
from src.tabulation.table import Column, Value

LETTERS = {perspective: perspective.value[0].upper() for perspective in PERSPECTIVES}


@dataclass(frozen=True)
class SeedGroup:
    """Rows that belong on one line.

    Attributes:
        rows: the same settings with different seeds, one or more.
    """

    rows: tuple[RunRow, ...]


def judged_columns() -> tuple[Column, ...]:
    """Acc and Score of each perspective."""
    found = []
    for perspective in PERSPECTIVES:
        group, letter = perspective.value.capitalize(), LETTERS[perspective]
        found.append(
            Column(
                f"{perspective.value}_acc",
                group,
                "Acc",
                f"{letter} acc",
                scale=100.0,
                digits=1,
                unit="%",
                higher_is_better=True,
            )
        )
        found.append(
            Column(f"{perspective.value}_score", group, "Score", f"{letter} score", higher_is_better=True)
        )
    return tuple(found)


def image_columns(keys: Sequence[str]) -> tuple[Column, ...]:
    """A column per image metric; the protocol in its key stands above. Of a metric that this version doesn't
    know, nobody knows what is better.
    """
    found = []
    for key in keys:
        protocol, _, name = key.rpartition("/")
        metric = METRICS.get(key)
        if metric is None:
            found.append(Column(key, protocol, name, f"{protocol} {name}".strip(), digits=4))
            continue
        short = f"{protocol} {metric.title}" + (" (%)" if metric.scale == 100.0 else "")
        higher = metric.better == "higher"
        found.append(
            Column(
                key,
                protocol,
                metric.title,
                short,
                scale=metric.scale,
                digits=metric.digits,
                higher_is_better=higher,
            )
        )
    return tuple(found)


def averaged_cases(group: SeedGroup) -> tuple[CaseScores, ...]:
    """The cases of a line, each scored by the mean over the seeds in which it was judged; () where any row's
    cases are not known.
    """
    if not all(row.row.cases for row in group.rows):
        return ()
    scores: dict[str, list[CaseScores]] = {}
    for row in group.rows:
        for case in row.row.cases:
            scores.setdefault(case.id, []).append(case)
    return tuple(CaseScores(id, cases[0].photograph, _mean_scores(cases)) for id, cases in scores.items())


def _mean_scores(cases: Sequence[CaseScores]) -> tuple[float | None, float | None, float | None]:
    columns = [
        [score for case in cases if (score := case.scores[index]) is not None]
        for index in range(len(PERSPECTIVES))
    ]
    following, preserving, quality = (float(np.mean(column)) if column else None for column in columns)
    return following, preserving, quality


def judged_values(group: SeedGroup) -> list[Value]:
    """Below `judged_columns`: Acc, averaged over seeds; Score over cases, with interval and spread over
    seeds.
    """
    cases, values = averaged_cases(group), []
    for index in range(len(PERSPECTIVES)):
        summaries = [row.row.means.summaries[index] for row in group.rows]
        accs = [summary.acc for summary in summaries if summary.acc is not None]
        values.append(
            Value(float(np.mean(accs)), spread=seed_deviation(accs))
            if len(accs) == len(summaries)
            else Value()
        )
        means = [summary.score for summary in summaries if summary.score is not None]
        if len(means) < len(summaries):
            values.append(Value())
        elif len(summaries) == 1:
            values.append(Value(means[0], summaries[0].ci95))
        else:
            values.append(_over_seeds(cases, index, means))
    return values


def _over_seeds(cases: Sequence[CaseScores], index: int, means: Sequence[float]) -> Value:
    answered = [(case.scores[index], case.photograph) for case in cases if case.scores[index] is not None]
    scores = np.array([score for score, _ in answered], dtype=float)
    interval = clustered_interval(scores, [photograph for _, photograph in answered]) if answered else None
    if interval is not None:
        interval = Interval(max(0.0, interval.low), min(MAX_SCORE, interval.high))
    return Value(float(np.mean(scores) if answered else np.mean(means)), interval, seed_deviation(means))


def image_values(group: SeedGroup, columns: Sequence[Column]) -> list[Value]:
    """Below `image_columns`: means over seeds; an interval only where there is one seed, as values of single
    cases are not kept.
    """
    values = []
    for column in columns:
        found = [row.images[column.key] for row in group.rows if column.key in row.images]
        if len(found) < len(group.rows):
            values.append(Value())
            continue
        means = [each.mean for each in found]
        values.append(
            Value(float(np.mean(means)), found[0].ci95 if len(found) == 1 else None, seed_deviation(means))
        )
    return values


def seed_deviation(means: Sequence[float]) -> float | None:
    """Standard deviation over seeds (of the sample); None with fewer than two."""
    return float(np.std(means, ddof=1)) if len(means) > 1 else None


def holm_corrected(lines: Sequence[Sequence[float | None]]) -> list[list[float | None]]:
    """P values of a whole table after Holm's correction over all of them, in the same places."""
    known = iter(holm([p for line in lines for p in line if p is not None]))
    return [[None if p is None else next(known) for p in line] for line in lines]


def p_values(group: SeedGroup, reference: SeedGroup, name: str, against: str) -> list[float | None]:
    """P of no difference in each perspective's score; None where it can't be said."""
    cases, others = averaged_cases(group), averaged_cases(reference)
    if not cases or not others:
        return [None] * len(PERSPECTIVES)
    return [each.p for each in compare(name, cases, against, others)]


def with_best(lines: Sequence[Sequence[Value]], columns: Sequence[Column]) -> list[list[Value]]:
    """The lines with the best number of each column marked, all of them where several look equal; nothing
    with fewer than two lines.
    """
    marked = [list(line) for line in lines]
    for index, column in enumerate(columns):
        means = [line[index].mean for line in marked]
        known = [_rounded(mean, column) for mean in means if mean is not None]
        if column.higher_is_better is None or len(known) < 2 or len(set(known)) == 1:
            continue
        best = max(known) if column.higher_is_better else min(known)
        for line, mean in zip(marked, means, strict=True):
            if mean is not None and _rounded(mean, column) == best:
                line[index] = replace(line[index], best=True)
    return marked


def _rounded(mean: float, column: Column) -> float:
    return round(column.scale * mean, column.digits)
