"""The kept rows as a dataset with a card: parquet files with pictures and rewards, each complete or absent,
so that shards write side by side and a killed command goes on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import yaml

from src.curation.record import Curated
from src.curation.scored_rows import identity_of, open_files, reward_of
from src.data.all_rows import Shard, all_rows, number_of_rows, row_at
from src.data.dataset import RewardedTriplets
from src.data.problems import Problem
from src.data.rows import DatasetRow, RowSource, RowStream
from src.files import write_atomically
from src.formats.reward_dataset import ROWS_PER_FILE, dataset_card, parquet_row, part_path, write_part
from src.progress import with_progress
from src.records import PERSPECTIVES

CARD = "README.md"


@final
@dataclass(frozen=True)
class CardFacts:
    """What the card tells besides counts of scores.

    Attributes:
        about: name -> value.
        licence: of the source; None where it is not known.
    """

    about: Mapping[str, Any]
    licence: str | None


class _Wanted:
    """Which kept rows, counted in the order of the dataset, belong into a file that this shard has to
    write.
    """

    def __init__(self, curated: Curated, folder: Path, shard: Shard) -> None:
        self.curated, self.shard = curated, shard
        self.total = int(curated.kept.sum())
        self.parts = -(-self.total // ROWS_PER_FILE)
        self.sorted = np.argsort(curated.rows.identity[:, 0], kind="stable")
        self.keys = curated.rows.identity[self.sorted, 0]
        self.seen = np.zeros(len(curated.rows), bool)
        self.count = 0
        self.open = {
            part
            for part in range(shard.number - 1, self.parts, shard.count)
            if not part_path(folder, part, self.parts).exists()
        }

    def take(self, id: str) -> tuple[int, int] | None:
        """Place of the row's reward, and the file it belongs into; None if it is not to be written now."""
        place = self._place(id)
        if place is None or not self.curated.kept[place] or self.seen[place]:
            return None
        self.seen[place] = True
        part = self.count // ROWS_PER_FILE
        self.count += 1
        return (place, part) if part in self.open else None

    def _place(self, id: str) -> int | None:
        identity = np.frombuffer(identity_of(id), np.uint64)
        found = int(np.searchsorted(self.keys, identity[0]))
        if found == len(self.keys):
            return None
        place = int(self.sorted[found])
        return place if (self.curated.rows.identity[place] == identity).all() else None


def copy_kept(
    curated: Curated, dataset: RewardedTriplets | RowStream, folder: Path, shard: Shard, facts: CardFacts
) -> bool:
    """Write this shard's files of `folder/data`, and the card once no file is lacking; whether that is so.

    Raises:
        FileNotFoundError: a picture is missing.
        ValueError: the dataset has changed since its rows were listed.
        NotWrittenError: the disk is full.
    """
    wanted = _Wanted(curated, folder, shard)
    part: list[dict[str, Any]] = []
    number = -1
    with open_files(curated.rows.files) as opened:
        for (place, file), row in _kept_rows(wanted, dataset):
            if file != number and part:
                write_part(part, folder, number, wanted.parts)
                part = []
            number = file
            part.append(parquet_row(row, reward_of(curated.rows, place, opened)))
    if part:
        write_part(part, folder, number, wanted.parts)
    if wanted.open and wanted.count < wanted.total:
        raise ValueError(
            f"only {wanted.count} of {wanted.total} kept rows are still in the dataset: begin anew in "
            "another folder"
        )
    files = (part_path(folder, number, wanted.parts) for number in range(wanted.parts))
    if not all(file.exists() for file in files):
        return False
    histogram = _histogram(curated)
    card = dataset_card(folder.name, wanted.total, histogram, facts.about, "curate", facts.licence)
    write_atomically(folder / CARD, card)
    return True


def _kept_rows(
    wanted: _Wanted, dataset: RewardedTriplets | RowStream
) -> Iterator[tuple[tuple[int, int], DatasetRow]]:
    if not wanted.open:
        return
    total = number_of_rows(dataset, Shard(), None)
    for (row,) in with_progress(([row] for row in _rows(wanted, dataset)), total, "copy", "rows"):
        if row is not None:
            yield row


def _rows(
    wanted: _Wanted, dataset: RewardedTriplets | RowStream
) -> Iterator[tuple[tuple[int, int], DatasetRow] | None]:
    """Of each row of the dataset where it belongs; None for one that is not to be written."""
    if isinstance(dataset, RowSource):
        for index in range(len(dataset)):
            place = wanted.take(_id(dataset, index))
            yield None if place is None else (place, _usable(row_at(dataset, index)))
        return
    for row in all_rows(dataset, Shard()):
        place = wanted.take(row.id)
        yield None if place is None else (place, _usable(row))


def _id(dataset: RowSource, index: int) -> str:
    try:
        return dataset.id_of(index)
    except (ValueError, FileNotFoundError):
        return f"row {index}"  # listed as unusable, and so not kept


def _usable(row: DatasetRow | Problem) -> DatasetRow:
    if isinstance(row, Problem):
        raise ValueError(f"{row.id!r} is kept and can no longer be read: {row.reason}")
    return row


def _histogram(curated: Curated) -> dict[str, list[int]]:
    scores = np.rint(curated.rows.scores[curated.kept]).astype(int)
    return {
        perspective.value: np.bincount(scores[:, index], minlength=6).tolist()
        for index, perspective in enumerate(PERSPECTIVES)
    }


def licence_of(source: Path) -> str | None:
    """The licence that the card beside a dataset names; None where there is none."""
    card = (source if source.is_dir() else source.parent) / CARD
    if not card.is_file():
        return None
    head = card.read_text(encoding="utf-8", errors="replace").split("\n---", 1)[0]
    try:
        found = yaml.safe_load(head.removeprefix("---")) if head.startswith("---") else None
    except yaml.YAMLError:
        return None  # a card without front matter says nothing
    licence = found.get("license") if isinstance(found, dict) else None
    return None if licence is None else str(licence)
