"""What an evaluation leaves for people: the report with the rows of earlier evaluations, the gallery, and
tables on the terminal.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from src.evaluation import best_of_n, dial, strength
from src.evaluation.benchmark import Benchmark
from src.evaluation.best_of_n import Choice
from src.evaluation.case_list import keep_cases
from src.evaluation.dial import Dial
from src.evaluation.field_report import FieldReport, add_field_figures, field_section, terminal_field
from src.evaluation.gallery import gallery_column, write_gallery
from src.evaluation.generation_folder import generations_in
from src.evaluation.report import (
    Report,
    ReportRow,
    contradiction_notes,
    few_photographs,
    merge_reports,
    read_report,
    row_order,
    terminal_comparisons,
    terminal_metrics,
    terminal_table,
    write_report,
)
from src.evaluation.strength import Arm
from src.files import one_at_a_time
from src.judges.judge import Judge
from src.records import Case


def add_to_report(
    folder: Path,
    benchmark: Benchmark,
    cases: Sequence[Case],
    rows: Sequence[ReportRow],
    judge: Judge,
    choices: Sequence[Choice] = (),
    measured_dial: Dial | None = None,
    notes: Sequence[str] = (),
    arms: Sequence[Arm] = (),
) -> tuple[Report, FieldReport | None]:
    """Write the report with these rows and those of earlier evaluations, and keep the cases for its page.

    Args:
        folder: `<run>/evaluation/<benchmark>`.
        benchmark: knows the right answers.
        cases: of this evaluation.
        rows: new, or in place of earlier ones of the same name.
        judge: whose report it is.
        choices: how the best of N were chosen.
        measured_dial: the reward dial, if the rows make one.
        notes: paragraphs about the rows that need no model.
        arms: the rows at other strengths.

    Returns:
        The report, and the benchmark's own figures if it has any.
    """
    where = folder / judge.name
    with one_at_a_time(where):  # jobs of a sweep add rows to the same report
        old = read_report(where / "report.json") if (where / "report.json").exists() else None
        report = merge_reports(old, Report(benchmark.name, judge.name, judge.fingerprint, tuple(rows)))
        warn_of_fewer_cases(old, report)
        if choices:
            best_of_n.write_choices(where, choices, judge)
        if measured_dial is not None:
            dial.write_dial(where, measured_dial, judge.name, judge.fingerprint)
        if arms:
            strength.write_arms(where, arms, judge.name, judge.fingerprint)
        field = add_field_figures(where, benchmark, rows, judge)
        sections = [
            *notes,
            *field_section(field),
            *best_of_n.best_of_n_section(where, judge.fingerprint),
            *dial.dial_section(where, judge.fingerprint),
            *strength.strength_section(where, judge.fingerprint),
        ]
        write_report(where, report, sections)
        keep_cases(folder, benchmark, cases)
    return report, field


def warn_of_fewer_cases(old: Report | None, report: Report) -> None:
    """Say on stderr which rows of the report before are replaced by rows over fewer cases."""
    before = {} if old is None else {row.name: row.means.n for row in old.rows}
    fewer = [row for row in report.rows if row.means.n < before.get(row.name, 0)]
    if fewer:
        now, then = fewer[0].means.n, before[fewer[0].name]
        print(
            f"warning: {', '.join(row.name for row in fewer)} over {now} cases take the place of the same "
            f"over {then} in the report; limit={then} brings them back, as edits and rewards are kept",
            file=sys.stderr,
        )


def draw_gallery(
    folder: Path,
    report: Report,
    benchmark: Benchmark,
    cases: Sequence[Case],
    judge: Judge,
    columns: Sequence[str] | None,
) -> None:
    """Write gallery.png beside the report.

    Args:
        folder: `<run>/evaluation/<benchmark>`.
        report: its rows may be shown.
        benchmark: knows the right answers.
        cases: of this evaluation.
        judge: whose scores stand under the edits.
        columns: names of the rows shown, from the left; None for all that have edits.

    Raises:
        ValueError: a column that is no row with edits.
    """
    reported = {row.name for row in report.rows}
    edited = {each.name: each for each in generations_in(folder) if each.name in reported}
    unknown = [name for name in columns or () if name not in edited]
    if unknown:
        raise ValueError(
            f"gallery={list(columns or ())}: no row {unknown[0]!r} with edits; there are {', '.join(edited)}"
        )
    shown = [gallery_column(edited[name], judge) for name in columns or sorted(edited, key=row_order)]
    cell = 128 if benchmark.judged_height is None else 256  # photographs need more pixels to be recognised
    write_gallery(folder / judge.name / "gallery.png", cases, shown, benchmark, judge, cell)


def print_results(
    where: Path,
    report: Report,
    choices: Sequence[Choice] = (),
    measured_dial: Dial | None = None,
    field: FieldReport | None = None,
) -> None:
    """Print the report's tables and the paths of its files, the gallery's last.

    Args:
        where: the folder of the report.
        report: written there.
        choices: how the best of N were chosen.
        measured_dial: the reward dial, if there is one.
        field: the benchmark's own figures, if it has any.
    """
    console = Console(width=None if sys.stdout.isatty() else 160)  # a log file has room for the widest table
    of_report = (terminal_table(report), terminal_metrics(report), terminal_comparisons(report))
    for table in (*of_report, terminal_field(field)):
        if table is not None:
            console.print(table)
    few = few_photographs(report.rows)
    for note in [*contradiction_notes(report), *([] if few is None else [few])]:
        print(f"warning: {note}", file=sys.stderr)
    if choices:
        console.print(best_of_n.terminal_choices(choices))
    if measured_dial is not None:
        console.print(dial.terminal_dial(measured_dial))
    if any(choice.curves for choice in choices):
        print(where / best_of_n.IMAGE)
    if measured_dial is not None:
        print(where / dial.IMAGE)
    print(where / "report.md")
    print(where / "gallery.png")
