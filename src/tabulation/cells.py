"""The numbers of one line: rows that differ only in their seeds, averaged case by case, and comparisons of
lines.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from src.evaluation.comparison import (
    OVERALL,
    CaseScore,
    CaseScores,
    Comparison,
    compare,
    compare_scores,
    overall_scores,
    scores_in,
)
from src.evaluation.metrics import METRICS
from src.evaluation.report import within_scale
from src.evaluation.statistics import clustered_mean, holm, interval_of, with_trainings
from src.records import PERSPECTIVES
from src.tabulation.runs import RunRow
from src.tabulation.table import Column, Value

LETTERS = {perspective: perspective.value[0].upper() for perspective in PERSPECTIVES}


def judged_columns() -> tuple[Column, ...]:
    """Build the columns Acc and Score of each perspective, and Score overall."""
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
    found.append(Column(f"{OVERALL}_score", "Overall", "Score", OVERALL, higher_is_better=True))
    return tuple(found)


def image_columns(keys: Sequence[str]) -> tuple[Column, ...]:
    """Build a column per image metric, below the protocol in its key. Whether higher is better is unknown for
    metrics that this version doesn't have.
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


def averaged_cases(rows: Sequence[RunRow]) -> tuple[CaseScores, ...]:
    """Average the scores of each case over the seeds in which it was judged; () if the cases of any row are
    unknown.
    """
    if not all(row.row.cases for row in rows):
        return ()
    scores: dict[str, list[CaseScores]] = {}
    for row in rows:
        for case in row.row.cases:
            scores.setdefault(case.id, []).append(case)
    return tuple(CaseScores(id, cases[0].photograph, _mean_scores(cases)) for id, cases in scores.items())


def averaged_overall(rows: Sequence[RunRow]) -> tuple[CaseScore, ...]:
    """Average the overall score of each case over the seeds in which it is known; () if the cases of any row
    are unknown. Not the overall score of averages, which is higher.
    """
    if not all(row.row.cases for row in rows):
        return ()
    found: dict[str, list[CaseScore]] = {}
    for row in rows:
        for case in overall_scores(row.row.cases):
            found.setdefault(case.id, []).append(case)
    averaged = []
    for id, cases in found.items():
        known = [case.score for case in cases if case.score is not None]
        averaged.append(CaseScore(id, cases[0].photograph, float(np.mean(known)) if known else None))
    return tuple(averaged)


def _mean_scores(cases: Sequence[CaseScores]) -> tuple[float | None, float | None, float | None]:
    columns = [
        [score for case in cases if (score := case.scores[index]) is not None]
        for index in range(len(PERSPECTIVES))
    ]
    following, preserving, quality = (float(np.mean(column)) if column else None for column in columns)
    return following, preserving, quality


def judged_values(rows: Sequence[RunRow]) -> list[Value]:
    """Compute the values of `judged_columns`: Acc, averaged over seeds; Score over cases, with interval and
    deviation over seeds; the same of the overall score.
    """
    cases, values = averaged_cases(rows), []
    for index in range(len(PERSPECTIVES)):
        summaries = [row.row.means.summaries[index] for row in rows]
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
            values.append(_over_seeds(scores_in(cases, index), means))
    overall = [row.row.overall for row in rows]
    means = [each.score for each in overall if each.score is not None]
    if len(means) < len(overall):
        return [*values, Value()]
    if len(overall) == 1:
        return [*values, Value(means[0], overall[0].ci95)]
    return [*values, _over_seeds(averaged_overall(rows), means)]


def _over_seeds(cases: Sequence[CaseScore], means: Sequence[float]) -> Value:
    answered = [(case.score, case.photograph) for case in cases if case.score is not None]
    scores = np.array([score for score, _ in answered], dtype=float)
    estimate, interval = clustered_mean(scores, [photograph for _, photograph in answered]), None
    if estimate is not None:
        whole = with_trainings(estimate, means)
        interval = within_scale(interval_of(whole.mean, whole.error, whole.freedom))
    return Value(float(np.mean(scores) if answered else np.mean(means)), interval, seed_deviation(means))


def image_values(rows: Sequence[RunRow], columns: Sequence[Column]) -> list[Value]:
    """Compute the values of `image_columns`: means over seeds, with an interval only for a single seed, as
    values of single cases are not kept.
    """
    values = []
    for column in columns:
        found = [row.images[column.key] for row in rows if column.key in row.images]
        if len(found) < len(rows):
            values.append(Value())
            continue
        means = [metric.mean for metric in found]
        values.append(
            Value(float(np.mean(means)), found[0].ci95 if len(found) == 1 else None, seed_deviation(means))
        )
    return values


