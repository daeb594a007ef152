"""Tables of judges on a benchmark: everything about one, published figures beside ours, a leaderboard of
several.

Everything is in percent; correlations are times 100, as EditReward prints them.
"""

import math
from collections.abc import Sequence

from src.evaluation.judge_benchmarks.metric import Fact, JudgeMetric
from src.evaluation.judge_benchmarks.published import PublishedFigure, published_for
from src.evaluation.judge_benchmarks.report import (
    COMPARED,
    JudgeReport,
    PairedDifference,
    paired_differences,
)
from src.evaluation.statistics import Interval
from src.tabulation.table import LEVEL, Column, Line, Table, Value

SHARE = 100.0
CHANCE = ("constant", "always tie", "random", "always first", "always first shown", "always A")
CONSTANT = ("constant", "always tie")
FIRST = ("always first", "always first shown")


def judge_tables(report: JudgeReport) -> list[Table]:
    """Everything about one judge."""
    tables = [figures_table(report), *published_tables(report), *task_tables(report)]
    return [*tables, *([facts_table(report)] if report.facts else [])]


def figures_table(report: JudgeReport) -> Table:
    """All figures of a judge with their floors and ceilings."""
    columns = (
        Column("value", "", "value", "value [95 %]", SHARE),
        *(words_column(name) for name in ("n", "originals", "failed")),
        words_column("bounds"),
        *(Column(name, "", name, name, SHARE) for name in ("constant", "random", "always first", "a person")),
    )
    lines = [
        Line(str(metric.key), (metric.key.labels, metric.key.rule), _figure_cells(metric))
        for metric in report.metrics
    ]
    return Table(
        f"{report.benchmark}_{report.judge}",
        f"{report.judge} on {report.benchmark}, by {report.protocol}",
        ("labels", "rule"),
        columns,
        tuple(lines),
        (*data_notes(report), *answer_notes(report), *width_notes(report)),
    )


def _figure_cells(metric: JudgeMetric) -> tuple[Value | None, ...]:
    ends = metric.bounds
    bounds = ""
    if ends is not None and ends.low < ends.high:
        bounds = f"{SHARE * ends.low:.2f} to {SHARE * ends.high:.2f}"
    return (
        Value(metric.value, metric.interval),
        *(Value(words=f"{number:,}") for number in (metric.key.n, metric.clusters, metric.failed)),
        Value(words=bounds) if bounds else None,
        *(_chance(metric, names) for names in (CONSTANT, ("random",), FIRST)),
        None if metric.human is None else Value(metric.human),
    )


def _chance(metric: JudgeMetric, names: Sequence[str]) -> Value | None:
    return next((Value(metric.chance[name]) for name in names if name in metric.chance), None)


def words_column(title: str) -> Column:
    """A column of texts."""
    return Column(title.replace(" ", "_"), "", title, title)


def data_notes(report: JudgeReport) -> list[str]:
    """What the benchmark's rows are like."""
    data = report.data
    contradictory = [id for ids in data["contradictory"].values() for id in ids]
    notes = [
        f"Rows: {data['rows']:,} at {data['path']}, sha256 of ids and labels {data['digest'][:16]}; "
        f"{data['contests']:,} contests of {data['edits']:,} edits.",
        *(f"Rows: {note}." for note in data["notes"]),
    ]
    kept = "all count as they stand" if data["repeats_kept"] else "each counts once"
    if data["repeated"]:
        notes.append(f"Repeated rows: {len(data['repeated'])} ({listed(data['repeated'])}); {kept}.")
    if contradictory:
        kept = (
            "all count as they stand"
            if data["repeats_kept"]
            else "they count in bounds alone, as wrong and as right"
        )
        notes.append(f"Contradictory rows: {len(contradictory)} ({listed(contradictory)}); {kept}.")
    return notes


