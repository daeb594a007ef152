"""The figures of a benchmark of the field beside a report: field.json, a section of report.md, tables on the
terminal.

    {"benchmark", "judge", "fingerprint", "failures", "measures",
     "rows": [{"name", "made", "official": {key: mean}, "ours": {key: {mean, ci95, bounds, n, failed}}, ...}]}

Keys say how was counted: "gedit/official_failures_guessed/en/full/O", "gedit/ours/en/full/O". Rows of earlier
evaluations by the same judge are kept.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from rich.table import Table

from src.evaluation.benchmark import Benchmark
from src.evaluation.field_protocol import FieldCase, FieldProtocol, MeasureScale, heard_cases
from src.evaluation.field_statistics import FieldDifference, FieldFigure, differences_of, figures_of
from src.evaluation.report import ReportRow, escaped_markdown, markdown_table, row_order
from src.evaluation.statistics import Interval
from src.files import write_atomically
from src.json_files import read_finite_json
from src.judges.judge import Judge, QuestionedJudge

FILE = "field.json"
NOTES = (
    "Official: as the published code counts, failures as it treats them. Ours: mean over the edits that were "
    "answered, with its 95 % interval (Student's t on errors clustered by original photograph) and, where "
    "replies failed, the bounds that they allow."
)
DIFFERENCE_NOTES = (
    "Difference of our figures over the edits that both rows have; p: two-sided, exact sign flips over whole "
    "photographs, after Holm's correction over the parts of the benchmark."
)


@final
@dataclass(frozen=True)
class FieldRow:
    """A row's figures.

    Attributes:
        name: of the row.
        made: by an editor; False for references.
        official: by part, measure and task, as the published code counts.
        ours: the same as we count.
        notes: sentences about the row.
        cases: as we count them.
    """

    name: str
    made: bool
    official: Mapping[str, float]
    ours: Mapping[str, FieldFigure]
    notes: tuple[str, ...]
    cases: tuple[FieldCase, ...]


@final
@dataclass(frozen=True)
class FieldReport:
    """The content of field.json.

    Attributes:
        benchmark, judge, fingerprint: of the report beside it.
        failures: what the published code does with an unreadable reply; "" if it publishes no aggregation.
        measures: by name, the headline first.
        notes: of the benchmark.
        rows: in the order of the report.
    """

    benchmark: str
    judge: str
    fingerprint: str
    failures: str
    measures: Mapping[str, MeasureScale]
    notes: tuple[str, ...]
    rows: tuple[FieldRow, ...]

    @property
    def headline(self) -> str:
        """The first measure."""
        return next(iter(self.measures))

    @property
    def prefixes(self) -> tuple[str, str]:
        """Of official keys and of ours."""
        return f"{self.benchmark}/official_failures_{self.failures}", f"{self.benchmark}/ours"

    def parts(self) -> list[str]:
        """The parts of the benchmark of which there are figures."""
        return list(dict.fromkeys(part for row in self.rows for case in row.cases for part in case.parts))

    def differences(self) -> list[FieldDifference]:
        """The first row that an editor made against all others."""
        first = next((row for row in self.rows if row.made), None)
        if first is None:
            return []
        measure, scale = self.headline, self.measures[self.headline]
        return [
            each
            for other in self.rows
            if other is not first
            for each in differences_of(first.name, first.cases, other.name, other.cases, measure, scale)
        ]


def field_row(row: ReportRow, protocol: FieldProtocol, judge: QuestionedJudge) -> FieldRow | None:
    """The figures of a row that was judged just now; None, said on stderr, if the ledger holds no replies."""
    heard, lost = heard_cases(row.judged, judge)
    if lost:
        print(
            f"warning: {judge.ledger_path} holds no replies about {lost} of {len(row.judged)} edits of "
            f"{row.name}: its figures are left out; give ledger=FILE, or judge again (steps=[judge,report])",
            file=sys.stderr,
        )
        return None
    official = protocol.official(heard)
    cases = tuple(protocol.ours(case) for case in heard)
    figures = figures_of(cases, protocol.measures)
    return FieldRow(row.name, bool(row.made_by), official.figures, figures, official.notes, cases)


def add_field_figures(
    folder: Path, benchmark: Benchmark, rows: Sequence[ReportRow], judge: Judge
) -> FieldReport | None:
    """Write field.json with these rows and those of earlier evaluations; None for a benchmark without
    figures of its own, or a judge that answers no questions, which is said on stderr.
    """
    protocol = benchmark.protocol
    if protocol is None:
        return None
    if not isinstance(judge, QuestionedJudge):
        print(
            f"warning: judge={judge.name} answers no questions, so the report has its scores and no figures "
            f"of {benchmark.name}; choose a judge that does (judge=gpt4o, openai_compatible, local_vlm)",
            file=sys.stderr,
        )
        return None
    new = [found for row in rows if (found := field_row(row, protocol, judge)) is not None]
    old = read_field_report(folder / FILE) if (folder / FILE).exists() else None
    kept = () if old is None or old.fingerprint != judge.fingerprint else old.rows
    together = [*new, *(row for row in kept if row.name not in {each.name for each in rows})]
    report = FieldReport(
        benchmark.name,
        judge.name,
        judge.fingerprint,
        protocol.failures,
        protocol.measures,
        protocol.notes,
        tuple(sorted(together, key=lambda row: row_order(row.name))),
    )
    write_atomically(folder / FILE, json.dumps(_as_json(report), allow_nan=False) + "\n")
    return report


def _as_json(report: FieldReport) -> dict[str, Any]:
    official, ours = report.prefixes
    rows = [
        {
            "name": row.name,
            "made": row.made,
            "official": {f"{official}/{key}": mean for key, mean in row.official.items()},
            "ours": {f"{ours}/{key}": asdict(figure) for key, figure in row.ours.items()},
            "notes": list(row.notes),
            "cases": [asdict(case) for case in row.cases],
        }
        for row in report.rows
    ]
    return {
        "benchmark": report.benchmark,
        "judge": report.judge,
        "fingerprint": report.fingerprint,
        "failures": report.failures,
        "measures": {name: asdict(scale) for name, scale in report.measures.items()},
        "notes": list(report.notes),
        "rows": rows,
        "differences": [asdict(each) for each in report.differences()],
    }


def read_field_report(path: Path) -> FieldReport:
    """Read a field.json.

    Raises:
        ValueError: the file is none.
    """
    try:
        content = read_finite_json(path)
        return FieldReport(
            content["benchmark"],
            content["judge"],
            content["fingerprint"],
            content["failures"],
            {name: _scale(scale) for name, scale in content["measures"].items()},
            tuple(content["notes"]),
            tuple(_row(row) for row in content["rows"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds no figures of a benchmark ({type(error).__name__}: {error}); delete it and "
            "evaluate again (steps=[report])"
        ) from error


def _row(row: Mapping[str, Any]) -> FieldRow:
    cases = tuple(
        FieldCase(case["id"], case["photograph"], case["task"], tuple(case["parts"]), case["scores"])
        for case in row["cases"]
    )
    official = {_without_prefix(key): mean for key, mean in row["official"].items()}
    ours = {_without_prefix(key): _figure(figure) for key, figure in row["ours"].items()}
    return FieldRow(row["name"], row["made"], official, ours, tuple(row["notes"]), cases)


def _scale(scale: Mapping[str, Any]) -> MeasureScale:
    return MeasureScale(float(scale["low"]), float(scale["high"]), scale["weighting"], scale["unit"])


def _without_prefix(key: str) -> str:
    return key.split("/", 2)[2]


def _figure(figure: Mapping[str, Any]) -> FieldFigure:
    return FieldFigure(
        figure["mean"],
        None if figure["ci95"] is None else Interval(*figure["ci95"]),
        Interval(*figure["bounds"]),
        figure["n"],
        figure["failed"],
        figure["clusters"],
        tuple(figure["empty"]),
    )


def number(value: float | None, scale: MeasureScale) -> str:
    """A mean as tables print it; "-" for None."""
    if value is None:
        return "-"
    return f"{100 * value:.1f}" if scale.unit == "share" else f"{value:.2f}"


def our_cell(figure: FieldFigure, scale: MeasureScale) -> str:
    """Mean, interval, and with failures their bounds and number."""
    cell = number(figure.mean, scale)
    if figure.ci95 is not None:
        cell += f" [{number(figure.ci95.low, scale)}, {number(figure.ci95.high, scale)}]"
    if figure.failed:
        low, high = (number(bound, scale) for bound in figure.bounds)
        cell += f", {figure.failed} failed: {low} to {high}"
    return cell


def figure_lines(report: FieldReport) -> tuple[list[str], list[list[str]]]:
    """Header and lines: a line per row and way of counting, a column per part and measure."""
    keys = [(f"{part}/{name}", scale) for part in report.parts() for name, scale in report.measures.items()]
    lines = []
    for row in report.rows:
        if row.official:
            cells = [number(row.official.get(key), scale) for key, scale in keys]
            lines.append([row.name, "official", *cells])
        lines.append(
            [
                row.name,
                "ours",
                *(our_cell(row.ours[key], scale) if key in row.ours else "-" for key, scale in keys),
            ]
        )
    titles = [f"{key} %" if scale.unit == "share" else key for key, scale in keys]
    return ["row", "counted", *titles], lines


def task_lines(report: FieldReport) -> tuple[list[str], list[list[str]]]:
    """Header and lines of the headline by task, as we count; a line per row and part."""
    start = report.headline
    scale = report.measures[start]
    tasks = list(dict.fromkeys(case.task for row in report.rows for case in row.cases))
    lines = [
        [row.name, part, *(_task_cell(row, f"{part}/{start}/{task}", scale) for task in tasks)]
        for row in report.rows
        for part in report.parts()
    ]
    return ["row", start, *tasks], lines


def _task_cell(row: FieldRow, key: str, scale: MeasureScale) -> str:
    return number(row.ours[key].mean, scale) if key in row.ours else "-"


def difference_lines(report: FieldReport) -> tuple[list[str], list[list[str]]]:
    """Header and lines of the paired tests."""
    scale = report.measures[report.headline]
    lines = []
    for each in report.differences():
        if each.difference is None:
            continue
        cell = f"{_signed(each.difference, scale)}"
        if each.ci95 is not None:
            cell += f" [{_signed(each.ci95.low, scale)}, {_signed(each.ci95.high, scale)}]"
        p = "-" if each.p_holm is None else "< 0.0001" if each.p_holm < 0.0001 else f"{each.p_holm:.4f}"
        lines.append([each.row, each.against, each.key, str(each.n), str(each.clusters), cell, p])
    return ["row", "against", "figure", "n", "clusters", "difference", "p"], lines


def _signed(value: float, scale: MeasureScale) -> str:
    return f"{100 * value:+.1f}" if scale.unit == "share" else f"{value:+.2f}"


def field_section(report: FieldReport | None) -> list[str]:
    """The section of report.md; empty without figures."""
    if report is None or not report.rows:
        return []
    notes = [*report.notes, *(f"{row.name}: {note}." for row in report.rows for note in row.notes)]
    empty = {task for row in report.rows for figure in row.ours.values() for task in figure.empty}
    if empty:
        notes.append(
            f"Tasks without any answer are in no mean, only in the bounds: {', '.join(sorted(empty))}."
        )
    compared = difference_lines(report)
    tested = [markdown_table(*compared, names=2), f"{DIFFERENCE_NOTES}\n"] if compared[1] else []
    return [
        f"## Figures of {escaped_markdown(report.benchmark)}\n",
        markdown_table(*figure_lines(report), names=1),
        f"{NOTES}\n",
        *(f"{escaped_markdown(note)}\n" for note in notes),
        *tested,
        markdown_table(*task_lines(report), names=1),
    ]


def terminal_field(report: FieldReport | None) -> Table | None:
    """The figures for the terminal; None without any."""
    if report is None or not report.rows:
        return None
    header, lines = figure_lines(report)
    table = Table(title=f"{report.benchmark}, asked as it asks, by {report.judge}")
    for name in header:
        table.add_column(name, justify="left" if name in ("row", "counted") else "right")
    for line in lines:
        table.add_row(*line)
    return table
