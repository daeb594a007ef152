"""ImgEdit-Bench: 737 requests of 9 types ("basic"), 47 hard ones ("uge"), and sessions of two or three turns
("multi_turn").

    python -m src.evaluate checkpoint=runs/.../editor benchmark=imgedit benchmark.folder=DIR judge=gpt4o
    python -m src.evaluate edits=THEIRS output=runs/theirs benchmark=imgedit benchmark.folder=DIR judge=gpt4o

    DIR/.../basic_edit.json   {"<key>": {"id": "<picture>", "prompt": ..., "edit_type": "add"}, ...}
    DIR/.../UGE_edit.json     {"<key>": {"id": "<picture>", "prompt": ...}, ...}
    DIR/.../<kind>.json       {"<key>": {"id": "<picture>", "turn1": ..., "turn2": ...}, ...}

An edit's file is `<key>.png`, as the released scripts take them. Protocol: a judge sees both pictures and
writes three lines "Name: n" with whole numbers from 1 to 5, about the instruction, how natural the edit looks
and what was kept, by a rubric per type. `official` counts as the release: a line counts if it is "name: n",
so "4.5", "5/5" and "5." don't and a number after "Brief reasoning:" does; an edit without any counted line is
left out; the mean of an edit and of a type are rounded to two decimals, and the whole is the mean of the
types. Ours reads those forms, wants all three numbers from 1 to 5, and rounds nothing. The release has
sessions judged by people: they have the judge's own scores here, of the last turn, and no official figure.

Source: PKU-YuanGroup/ImgEdit, Benchmark, which has no licence: read for its data's form and its arithmetic,
nothing is copied. The prompts are our words; `rubric.prompts` takes its prompts.json.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Bool

from src.data.rows import EncodedImage
from src.evaluation.benchmark import Benchmark, Reference
from src.evaluation.case_images import abbreviate, natural_sort_key
from src.evaluation.field_protocol import FieldCase, FieldProtocol, HeardCase, MeasureScale, Official
from src.evaluation.field_rows import check_names, check_problems, downloaded, is_inside, require_files
from src.evaluation.references import copy_of_input
from src.json_files import read_json
from src.judges.parsing import UnusableReply, check_finished, excerpt
from src.judges.question import Answer, AnswerSchema, Question, Reply
from src.judges.rubric import Rubric, encode_pair, prompt_digest, read_prompts, with_instruction
from src.records import Case, Feedback, Image, Triplet, Turn, Verdict

TYPES = ("add", "adjust", "extract", "replace", "remove", "background", "style", "compose", "action")
BASIC, UGE, MULTI_TURN = "basic", "uge", "multi_turn"
FILES = {BASIC: ("basic_edit.json", "singleturn.json"), UGE: ("UGE_edit.json", "hard.json"), MULTI_TURN: ()}
ARCHIVE = "Benchmark.tar"
LOW, HIGH, COUNT = 1, 5, 3
LINE = re.compile(r"\W*([^:]*?)\W*:[*_\s]*(\d+(?:\.\d+)?)\s*(?:/\s*5|out of 5)?[*_.\s]*", re.IGNORECASE)
ABOUT = "scores"


@final
class ImgEdit(Benchmark):
    """The rows of a list, in its order. Files are read when needed.

    Args:
        folder: holds the lists, at any depth; or the hub id of the release, whose archive is downloaded.
        part: "basic", "uge" or "multi_turn".
        pictures: folder of the originals; None for that of the list.
        rubric: the questions to a judge; None for the judge's own, which give no figures of ImgEdit-Bench.
        copy_input: whether copying the input is judged as a row, too, at the price of another.
        judged_height: height in pixels of original and edit for the judge; None keeps the size of the edit.
    """

    def __init__(
        self,
        folder: str,
        part: str = BASIC,
        pictures: str | None = None,
        rubric: "ImgEditRubric | None" = None,
        copy_input: bool = False,
        judged_height: int | None = None,
    ) -> None:
        check_names("part", part, (BASIC, UGE, MULTI_TURN))
        self.folder, self.part, self.pictures = folder, part, pictures
        self.copy_input, self.judged_height = copy_input, judged_height
        if rubric is not None and part != MULTI_TURN:
            self.protocol = ImgEditProtocol(rubric, part)

    @property
    def name(self) -> str:
        """See Benchmark."""
        return "imgedit" if self.part == BASIC else f"imgedit_{self.part}"

    def cases(self) -> Sequence[Case]:
        """The rows; the id is the key.

        Raises:
            FileNotFoundError: no such list, or pictures that are missing.
            ValueError: rows that can't be used, all named.
        """
        return self._cases

    def ground_truth(self, case: Case) -> Image | None:
        """Unknown."""
        return None

    def failed_feedback(self, case: Case) -> Feedback | None:
        """Unknown."""
        return None

    def captions(self, case: Case) -> Mapping[str, str]:
        """None."""
        return {}

    def edit_region(self, case: Case) -> Bool[np.ndarray, "h w"] | None:
        """Unknown."""
        return None

    def mask(self, case: Case) -> None:
        """None: the protocol does not weight pixels."""

    def references(self) -> Sequence[Reference]:
        """Copying the input, if asked for."""
        return (copy_of_input(),) if self.copy_input else ()

    @cached_property
    def _cases(self) -> Sequence[Case]:
        lists = find_lists(downloaded(self.folder, [ARCHIVE, "*.json"]), self.part)
        cases, kinds = [], {path: read_list(path) for path in lists}
        check_keys(kinds)
        for path, rows in kinds.items():
            check_rows(path, rows, self.part)
            place = path.parent if self.pictures is None else Path(self.pictures)
            require_files(
                f"{path}, benchmark.pictures={place},", [place / row["id"] for row in rows.values()]
            )
            cases += [
                case_of(key, row, place, path.stem if self.part == MULTI_TURN else UGE)
                for key, row in rows.items()
            ]
        return cases


def find_lists(folder: Path, part: str) -> list[Path]:
    """The lists of a part.

    Raises:
        FileNotFoundError: there is none.
        ValueError: several, so that it is not clear which one is meant.
    """
    if part == MULTI_TURN:
        found = [path for path in sorted(folder.rglob("*.json")) if is_session_list(path)]
    else:
        found = [path for name in FILES[part] for path in sorted(folder.rglob(name))]
    if not found:
        wanted = " or ".join(FILES[part]) or "a JSON whose rows have turn1, turn2"
        packed = next(iter(sorted(folder.rglob(ARCHIVE))), None)
        hint = "" if packed is None else f": unpack {packed} (tar -xf) and give its folder"
        raise FileNotFoundError(f"no {wanted} in {folder} for benchmark.part={part}{hint}")
    if part != MULTI_TURN and len(found) > 1:
        raise ValueError(
            f"{folder} has several lists of benchmark.part={part}: {', '.join(map(str, found))}; give the "
            "folder of one"
        )
    return found


def is_session_list(path: Path) -> bool:
    """Whether a JSON's first row has turns."""
    content = read_json(path)
    first = next(iter(content.values()), None) if isinstance(content, dict) else None
    return isinstance(first, dict) and "turn1" in first


