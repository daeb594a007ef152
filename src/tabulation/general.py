"""All rows of all runs, one table per benchmark and judge, and comparisons of rows case by case."""

from collections.abc import Sequence
from pathlib import Path

from src.evaluation.comparison import COMPARISON_NOTES, OVERALL, Comparison, compare, compare_overall
from src.evaluation.report import NOTES, ReportRow, few_photographs
from src.records import PERSPECTIVES
from src.tabulation.cells import LETTERS, image_columns, judged_columns
from src.tabulation.runs import RunReport, check_same_judge, find_reports
from src.tabulation.table import Column, Line, Table, Value

COUNTS = (
    Column("n", "", "n", "n", digits=0),
    Column("clusters", "", "clusters", "clusters", digits=0),
    Column("coverage", "", "coverage", "coverage", scale=100.0, digits=1, unit="%"),
)


def group_reports(reports: Sequence[RunReport]) -> dict[tuple[str, str], list[RunReport]]:
    """Group reports by benchmark and judge, as numbers by different judges are not comparable.

    Raises:
        ValueError: two different judges have one name.
    """
    groups: dict[tuple[str, str], list[RunReport]] = {}
    for report in reports:
        members = groups.setdefault((report.report.benchmark, report.report.judge), [])
        members.append(report)
        check_same_judge(members[0], report)
    return groups


def general_tables(reports: Sequence[RunReport]) -> list[Table]:
    """Build one table per benchmark and judge."""
    found = []
    for (benchmark, judge), members in group_reports(reports).items():
        rows = [(run_report, row) for run_report in members for row in run_report.report.rows]
        keys = list(
            dict.fromkeys(key for run_report, row in rows for key in run_report.images.get(row.name, {}))
        )
        lines = [
            Line(row.name, (run_report.name or str(run_report.run), row.name), _values(run_report, row, keys))
            for run_report, row in rows
        ]
        columns = (*COUNTS, *judged_columns(), *image_columns(keys))
        title, facts = f"{benchmark}, judged by {judge}", {"benchmark": benchmark, "judge": judge}
        found.append(
            Table(f"{benchmark}_{judge}", title, ("run", "row"), columns, tuple(lines), _notes(rows), facts)
        )
    return found


def _notes(rows: Sequence[tuple[RunReport, ReportRow]]) -> tuple[str, ...]:
    few = few_photographs([row for _, row in rows])
    return (NOTES,) if few is None else (NOTES, few)


def _values(run_report: RunReport, row: ReportRow, keys: Sequence[str]) -> tuple[Value, ...]:
    values = [Value(float(row.means.n)), Value(float(row.means.clusters)), Value(row.means.coverage)]
    for summary in row.means.summaries:
        values += [Value(summary.acc), Value(summary.score, summary.ci95)]
    values.append(Value(row.overall.score, row.overall.ci95))
    images = run_report.images.get(row.name, {})
    return (
        *values,
        *(Value(images[key].mean, images[key].ci95) if key in images else Value() for key in keys),
    )


def comparison_tables(reports: Sequence[RunReport], against: str) -> list[Table]:
    """Compare rows case by case, one table per benchmark and judge.

    Args:
        reports: of the runs.
        against: a run folder (each row is compared with the row of the same name there) or the name of a row
            (each run's rows are compared with it).

    Raises:
        ValueError: neither a run nor a row, a folder of several runs, or nothing comparable.
    """
    pairs = _against_run(reports, Path(against)) if Path(against).is_dir() else _against_row(reports, against)
    groups: dict[tuple[str, str], list[Line]] = {}
    for run_report, row, other_name, other in pairs:
        if row.cases and other.cases:
            pair = (row.name, row.cases, other_name, other.cases)
            groups.setdefault((run_report.report.benchmark, run_report.report.judge), []).append(
                _line(run_report, compare(*pair), compare_overall(*pair))
            )
    if not groups:
        names = sorted({row.name for run_report in reports for row in run_report.report.rows})
        raise ValueError(
            f"against={against}: nothing is comparable with it; give a run folder or one of the rows "
            f"{', '.join(names)}"
        )
    made = []
    for (benchmark, judge), lines in groups.items():
        title, facts = (
            f"{benchmark}, judged by {judge}, against {against}",
            {"benchmark": benchmark, "judge": judge},
        )
        labels = ("run", "row", "against", "n", "clusters")
        made.append(
            Table(
                f"{benchmark}_{judge}_against",
                title,
                labels,
                _difference_columns(),
                tuple(lines),
                (COMPARISON_NOTES,),
                facts,
            )
        )
    return made


def _difference_columns() -> tuple[Column, ...]:
    found = []
    for perspective in PERSPECTIVES:
        group, letter = perspective.value.capitalize(), LETTERS[perspective]
        found.append(
            Column(
                f"{perspective.value}_difference", group, "difference", f"{letter} difference", signed=True
            )
        )
        found.append(Column(f"{perspective.value}_p", group, "p", f"{letter} p", digits=4))
    overall = Column(f"{OVERALL}_difference", "Overall", "difference", f"{OVERALL} difference", signed=True)
    return (*found, overall)


def _line(run_report: RunReport, comparisons: Sequence[Comparison], overall: Comparison) -> Line:
    first = comparisons[0]
    sizes = [(first.n, first.n_against), (first.clusters, first.clusters_against)]
    counts = [str(own) if first.paired else f"{own} / {other}" for own, other in sizes]
    values = []
    for comparison in comparisons:
        p = comparison.p_holm
        values.append(Value(comparison.difference, comparison.ci95))
        values.append(Value(p, words="< 0.0001" if p is not None and p < 0.0001 else None))
    values.append(Value(overall.difference, overall.ci95))
    against = first.against if first.paired else f"{first.against} (unpaired)"
    run = run_report.name or str(run_report.run)
    return Line(first.row, (run, first.row, against, *counts), tuple(values))


def _against_run(
    reports: Sequence[RunReport], folder: Path
) -> list[tuple[RunReport, ReportRow, str, ReportRow]]:
    """Pair every row of other runs with the row of the same name, benchmark and judge in this run."""
    theirs: dict[tuple[str, str, str], ReportRow] = {}
    runs = find_reports([folder])
    if len({run_report.run for run_report in runs}) > 1:
        raise ValueError(
            f"against={folder} holds {len({run_report.run for run_report in runs})} runs: name one of them"
        )
    for run_report in runs:
        theirs.update(
            {
                (run_report.report.benchmark, run_report.report.fingerprint, row.name): row
                for row in run_report.report.rows
            }
        )
    pairs = []
    for run_report in reports:
        for row in run_report.report.rows:
            other = theirs.get((run_report.report.benchmark, run_report.report.fingerprint, row.name))
            # rows without a model are the same everywhere
            if other is not None and row.made_by and run_report.run.resolve() != runs[0].run.resolve():
                pairs.append((run_report, row, row.name, other))
    return pairs


def _against_row(
    reports: Sequence[RunReport], name: str
) -> list[tuple[RunReport, ReportRow, str, ReportRow]]:
    """Pair every row with the named row of the same report."""
    pairs = []
    for run_report in reports:
        others = [row for row in run_report.report.rows if row.name == name]
        pairs += [
            (run_report, row, name, other)
            for other in others
            for row in run_report.report.rows
            if row.name != name
        ]
    return pairs
