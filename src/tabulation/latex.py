r"""Tables in LaTeX with booktabs: \input the file into a document that uses the packages booktabs and amssymb
(for \checkmark).

A wide table fits with \usepackage{graphicx} and \resizebox, or in a table* of a two-column paper.
"""

from collections.abc import Sequence
from itertools import groupby

from src.tabulation.table import (
    MARK,
    Column,
    Line,
    Table,
    Value,
    cell_text,
    has_source,
    leading_cells,
    used_labels,
)

SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "✓": r"\checkmark{}",
    "…": r"\ldots{}",
    MARK: r"$^{\dagger}$",
}


def latex_tables(tables: Sequence[Table]) -> str:
    """Format all tables, each as a float of its own."""
    return "% \\usepackage{booktabs, amssymb}\n\n" + "\n".join(_one(table) for table in tables)


def escaped(text: str) -> str:
    """Escape text for LaTeX; a line break becomes a space."""
    return "".join(SPECIAL.get(letter, letter) for letter in " ".join(text.split()))


def _one(table: Table) -> str:
    first = len(used_labels(table)) + has_source(table)
    body = [_row(_cells(table, line)) for line in table.lines]
    others = _papers_own(table.lines)
    if 0 < others < len(body):
        body.insert(others, r"\midrule")
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{escaped(' '.join((table.title + '.', *table.notes)))}}}",
        rf"\label{{tab:{_label(table.name)}}}",
        rf"\begin{{tabular}}{{{'l' * first}{'r' * len(table.columns)}}}",
        r"\toprule",
        *_groups(table.columns, first),
        _row(_titles(table)),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    r"""Format a line of a tabular. A bracket or star at its beginning would be read as an argument of the \\
    before.
    """
    row = " & ".join(cells) + r" \\"
    return "{}" + row if row.lstrip().startswith(("[", "*")) else row


def _papers_own(lines: Sequence[Line]) -> int:
    """Find where the paper's lines without a counterpart begin: after our last line and its counterpart."""
    last = max((index for index, line in enumerate(lines) if not line.published), default=-1)
    paired = last + 1 < len(lines) and lines[last + 1].name.lower().replace("_", "-") == lines[
        last
    ].name.lower().replace("_", "-")
    return last + 1 + paired


def _label(name: str) -> str:
    """Reduce a name to letters, digits and hyphens, which every LaTeX accepts in a label."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)


def _groups(columns: Sequence[Column], first: int) -> list[str]:
    """Format the line of titles that span columns, with the rules below them; [] if there are none."""
    if not any(column.group for column in columns):
        return []
    cells, rules, at = [""] * first, [], first + 1
    for name, members in groupby(columns, key=lambda column: column.group):
        width = len(list(members))
        cells.append(rf"\multicolumn{{{width}}}{{c}}{{{escaped(name)}}}")
        if name:
            rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
        at += width
    return [_row(cells), " ".join(rules)]


def _titles(table: Table) -> list[str]:
    labels = [table.label_columns[index] for index in used_labels(table)]
    titles = [column.title + (r" (%)" if column.scale == 100.0 else "") for column in table.columns]
    return [escaped(title) for title in (*labels, *(["Numbers"] if has_source(table) else []), *titles)]


def _cells(table: Table, line: Line) -> list[str]:
    values = [
        _cell(value, column, line.published) for value, column in zip(line.values, table.columns, strict=True)
    ]
    labels = [escaped(label) for label in leading_cells(table, line)]
    return [
        *([rf"\textit{{{label}}}" if label else "" for label in labels] if line.published else labels),
        *values,
    ]


def _cell(value: Value | None, column: Column, published: bool) -> str:
    parts = cell_text(value, column)
    # the unit stands in the title
    number = escaped(parts.number.removesuffix(f" {column.unit}") if column.unit else parts.number)
    if value is not None and value.best:
        number = rf"\textbf{{{number}}}"
    elif published and parts.number != "-":
        number = rf"\textit{{{number}}}"
    rest = rf" {{\scriptsize {escaped(parts.rest)}}}" if parts.rest else ""
    return number + escaped(parts.mark) + rest
