"""Gold items: their right answers are known, so that they show who rates with care.

From the benchmark: the right edit, where it knows one, follows the instruction (4 or 5), and the unedited
input does not (0 or 1) while it preserves everything (4 or 5); of the two together the right edit is better.
From a file of yours, JSON lines, paths relative to it:

    {"question": "scores", "case": "k1", "edited": "bad.png", "quality": [0, 1]}
    {"question": "pairs", "case": "k1", "better": "good.png", "worse": "bad.png"}
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from src.data.rows import EncodedImage
from src.evaluation.benchmark import Benchmark
from src.json_files import json_lines, read_text
from src.records import MAX_SCORE, Case, Image
from src.studies.study import OVERALL, SCORED, Question, Range

RIGHT_EDIT: Mapping[str, Range] = {"following": (4.0, MAX_SCORE)}
INPUT: Mapping[str, Range] = {"following": (0.0, 1.0), "preserving": (4.0, MAX_SCORE)}
FIRST_IS_BETTER: Range = (1.0, 1.0)


@final
@dataclass(frozen=True)
class Gold:
    """A gold item before its pictures are written.

    Attributes:
        question: "scores" of one picture, or "pairs" of two, the better one first.
        case: of the benchmark.
        pictures: one or two.
        expected: the right answers.
    """

    question: Question
    case: Case
    pictures: tuple[Image | EncodedImage, ...]
    expected: Mapping[str, Range]


def known_gold(
    benchmark: Benchmark, cases: Sequence[Case], number: int, question: Question, compared: Sequence[str]
) -> list[Gold]:
    """Gold items that the benchmark's ground truth gives, fewer where it knows too little.

    Args:
        benchmark: knows the right edits.
        cases: those to take, the first ones first.
        number: of items.
        question: of the items.
        compared: in what pairs are compared.
    """
    better = {aspect: FIRST_IS_BETTER for aspect in compared if aspect in (OVERALL, "following")}
    found: list[Gold] = []
    for case in cases:
        if len(found) == number:
            break
        answer = benchmark.ground_truth(case)
        if question == "scores" and (answer is None or len(found) % 2 == 1):
            found.append(Gold(question, case, (case.original,), INPUT))
        elif question == "scores" and answer is not None:
            found.append(Gold(question, case, (answer,), RIGHT_EDIT))
        elif answer is not None and better:
            found.append(Gold(question, case, (answer, case.original), better))
    return found


def gold_of_file(path: Path, cases: Sequence[Case], compared: Sequence[str]) -> list[Gold]:
    """The gold items of a file.

    Raises:
        FileNotFoundError: no such file, or no such picture.
        ValueError: a line that can't be used, with its number.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"gold.file={path}: no such file; it holds JSON lines, see src/studies/gold.py"
        )
    by_id = {case.id: case for case in cases}
    return [
        _gold(fields, by_id, path, f"{path}:{line}", compared)
        for line, fields in json_lines(read_text(path), str(path))
    ]


def _gold(fields: Any, cases: Mapping[str, Case], path: Path, where: str, compared: Sequence[str]) -> Gold:
    question = fields.get("question") if isinstance(fields, dict) else None
    if question not in ("pairs", "scores"):
        raise ValueError(f'{where} needs "question": "pairs" or "scores", has {question!r}')
    if fields.get("case") not in cases:
        raise ValueError(f"{where}: the benchmark has no case {fields.get('case')!r}")
    names = ("better", "worse") if question == "pairs" else ("edited",)
    expected = (
        dict.fromkeys(compared, FIRST_IS_BETTER)
        if question == "pairs"
        else dict(_ranges({name: fields[name] for name in SCORED if name in fields}, where))
    )
    unknown = set(fields) - {"question", "case", *names, *(SCORED if question == "scores" else ())}
    if unknown or not expected:
        what = (
            f"knows no {sorted(unknown)[0]!r}"
            if unknown
            else f"needs a right answer in one of {', '.join(SCORED)}"
        )
        raise ValueError(f"{where}: a gold item of {question} {what}; see src/studies/gold.py")
    pictures = tuple(_picture(fields.get(name), name, path, where) for name in names)
    return Gold(question, cases[fields["case"]], pictures, expected)


def _ranges(given: Mapping[str, Any], where: str) -> Iterator[tuple[str, Range]]:
    for name, value in given.items():
        ends = [value, value] if isinstance(value, int | float) else value
        if (
            not isinstance(ends, list)
            or len(ends) != 2
            or not all(isinstance(end, int | float) for end in ends)
            or not 0 <= ends[0] <= ends[1] <= MAX_SCORE
        ):
            raise ValueError(
                f"{where}: {name} is {value!r}: a score, or [lowest, highest], from 0 to 5 is needed"
            )
        yield name, (float(ends[0]), float(ends[1]))


def _picture(name: Any, key: str, path: Path, where: str) -> EncodedImage:
    if not isinstance(name, str) or not (path.parent / name).is_file():
        raise FileNotFoundError(f"{where}: no picture {key}={name!r} beside {path.parent}")
    return EncodedImage(str(path.parent / name))
