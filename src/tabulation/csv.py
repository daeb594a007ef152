"""Tables as CSV, for programs: numbers in full and in their own units (shares in [0, 1]), one line per line
of the table, all tables in one file.
"""

import csv
from collections.abc import Sequence
from io import StringIO

from src.tabulation.table import Line, Table, Value


def csv_tables(tables: Sequence[Table]) -> str:
    """All tables; a line leaves empty what its table does not have."""
    rows = [row for table in tables for row in _rows(table)]
    fields = list(dict.fromkeys(name for row in rows for name in row))
    text = StringIO()
    writer = csv.DictWriter(text, fields, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _rows(table: Table) -> list[dict[str, object]]:
    found = []
    for line in table.lines:
        beginning = {
            "table": table.name,
            **({} if line.published else table.facts),
            "numbers": line.source,
            "line": line.name,
        }
        labels = {
            title.lower().replace(" ", "_"): label
            for title, label in zip(table.label_columns, line.labels, strict=True)
        }
        found.append({**beginning, **labels, **_numbers(table, line)})
    return found


def _numbers(table: Table, line: Line) -> dict[str, object]:
    """Each number under its column's key, with `_low` and `_high` (interval), `_spread` (over seeds) and
    `_p_holm` where any line has them.
    """
    found: dict[str, object] = {}
    for index, column in enumerate(table.columns):
        below = [each.values[index] or Value() for each in table.lines]
        value = line.values[index] or Value()
        found[column.key] = _number(value.mean)
        if any(each.ci95 is not None for each in below):
            found[f"{column.key}_low"] = "" if value.ci95 is None else value.ci95.low
            found[f"{column.key}_high"] = "" if value.ci95 is None else value.ci95.high
        if any(each.spread is not None for each in below):
            found[f"{column.key}_spread"] = _number(value.spread)
        if any(each.p is not None for each in below):
            found[f"{column.key}_p_holm"] = _number(value.p)
    return found


def _number(value: float | None) -> float | str:
    return "" if value is None else value
