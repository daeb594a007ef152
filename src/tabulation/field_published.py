"""Published figures of editors on the field's benchmarks, read from field_published.yaml: each source by
itself, as it prints them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, final

import yaml

FILE = Path(__file__).with_name("field_published.yaml")


@final
@dataclass(frozen=True)
class FieldSource:
    """A published table.

    Attributes:
        benchmark: "gedit".
        name: of the source, short, for file names.
        source: where it is printed.
        judge: as the source says.
        note: what is to be known about it; "" for nothing.
        scale: printed = scale x ours.
        columns: keys of the figures: part/measure or part/measure/task.
        rows: by model, as printed; None where nothing is.
    """

    benchmark: str
    name: str
    source: str
    judge: str
    note: str
    scale: float
    columns: Sequence[str]
    rows: Mapping[str, Sequence[str | None]]


def published_on(benchmark: str) -> list[FieldSource]:
    """The published tables of a benchmark."""
    return [source for source in _sources() if source.benchmark == benchmark]


@cache
def _sources() -> tuple[FieldSource, ...]:
    entries: Sequence[Mapping[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return tuple(
        FieldSource(
            entry["benchmark"],
            entry["name"],
            entry["source"],
            entry["judge"],
            entry.get("note", ""),
            float(entry.get("scale", 1)),
            entry["columns"],
            {str(model): printed for model, *printed in entry["rows"]},
        )
        for entry in entries
    )
