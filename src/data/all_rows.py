"""Iterate over every row of any dataset, rated or not, for annotation.

A shard is every n-th row: shards are equally long whatever the length of the dataset, and together cover it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from src.data.dataset import RewardedTriplets
from src.data.problems import Problem
from src.data.rows import DatasetRow, EncodedImage, RowSource, RowStream, decode_row
from src.images import encode_png
from src.records import Triplet


@final
@dataclass(frozen=True)
class Shard:
    """One of `count` equal parts, numbered from 1.

    Raises:
        ValueError: no such part.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(f"shard={self.number}/{self.count}: shards are numbered from 1 to {self.count}")

    @property
    def name(self) -> str:
        """For folders: "shard-3-of-8"."""
        return f"shard-{self.number}-of-{self.count}"


def parse_shard(text: str) -> Shard:
    """Parse a shard written as "3/8".

    Raises:
        ValueError: any other text.
    """
    number, slash, count = str(text).partition("/")
    if not (slash and number.strip().isdecimal() and count.strip().isdecimal()):
        raise ValueError(f"shard={text}: give its number and how many there are, as in shard=3/8")
    return Shard(int(number), int(count))


def number_of_rows(dataset: RewardedTriplets | RowStream, shard: Shard, limit: int | None) -> int | None:
    """Count the rows of a shard; None for a stream, whose length is unknown."""
    if isinstance(dataset, RowStream):
        return None
    total = len(dataset) if limit is None else min(limit, len(dataset))
    return len(range(shard.number - 1, total, shard.count))


def all_rows(
    dataset: RewardedTriplets | RowStream, shard: Shard, limit: int | None = None
) -> Iterator[DatasetRow | Problem]:
    """Iterate over the rows of a shard in order, a Problem for one that can't be used; no image is decoded.

    Args:
        dataset: files, a stream, or triplets made on the fly, which become rows with PNGs in memory.
        shard: the part to iterate over.
        limit: use only the first rows of the dataset, counted over all shards.
    """
    if isinstance(dataset, RowStream):
        for index, found in enumerate(dataset.in_order()):
            if limit is not None and index >= limit:
                return
            if index % shard.count == shard.number - 1:
                yield refuse_chat(found, index)
        return
    total = len(dataset) if limit is None else min(limit, len(dataset))
    for index in range(shard.number - 1, total, shard.count):
        yield row_at(dataset, index)


def row_at(dataset: RewardedTriplets, index: int) -> DatasetRow | Problem:
    """Return one row, or why it can't be used."""
    if not isinstance(dataset, RowSource):
        return row_in_memory(dataset[index][0])
    try:
        return refuse_chat(dataset.row(index), index)
    except (ValueError, FileNotFoundError) as error:
        return Problem(index, f"row {index}", "row", str(error))


def refuse_chat(found: DatasetRow | Problem, index: int) -> DatasetRow | Problem:
    """Return the row, or a Problem for a chat sample, which has no edit to judge."""
    if isinstance(found, Problem) or found.answer is None:
        return found
    return Problem(
        index, found.id, "row", f"row {found.id!r} is a chat sample, without an edit that could be judged"
    )


def row_in_memory(triplet: Triplet) -> DatasetRow:
    """Turn a triplet that was made on the fly into a row whose images are PNGs in memory."""
    case = triplet.case
    original, edited = (
        EncodedImage(f"{case.id}, {name}", encode_png(image))
        for name, image in (("original", case.original), ("edited", triplet.edited))
    )
    return DatasetRow(case.id, original, edited, case.instruction, None, case.edit_type, case.photograph)


def decode_with_files(row: DatasetRow) -> Triplet:
    """Decode a row, and keep its encoded images. Raises FileNotFoundError or ValueError for an image that
    can't be read.
    """
    triplet = decode_row(row)
    return Triplet(triplet.case, triplet.edited, (row.original.read(), row.edited.read()))
