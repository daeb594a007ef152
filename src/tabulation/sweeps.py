"""The runs of a sweep in one table per benchmark and judge: lines named by what was varied, seeds grouped,
and each reference row once.
"""

from collections.abc import Sequence

import numpy as np

from src.evaluation.report import NOTES, ReportRow, few_photographs
from src.tabulation.cells import image_columns, image_values, judged_columns, judged_values, with_best
from src.tabulation.general import COUNTS, group_reports
from src.tabulation.naming import row_names
from src.tabulation.runs import RunReport, RunRow, run_rows
from src.tabulation.table import Column, Line, Table, Value

RECORD = "sweep.json"
"""In a sweep's folder, beside the folders of its jobs."""

SEEDS = Column("seeds", "", "seeds", "seeds", digits=0)

SEED_NOTES = (
    "Lines are named by the settings in which the runs differ; runs that differ in their seeds are one line. "
    "After ± the standard deviation over seeds; each case is averaged over seeds first, and intervals of "
    "several seeds include their spread. Bold: the best of the runs in a column."
)


def is_sweep(reports: Sequence[RunReport]) -> bool:
    """Whether all reports are of jobs of sweeps, of which there are several."""
    runs = {report.run for report in reports}
    return len(runs) > 1 and all((run.parent / RECORD).is_file() for run in runs)


def sweep_tables(reports: Sequence[RunReport]) -> list[Table]:
    """Build one table per benchmark and judge."""
    return [
        _table(benchmark, judge, members) for (benchmark, judge), members in group_reports(reports).items()
    ]


def _table(benchmark: str, judge: str, reports: Sequence[RunReport]) -> Table:
    rows, references = run_rows(reports), reference_rows(reports)
    keys = list(dict.fromkeys(key for row in [*rows, *references] for key in row.images))
    columns = (SEEDS, *COUNTS, *judged_columns(), *image_columns(keys))
    groups = grouped(rows)
    values = with_best([_values(group, columns) for group in groups.values()], columns)
    lines = [
        Line(row_name, (run, row_name), tuple(numbers))
        for (run, row_name), numbers in zip(groups, values, strict=True)
    ]
    lines += [Line(row.row.name, ("any", row.row.name), tuple(_values([row], columns))) for row in references]
    few = few_photographs([row.row for row in [*rows, *references]])
    notes = (NOTES, SEED_NOTES, *([] if few is None else [few]))
    title, facts = f"{benchmark}, judged by {judge}", {"benchmark": benchmark, "judge": judge}
    return Table(f"{benchmark}_{judge}", title, ("run", "row"), columns, tuple(lines), notes, facts)


def grouped(rows: Sequence[RunRow]) -> dict[tuple[str, str], list[RunRow]]:
    """Rows by what was varied and the row's name; several in a group differ in their seeds. Runs that differ
    in nothing are named by their folders.
    """
    names = row_names(rows, [row.row.name for row in rows], short=True)
    groups: dict[tuple[str, str], list[RunRow]] = {}
    for row, name in zip(rows, names, strict=True):
        groups.setdefault((name, row.row.name), []).append(row)
    found: dict[tuple[str, str], list[RunRow]] = {}
    for (name, row_name), members in groups.items():
        if len({row.seeds for row in members}) == len(members):
            found[name, row_name] = members
            continue
        for row in members:
            found[", ".join(part for part in (name, str(row.report.run)) if part), row_name] = [row]
    return found


def reference_rows(reports: Sequence[RunReport]) -> list[RunRow]:
    """Rows that need no model: each once, and once more for a run that says otherwise of it."""
    found: dict[str, list[RunRow]] = {}
    for report in reports:
        for row in report.report.rows:
            same = found.setdefault(row.name, []) if not row.made_by else None
            if same is not None and not any(_equal(row, other.row) for other in same):
                same.append(RunRow(report, row, None))
    return [row for rows in found.values() for row in rows]


def _equal(row: ReportRow, other: ReportRow) -> bool:
    return (row.means, row.overall) == (other.means, other.overall)


def _values(rows: Sequence[RunRow], columns: Sequence[Column]) -> list[Value]:
    means = [row.row.means for row in rows]
    counts = [
        Value(float(len(rows))),
        Value(float(means[0].n)),
        Value(float(means[0].clusters)),
        Value(float(np.mean([each.coverage for each in means]))),
    ]
    judged = judged_values(rows)
    return [*counts, *judged, *image_values(rows, columns[len(counts) + len(judged) :])]
