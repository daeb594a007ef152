"""Rules that say which rows to keep. Each is a function of the rows alone, whatever the order and the files
they come in: equals are decided by a hash of seed and id.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import final

import numpy as np
from jaxtyping import Float, Int, Int8, UInt64

from src.curation.fronts import fronts_until
from src.records import MAX_SCORE, PERSPECTIVES

UTILITY = "utility"
AT_ONCE = 65536


class Reason(IntEnum):
    """Why a row is kept or lost."""

    KEPT = 0
    FAILED = 1
    ABSENT = 2
    MINIMUM = 3
    RANK = 4
    TYPE = 5
    PHOTOGRAPH = 6
    BYTES = 7
    DOMINATED = 8
    NOT_DRAWN = 9


WORDS: Mapping[Reason, str] = {
    Reason.KEPT: "kept",
    Reason.FAILED: "a failed verdict",
    Reason.ABSENT: "no usable row of the dataset",
    Reason.MINIMUM: "below a minimum",
    Reason.RANK: "behind the last that is kept",
    Reason.TYPE: "enough of its edit type",
    Reason.PHOTOGRAPH: "enough of its photograph",
    Reason.BYTES: "too large for the bytes that are left",
    Reason.DOMINATED: "beaten in all perspectives by those kept",
    Reason.NOT_DRAWN: "not drawn",
}


@final
@dataclass(frozen=True, eq=False)
class Candidates:
    """Rows that may be kept: judged, and there.

    Attributes:
        scores: following, preserving, quality in [0, 5], less what `lower_bound` takes off.
        utility: their weighted mean, less the same.
        order: decides between equals.
        types: names of edit types.
        type_of: of each row, a place in `types`.
        photograph, bytes: see `RowFacts`.
    """

    scores: Float[np.ndarray, "n 3"]
    utility: Float[np.ndarray, " n"]
    order: UInt64[np.ndarray, " n"]
    types: Sequence[str]
    type_of: Int[np.ndarray, " n"]
    photograph: Int[np.ndarray, " n"]
    bytes: Int[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.utility)

    def ranked(self) -> Int[np.ndarray, " n"]:
        """Places of the rows, the best first."""
        return np.lexsort((self.order, -self.utility))

    def per_type(self) -> Int[np.ndarray, " types"]:
        """Rows of each edit type."""
        return np.bincount(self.type_of, minlength=len(self.types))


Reasons = Int8[np.ndarray, " n"]


class Rule(ABC):
    """Chooses rows.

    Attributes:
        asks: what it must know of a row besides scores: "edit_type", "photograph", "bytes".
    """

    asks: frozenset[str]

    @abstractmethod
    def reasons(self, rows: Candidates) -> Reasons:
        """A `Reason` per row.

        Raises:
            ValueError: it can't choose among these.
        """


def check_positive(**values: float | int | None) -> None:
    """Raise ValueError for a number that is not above 0; None is none."""
    for name, value in values.items():
        if value is not None and value <= 0:
            raise ValueError(f"curation.{name}={value}: a number above 0 is needed")


def check_wanted(share: float | int | None, count: int | None) -> None:
    """Raise ValueError unless one of share and count is given, and possible."""
    if (share is None) == (count is None):
        raise ValueError(
            f"curation.share={share} and curation.count={count}: one of both is needed, a share in (0, 1] or "
            "a number of rows"
        )
    check_positive(count=count)
    if share is not None and not 0 < share <= 1:
        raise ValueError(f"curation.share={share}: a share above 0 and at most 1 is needed, as in 0.4")


def wanted_count(available: int, share: float | int | None, count: int | None) -> int:
    """Rows to keep. Raises ValueError as `check_wanted`, or for a share that is none of the rows."""
    check_wanted(share, count)
    if share is None:
        assert count is not None
        return min(count, available)
    wanted = round(share * available)
    if not wanted:
        raise ValueError(f"curation.share={share} of {available} rows is none: give a larger share")
    return wanted


def largest_remainder(total: int, sizes: Int[np.ndarray, " types"]) -> Int[np.ndarray, " types"]:
    """A total divided among groups in proportion to their sizes, in whole numbers that add up to it; equal
    remainders are given in the order of the groups.
    """
    exact = total * sizes / max(int(sizes.sum()), 1)
    shares = np.floor(exact).astype(np.int64)
    first = np.lexsort((np.arange(len(sizes)), -np.round(exact - shares, 9)))
    shares[first[: total - int(shares.sum())]] += 1
    return shares


@final
@dataclass(frozen=True)
class Room:
    """What a greedy choice may take.

    Attributes:
        rows, bytes: in all; None for no limit.
        of_type: rows by edit type; None for no limit.
        per_photograph: rows of one photograph; None for no limit.
    """

    rows: int | None = None
    bytes: int | None = None
    of_type: Sequence[int] | None = None
    per_photograph: int | None = None


def greedy(rows: Candidates, ranked: Int[np.ndarray, " n"], room: Room) -> Reasons:
    """Take rows as they are ranked, each for which there is room."""
    reasons = np.full(len(rows), Reason.RANK, np.int8)
    left_rows = len(rows) if room.rows is None else room.rows
    left_bytes = room.bytes
    left_of_type = None if room.of_type is None else list(room.of_type)
    taken = np.zeros(int(rows.photograph.max(initial=-1)) + 1, np.int32)
    for row, kind, photograph, size in _facts(rows, ranked):
        if left_rows == 0:
            break
        is_known = photograph >= 0 and room.per_photograph is not None
        if left_of_type is not None and left_of_type[kind] == 0:
            reasons[row] = Reason.TYPE
        elif is_known and taken[photograph] == room.per_photograph:
            reasons[row] = Reason.PHOTOGRAPH
        elif left_bytes is not None and size > left_bytes:
            reasons[row] = Reason.BYTES
        else:
            reasons[row] = Reason.KEPT
            left_rows -= 1
            if left_of_type is not None:
                left_of_type[kind] -= 1
            if is_known:
                taken[photograph] += 1
            if left_bytes is not None:
                left_bytes -= size
    return reasons


def _facts(rows: Candidates, ranked: Int[np.ndarray, " n"]) -> Iterator[tuple[int, int, int, int]]:
    """Row, type, photograph and bytes as Python's numbers, a part at a time."""
    for first in range(0, len(ranked), AT_ONCE):
        part = ranked[first : first + AT_ONCE]
        columns = (part, rows.type_of[part], rows.photograph[part], rows.bytes[part])
        yield from zip(*(column.tolist() for column in columns), strict=True)


