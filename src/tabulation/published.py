"""The paper's published numbers, read from published.yaml, each with its table, metric, benchmark and judge.

Numbers are kept as the paper prints them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, final

import yaml

FILE = Path(__file__).with_name("published.yaml")


@final
@dataclass(frozen=True)
class PublishedNumber:
    """One number of the paper.

    Attributes:
        table: its number in the paper.
        row: the paper's row, in our words ("score + text").
        metric: the column's key in our tables ("following_score").
        text: as printed ("3.39").
        value: in our unit: a share in [0, 1], a score in [0, 5], a cosine in [-1, 1].
        benchmark: "Real-Edit".
        judge: "GPT-4o", "10 annotators"; "" for image metrics.
    """

    table: int
    row: str
    metric: str
    text: str
    value: float
    benchmark: str
    judge: str


@final
@dataclass(frozen=True)
class PublishedRow:
    """One row of a table of the paper.

    Attributes:
        name: in our words.
        edit_data: number of training triplets as printed; "" if the table does not give it.
        numbers: by metric.
    """

    name: str
    edit_data: str
    numbers: Mapping[str, PublishedNumber]


@final
@dataclass(frozen=True)
class PublishedTable:
    """A table of the paper.

    Attributes:
        number: in the paper.
        source: the paper.
        benchmark, judge: of the numbers.
        rows: as in the paper.
    """

    number: int
    source: str
    benchmark: str
    judge: str
    rows: Sequence[PublishedRow]


def published_table(number: int) -> PublishedTable:
    """Read one of the paper's tables: 1 to 6.

    Raises:
        KeyError: another one.
    """
    whole = _all_tables()
    table = whole["tables"][number]
    rows = []
    for row in table["rows"]:
        numbers = {}
        for (metric, percent), text in zip(table["metrics"], row["numbers"], strict=True):
            value = float(text) / 100 if percent else float(text)
            numbers[metric] = PublishedNumber(
                number, row["name"], metric, text, value, table["benchmark"], table["judge"]
            )
        rows.append(PublishedRow(row["name"], row.get("edit_data", ""), numbers))
    return PublishedTable(number, whole["source"], table["benchmark"], table["judge"], rows)


@cache
def _all_tables() -> Mapping[str, Any]:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))
