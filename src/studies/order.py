"""In which order, and on which side, a rater sees the items: pure functions of the study's seed, the rater
and the item.
"""

import unicodedata
from dataclasses import dataclass
from typing import final

from src.seeds import fold_seed
from src.studies.study import Item, Question, Study

LONGEST_NAME = 40


@final
@dataclass(frozen=True)
class Showing:
    """An item at its place in a rater's sequence.

    Attributes:
        position: from 0.
        item: what is shown.
        repeated: whether the rater has seen it before.
        sides: which of the item's edits stands where, from the left.
    """

    position: int
    item: Item
    repeated: bool
    sides: tuple[int, ...]


def rater_name(text: str) -> str:
    """The name of a rater as answers are kept under it: "Anna" and " anna" are one person.

    Raises:
        ValueError: empty, too long, or with what is no letter, digit, space or one of . _ @ -
    """
    name = " ".join(unicodedata.normalize("NFC", text).split()).casefold()
    if not name or len(name) > LONGEST_NAME:
        raise ValueError(f"a name has 1 to {LONGEST_NAME} letters, this one {len(name)}")
    odd = next(
        (sign for sign in name if not (sign.isalnum() or unicodedata.combining(sign) or sign in " ._@-")), ""
    )
    if odd:
        raise ValueError(f"the name has {odd!r}: take letters, digits, spaces and . _ @ -")
    return name


def showings(study: Study, rater: str) -> tuple[Showing, ...]:
    """Everything that a rater is asked, question by question."""
    found: list[tuple[Item, bool]] = []
    for question in study.questions:
        found += _block(study, rater, question)
    return tuple(
        Showing(position, item, repeated, _sides(study, rater, item, repeated))
        for position, (item, repeated) in enumerate(found)
    )


def _block(study: Study, rater: str, question: Question) -> list[tuple[Item, bool]]:
    """The items of one question in random order. Repeated are some of the first, in the last third."""

    def drawn(item: Item, what: str) -> tuple[int, str]:
        return fold_seed(what, study.seed, rater, item.id), item.id

    chosen = sorted(study.of(question, gold=False), key=lambda item: drawn(item, "order"))[: study.per_rater]
    asked = sorted([*chosen, *study.of(question, gold=True)], key=lambda item: drawn(item, "place"))
    first = [item for item in asked if not item.is_gold][: len(chosen) // 3]
    again = sorted(first, key=lambda item: drawn(item, "repeat"))[: study.repeats]
    start = len(asked) - len(asked) // 3
    last = [(item, False) for item in asked[start:]] + [(item, True) for item in again]
    last.sort(key=lambda each: drawn(each[0], "again" if each[1] else "place again"))
    return [*((item, False) for item in asked[:start]), *last]


def _sides(study: Study, rater: str, item: Item, repeated: bool) -> tuple[int, ...]:
    """Sides are drawn, and exchanged where a pair is repeated."""
    sides = tuple(range(len(item.edits)))
    turned = bool(fold_seed("sides", study.seed, rater, item.id) % 2) != repeated
    return tuple(reversed(sides)) if turned else sides
