"""Labelled rows of a benchmark, or of contests to learn from: repeats and contradictions found, one digest
whatever their order.

Published sets hold the same comparison twice, also with opposite labels (EditReward#13), and change without a
word (EditReward#15). So every report carries a digest of ids and labels; a comparison that stands several
times with one label counts once; one with opposite labels counts in no figure, and in the bounds of all.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, final

from src.records import Contest

TWIN = re.compile(r" \(row \d+\)$")


@final
@dataclass(frozen=True, eq=False)
class LabelledRow:
    """A contest as a row has it.

    Attributes:
        contest: what it is; its case's id is the row's.
        subject: what is compared, by content where the row tells: equal for the same comparison.
        label: the outcome in terms of the content, not of the order.
        part: of the benchmark, for counts ("prompt_following").
    """

    contest: Contest
    subject: str
    label: str
    part: str = ""


@final
class Label(NamedTuple):
    """What a row says, without its pictures; see LabelledRow."""

    id: str
    subject: str
    label: str
    part: str = ""


@final
@dataclass(frozen=True)
class RowFindings:
    """What a benchmark's rows are like.

    Attributes:
        rows: as they stand in the source.
        digest: of all ids and labels, in any order.
        repeated: ids of rows that say the same as another one.
        contradictory: ids of rows that say the opposite of another one, by part.
        kept: whether repeats and contradictions count as they stand.
        notes: sentences about the rows.
        aside: ids of rows and edits that don't count; answers about them are left aside, too.
    """

    rows: int
    digest: str
    repeated: Sequence[str] = ()
    contradictory: Mapping[str, Sequence[str]] | None = None
    kept: bool = False
    notes: Sequence[str] = ()
    aside: frozenset[str] = frozenset()

    def contested(self, part: str | None = None) -> int:
        """Comparisons with opposite labels, that count in bounds alone; in a part or in all."""
        if self.kept or not self.contradictory:
            return 0
        return sum(len(ids) // 2 for name, ids in self.contradictory.items() if part in (None, name))


def settle(
    rows: Sequence[LabelledRow], keep: bool, notes: Iterable[str] = ()
) -> tuple[list[Contest], RowFindings]:
    """The contests that count, in the order of their ids, and what was found.

    Args:
        rows: as read.
        keep: count every row as it stands, as published figures do.
        notes: further sentences.

    Raises:
        ValueError: no rows, or an id that names two different comparisons.
    """
    if not rows:
        raise ValueError("the benchmark has no rows: give another path")
    kept, repeated, contradictory = settled([label_of(row) for row in rows], keep)
    contests = [rows[index].contest for index in kept]
    aside = ids_in(row.contest for row in rows) - ids_in(contests)
    found = RowFindings(len(rows), digest_of(rows), repeated, contradictory, keep, tuple(notes), aside)
    return without_twins(contests, keep), found


def settled(labels: Sequence[Label], keep: bool) -> tuple[list[int], list[str], dict[str, list[str]]]:
    """Which rows count, in the order of their ids; the ids of rows that say the same as another one; and, by
    part, of those that say the opposite. Raises as `settle`.
    """
    check_ids(labels)
    groups: dict[str, list[int]] = {}
    for index in sorted(range(len(labels)), key=lambda index: (labels[index].id, labels[index].label)):
        groups.setdefault(labels[index].subject, []).append(index)
    kept: list[int] = []
    repeated: list[str] = []
    contradictory: dict[str, list[str]] = {}
    for group in groups.values():
        ids = [labels[index].id for index in group]
        if len({labels[index].label for index in group}) > 1:
            contradictory.setdefault(labels[group[0]].part, []).extend(ids)
            kept += group if keep else []
        else:
            repeated += ids[1:]
            kept += group if keep else group[:1]
    return sorted(kept, key=lambda index: labels[index].id), repeated, contradictory


def label_of(row: LabelledRow) -> Label:
    """What a row says, without its contest."""
    return Label(row.contest.case.id, row.subject, row.label, row.part)


def ids_in(contests: Iterable[Contest]) -> frozenset[str]:
    """The ids of contests and of their edits."""
    return frozenset(
        id for contest in contests for id in (contest.case.id, *(edit.id for edit in contest.candidates))
    )


def without_twins(contests: Sequence[Contest], keep: bool) -> list[Contest]:
    """Contests of different ids: a further row of one id is left out, or is named "<id> (row 2)" where all
    rows count.
    """
    found: dict[str, Contest] = {}
    for contest in contests:
        id, number = contest.case.id, 1
        while f"{id} (row {number})" in found or (number == 1 and id in found):
            number += 1
        if number == 1:
            found[id] = contest
        elif keep:
            name = f"{id} (row {number})"
            found[name] = replace(contest, case=replace(contest.case, id=name))
    return list(found.values())


def plain_id(id: str) -> str:
    """The id that answers are given by, of any row with it."""
    return TWIN.sub("", id)


def check_ids(labels: Sequence[Label]) -> None:
    """Raise ValueError for an id that names two different comparisons."""
    known: dict[str, str] = {}
    for label in labels:
        if known.setdefault(label.id, label.subject) != label.subject:
            raise ValueError(
                f"two rows have the id {label.id!r} and are different comparisons, so no answer can be told "
                "whose it is: give each an id of its own"
            )


def digest_of(rows: Sequence[LabelledRow]) -> str:
    """sha256 over all ids, comparisons and labels, in any order."""
    return digest_of_labels([label_of(row) for row in rows])


def digest_of_labels(labels: Iterable[Label]) -> str:
    """The same of labels."""
    return digest_of_lines(f"{label.id}\t{label.subject}\t{label.label}" for label in labels)


def digest_of_lines(lines: Iterable[str]) -> str:
    """sha256 of sorted lines."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def text_of(row: Mapping[str, Any], name: str, where: str) -> str:
    """A field that is a text, or a number that names something.

    Raises:
        ValueError: missing, or something else.
    """
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise ValueError(f"{where}: the field {name!r} is {str(value)[:60]!r}, and a text is needed")
    return str(value)