def seed_deviation(means: Sequence[float]) -> float | None:
    """Compute the sample standard deviation over seeds; None with fewer than two."""
    return float(np.std(means, ddof=1)) if len(means) > 1 else None


def holm_corrected(lines: Sequence[Sequence[float | None]]) -> list[list[float | None]]:
    """Apply Holm's correction to all p values of a table."""
    known = iter(holm([p for line in lines for p in line if p is not None]))
    return [[None if p is None else next(known) for p in line] for line in lines]


def p_values(rows: Sequence[RunRow], others: Sequence[RunRow], name: str, against: str) -> list[float | None]:
    """Test each perspective's score for no difference; None where cases are unknown."""
    if not averaged_cases(rows) or not averaged_cases(others):
        return [None] * len(PERSPECTIVES)
    return [comparison.p for comparison in compare_lines(name, rows, against, others)]


def compare_lines(
    name: str, rows: Sequence[RunRow], against: str, others: Sequence[RunRow]
) -> tuple[Comparison, ...]:
    """Compare two lines in the three perspectives, each case averaged over trainings first; intervals and p
    include the spread over trainings.
    """
    trainings = [
        training_groups(rows, others, lambda row, index=index: scores_in(row.row.cases, index))
        for index in range(len(PERSPECTIVES))
    ]
    return compare(name, averaged_cases(rows), against, averaged_cases(others), trainings)


def compare_lines_overall(
    name: str, rows: Sequence[RunRow], against: str, others: Sequence[RunRow]
) -> Comparison:
    """Compare two lines in the overall score, each case averaged over trainings first; not corrected."""
    groups = training_groups(rows, others, lambda row: overall_scores(row.row.cases))
    own, theirs = averaged_overall(rows), averaged_overall(others)
    return compare_scores(name, own, against, theirs, OVERALL, family=1, trainings=groups)


def paired_trainings(rows: Sequence[RunRow], others: Sequence[RunRow]) -> list[tuple[RunRow, RunRow]]:
    """Pair the rows of two lines that have the training seed in common. A single row is paired with every row
    of the other line, whatever its seed.
    """
    if len(rows) == 1 or len(others) == 1:
        return [(row, other) for row in rows for other in others]
    by_seed = {other.seeds[0]: other for other in others}
    return [(row, by_seed[row.seeds[0]]) for row in rows if row.seeds[0] in by_seed]


def training_groups(
    rows: Sequence[RunRow], others: Sequence[RunRow], scores_of: Callable[[RunRow], Sequence[CaseScore]]
) -> list[list[float]]:
    """List what single trainings say, for `with_trainings`: the differences of trainings with the same seed;
    or, where two lines of several trainings have fewer than two such pairs, the means of each line.
    """
    pairs = paired_trainings(rows, others)
    if min(len(rows), len(others)) > 1 and len(pairs) < 2:
        return [_known_numbers(_mean(scores_of(row)) for row in line) for line in (rows, others)]
    return [_known_numbers(mean_difference(scores_of(row), scores_of(other)) for row, other in pairs)]


def mean_difference(scores: Sequence[CaseScore], others: Sequence[CaseScore]) -> float | None:
    """The difference of two rows over their common cases, or of their means if they have none in common; None
    if nothing is known.
    """
    theirs = {other.id: other.score for other in others}
    if not any(case.id in theirs for case in scores):
        own, other_mean = _mean(scores), _mean(others)
        return None if own is None or other_mean is None else own - other_mean
    found = _known_numbers(
        None if case.score is None or (other := theirs.get(case.id)) is None else case.score - other
        for case in scores
    )
    return float(np.mean(found)) if found else None


def _mean(scores: Sequence[CaseScore]) -> float | None:
    known = _known_numbers(case.score for case in scores)
    return float(np.mean(known)) if known else None


def _known_numbers(numbers: Iterable[float | None]) -> list[float]:
    return [number for number in numbers if number is not None]


def with_best(lines: Sequence[Sequence[Value]], columns: Sequence[Column]) -> list[list[Value]]:
    """Mark the best number of each column, several if they print the same; none with fewer than two lines."""
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
