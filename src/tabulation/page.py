"""One self-contained HTML page of runs: table, chart by edit type, and every edit with its scores and
feedback, to filter, sort and compare.

    python -m src.tabulate runs/a runs/b page=report.html

Images are inside the page, and a content security policy forbids it to load anything. The template is
page.html, which includes page.css and page.js.
"""

from collections.abc import Sequence
from pathlib import Path

from src.evaluation.report import IDEAL_ROWS, NOTES, ReportRow, report_notes
from src.files import write_atomically
from src.pages import template_environment
from src.records import PERSPECTIVES
from src.tabulation.chart import build_chart
from src.tabulation.general import general_tables
from src.tabulation.page_data import all_cases, edit_columns, full_name, page_data, run_names
from src.tabulation.runs import RunReport, check_comparable, shorten_fingerprint
from src.tabulation.table import Table, cell_text

TEMPLATE = "page.html"


def write_report_page(
    path: Path, reports: Sequence[RunReport], names: Sequence[str] | None, megabytes: float
) -> str:
    """Write the page.

    Args:
        path: the HTML file.
        reports: on one benchmark by one judge.
        names: rows whose edits are shown; None for all that have edits.
        megabytes: approximate size limit of the file; images shrink to meet it.

    Returns:
        One line about the file and its size.

    Raises:
        ValueError: reports are not comparable, a row is unknown, or there are no edits.
        FileNotFoundError: a run folder without the benchmark's cases.
        NotWrittenError: the file can't be written.
    """
    check_comparable(reports)
    columns = edit_columns(reports, names)
    if not columns:
        raise ValueError(
            f"{', '.join(str(report.run) for report in reports)}: no edits to show on a page; "
            "run python -m src.evaluate first"
        )
    cases = all_cases(reports)
    data, images = page_data(cases, columns, megabytes)
    rows = page_rows(reports)
    report = reports[0].report
    text = (
        template_environment(Path(__file__).parent)
        .get_template(TEMPLATE)
        .render(
            benchmark=report.benchmark,
            judge=report.judge,
            fingerprint=shorten_fingerprint(report.fingerprint),
            runs=[str(run_report.run) for run_report in reports],
            cases=len(cases),
            photographs=len({case.photograph for case, _ in cases}),
            columns=data["columns"],
            types=list(dict.fromkeys(case.edit_type for case, _ in cases)),
            perspectives=[perspective.value for perspective in PERSPECTIVES],
            table=_table(general_tables(reports)[0], reports),
            chart=build_chart(rows),
            notes=[
                NOTES,
                *dict.fromkeys(note for run_report in reports for note in report_notes(run_report.report)),
            ],
            data=data,
            images=images,
        )
    )
    write_atomically(path, text)
    megabytes = path.stat().st_size / 2**20
    counts = f"{len(cases)} cases, {len(columns)} rows with edits, {len(images)} images"
    return f"{path} ({megabytes:.1f} MB: {counts})"


def page_rows(reports: Sequence[RunReport]) -> list[tuple[str, ReportRow]]:
    """List the rows of the page with their names; rows that need no model once if they are the same in every
    run, as all but the ideal ones are.
    """
    found: dict[str, ReportRow] = {}
    for run_report, run in zip(reports, run_names(reports), strict=True):
        for row in run_report.report.rows:
            if row.made_by:
                found[full_name(run, row.name)] = row
    for run_report, run in zip(reports, run_names(reports), strict=True):
        for row in run_report.report.rows:
            if row.made_by:
                continue
            other = found.setdefault(row.name, row)
            if row.name in IDEAL_ROWS and other.cases != row.cases:
                found[full_name(run, row.name)] = row
    return list(found.items())


def _table(table: Table, reports: Sequence[RunReport]) -> dict[str, object]:
    """Describe the general table for the template, with the rows of `page_rows`."""
    named = {str(run_report.run): run for run_report, run in zip(reports, run_names(reports), strict=True)}
    lines: dict[str, list[dict[str, object]]] = {}
    for line in table.lines:
        cells = [
            {"shown": cell_text(value, column), "value": None if value is None else value.mean}
            for value, column in zip(line.values, table.columns, strict=True)
        ]
        lines[full_name(named[line.labels[0]], line.labels[1])] = cells
        lines.setdefault(line.labels[1], cells)
    return {
        "titles": [column.short for column in table.columns],
        "lines": [(name, lines[name]) for name, _ in page_rows(reports)],
    }
