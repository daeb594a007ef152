"""Tables as CSV, for programs: numbers in full precision and natural units (shares in [0, 1]), one row per
line of a table, all tables in one file.
"""

import csv
from collections.abc import Sequence
from io import StringIO

from src.tabulation.table import Line, Table, Value

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a cell a formula in a spreadsheet; the last four are full-width."""


def csv_tables(tables: Sequence[Table]) -> str:
    """Format all tables; columns that a table doesn't have stay empty."""
    rows = [
        {name: no_formula(cell) for name, cell in row.items()} for table in tables for row in _rows(table)
    ]
    fields = list(dict.fromkeys(name for row in rows for name in row))
    text = StringIO()
    writer = csv.DictWriter(text, fields, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def no_formula(cell: object) -> object:
    """A cell that no spreadsheet computes: a text that begins as a formula does gets an apostrophe, which
    spreadsheets take for the mark of a text.
    """
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


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
    """Map each column's key to its number, with `_low` and `_high` (interval), `_spread` (over seeds) and
    `_p_holm` if any line has them.
    """
    found: dict[str, object] = {}
    for index, column in enumerate(table.columns):
        column_values = [other.values[index] or Value() for other in table.lines]
        value = line.values[index] or Value()
        found[column.key] = _number(value.mean)
        if any(other.ci95 is not None for other in column_values):
            found[f"{column.key}_low"] = "" if value.ci95 is None else value.ci95.low
            found[f"{column.key}_high"] = "" if value.ci95 is None else value.ci95.high
        if any(other.spread is not None for other in column_values):
            found[f"{column.key}_spread"] = _number(value.spread)
        if any(other.p is not None for other in column_values):
            found[f"{column.key}_p_holm"] = _number(value.p)
    return found


def _number(value: float | None) -> float | str:
    return "" if value is None else value
