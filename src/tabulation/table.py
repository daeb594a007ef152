"""A table before it is formatted: columns, lines of labels and numbers, notes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

from src.evaluation.statistics import Interval

MARK = "†"
"""Marks a number that differs from the reference row's."""

LEVEL = 0.05


@final
@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Attributes:
        key: its name in a CSV file ("following_score").
        group: the title above several columns ("Following"); "" for none.
        title: "Score".
        short: the title in one line, for formats without group titles ("F score").
        scale: factor of displayed numbers.
        digits: after the decimal point.
        unit: written after the number ("%").
        signed: whether positive numbers get a plus.
        higher_is_better: None where neither is.
    """

    key: str
    group: str
    title: str
    short: str
    scale: float = 1.0
    digits: int = 2
    unit: str = ""
    signed: bool = False
    higher_is_better: bool | None = None


@final
@dataclass(frozen=True)
class Value:
    """One number of a table, as it was measured.

    Attributes:
        mean: None if there is none.
        ci95: its interval over cases.
        spread: standard deviation over seeds; None with fewer than two.
        p: of no difference from the reference row, corrected by Holm; None if nothing was tested.
        best: whether it is the best of our lines in its column.
        words: shown instead of the number ("63" as the paper prints it).
    """

    mean: float | None = None
    ci95: Interval | None = None
    spread: float | None = None
    p: float | None = None
    best: bool = False
    words: str | None = None

    @property
    def differs(self) -> bool:
        """Whether it is marked."""
        return self.p is not None and self.p < LEVEL


@final
@dataclass(frozen=True)
class Line:
    """One line of a table.

    Attributes:
        name: by which the line is chosen as reference ("score").
        labels: below the label columns.
        values: below the columns; None if there is none.
        source: "ours", "ours, 3 seeds", "paper".
        published: whether the numbers are a paper's.
    """

    name: str
    labels: tuple[str, ...]
    values: tuple[Value | None, ...]
    source: str = ""
    published: bool = False


@final
@dataclass(frozen=True)
class Table:
    """A whole table.

    Attributes:
        name: for file names and LaTeX labels ("table4_reward_signal").
        title: one line.
        label_columns: titles of the labels.
        columns: titles of the numbers.
        lines: from the top.
        notes: sentences below the table.
        facts: further columns of a CSV file, the same in each line (benchmark, judge).
    """

    name: str
    title: str
    label_columns: tuple[str, ...]
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class CellText:
    """A value as text, in parts that every format lays out its own way.

    Attributes:
        number: "3.42", "63.2 %", "-".
        spread: "± 0.02" or "".
        interval: "[3.30, 3.55]" or "".
        mark: MARK or "".
    """

    number: str
    spread: str = ""
    interval: str = ""
    mark: str = ""

    @property
    def rest(self) -> str:
        """The parts after the number."""
        return " ".join(part for part in (self.spread, self.interval) if part)


def cell_text(value: Value | None, column: Column) -> CellText:
    """Format a value of a column."""
    if value is None or (value.mean is None and value.words is None):
        return CellText("-")
    unit = f" {column.unit}" if column.unit else ""
    if value.words is not None:
        return CellText(value.words + unit)

    def number(given: float, sign: bool = column.signed) -> str:
        return f"{column.scale * given:{'+' if sign else ''}.{column.digits}f}"

    return CellText(
        number(value.mean or 0.0) + unit,
        "" if value.spread is None else f"± {number(value.spread, sign=False)}",
        "" if value.ci95 is None else f"[{number(value.ci95.low)}, {number(value.ci95.high)}]",
        MARK if value.differs else "",
    )


def used_labels(table: Table) -> list[int]:
    """List the label columns that are not empty in every line."""
    return [
        index for index in range(len(table.label_columns)) if any(line.labels[index] for line in table.lines)
    ]


def headings(table: Table) -> list[str]:
    """List all titles in one line."""
    return [
        *(table.label_columns[index] for index in used_labels(table)),
        *(["numbers"] if has_source(table) else []),
        *(column.short for column in table.columns),
    ]


def has_source(table: Table) -> bool:
    """Whether any line names the source of its numbers."""
    return any(line.source for line in table.lines)


def leading_cells(table: Table, line: Line) -> list[str]:
    """List a line's cells before its numbers."""
    return [
        *(line.labels[index] for index in used_labels(table)),
        *([line.source] if has_source(table) else []),
    ]