def answer_notes(report: JudgeReport) -> list[str]:
    """What the judge's answers are like."""
    told = report.answers
    source = f"{told['source']}, sha256 {told['digest'][:16]}" if told["source"] else "asked here"
    found = [f"Answers: {told['answers']:,}, of which {told['failed']:,} failed; {source}."]
    counts = {
        "repeated, alike": told["repeated"],
        "about other parts of the source, or rows that don't count": told["skipped"],
    }
    found += [f"Answers {what}: {count:,}." for what, count in counts.items() if count]
    if told["unasked"]:
        found.append(f"Without any answer, so left out: edits by {listed(told['unasked'])}.")
    return [*found, *(f"Answers: {note}." for note in told["notes"])]


def width_notes(report: JudgeReport) -> list[str]:
    """The tie widths that were fitted."""
    fitted = [metric for metric in report.metrics if "width" in metric.details]
    return [
        f"{metric.key.labels}/{metric.key.rule}: "
        + (
            "no width helps."
            if metric.details["width"] is None
            else f"ties up to {metric.details['width']:.3f}."
        )
        for metric in fitted
    ]


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first few names."""
    rest = len(names) - most
    return ", ".join(map(str, names[:most])) + (f" and {rest} more" if rest > 0 else "")


def published_tables(report: JudgeReport) -> list[Table]:
    """Published figures of this judge beside ours; no table without any."""
    figures = [figure for figure in published_for(report.benchmark) if figure.is_of(report.judge)]
    lines = [line for figure in figures if (line := _published_line(report, figure)) is not None]
    if not lines:
        return []
    columns = tuple(words_column(title) for title in ("printed", "ours", "by its own definition"))
    return [
        Table(
            f"{report.benchmark}_{report.judge}_published",
            "Published figures of this judge, beside ours",
            ("figure", "source", "note"),
            columns,
            tuple(lines),
        )
    ]


def _published_line(report: JudgeReport, figure: PublishedFigure) -> Line | None:
    metric = report.metric(figure.figure)
    if metric is None or metric.value is None:
        return None
    rule = figure.figure.rpartition("/")[0] + f"/{figure.means}"
    meant = report.metric(rule) if figure.means else None
    corrected = None if meant is None or meant.value is None else as_printed(figure, meant.value)
    cells = (figure.printed, as_printed(figure, metric.value), corrected)
    return Line(
        figure.figure,
        (figure.figure.partition("/")[2], figure.source, figure.note),
        tuple(None if cell is None else Value(words=cell) for cell in cells),
    )


def as_printed(figure: PublishedFigure, value: float) -> str:
    """A value of ours with the digits of a published one."""
    return f"{figure.scale * value:.{len(figure.printed.partition('.')[2])}f}"


def task_tables(report: JudgeReport) -> list[Table]:
    """Shares by task, where a figure is a mean over tasks."""
    wanted = [
        metric
        for metric in report.metrics
        if len(metric.details) > 2 and metric.key.rule == "strict" and "/" not in metric.key.labels
    ]
    if not wanted:
        return []
    tasks = sorted({task for metric in wanted for task in metric.details})
    lines = [Line(task, (task,), tuple(_task_value(metric, task) for metric in wanted)) for task in tasks]
    columns = tuple(
        Column(metric.key.labels, "", metric.key.labels, metric.key.labels, SHARE) for metric in wanted
    )
    return [
        Table(f"{report.benchmark}_{report.judge}_tasks", "By task, strict", ("task",), columns, tuple(lines))
    ]


def _task_value(metric: JudgeMetric, task: str) -> Value | None:
    value = metric.details.get(task)
    return None if value is None else Value(value)


def facts_table(report: JudgeReport) -> Table:
    """Numbers of the benchmark itself, published ones beside ours."""
    columns = tuple(words_column(title) for title in ("printed", "ours", "by its own definition"))
    lines = [
        Line(fact.what, (fact.what, fact.source, fact.note), tuple(map(_words, _fact_cells(fact))))
        for fact in report.facts
    ]
    return Table(
        f"{report.benchmark}_facts",
        "The benchmark itself",
        ("number", "source", "note"),
        columns,
        tuple(lines),
    )


def _fact_cells(fact: Fact) -> tuple[str, str, str]:
    digits = len(fact.printed.partition(".")[2]) if fact.printed else 4
    ours = "-" if math.isnan(fact.computed) else f"{fact.scale * fact.computed:.{digits}f}"
    corrected = "" if fact.corrected is None else f"{fact.scale * fact.corrected:.{digits}f}"
    return fact.printed, ours, corrected


def _words(cell: str) -> Value | None:
    return Value(words=cell) if cell else None


def leaderboard(reports: Sequence[JudgeReport], against: str | None = None) -> list[Table]:
    """A table per protocol, never one for both, and the judges compared pair by pair with the best one.

    Args:
        reports: on one benchmark and the same rows.
        against: the judge to compare with; None: the first of each table.

    Raises:
        ValueError: nobody is called `against`.
    """
    if against is not None and against not in {report.judge for report in reports}:
        raise ValueError(
            f"against={against}: there are {', '.join(sorted(report.judge for report in reports))}"
        )
    tables = []
    for protocol in sorted({report.protocol for report in reports}):
        chosen = [report for report in reports if report.protocol == protocol]
        kinds = leading_kinds(chosen)
        ranked = sorted(chosen, key=lambda report: (-_value(report, kinds[0]), report.judge))
        tables.append(ranking_table(ranked, kinds))
        base = against if against in {report.judge for report in ranked} else ranked[0].judge
        tables += difference_tables(ranked, kinds, base)
    return tables


def _value(report: JudgeReport, kind: str) -> float:
    metric = report.metric(kind)
    return -math.inf if metric is None or metric.value is None else metric.value


def leading_kinds(reports: Sequence[JudgeReport]) -> list[str]:
    """The figures of a leaderboard, in the order of the reports."""
    kinds = dict.fromkeys(metric.key.kind for report in reports for metric in report.metrics)
    leading = [kind for kind in kinds if _leads(*kind.split("/", 2)[2].rsplit("/", 1))]
    # where another average was published, the plain mean is one figure too many
    published = {kind.replace("/as_published", "/plain") for kind in kinds if kind.endswith("/as_published")}
    return [kind for kind in leading if kind not in published]


def _leads(labels: str, rule: str) -> bool:
    """Whether a figure stands in a leaderboard: not parts of others, nor figures to reproduce only."""
    return (
        "/" not in labels
        and labels != "other_raters"
        and (labels == "overall" or rule not in ("plain", "pooled", "as_published"))
    )


def ranking_table(reports: Sequence[JudgeReport], kinds: Sequence[str]) -> Table:
    """Judges, what knows nothing, people, and published figures of others."""
    columns = tuple(_ranking_column(reports, kind) for kind in kinds)
    best = {kind: max(_value(report, kind) for report in reports) for kind in kinds}
    lines = [
        Line(
            report.judge, (report.judge,), tuple(_ranked(report, kind, best[kind]) for kind in kinds), "ours"
        )
        for report in reports
    ]
    return Table(
        f"{reports[0].benchmark}_{reports[0].protocol}",
        f"{reports[0].benchmark}, judges asked for {reports[0].protocol}",
        ("judge",),
        columns,
        (*lines, *floor_lines(reports, kinds), *other_lines(reports, kinds)),
        (*data_notes(reports[0]), *published_notes(reports, kinds)),
    )


def _ranking_column(reports: Sequence[JudgeReport], kind: str) -> Column:
    numbers = sorted({metric.key.n for report in reports if (metric := report.metric(kind)) is not None})
    n = f"{numbers[0]:,}" if len(numbers) == 1 else f"{numbers[0]:,} to {numbers[-1]:,}"
    labels, rule = kind.split("/", 2)[2].rsplit("/", 1)
    return Column(f"{labels}_{rule}", f"{labels}, n = {n}", rule, f"{labels}/{rule}, n = {n}", SHARE)


def _ranked(report: JudgeReport, kind: str, best: float) -> Value | None:
    metric = report.metric(kind)
    if metric is None or metric.value is None:
        return None
    return Value(metric.value, metric.interval, best=metric.value == best)


def floor_lines(reports: Sequence[JudgeReport], kinds: Sequence[str]) -> list[Line]:
    """Judges that know nothing, and people."""
    found = []
    for name in CHANCE:
        metrics = [_first_metric(reports, kind, name) for kind in kinds]
        if any(metric is not None for metric in metrics):
            cells = tuple(None if metric is None else Value(metric.chance[name]) for metric in metrics)
            found.append(Line(name, (name,), cells, "computed"))
    people = [
        next(
            (
                metric.human
                for report in reports
                if (metric := report.metric(kind)) and metric.human is not None
            ),
            None,
        )
        for kind in kinds
    ]
    if any(value is not None for value in people):
        cells = tuple(None if value is None else Value(value) for value in people)
        found.append(Line("a person", ("a person",), cells, "computed"))
    return found


def _first_metric(reports: Sequence[JudgeReport], kind: str, name: str) -> JudgeMetric | None:
    found = (report.metric(kind) for report in reports)
    return next((metric for metric in found if metric is not None and name in metric.chance), None)


def other_lines(reports: Sequence[JudgeReport], kinds: Sequence[str]) -> list[Line]:
    """Published figures, one line per judge and source."""
    figures = [figure for figure in published_for(reports[0].benchmark) if figure.figure in kinds]
    names = dict.fromkeys((figure.judge, figure.source) for figure in figures)
    return [
        Line(judge, (judge,), tuple(_printed(figures, judge, source, kind) for kind in kinds), source, True)
        for judge, source in names
    ]


def _printed(figures: Sequence[PublishedFigure], judge: str, source: str, kind: str) -> Value | None:
    for figure in figures:
        if (figure.judge, figure.source, figure.figure) == (judge, source, kind):
            factor = SHARE / figure.scale
            return Value(words=figure.printed if factor == 1 else f"{factor * float(figure.printed):.2f}")
    return None


def published_notes(reports: Sequence[JudgeReport], kinds: Sequence[str]) -> list[str]:
    """What is odd about published figures of these columns."""
    found: dict[str, list[str]] = {}
    for figure in published_for(reports[0].benchmark):
        if figure.figure in kinds and figure.note:
            found.setdefault(f"{figure.figure.partition('/')[2]}, {figure.note}", []).append(figure.judge)
    notes = [f"Published {what}: {listed(judges)}." for what, judges in found.items()]
    totals = [
        f"{figure.judge} is printed as {figure.printed}, and its parts add up to {figure.corrected:.2f}."
        for figure in published_for(reports[0].benchmark)
        if figure.figure in kinds
        and figure.corrected is not None
        and abs(figure.corrected - float(figure.printed)) >= 0.015
    ]
    return [*notes, *totals]


def difference_tables(reports: Sequence[JudgeReport], kinds: Sequence[str], against: str) -> list[Table]:
    """Every judge against one, under each rule by which the same pairs count."""
    compared = [kind for kind in kinds if kind.rpartition("/")[2] in COMPARED]
    found = {
        kind: {each.judge: each for each in paired_differences(reports, kind, against)} for kind in compared
    }
    judges = [report.judge for report in reports if any(report.judge in each for each in found.values())]
    if not judges:
        return []
    columns = tuple(
        Column(kind.split("/", 2)[2], "", kind.split("/", 2)[2], kind.split("/", 2)[2], SHARE, signed=True)
        for kind in compared
    )
    lines = tuple(
        Line(judge, (judge,), tuple(_difference(found[kind].get(judge)) for kind in compared))
        for judge in judges
    )
    return [
        Table(
            f"{reports[0].benchmark}_{reports[0].protocol}_against",
            f"Against {against}, on the same pairs",
            ("judge",),
            columns,
            lines,
            (
                f"Differences in points with 95 % intervals over originals; a dagger marks p < {LEVEL:g} by "
                "flipping the signs of whole originals, corrected by Holm over the judges of a column.",
            ),
        )
    ]


def _difference(difference: PairedDifference | None) -> Value | None:
    if difference is None:
        return None
    interval = None if difference.interval is None else Interval(*difference.interval)
    return Value(difference.difference, interval, p=difference.p)
