"""Every row of any dataset, one after the other, rated or not: what annotation works through.

A shard is every n-th row, so that shards are equally long however long the dataset is, and together all of
it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from src.data.check import Problem
from src.data.dataset import RewardedTriplets
from src.data.rows import DatasetRow, RowSource, StoredImage, decode_row
from src.data.stream import StreamedRows
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
    """A shard written as "3/8".

    Raises:
        ValueError: it isn't.
    """
    number, slash, count = str(text).partition("/")
    if not (slash and number.strip().isdecimal() and count.strip().isdecimal()):
        raise ValueError(f"shard={text}: say which of how many, as in shard=3/8")
    return Shard(int(number), int(count))


def number_of_rows(dataset: RewardedTriplets | StreamedRows, shard: Shard, limit: int | None) -> int | None:
    """How many rows a shard has; None for a stream, which doesn't know its length."""
    if isinstance(dataset, StreamedRows):
        return None
    total = len(dataset) if limit is None else min(limit, len(dataset))
    return len(range(shard.number - 1, total, shard.count))


def all_rows(
    dataset: RewardedTriplets | StreamedRows, shard: Shard, limit: int | None = None
) -> Iterator[DatasetRow | Problem]:
    """The rows of a shard in their order, or why one can't be used; no image is decoded.

    Args:
        dataset: files, a stream, or triplets made on the fly, which become rows with PNG images in memory.
        shard: which part.
        limit: only the first rows of the dataset, over all shards.
    """
    if isinstance(dataset, StreamedRows):
        # a single lane in the order of the files: epoch and seed only order the shards, and annotation needs
        # none
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
    """One row, or why it can't be used."""
    if not isinstance(dataset, RowSource):
        return row_in_memory(dataset[index][0])
    try:
        return refuse_chat(dataset.row(index), index)
    except (ValueError, FileNotFoundError) as error:
        return Problem(index, f"row {index}", "row", str(error))


def refuse_chat(found: DatasetRow | Problem, index: int) -> DatasetRow | Problem:
    """The row, unless it is a conversation, in which there is nothing to judge."""
    if isinstance(found, Problem) or found.answer is None:
        return found
    return Problem(
        index, found.id, "row", f"row {found.id!r} is a conversation, without an edit that could be judged"
    )


def row_in_memory(triplet: Triplet) -> DatasetRow:
    """A triplet that was made on the fly, as a row with its images as PNG files in memory."""
    case = triplet.case
    original, edited = (
        StoredImage(f"{case.id}, {name}", encode_png(image))
        for name, image in (("original", case.original), ("edited", triplet.edited))
    )
    return DatasetRow(case.id, original, edited, case.instruction, None, case.edit_type, case.photograph)


def decode_with_files(row: DatasetRow) -> Triplet:
    """The triplet of a row, decoded, with its files. Raises FileNotFoundError or ValueError for a image
    that can't be read.
    """
    triplet = decode_row(row)
    return Triplet(triplet.case, triplet.edited, (row.original.read(), row.edited.read()))