def read_list(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of a list by their keys. Raises ValueError."""
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(row, dict) for row in content.values()):
        raise ValueError(f'{path} is not of the form {{"<key>": {{"id": "<picture>", "prompt": ...}}, ...}}')
    if not content:
        raise ValueError(f"{path} lists no cases")
    return content


def turns_in(row: Mapping[str, Any]) -> list[Any]:
    """The instructions of a session, in order."""
    names = sorted((name for name in row if re.fullmatch(r"turn\d+", name)), key=natural_sort_key)
    return [row[name] for name in names]


def check_keys(lists: Mapping[Path, Mapping[str, Any]]) -> None:
    """Raise ValueError for keys that can't name an edit's file, or that two lists have."""
    keys = [key for rows in lists.values() for key in rows]
    check_problems(
        ", ".join(map(str, lists)),
        {
            "keys name no file": [repr(key) for key in keys if set("/\\") & set(key) or key in ("", "..")],
            "keys stand in two lists": [key for key, count in Counter(keys).items() if count > 1],
        },
    )


def check_rows(path: Path, rows: Mapping[str, Mapping[str, Any]], part: str) -> None:
    """Raise ValueError for rows that can't be used, with all of them counted."""

    def texts(row: Mapping[str, Any]) -> list[Any]:
        return turns_in(row) if part == MULTI_TURN else [row.get("prompt")]

    check_problems(
        str(path),
        {
            "rows have no instruction": [
                key
                for key, row in rows.items()
                if not texts(row) or not all(isinstance(each, str) and each.strip() for each in texts(row))
            ],
            "rows name no picture below the folder": [
                f"{key}: {row.get('id')!r}" for key, row in rows.items() if not is_inside(row.get("id"))
            ],
            f"rows are of none of the types {', '.join(TYPES)}": [
                f"{key}: {row.get('edit_type')!r}"
                for key, row in rows.items()
                if part == BASIC and row.get("edit_type") not in TYPES
            ],
        },
    )


def case_of(key: str, row: Mapping[str, Any], place: Path, kind: str) -> Case:
    """The case of a row; edits of one picture form a cluster, and a session is one case."""
    picture = EncodedImage(str(place / row["id"]))
    texts = [text.strip() for text in turns_in(row)]
    if not texts:
        return Case(key, picture, row["prompt"].strip(), row.get("edit_type", kind), row["id"])
    names = [*(f"{key}_turn{number}" for number in range(1, len(texts))), key]
    turns = tuple(Turn(name, text) for name, text in zip(names, texts, strict=True))
    whole = " Then: ".join(texts)
    return Case(key, picture, whole, kind, row["id"], turns)


@final
class ImgEditRubric(Rubric):
    """One question per edit, whose answer is three lines with a number each.

    Args:
        prompts: a name without a slash is one of our versions ("imgedit_v1"); else a prompts.json of {type:
            text}, or its folder, in which {quoted_instruction} or the release's <edit_prompt> stands for the
            instruction; "uge" is the text of that part.
        max_pixels: of each picture sent.

    Raises:
        FileNotFoundError: no such prompts.
        ValueError: a text without a place for the instruction.
    """

    calls = 1

    def __init__(self, prompts: str = "imgedit_v1", max_pixels: int = 1_048_576) -> None:
        self.prompts = read_prompts(prompts, "<edit_prompt>")
        self.max_pixels = max_pixels
        self.schema = AnswerSchema(
            text="reasoning", count=COUNT, max_score=float(HIGH), nothing=None, free=True
        )
        self.fingerprint = f"imgedit prompts={prompt_digest(self.prompts)} max_pixels={max_pixels}"

    def questions(self, triplet: Triplet) -> list[Question]:
        kind = triplet.case.edit_type
        if kind not in self.prompts:
            raise ValueError(
                f"benchmark.rubric.prompts has no text for edits of type {kind!r}, it has "
                f"{', '.join(self.prompts)}"
            )
        prompt = with_instruction(self.prompts[kind], triplet.case.instruction)
        pictures = encode_pair(triplet, self.max_pixels)
        return [Question(triplet.case.id, ABOUT, prompt, pictures, self.schema)]

    def read(self, question: Question, reply: Reply) -> Answer:
        check_finished(reply)
        return Answer(read_lines(reply.text), reply.text.strip(), None)

    def verdicts(self, answers: Sequence[Answer | str]) -> tuple[Verdict, Verdict, Verdict]:
        (answer,) = answers
        if isinstance(answer, str):
            failed = Verdict(None, None, answer, "failed")
            return failed, failed, failed
        instruction, natural, kept = (
            Verdict(score, None, answer.text, "repaired" if answer.repaired else "ok")
            for score in answer.scores
        )
        return instruction, kept, natural


def read_lines(text: str) -> tuple[float, ...]:
    """The three numbers of a reply as we read it: "4.5", "5/5", "**5**" and "5." count, a number among the
    reasons doesn't.

    Raises:
        UnusableReply: not three of them, or one beyond 1 to 5.
    """
    found = [match for line in text.splitlines() if (match := LINE.fullmatch(line)) is not None]
    numbers = tuple(float(match[2]) for match in found if "reason" not in match[1].lower())
    if len(numbers) != COUNT:
        raise UnusableReply(
            f"{COUNT} lines with a number were asked for, got {len(numbers)}: {excerpt(text)}"
        )
    if not all(LOW <= number <= HIGH for number in numbers):
        raise UnusableReply(f"scores {numbers} are not all from {LOW} to {HIGH}")
    return numbers


@final
class ImgEditProtocol(FieldProtocol):
    """See the head of this file.

    Args:
        rubric: the question.
        part: of the benchmark.
    """

    failures = "dropped"
    measures: Mapping[str, MeasureScale] = {"score": MeasureScale(float(LOW), float(HIGH))}
    notes = (
        "score: the mean of an edit's three numbers, 1 to 5; the mean of the means of types.",
        'official counts lines that end in ": n" with a whole number and nothing else, leaves out an edit '
        "without any, and rounds edits and types to two decimals; ours reads 4.5, 5/5 and 5., wants three "
        "numbers from 1 to 5, counts an edit without them as failed, and rounds nothing.",
    )

    def __init__(self, rubric: ImgEditRubric, part: str) -> None:
        self.rubric, self.part = rubric, part

    def official(self, cases: Sequence[HeardCase]) -> Official:
        """As the release counts."""
        means, dropped = dict[str, list[float]](), []
        for case in cases:
            replies = case.about(ABOUT).replies
            mean = released_mean(replies[0].text) if replies else None
            if mean is None:
                dropped.append(case.id)
            else:
                means.setdefault(case.edit_type, []).append(mean)
        note = (
            f"{len(dropped)} edits without a number that the release reads were left out "
            f"({abbreviate(dropped)}; official)"
        )
        return Official(self._figures(means), (note,) if dropped else ())

    def _figures(self, means: Mapping[str, Sequence[float]]) -> dict[str, float]:
        types = {kind: round(sum(values) / len(values), 2) for kind, values in means.items()}
        key = f"{self.part}/score"
        whole = {key: sum(types.values()) / len(types)} if types else {}
        return whole | {f"{key}/{kind}": mean for kind, mean in types.items()}

    def ours(self, case: HeardCase) -> FieldCase:
        """The mean of the three numbers."""
        answer = case.about(ABOUT).answer
        mean = sum(answer.scores) / COUNT if isinstance(answer, Answer) else None
        return FieldCase(case.id, case.photograph, case.edit_type, (self.part,), {"score": mean})


def released_mean(text: str) -> float | None:
    """The mean of an edit's numbers as the release reads them, rounded to two decimals; None without any."""
    lines = [line.strip().split(": ") for line in text.splitlines()]
    numbers = [int(line[1]) for line in lines if len(line) == 2 and line[1].isdigit()]
    return round(sum(numbers) / len(numbers), 2) if numbers else None
