"""Tables as one self-contained HTML file, for light and dark mode, everything escaped."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from src.pages import template_environment
from src.tabulation.table import Table, cell_text, has_source, headings, leading_cells, used_labels

TEMPLATE = "tables.html"


def html_tables(tables: Sequence[Table]) -> str:
    """Render all tables as a page."""
    return (
        template_environment(Path(__file__).parent)
        .get_template(TEMPLATE)
        .render(tables=[_described(table) for table in tables])
    )


def _described(table: Table) -> dict[str, object]:
    """Describe a table for the template."""
    first = len(used_labels(table)) + has_source(table)
    groups = [
        (name, len(list(members)))
        for name, members in groupby(table.columns, key=lambda column: column.group)
    ]
    lines = []
    for line in table.lines:
        cells = [
            (cell_text(value, column), value is not None and value.best)
            for value, column in zip(line.values, table.columns, strict=True)
        ]
        lines.append({"beginnings": leading_cells(table, line), "cells": cells, "published": line.published})
    titles = [
        *headings(table)[:first],
        *(column.title if column.group else column.short for column in table.columns),
    ]
    return {
        "title": table.title,
        "first": first,
        "groups": groups,
        "titles": titles,
        "lines": lines,
        "notes": table.notes,
    }
