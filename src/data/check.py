"""Check the rows of a dataset before any model is built: counts, missing and unreadable images, pairs of
different aspect ratios, duplicates.

    python -m src.check_data data=pix2pix_tree data.dataset.folder=DIR data.check=all

The files of every row are looked for. How many images are decoded is the user's choice: all of 300,000 pairs
take an hour on four cores.
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar, final

from rich.progress import track

from src.data.problems import Problem
from src.data.rewards import WithRewards
from src.data.rows import RowSource
from src.data.transforms import Size, check_aspect_ratios

T = TypeVar("T")

Thoroughness = int | str
"""Number of rows, spread evenly, whose images are decoded; "headers": read the size of every image, decode
none; "all": decode all.
"""

PORTION = 64


@final
@dataclass(frozen=True)
class RowCheck:
    """The result for one row.

    Attributes:
        problem: None if the row can be used.
        sizes: of original and edited, if they could be read.
        digests: sha256 of original, of edited, and of both with the instruction; None unless the images were
            read whole.
    """

    problem: Problem | None
    sizes: tuple[Size, Size] | None = None
    digests: tuple[str, str, str] | None = None


@final
@dataclass(frozen=True)
class DataCheckReport:
    """The result for a dataset.

    Attributes:
        rows: number of rows.
        checked: what was checked, in words.
        problems: rows that can't be used, in order.
        counts: everything else, as words -> number.
    """

    rows: int
    checked: str
    problems: Sequence[Problem]
    counts: Mapping[str, int]

    def __str__(self) -> str:
        """Several lines for a terminal."""
        kinds = Counter(problem.kind for problem in self.problems)
        broken = ", ".join(f"{kind} {number}" for kind, number in sorted(kinds.items())) or "none found"
        counts = [f"  {what}: {number}" for what, number in self.counts.items()]
        return "\n".join(
            [f"{self.rows} rows; {self.checked}", *counts, f"  rows that can't be used: {broken}"]
        )


def check_rows(rows: RowSource, how: Thoroughness) -> DataCheckReport:
    """Check every row, as thoroughly as `how` says.

    Raises:
        ValueError: an unknown `how`.
    """
    chosen = rows_to_decode(len(rows), how)
    decode = how != "headers"
    wrong = rows.wrong if isinstance(rows, WithRewards) else {}
    problems = [Problem(None, id, "reward", reason) for id, reason in wrong.items()]
    missing = [
        problem
        for problem in map_in_threads(
            "looking for files", range(len(rows)), lambda index: find_missing_file(rows, index)
        )
        if problem is not None
    ]
    gone = {problem.index for problem in missing}
    there = [index for index in chosen if index not in gone]
    checks = map_in_threads("checking images", there, lambda index: check_row(rows, index, decode))
    broken = [check.problem for check in checks if check.problem is not None]
    problems += sorted([*missing, *broken], key=lambda problem: problem.index or 0)
    number = "all" if len(chosen) == len(rows) else str(len(chosen))
    how_read = "decoded" if decode else "measured by their headers"
    return DataCheckReport(
        len(rows),
        f"files of all rows looked for, images of {number} rows {how_read}",
        problems,
        {**rows.counts(), **repeat_counts(checks)},
    )


def rows_to_decode(length: int, how: Thoroughness) -> Sequence[int]:
    """Indices of the rows whose images are opened. Raises ValueError for an unknown `how`."""
    if how in ("headers", "all"):
        return range(length)
    if isinstance(how, bool) or not isinstance(how, int) or how < 0:
        raise ValueError(f"check={how!r} is not possible: give all, headers, or the number of rows to decode")
    count = min(how, length)
    return [place * length // count for place in range(count)]


def find_missing_file(rows: RowSource, index: int) -> Problem | None:
    """Report the first file that a row lacks."""
    try:
        missing = [path for path in rows.files(index) if not path.is_file()]
    except ValueError as error:
        return Problem(index, f"row {index}", "row", str(error))
    return Problem(index, _id(rows, index), "missing", f"no file {missing[0]}") if missing else None


def check_row(rows: RowSource, index: int, decode: bool) -> RowCheck:
    """Open the images of a row, whole or only their headers."""
    try:
        row = rows.row(index)
    except (ValueError, FileNotFoundError) as error:
        return RowCheck(_problem(index, _id(rows, index), "row", error))
    try:
        images = row.original, row.edited
        first, second = (image.decode().shape[:2] if decode else image.size() for image in images)
    except (ValueError, FileNotFoundError) as error:
        return RowCheck(_problem(index, row.id, "unreadable", error))
    try:
        check_aspect_ratios(first, second, row.id)
    except ValueError as error:
        return RowCheck(_problem(index, row.id, "sizes", error), (first, second))
    if not decode or row.answer is not None:
        return RowCheck(None, (first, second))
    original, edited = row.original.digest(), row.edited.digest()
    return RowCheck(None, (first, second), (original, edited, f"{original} {edited} {row.instruction}"))


def repeat_counts(checks: Sequence[RowCheck]) -> dict[str, int]:
    """Count what is odd but no reason to drop a row: repeats, and which sizes occur."""
    counts = {}
    digests = [check.digests for check in checks if check.digests is not None]
    if digests:
        originals, edits, triplets = (Counter(column) for column in zip(*digests, strict=True))
        images = Counter(digest for original, edited, _ in digests for digest in {original, edited})
        counts["different originals"] = len(originals)
        counts["images in several triplets"] = sum(number > 1 for number in images.values())
        counts["the same triplet again"] = len(digests) - len(triplets)
        counts["the same edited image in another triplet"] = len(triplets) - len(edits)
        counts["edited image is the original"] = sum(original == edited for original, edited, _ in digests)
    sizes = [check.sizes for check in checks if check.sizes is not None]
    if sizes:
        counts["pairs of two sizes"] = sum(original != edited for original, edited in sizes)
        counts["shortest side in pixels"] = min(min(*original, *edited) for original, edited in sizes)
    return counts


def map_in_threads(what: str, indices: Sequence[int], function: Callable[[int], T]) -> list[T]:
    """Apply `function` to each index on all cores, with a progress bar; Pillow decodes outside the GIL."""
    parts = [indices[first : first + PORTION] for first in range(0, len(indices), PORTION)]

    def map_part(part: Sequence[int]) -> list[T]:
        return [function(index) for index in part]

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        done = track(
            pool.map(map_part, parts),
            what,
            total=len(parts),
            transient=True,
            disable=not sys.stdout.isatty(),
        )
        return [result for part in done for result in part]


def _problem(index: int, id: str, kind: str, error: Exception) -> Problem:
    return Problem(index, id, "missing" if isinstance(error, FileNotFoundError) else kind, str(error))


def _id(rows: RowSource, index: int) -> str:
    try:
        return rows.id_of(index)
    except (ValueError, FileNotFoundError):
        return f"row {index}"
