"""Tables in GitHub's Markdown."""

from collections.abc import Sequence

from src.evaluation.report import escaped_markdown, markdown_table
from src.tabulation.table import Line, Table, Value, cell_text, headings, leading_cells


def markdown_tables(tables: Sequence[Table]) -> str:
    """Format all tables, each below its title, with its notes."""
    return "\n".join(_one(table) for table in tables)


def _one(table: Table) -> str:
    lines = [_cells(table, line) for line in table.lines]
    text = f"## {escaped_markdown(table.title)}\n\n{markdown_table(headings(table), lines)}"
    return text + "".join(f"\n{escaped_markdown(note)}\n" for note in table.notes)


def _cells(table: Table, line: Line) -> list[str]:
    values = [_cell(table, line, index, value) for index, value in enumerate(line.values)]
    beginning = [escaped_markdown(cell) for cell in leading_cells(table, line)]
    return [*([f"*{cell}*" if cell else "" for cell in beginning] if line.published else beginning), *values]


def _cell(table: Table, line: Line, index: int, value: Value | None) -> str:
    parts = cell_text(value, table.columns[index])
    number = parts.number
    if value is not None and value.best:
        number = f"**{number}**"
    elif line.published and number != "-":
        number = f"*{number}*"
    return " ".join(part for part in (number, parts.rest, parts.mark) if part)
