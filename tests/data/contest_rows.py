"""Tables of compared edits, as tests write them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import PIL.Image

OWN = {
    "original": "before",
    "instruction": "ask",
    "edits": ["one", "two", "three"],
    "ratings": {"following": ["f1", "f2", "f3"]},
    "scales": {"following": [0, 10]},
    "ids": ["name"],
}


def picture(shade: int) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.full((6, 8, 3), shade, dtype=np.uint8))


def saved(folder: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(rows[0])
    datasets.Dataset.from_dict({name: [row[name] for row in rows] for name in names}).save_to_disk(
        str(folder)
    )
    return str(folder)


def own_row(**more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"before": picture(1), "ask": "make it night", "name": "x", "order": "B>A=C"}
    row |= {name: picture(10 * number) for number, name in enumerate(("one", "two", "three"), 1)}
    return row | {"f1": 3, "f2": 10, "f3": 3} | more
