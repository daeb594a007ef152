"""What a rule may ask of a row besides its scores: edit type, photograph and bytes. Listed once for a
dataset, in rows.jsonl, so that another rule needs no picture.

A line is `{"id", "edit_type", "photograph", "bytes"}`; a row that can't be used has `problem` in their place.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Int

from src.curation.scored_rows import ScoredRows, identity_of
from src.data.all_rows import Shard, all_rows, number_of_rows, row_at
from src.data.dataset import RewardedTriplets
from src.data.problems import Problem
from src.data.rows import DatasetRow, EncodedImage, RowStream
from src.files import append_lines, whole_lines
from src.json_files import parse_json
from src.progress import with_progress

ROWS = "rows.jsonl"
UNFINISHED = ".rows.jsonl.unfinished"
PORTION = 500
UNKNOWN = -1


@final
@dataclass(frozen=True, eq=False)
class RowFacts:
    """Of the rows of a `ScoredRows`, in their order.

    Attributes:
        types: names of edit types; "" for none.
        type_of: of each row, a place in `types`.
        photograph: of each row, a number that rows of one original share; UNKNOWN where it is not known.
        bytes: of its two pictures as they are stored; UNKNOWN where it is not known.
        there: rows that the dataset holds and that can be used; all of them where no dataset is given.
        unrated: rows of the dataset without a reward.
        unusable: rows of the dataset that can't be used.
    """

    types: tuple[str, ...]
    type_of: Int[np.ndarray, " n"]
    photograph: Int[np.ndarray, " n"]
    bytes: Int[np.ndarray, " n"]
    there: Bool[np.ndarray, " n"]
    unrated: int = 0
    unusable: int = 0


def unknown_facts(rows: ScoredRows) -> RowFacts:
    """Of rows about which nothing but their rewards is known."""
    nothing = np.full(len(rows), UNKNOWN)
    return RowFacts(("",), np.zeros(len(rows), np.int32), nothing, nothing, np.ones(len(rows), bool))


def list_rows(dataset: RewardedTriplets | RowStream, folder: Path) -> Path:
    """Write the facts of a dataset's rows to rows.jsonl in a folder, or go on where a killed command stopped.

    Raises:
        NotWrittenError: the disk is full.
    """
    listed, unfinished = folder / ROWS, folder / UNFINISHED
    if listed.exists():
        return listed
    total, done = number_of_rows(dataset, Shard(), None), whole_lines(unfinished)
    rows = with_progress(_portions(_rows_from(dataset, done)), total, "rows of the dataset", "rows")
    for portion in rows:
        append_lines(unfinished, "".join(map(row_line, portion)))
    return unfinished.rename(listed)


def _rows_from(dataset: RewardedTriplets | RowStream, first: int) -> Iterator[DatasetRow | Problem]:
    if isinstance(dataset, RowStream):
        return islice(all_rows(dataset, Shard()), first, None)
    return (row_at(dataset, index) for index in range(first, len(dataset)))


def _portions(
    rows: Iterator[DatasetRow | Problem],
) -> Iterator[Sequence[DatasetRow | Problem]]:
    while portion := list(islice(rows, PORTION)):
        yield portion


def row_line(row: DatasetRow | Problem) -> str:
    """A row's facts as one line."""
    return json.dumps(_facts_of(row), ensure_ascii=False) + "\n"


def _facts_of(row: DatasetRow | Problem) -> dict[str, Any]:
    if isinstance(row, Problem):
        return {"id": row.id, "problem": row.reason}
    try:
        size = stored_bytes(row.original) + stored_bytes(row.edited)
    except OSError as error:
        return {"id": row.id, "problem": f"a picture is missing ({error.strerror})"}
    return {"id": row.id, "edit_type": row.edit_type, "photograph": row.photograph, "bytes": size}


def stored_bytes(image: EncodedImage) -> int:
    """The size of an encoded picture. Raises OSError."""
    return Path(image.where).stat().st_size if image.content is None else len(image.content)


def read_row_facts(path: Path, rows: ScoredRows) -> RowFacts:
    """Join a list of rows to rewards by id.

    Raises:
        FileNotFoundError: no such list.
        ValueError: a line that describes no row, or no reward is of one of these rows.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no list of rows {path}: give the rows.jsonl of an earlier curation")
    joined = _Joined(rows)
    with path.open("rb") as file:
        lines = (line for line in enumerate(file, start=1) if line[1].strip())
        while portion := list(islice(lines, PORTION)):
            joined.add([_read_line(line, f"{path}:{number}") for number, line in portion])
    if not joined.there.any():
        first = joined.first or "missing"
        raise ValueError(
            f"none of {len(rows)} rewards is of one of the {joined.count} rows of {path}, whose first is "
            f"{first!r}: give the dataset that was judged"
        )
    return joined.facts()


def _read_line(line: bytes, where: str) -> dict[str, Any]:
    row = parse_json(line, where)
    kinds = {"id": str, "edit_type": str, "photograph": str, "bytes": int, "problem": str}
    named = isinstance(row, dict) and "id" in row
    if not named or any(not isinstance(row[name], kinds[name]) for name in kinds if name in row):
        raise ValueError(
            f"{where} is {line[:60].decode(errors='replace')!r}: an object with id, edit_type, photograph "
            "(texts) and bytes (a whole number) is needed"
        )
    return row


@final
class _Joined:
    """Facts in the order of the rewards, as lines come in theirs."""

    def __init__(self, rows: ScoredRows) -> None:
        self.rows, count = rows, len(rows)
        self.sorted = np.argsort(rows.identity[:, 0], kind="stable")
        self.types: dict[str, int] = {"": 0}
        self.photographs: dict[bytes, int] = {}
        self.type_of = np.zeros(count, np.int32)
        self.photograph = np.full(count, UNKNOWN)
        self.bytes = np.full(count, UNKNOWN)
        self.there = np.zeros(count, bool)
        self.count = self.unrated = self.unusable = 0
        self.first: str | None = None

    def add(self, portion: Sequence[dict[str, Any]]) -> None:
        """Join some lines."""
        self.count += len(portion)
        self.first = self.first or portion[0]["id"]
        usable = [row for row in portion if "problem" not in row]
        self.unusable += len(portion) - len(usable)
        for row, place in zip(usable, self._places(usable), strict=True):
            if place == UNKNOWN:
                self.unrated += 1
                continue
            self.there[place] = True
            self.type_of[place] = self.types.setdefault(row.get("edit_type", ""), len(self.types))
            self.bytes[place] = row.get("bytes", UNKNOWN)
            if row.get("photograph"):
                name = identity_of(row["photograph"])[:8]
                self.photograph[place] = self.photographs.setdefault(name, len(self.photographs))

    def _places(self, usable: Sequence[dict[str, Any]]) -> list[int]:
        """Where the rewards of these rows are; UNKNOWN for a row without one."""
        given = np.frombuffer(b"".join(identity_of(row["id"]) for row in usable), np.uint64).reshape(-1, 2)
        keys = self.rows.identity[:, 0]
        found = np.searchsorted(keys, given[:, 0], sorter=self.sorted).clip(max=max(len(keys) - 1, 0))
        places = self.sorted[found]
        same = (self.rows.identity[places] == given).all(axis=1)
        return np.where(same, places, UNKNOWN).tolist()

    def facts(self) -> RowFacts:
        """All of them."""
        return RowFacts(
            tuple(self.types),
            self.type_of,
            self.photograph,
            self.bytes,
            self.there,
            self.unrated,
            self.unusable,
        )
