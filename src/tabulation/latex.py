r"""Tables in LaTeX with booktabs: \input the file into a document that uses the packages booktabs, amssymb
(for \checkmark) and graphicx (a table that is wider than the text is scaled down to it).
"""

import os
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

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
    '"': r"\texttt{\char34}",
    "±": r"$\pm$",
    "✓": r"\checkmark{}",
    "…": r"\ldots{}",
    "\u201a": ",",
    "\u201e": ",,",
    "\u00ab": r"\textless{}\textless{}",
    "\u00bb": r"\textgreater{}\textgreater{}",
    MARK: r"$^{\dagger}$",
}

LIGATURE = re.compile(r"(?<=-)(?=-)|(?<=[`'?!,])(?=[`',])")
"""Between signs that LaTeX would join to another one: -- is a dash, ?` a Spanish question mark."""

LONG_WORD = re.compile(r"\S{24,}")

RARE = frozenset("ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ\x7f")
"""Latin letters that pdflatex prints with other fonts than its own alone."""

KNOWN = frozenset(
    "\u2013\u2014\u2018\u2019\u201c\u201d\u2020\u2021\u2022\u20ac\u2122\u2190\u2191\u2192\u2193"
)
"""Signs beyond Latin letters that pdflatex prints."""

PACKAGES = "% \\usepackage{booktabs, amssymb, graphicx}\n"

FOREIGN = (
    "% pdflatex has no letters such as {letters} and prints their numbers; XeLaTeX and LuaLaTeX print them,\n"
    "% with a font that has them (\\usepackage{{fontspec}} \\setmainfont{{...}}).\n"
    "\\providecommand{{\\tabletext}}[2]{{%\n"
    "  \\ifdefined\\XeTeXversion#1\\else\\ifdefined\\directlua#1\\else#2\\fi\\fi}}\n"
)
r"""Defines \tabletext{the letters}{their numbers}."""

WITHIN = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Scales what follows down to the width of the text, never up."""


def latex_tables(tables: Sequence[Table], across: bool = False) -> str:
    """Format all tables, each as a float of its own.

    Args:
        tables: what to format.
        across: as table*, over both columns of a paper.
    """
    text = "\n".join(_one(table, "table*" if across else "table") for table in tables)
    letters = "".join(sorted({letter for table in tables for letter in foreign_letters(_words(table))}))
    return PACKAGES + (FOREIGN.format(letters=letters[:8]) if letters else "") + "\n" + text


def foreign_letters(text: str) -> str:
    """The letters of a text that pdflatex stops at."""
    return "".join(letter for letter in text if _is_foreign(letter))


def escaped(text: str) -> str:
    """Escape text for LaTeX; a line break becomes a space."""
    parts = [(is_foreign, "".join(part)) for is_foreign, part in groupby(" ".join(text.split()), _is_foreign)]
    return "".join(_foreign(part) if is_foreign else _native(part) for is_foreign, part in parts)


def breakable(text: str) -> str:
    """Escape running text; long words, such as a judge's fingerprint, may be broken every eight signs."""

    def with_breaks(word: str) -> str:
        pieces = [word[start : start + 8] for start in range(0, len(word), 8)]
        return r"\allowbreak{}".join(map(escaped, pieces))

    return " ".join(
        with_breaks(word) if LONG_WORD.fullmatch(word) else escaped(word) for word in text.split()
    )


def _is_foreign(letter: str) -> bool:
    return letter not in SPECIAL and letter not in KNOWN and (ord(letter) > 0x17F or letter in RARE)


def _native(text: str) -> str:
    return "{}".join(
        "".join(SPECIAL.get(letter, letter) for letter in part if letter.isprintable())
        for part in LIGATURE.split(text)
    )


def _foreign(letters: str) -> str:
    numbers = " ".join(f"U+{ord(letter):04X}" for letter in letters)
    return rf"\protect\tabletext{{{letters}}}{{{numbers}}}"


def _words(table: Table) -> str:
    labels = [label for line in table.lines for label in (*line.labels, line.source)]
    titles = [word for column in table.columns for word in (column.group, column.title)]
    return " ".join((table.title, *table.label_columns, *titles, *table.notes, *labels))


def _one(table: Table, environment: str) -> str:
    first = len(used_labels(table)) + has_source(table)
    lines = [
        rf"\begin{{{environment}}}[t]",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{breakable(table.title)}}}",
        rf"\label{{tab:{_label(table.name)}}}",
        r"\vspace{4pt}",
        WITHIN,
        rf"\begin{{tabular}}{{{'l' * first}{'r' * len(table.columns)}}}",
        r"\toprule",
        *_groups(table.columns, first),
        _row(_titles(table)),
        r"\midrule",
        *_body(table),
        r"\bottomrule",
        r"\end{tabular}}",
        *_notes(table.notes),
        rf"\end{{{environment}}}",
    ]
    return "\n".join(lines) + "\n"


def _notes(notes: Sequence[str]) -> list[str]:
    r"""The notes as text below the table; \strut keeps the last line's distance."""
    if not notes:
        return []
    text = " ".join(map(breakable, notes))
    return [r"\par\vspace{4pt}", rf"\parbox{{\linewidth}}{{\footnotesize\raggedright {text}\strut}}"]


def _body(table: Table) -> list[str]:
    """The lines, with rules before another run and before those of the paper that have no counterpart."""
    lines, others = [_cells(table, line) for line in table.lines], _papers_own(table.lines)
    groups = [cells[0] for cells in lines] if _is_grouped(table, lines) else None
    rows = []
    for index, cells in enumerate(lines):
        goes_on = groups is not None and index > 0 and groups[index - 1] == cells[0]
        if index and (index == others or (groups is not None and not goes_on)):
            rows.append(r"\midrule")
        rows.append(_row(["", *cells[1:]] if goes_on else cells))
    return rows


def _is_grouped(table: Table, lines: Sequence[Sequence[str]]) -> bool:
    """Whether the lines are of runs, some of which have several: then each run is named once."""
    used = used_labels(table)
    runs = [cells[0] for cells in lines]
    return bool(used) and table.label_columns[used[0]] == "run" and len(set(runs)) < len(runs)


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
        cells += [rf"\multicolumn{{{width}}}{{c}}{{{escaped(name)}}}"] if name else [""] * width
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
    labels = [escaped(_below(table, label)) for label in leading_cells(table, line)]
    return [
        *([rf"\textit{{{label}}}" if label else "" for label in labels] if line.published else labels),
        *values,
    ]


def _below(table: Table, label: str) -> str:
    """The path of a run from the folder that all runs of the table lie in; another label as it is."""
    runs = [Path(line.labels[0]) for line in table.lines if table.label_columns[0] == "run"]
    if Path(label) not in runs or not all(run.is_absolute() for run in runs):
        return label
    return str(Path(label).relative_to(os.path.commonpath([run.parent for run in runs])))


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
