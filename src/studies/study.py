"""What a human study asks: its items, as they are kept in study.json beside the pictures that raters see.

A study folder holds everything that raters are shown and nothing refers out of it, so it can be served,
continued and tabulated anywhere, and nothing that changes elsewhere changes it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, final

from src.files import write_atomically
from src.json_files import read_json
from src.records import PERSPECTIVES

STUDY, IMAGES = "study.json", "images"
FORMAT = 1
PICTURE = re.compile(r"[0-9a-f]{24}\.png")
"""Names of the pictures, the only files that are served."""

Question = Literal["pairs", "scores"]
QUESTIONS: tuple[Question, ...] = ("pairs", "scores")
OVERALL = "overall"
SCORED = tuple(perspective.value for perspective in PERSPECTIVES)
COMPARED = (OVERALL, *SCORED)
"""In what two edits can be compared."""

LEFT, ALIKE, RIGHT = CHOICES = ("left", "alike", "right")
"""The answers to a pair, by sides of the page."""

Range = tuple[float, float]


@final
@dataclass(frozen=True)
class Item:
    """One thing to rate: an edit, or two of the same case.

    Attributes:
        id: in this study.
        question: "scores" for one edit, "pairs" for two.
        case, photograph, edit_type, instruction: of the benchmark's case.
        original: file name of the picture before the edit.
        edits: file names, one or two.
        systems: whose edits they are; () for a gold item.
        expected: of a gold item, by aspect the right answers: a range of scores, or of the preference for the
            first edit (1; 0.5 alike; 0). Empty for other items.
    """

    id: str
    question: Question
    case: str
    photograph: str
    edit_type: str
    instruction: str
    original: str
    edits: tuple[str, ...]
    systems: tuple[str, ...] = ()
    expected: Mapping[str, Range] | None = None

    @property
    def is_gold(self) -> bool:
        """Whether the right answer is known."""
        return self.expected is not None


@final
@dataclass(frozen=True)
class Study:
    """A human study.

    Attributes:
        title: on the raters' page.
        benchmark: of the cases.
        systems: names of what is compared; they never reach the page.
        questions: in the order in which raters get them.
        compared: in what pairs are compared, some of COMPARED.
        seed: of orders and sides.
        repeats: items of each question that a rater gets twice.
        per_rater: items of each question that a rater gets, besides gold and repeats; None for all.
        items: all of them.
    """

    title: str
    benchmark: str
    systems: tuple[str, ...]
    questions: tuple[Question, ...]
    compared: tuple[str, ...]
    seed: int
    repeats: int
    per_rater: int | None
    items: tuple[Item, ...]

    def aspects(self, question: Question) -> tuple[str, ...]:
        """What is asked of an item."""
        return self.compared if question == "pairs" else SCORED

    def of(self, question: Question, gold: bool) -> tuple[Item, ...]:
        """The items of a question, gold or others."""
        return tuple(item for item in self.items if item.question == question and item.is_gold == gold)


def write_study(folder: Path, study: Study) -> None:
    """Write study.json. Raises NotWrittenError."""
    write_atomically(
        folder / STUDY, json.dumps({"format": FORMAT, **asdict(study)}, indent=1, ensure_ascii=False) + "\n"
    )


def is_study(folder: Path) -> bool:
    """Whether a folder holds a study."""
    return (folder / STUDY).is_file()


def read_study(folder: Path) -> Study:
    """Read study.json.

    Raises:
        FileNotFoundError: there is none.
        ValueError: not a study of this version.
    """
    path = folder / STUDY
    if not path.is_file():
        raise FileNotFoundError(
            f"no {path}; begin a study with python -m src.study runs=[A,B] output={folder}"
        )
    try:
        fields = dict(read_json(path))
        if fields.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        items = tuple(map(_item, fields.pop("items")))
        lists = {name: tuple(fields.pop(name)) for name in ("systems", "questions", "compared")}
        return Study(**{**fields, **lists, "items": items})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is no study of this version ({error}): give another folder") from error


def _item(fields: Mapping[str, Any]) -> Item:
    odd = [name for name in (fields["original"], *fields["edits"]) if not PICTURE.fullmatch(name)]
    if odd:
        raise ValueError(f"{odd[0]!r} is not the name of a picture in its folder {IMAGES}")
    expected = fields["expected"]
    ranges = None if expected is None else {aspect: tuple(ends) for aspect, ends in expected.items()}
    given = {**fields, "edits": tuple(fields["edits"]), "systems": tuple(fields["systems"])}
    return Item(**{**given, "expected": ranges})
