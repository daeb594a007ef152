"""The chart of a report page: mean score and interval of each row by perspective and edit type, as
coordinates for an SVG.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from src.evaluation.report import Means, ReportRow
from src.records import MAX_SCORE, PERSPECTIVES

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 380.0, 92.0, 14.0, 8.0, 26.0
PITCH, GAP = 9.5, 11.0
"""Distances between two rows of one type, and between two types."""

SHAPES = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0",
    "M-3.6,-3.6h7.2v7.2h-7.2z",
    "M0,-5L5,0L0,5L-5,0z",
    "M0,-4.8L4.6,3.6H-4.6z",
)
"""Circle, square, diamond, triangle around the origin: rows differ in shape as well as in colour."""

COLOURS = 6
"""In page.css, .c0 to .c5."""


@final
@dataclass(frozen=True)
class Point:
    """One mean.

    Attributes:
        x, y: its position.
        low, high: ends of its interval; None without one.
        row: number of its row.
        text: description.
    """

    x: float
    y: float
    low: float | None
    high: float | None
    row: int
    text: str


@final
@dataclass(frozen=True)
class Panel:
    """One perspective.

    Attributes:
        title: its name.
        points: all means.
    """

    title: str
    points: Sequence[Point]


@final
@dataclass(frozen=True)
class Chart:
    """All panels, which share types and sizes.

    Attributes:
        panels: one per perspective.
        lanes: type, top and height of each.
        ticks: score and x of each.
        height: of a panel.
        names: of the rows.
    """

    panels: Sequence[Panel]
    lanes: Sequence[tuple[str, float, float]]
    ticks: Sequence[tuple[int, float]]
    height: float
    names: Sequence[str]

    def style(self, row: int) -> tuple[str, str]:
        """Return the CSS class and the shape of a row."""
        shape = row // COLOURS if len(self.names) > COLOURS else row
        return f"c{row % COLOURS}", SHAPES[shape % len(SHAPES)]


def x_of(score: float) -> float:
    """Return the x of a score."""
    return LEFT + (WIDTH - LEFT - RIGHT) * score / MAX_SCORE


def build_chart(rows: Sequence[tuple[str, ReportRow]]) -> Chart:
    """Lay out the chart of named rows."""
    types = ["all types", *dict.fromkeys(edit_type for _, row in rows for edit_type in row.types)]
    height = len(rows) * PITCH
    lanes = [(name, TOP + index * (height + GAP), height) for index, name in enumerate(types)]
    panels = []
    for index, perspective in enumerate(PERSPECTIVES):
        points = []
        for name, top, _ in lanes:
            for number, (row_name, row) in enumerate(rows):
                means = row.means if name == "all types" else row.types.get(name)
                if means is not None:
                    y = top + (number + 0.5) * PITCH
                    points.append(_point(means, index, y, number, f"{row_name}, {name}"))
        panels.append(Panel(perspective.value, [point for point in points if point is not None]))
    bottom = TOP + len(types) * (height + GAP) + BOTTOM - GAP
    return Chart(
        panels,
        lanes,
        [(score, x_of(float(score))) for score in range(int(MAX_SCORE) + 1)],
        bottom,
        [name for name, _ in rows],
    )


def _point(means: Means, index: int, y: float, row: int, what: str) -> Point | None:
    summary = means.summaries[index]
    if summary.score is None:
        return None
    interval = summary.ci95
    text = f"{what}: {summary.score:.2f}" + (
        "" if interval is None else f" [{interval.low:.2f}, {interval.high:.2f}]"
    )
    low, high = (None, None) if interval is None else (x_of(interval.low), x_of(interval.high))
    return Point(x_of(summary.score), y, low, high, row, text)
