"""The answers of raters on disk: append-only JSON lines, one per answer, each on the disk before its rater
hears that it is saved.

    {"rater", "position", "item", "repeated", "sides", "answer", "seconds", "at", "revision"}

An answer that a rater changes is another line with the next revision; the last one counts. A rater's page
says which revision it means to write, so that a double click or a second tab, which mean one that is there
already, write nothing.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from src.files import append_lines
from src.json_files import json_lines
from src.reward_file import repair_torn_line
from src.studies.order import Showing, showings
from src.studies.study import ALIKE, CHOICES, LEFT, Item, Study

ANSWERS = "answers.jsonl"
LONGEST = 86_400.0
"""Seconds for one answer; a page that was open for longer says this."""

MOST_KEPT = 1000
"""Sequences in memory: whoever knows the token can ask for any number of names."""

Given = Mapping[str, int | str]
"""By aspect: a whole score from 0 to 5, or one of CHOICES."""


@final
@dataclass(frozen=True)
class RaterAnswer:
    """One line.

    Attributes:
        rater: from `rater_name`.
        position: in the rater's sequence.
        item: its id.
        repeated: whether it was shown for the second time.
        sides: which edit stood where.
        answer: what was given.
        seconds: from showing to sending.
        at: time of writing, UTC.
        revision: 0, and more for changed answers.
    """

    rater: str
    position: int
    item: str
    repeated: bool
    sides: tuple[int, ...]
    answer: Given
    seconds: float
    at: str
    revision: int


def check_given(study: Study, item: Item, given: Any) -> Given:
    """The answer to an item.

    Raises:
        ValueError: an aspect is missing or unknown, or its value is impossible.
    """
    aspects = study.aspects(item.question)
    if not isinstance(given, dict) or set(given) != set(aspects):
        raise ValueError(f"an answer says {', '.join(aspects)}, this one {given!r:.200}")
    for aspect, value in given.items():
        is_score = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 5
        if not (value in CHOICES if item.question == "pairs" else is_score):
            allowed = ", ".join(CHOICES) if item.question == "pairs" else "0, 1, 2, 3, 4, 5"
            raise ValueError(f"{aspect} is {value!r:.80}: one of {allowed} is needed")
    return given


def measured(item: Item, sides: Sequence[int], value: int | str) -> float:
    """An answer as a number: a score, or the preference for the item's first edit (1, alike 0.5, 0)."""
    if item.question == "scores":
        return float(value)
    if value == ALIKE:
        return 0.5
    return float(sides[0 if value == LEFT else 1] == 0)


@final
class AnswerFile:
    """The answers of a study. One process writes it at a time.

    Args:
        folder: of the study.
        study: whose items are answered.

    Raises:
        ValueError: a line that is no answer of this study.
    """

    def __init__(self, folder: Path, study: Study) -> None:
        self.path = folder / ANSWERS
        self.study = study
        self._sequences: dict[str, tuple[Showing, ...]] = {}
        self._last: dict[tuple[str, int], RaterAnswer] = {}
        for answer in read_lines(self.path):
            self._check_belongs(answer)
            self._last[answer.rater, answer.position] = answer

    def sequence(self, rater: str) -> tuple[Showing, ...]:
        """Everything that a rater is asked."""
        if rater not in self._sequences:
            if len(self._sequences) >= MOST_KEPT:
                self._sequences.clear()
            self._sequences[rater] = showings(self.study, rater)
        return self._sequences[rater]

    def of(self, rater: str, position: int) -> RaterAnswer | None:
        """The answer that counts, if there is one."""
        return self._last.get((rater, position))

    def number_of(self, rater: str) -> int:
        """How many positions a rater has answered."""
        return sum(name == rater for name, _ in self._last)

    def next_of(self, rater: str) -> int:
        """The first position without an answer; the length of the sequence when all have one."""
        places = range(len(self.sequence(rater)))
        return next((place for place in places if (rater, place) not in self._last), len(places))

    def raters(self) -> list[str]:
        """Who has answered, by name."""
        return sorted({rater for rater, _ in self._last})

    def counting(self) -> list[RaterAnswer]:
        """The answers that count, by rater and position."""
        return [self._last[key] for key in sorted(self._last)]

    def add(self, rater: str, position: int, given: Any, seconds: float, revision: int) -> bool:
        """Write an answer and return when it is on the disk.

        Returns:
            Whether it was written: not if the answer has this revision already, or not yet the one before.

        Raises:
            IndexError: no such position.
            ValueError: not an answer to this item.
            NotWrittenError: the disk is full.
        """
        showing = self.sequence(rater)[position]
        given, before = check_given(self.study, showing.item, given), self.of(rater, position)
        if revision != (0 if before is None else before.revision + 1):
            return False
        seconds = round(min(max(float(seconds), 0.0), LONGEST), 2)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        answer = RaterAnswer(
            rater, position, showing.item.id, showing.repeated, showing.sides, given, seconds, now, revision
        )
        repair_torn_line(self.path)
        append_lines(self.path, json.dumps(asdict(answer), ensure_ascii=False) + "\n")
        self._last[rater, position] = answer
        return True

    def _check_belongs(self, answer: RaterAnswer) -> None:
        asked = self.sequence(answer.rater)
        showing = asked[answer.position] if 0 <= answer.position < len(asked) else None
        if showing is None or (showing.item.id, showing.sides) != (answer.item, answer.sides):
            raise ValueError(
                f"{self.path} answers {answer.item} at place {answer.position} of {answer.rater!r}, where "
                "this study asks something else: it belongs to another study"
            )
        check_given(self.study, showing.item, answer.answer)


def read_lines(path: Path) -> Iterator[RaterAnswer]:
    """All lines; the rest that a killed server left after the last line end is none, and was never confirmed.

    Raises:
        ValueError: a line that is no answer.
    """
    if not path.exists():
        return
    whole = path.read_bytes().rpartition(b"\n")[0].decode("utf-8")
    for number, fields in json_lines(whole, str(path)):
        try:
            yield RaterAnswer(**{**fields, "sides": tuple(fields["sides"])})
        except (TypeError, KeyError) as error:
            raise ValueError(
                f"{path}:{number} is no answer ({error}); correct or delete this line"
            ) from error
