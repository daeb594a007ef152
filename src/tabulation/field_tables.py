"""The field's tables: our figures on GEdit-Bench, ImgEdit-Bench and others, a table for each source of
published ones, as sources differ in judges, dates and arithmetic.
"""

from collections.abc import Sequence
from dataclasses import replace

from src.evaluation.field_protocol import MeasureScale
from src.evaluation.field_report import FILE, FieldReport, FieldRow, read_field_report
from src.tabulation.field_published import FieldSource, published_on
from src.tabulation.runs import RunReport
from src.tabulation.table import Column, Line, Table, Value

FIELD_TABLES = ("gedit", "imgedit", "imgedit_uge", "rise")


def field_tables(reports: Sequence[RunReport], name: str, with_published: bool) -> list[Table]:
    """A table of ours, then one per source with its figures above ours.

    Args:
        reports: of any runs; those of other benchmarks, and those without figures, are left aside.
        name: of the benchmark, one of FIELD_TABLES.
        with_published: whether to add the sources.

    Raises:
        ValueError: no figures of this benchmark, or of judges or questions that don't compare.
    """
    found = [
        (report, read_field_report(report.folder / FILE))
        for report in reports
        if report.report.benchmark == name and (report.folder / FILE).exists()
    ]
    if not found:
        raise ValueError(
            f"table={name}: none of the runs has figures of {name}; evaluate with benchmark={name} and a "
            "judge that answers questions"
        )
    check_one_judge(name, [field for _, field in found])
    first = found[0][1]
    keys = [f"{part}/{measure}" for part in first.parts() for measure in first.measures]
    whole = _table(name, f"{name}, judged by {first.judge}", keys, found, [])
    sources = published_on(name) if with_published else []
    return [whole, *(_with_source(name, source, found) for source in sources)]


def check_one_judge(name: str, fields: Sequence[FieldReport]) -> None:
    """Raise ValueError unless all figures are by one judge, asked the same."""
    first = fields[0]
    for other in fields[1:]:
        if (other.judge, other.fingerprint) != (first.judge, first.fingerprint):
            raise ValueError(
                f"table={name}: figures by {first.judge} ({first.fingerprint}) and {other.judge} "
                f"({other.fingerprint}) don't compare; choose one with judge_name=, or judge both alike"
            )


def _with_source(name: str, source: FieldSource, found: Sequence[tuple[RunReport, FieldReport]]) -> Table:
    lines = [
        Line(
            model,
            (model, "", ""),
            tuple(None if text is None else Value(_ours(text, source), words=text) for text in printed),
            source.name,
            published=True,
        )
        for model, printed in source.rows.items()
    ]
    title = f"{name} beside figures of {source.name}"
    table = _table(f"{name}_{source.name}", title, source.columns, found, lines)
    said = f"Published: {source.source}; judge: {source.judge}. Ours are by {found[0][1].judge}."
    compared = "Figures by another judge, or of another date, need not compare."
    return replace(table, notes=(said, *([source.note + "."] if source.note else []), compared, *table.notes))


def _ours(text: str, source: FieldSource) -> float:
    return float(text) / source.scale


def _table(
    name: str,
    title: str,
    keys: Sequence[str],
    found: Sequence[tuple[RunReport, FieldReport]],
    published: Sequence[Line],
) -> Table:
    first = found[0][1]
    columns = tuple(_column(key, first.measures[key.split("/")[_place(key, first)]]) for key in keys)
    lines = [
        line
        for report, field in found
        for row in field.rows
        for line in _lines(report.name or str(report.run), row, field, keys)
    ]
    facts = {"benchmark": first.benchmark, "judge": first.judge}
    notes = tuple(
        f"{report.name or report.run}, {row.name}: {note}."
        for report, field in found
        for row in field.rows
        for note in row.notes
    )
    labels = ("model", "row", "counted")
    return Table(name, title, labels, columns, (*published, *lines), (*first.notes, *notes), facts)


def _place(key: str, field: FieldReport) -> int:
    """Which part of a key is the measure: parts themselves have slashes."""
    return next(index for index, word in enumerate(key.split("/")) if word in field.measures)


def _column(key: str, scale: MeasureScale) -> Column:
    share = scale.unit == "share"
    return Column(
        key.replace("/", "_"),
        "",
        key,
        key,
        100.0 if share else 1.0,
        1 if share else 3,
        "%" if share else "",
        higher_is_better=True,
    )


def _lines(run: str, row: FieldRow, field: FieldReport, keys: Sequence[str]) -> list[Line]:
    """A row counted officially, if there is such a way, and as we count."""
    lines = []
    if row.official:
        values = tuple(Value(row.official[key]) if key in row.official else None for key in keys)
        words = f"official, failures {field.failures}"
        lines.append(Line(row.name, (run, row.name, words), values, "ours"))
    figures = [row.ours.get(key) for key in keys]
    values = tuple(None if figure is None else Value(figure.mean, figure.ci95) for figure in figures)
    failed = max((figure.failed for figure in figures if figure is not None), default=0)
    words = f"ours, {failed} failed" if failed else "ours"
    return [*lines, Line(row.name, (run, row.name, words), values, "ours")]
