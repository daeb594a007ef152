"""The answers of a study with what they are about: one Rating per aspect of an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from src.studies.answers import AnswerFile, RaterAnswer, measured
from src.studies.study import ALIKE, LEFT, Item, Study, read_study


@final
@dataclass(frozen=True)
class Rating:
    """One aspect of an answer that counts.

    Attributes:
        answer: it.
        item: what was rated.
        aspect: following, preserving, quality or overall.
        value: the score, or the preference for the item's first edit (1, alike 0.5, 0).
    """

    answer: RaterAnswer
    item: Item
    aspect: str
    value: float

    @property
    def is_right(self) -> bool | None:
        """Whether a gold answer is right; None where nothing is known of this aspect."""
        expected = None if self.item.expected is None else self.item.expected.get(self.aspect)
        return None if expected is None else expected[0] <= self.value <= expected[1]


@final
@dataclass(frozen=True)
class Ratings:
    """A study with its answers.

    Attributes:
        folder: of the study.
        study: it.
        all: every aspect of every answer that counts, by rater and place.
        asked: by rater, how many answers they are asked for.
    """

    folder: Path
    study: Study
    all: tuple[Rating, ...]
    asked: Mapping[str, int]

    def of(self, question: str, aspect: str) -> list[Rating]:
        """The ratings of systems: no gold, and of repeated items the first."""
        return [
            rating
            for rating in self.all
            if rating.item.question == question
            and rating.aspect == aspect
            and not rating.item.is_gold
            and not rating.answer.repeated
        ]

    def twice(self) -> list[tuple[Rating, Rating]]:
        """Both ratings of what a rater was asked twice."""
        first = {_key(rating): rating for rating in self.all if not rating.answer.repeated}
        return [
            (first[_key(rating)], rating)
            for rating in self.all
            if rating.answer.repeated and _key(rating) in first
        ]

    def gold(self) -> list[Rating]:
        """The ratings whose right answer is known."""
        return [rating for rating in self.all if rating.is_right is not None]

    def raters(self) -> list[str]:
        """Who has answered."""
        return list(self.asked)


def read_ratings(folder: Path) -> Ratings:
    """A study folder with its answers so far.

    Raises:
        FileNotFoundError: no study there.
        ValueError: a broken study, or a line of answers that can't be used.
    """
    study = read_study(folder)
    answers = AnswerFile(folder, study)
    items = {item.id: item for item in study.items}
    found = [
        Rating(answer, item := items[answer.item], aspect, measured(item, answer.sides, value))
        for answer in answers.counting()
        for aspect, value in answer.answer.items()
    ]
    asked = {rater: len(answers.sequence(rater)) for rater in answers.raters()}
    return Ratings(folder, study, tuple(found), asked)


def export_rows(ratings: Ratings) -> list[dict[str, object]]:
    """One row per answer that counts, with names instead of sides, for programs and spreadsheets."""
    by_place = {(rating.answer.rater, rating.answer.position): rating for rating in ratings.all}
    return [_row(rating.answer, rating.item) for rating in by_place.values()]


def _row(answer: RaterAnswer, item: Item) -> dict[str, object]:
    names = item.systems or tuple(f"gold {place + 1}" for place in range(len(item.edits)))
    shown = [names[side] for side in answer.sides]
    return {
        "rater": answer.rater,
        "place": answer.position + 1,
        "question": item.question,
        "case": item.case,
        "photograph": item.photograph,
        "edit_type": item.edit_type,
        "instruction": item.instruction,
        "gold": item.is_gold,
        "repeated": answer.repeated,
        "left": shown[0],
        "right": shown[1] if len(shown) > 1 else "",
        **{aspect: _said(item, shown, value) for aspect, value in answer.answer.items()},
        "seconds": answer.seconds,
        "at": answer.at,
        "changed": answer.revision,
    }


def _said(item: Item, shown: Sequence[str], value: int | str) -> int | str:
    """A score, or the name of the system that was preferred."""
    if item.question == "scores" or value == ALIKE:
        return value
    return shown[0 if value == LEFT else 1]


def _key(rating: Rating) -> tuple[str, str, str]:
    return rating.answer.rater, rating.item.id, rating.aspect
