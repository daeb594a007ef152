"""What is wrong with the rows of a dataset, found before any model is built: counts, missing and unreadable
images, pairs that don't fit, repeats.

    python -m src.check_data data=pix2pix_tree data.dataset.folder=DIR data.check=all

Every row's files are looked for. How many images are opened is the user's choice, as decoding all of
300,000 pairs takes an hour on four cores.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeVar

from rich.progress import track

from src.data.rewards import WithRewards
from src.data.rows import RowSource
from src.data.transforms import Size, check_aspect_ratios
from src.files import write_atomically

T = TypeVar("T")

Thoroughness = int | str
"""How many rows, spread evenly, have their images decoded; "headers": sizes of all, nothing decoded; "all":
all decoded.
"""

BROKEN_ROWS = "broken_rows.jsonl"
"""In the run folder: the rows that can't be used, and why."""

PORTION = 64


@dataclass(frozen=True)
class Problem:
    """A row that can't be used.

    Attributes:
        index: in the dataset as it is trained on; None for one that was left out of it already, as its reward
            can't be used.
        id: of the triplet, or "row <index>" where it can't be told.
        kind: "missing" file, "unreadable" image, "sizes" that don't fit, "row" (instruction, columns) or
            "reward".
        reason: in words.
        found: "before" or "while" training.
    """

    index: int | None
    id: str
    kind: str
    reason: str
    found: Literal["before", "while"] = "before"


@dataclass(frozen=True)
class RowCheck:
    """What was seen of one row.

    Attributes:
        problem: or None.
        sizes: of original and edited, if they could be told.
        digests: sha256 of original and edited, if they were read whole; and of both with the instruction.
    """

    problem: Problem | None
    sizes: tuple[Size, Size] | None = None
    digests: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class DataCheckReport:
    """The result of a check.

    Attributes:
        rows: how many there are.
        checked: what was looked at, in words.
        problems: rows that can't be used, in order.
        counts: everything else, in words -> number.
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
    """Look at rows; `how` says how closely.

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
    looks = map_in_threads("looking at pictures", there, lambda index: check_row(rows, index, decode))
    broken = [look.problem for look in looks if look.problem is not None]
    problems += sorted([*missing, *broken], key=lambda problem: problem.index or 0)
    what = f"pictures of {'all' if len(chosen) == len(rows) else len(chosen)} rows {'decoded' if decode else 'measured by their headers'}"
    return DataCheckReport(
        len(rows),
        f"files of all rows looked for, {what}",
        problems,
        {**rows.counts(), **repeat_counts(looks)},
    )


def rows_to_decode(length: int, how: Thoroughness) -> Sequence[int]:
    """Indices of the rows whose images are opened. Raises ValueError for an unknown `how`."""
    if how in ("headers", "all"):
        return range(length)
    if isinstance(how, bool) or not isinstance(how, int) or how < 0:
        raise ValueError(f"check={how!r} is not possible: all, headers, or how many rows are decoded")
    count = min(how, length)
    return [place * length // count for place in range(count)]


def find_missing_file(rows: RowSource, index: int) -> Problem | None:
    """A row that lacks a file."""
    try:
        missing = [path for path in rows.files(index) if not path.is_file()]
    except ValueError as error:
        return Problem(index, f"row {index}", "row", str(error))
    return Problem(index, _id(rows, index), "missing", f"no file {missing[0]}") if missing else None


def check_row(rows: RowSource, index: int, decode: bool) -> RowCheck:
    """Open the images of a row, whole or their headers."""
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


def repeat_counts(looks: Sequence[RowCheck]) -> dict[str, int]:
    """What is odd but no reason to leave a row out: repeats, and what sizes there are."""
    counts = {}
    digests = [look.digests for look in looks if look.digests is not None]
    if digests:
        originals, edits, triplets = (Counter(column) for column in zip(*digests, strict=True))
        images = Counter(digest for original, edited, _ in digests for digest in {original, edited})
        counts["different originals"] = len(originals)
        counts["pictures in several triplets"] = sum(number > 1 for number in images.values())
        counts["the same triplet again"] = len(digests) - len(triplets)
        counts["the same edited picture in another triplet"] = len(triplets) - len(edits)
        counts["edited picture is the original"] = sum(original == edited for original, edited, _ in digests)
    sizes = [look.sizes for look in looks if look.sizes is not None]
    if sizes:
        counts["pairs of two sizes"] = sum(original != edited for original, edited in sizes)
        counts["shortest side in pixels"] = min(min(*original, *edited) for original, edited in sizes)
    return counts


def write_problems(path: Path, problems: Sequence[Problem]) -> None:
    """List what a check found, in place of what an earlier one did; rows that a training stumbled on stay
    listed. Nothing to list, no file.

    Raises:
        NotWrittenError: the file can't be written.
    """
    listed = {(problem.index, problem.id) for problem in problems}
    kept = [
        problem
        for problem in read_problems(path)
        if problem.found == "while" and (problem.index, problem.id) not in listed
    ]
    if problems or kept or path.exists():
        write_atomically(path, "".join(_line(problem) for problem in [*problems, *kept]))


def append_problem(path: Path, problem: Problem) -> None:
    """Add a row that a training stumbled on; a single write, so several workers can do this at once."""
    with path.open("ab", buffering=0) as file:
        file.write(_line(problem).encode())


def read_problems(path: Path) -> list[Problem]:
    """What `write_problems` and `append_problem` wrote; a row once, though several processes may have
    stumbled on it. No file, no problems.
    """
    if not path.exists():
        return []
    problems = [Problem(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    return list({(problem.index, problem.id): problem for problem in problems}.values())


def _line(problem: Problem) -> str:
    return json.dumps(asdict(problem), ensure_ascii=False) + "\n"


def _problem(index: int, id: str, kind: str, error: Exception) -> Problem:
    return Problem(index, id, "missing" if isinstance(error, FileNotFoundError) else kind, str(error))


def _id(rows: RowSource, index: int) -> str:
    try:
        return rows.id_of(index)
    except (ValueError, FileNotFoundError):
        return f"row {index}"


def map_in_threads(what: str, indices: Sequence[int], look: Callable[[int], T]) -> list[T]:
    """`look` at each index, on all cores: Pillow decodes without holding Python up."""
    parts = [indices[first : first + PORTION] for first in range(0, len(indices), PORTION)]

    def look_at_part(part: Sequence[int]) -> list[T]:
        return [look(index) for index in part]

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return [
            seen
            for part in track(
                pool.map(look_at_part, parts),
                what,
                total=len(parts),
                transient=True,
                disable=not sys.stdout.isatty(),
            )
            for seen in part
        ]