@final
class Threshold(Rule):
    """Every row that reaches all minima.

    Args:
        following, preserving, quality, utility: least scores; None for none.

    Raises:
        ValueError: no minimum, or one outside [0, 5].
    """

    asks = frozenset()

    def __init__(
        self,
        following: float | int | None = None,
        preserving: float | int | None = None,
        quality: float | int | None = None,
        utility: float | int | None = None,
    ) -> None:
        self.minima = dict(
            zip((*PERSPECTIVES, UTILITY), (following, preserving, quality, utility), strict=True)
        )
        outside = {name: least for name, least in self.minima.items() if least is not None}
        for name, least in outside.items():
            if not 0 <= least <= MAX_SCORE:
                raise ValueError(f"curation.{name}={least}: scores lie in [0, {MAX_SCORE:g}]")
        if not outside:
            raise ValueError(
                "curation=threshold needs a minimum: curation.utility=4, or curation.following, "
                "curation.preserving, curation.quality"
            )

    def reasons(self, rows: Candidates) -> Reasons:
        values = (*rows.scores.T, rows.utility)
        reached = np.ones(len(rows), bool)
        for least, value in zip(self.minima.values(), values, strict=True):
            if least is not None:
                reached &= value >= least
        return np.where(reached, Reason.KEPT, Reason.MINIMUM).astype(np.int8)


@final
class Top(Rule):
    """The best rows by utility.

    Args:
        share, count: of the rows that can be chosen; one of both.
        per_type: the same share inside each edit type (largest remainder), so that easy types don't crowd
            out hard ones.
        floor: at least so many of each type, as far as there are; they come on top of its share.
        per_photograph: at most so many rows of one photograph.

    Raises:
        ValueError: neither or both of share and count, or a number that is not above 0.
    """

    def __init__(
        self,
        share: float | int | None = None,
        count: int | None = None,
        per_type: bool = False,
        floor: int | None = None,
        per_photograph: int | None = None,
    ) -> None:
        check_wanted(share, count)
        check_positive(floor=floor, per_photograph=per_photograph)
        if floor is not None and not per_type:
            raise ValueError(f"curation.floor={floor} is of each edit type: say curation.per_type=true, too")
        self.share, self.count, self.per_type = share, count, per_type
        self.floor, self.per_photograph = floor, per_photograph
        self.asks = frozenset(
            name
            for name, asked in (("edit_type", per_type), ("photograph", per_photograph is not None))
            if asked
        )

    def reasons(self, rows: Candidates) -> Reasons:
        total = wanted_count(len(rows), self.share, self.count)
        room = Room(total, per_photograph=self.per_photograph)
        if self.per_type:
            sizes = rows.per_type()
            quotas = np.maximum(largest_remainder(total, sizes), np.minimum(self.floor or 0, sizes))
            room = replace(room, rows=int(quotas.sum()), of_type=quotas.tolist())
        return greedy(rows, rows.ranked(), room)


@final
class RowBudget(Rule):
    """The best rows by utility that fit into a number of rows or bytes; what no longer fits is passed over.

    Args:
        rows, bytes: the budget; one of both, or both.
        per_type: at most so many rows of one edit type.
        per_photograph: at most so many rows of one photograph.

    Raises:
        ValueError: no budget, or a number that is not above 0.
    """

    def __init__(
        self,
        rows: int | None = None,
        bytes: int | None = None,  # what the user writes
        per_type: int | None = None,
        per_photograph: int | None = None,
    ) -> None:
        if rows is None and bytes is None:
            raise ValueError("curation=budget needs curation.rows= or curation.bytes=")
        check_positive(rows=rows, bytes=bytes, per_type=per_type, per_photograph=per_photograph)
        self.rows, self.bytes, self.per_type, self.per_photograph = rows, bytes, per_type, per_photograph
        asked = {"bytes": bytes, "edit_type": per_type, "photograph": per_photograph}
        self.asks = frozenset(name for name, value in asked.items() if value is not None)

    def reasons(self, rows: Candidates) -> Reasons:
        of_type = None if self.per_type is None else [self.per_type] * len(rows.types)
        return greedy(rows, rows.ranked(), Room(self.rows, self.bytes, of_type, self.per_photograph))


@final
class Pareto(Rule):
    """Whole fronts of rows that none of the others beats (at least as good in all perspectives, better in
    one), until there are enough; of the last front the best by utility.

    Args:
        share, count: of the rows that can be chosen; one of both.

    Raises:
        ValueError: neither or both of share and count.
    """

    asks = frozenset()

    def __init__(self, share: float | int | None = None, count: int | None = None) -> None:
        check_wanted(share, count)
        self.share, self.count = share, count

    def reasons(self, rows: Candidates) -> Reasons:
        total = wanted_count(len(rows), self.share, self.count)
        front = fronts_until(rows.scores, total)
        ranked = np.lexsort((rows.order, -rows.utility, front))
        last = front[ranked[total - 1]] if total else -1
        reasons = np.where(front > last, Reason.DOMINATED, Reason.RANK).astype(np.int8)
        reasons[ranked[:total]] = Reason.KEPT
        return reasons


@final
class Random(Rule):
    """The control of every claim about curation: rows drawn whatever their scores.

    Args:
        share, count: of the rows that can be chosen; one of both, or neither with `like`.
        like: as many of each edit type as another selection kept, by name; src.curate reads them from its
            folder.

    Raises:
        ValueError: not exactly one of share, count and like.
    """

    def __init__(
        self,
        share: float | int | None = None,
        count: int | None = None,
        like: Mapping[str, int] | None = None,
    ) -> None:
        if like is None:
            check_wanted(share, count)
        elif share is not None or count is not None:
            raise ValueError(
                "like= says how many rows are drawn: leave out curation.share and curation.count"
            )
        self.share, self.count, self.like = share, count, like
        self.asks = frozenset({"edit_type"} if like is not None and set(like) != {""} else ())

    def reasons(self, rows: Candidates) -> Reasons:
        drawn = np.argsort(rows.order, kind="stable")
        if self.like is None:
            room = Room(wanted_count(len(rows), self.share, self.count))
        else:
            counts = [self.like.get(name, 0) for name in rows.types]
            self._check_enough(rows, counts)
            room = Room(sum(counts), of_type=counts)
        reasons = greedy(rows, drawn, room)
        reasons[reasons != Reason.KEPT] = Reason.NOT_DRAWN
        return reasons

    def _check_enough(self, rows: Candidates, counts: Sequence[int]) -> None:
        sizes = dict(zip(rows.types, rows.per_type().tolist(), strict=True))
        assert self.like is not None
        for name, wanted in self.like.items():
            if wanted > sizes.get(name, 0):
                raise ValueError(
                    f"like= kept {wanted} rows of edit type {name!r}, and there are "
                    f"{sizes.get(name, 0)} here: give the same rewards and the same data= or rows_file="
                )
