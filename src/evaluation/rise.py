"""RISEBench: 360 requests that need reasoning about time, causes, space or logic, scored by a judge.

    python -m src.evaluate checkpoint=runs/.../editor benchmark=rise benchmark.folder=DIR judge=gpt4o
    python -m src.evaluate edits=outputs/MODEL/images output=runs/model benchmark=rise benchmark.folder=DIR \
        judge=gpt4o

    DIR/datav2_total_w_subtask.json  [{"index", "category", "instruction", "image", "reference", ...}, ...]

An edit's file is `<category>/<index>.png`, as the release writes them. Protocol: three questions, each
answered by "Final Score: n": consistency C with the original, reasoning R about the edit (beside a reference
picture where there is one), plausibility V of the edit alone, 1 to 5; logical requests have C and R alone,
0 or 1, which count as 1 and 5. Score: 0.3 C + 0.5 R + 0.2 V; 0.8 R + 0.2 V where consistency doesn't count
(consistency_free); 0.3 C + 0.7 R if logical; R = 1 halves it, not below 1. Accuracy: the share of edits with
full marks throughout, the figure that is published.

The release contradicts itself, which are options here: its code leaves the question about consistency out
where consistency_free has any value, even false, and weights it out where it is true (`free_if`), and one
version calls an edit without that question never right (`free_can_be_right`). A logical request that is
consistency_free ends its program; here its consistency counts. Consistency is always asked here, for the
report's preserving. `official` counts as the release at 5f22651: an edit with
an unreadable answer is in no score and wrong in accuracy. Ours: it is a failure, unless another answer has
already lost marks; "4.5" is 4.5, where the release reads 4.

Source: PhoenixZ810/RISEBench, gpt_eval.py, which has no licence: read for its data's form and its arithmetic,
nothing is copied. The prompts are our words; `rubric.prompts` takes a prompts.json with the same names.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Bool

from src.data.rows import EncodedImage
from src.evaluation.benchmark import Benchmark, Reference
from src.evaluation.case_images import abbreviate
from src.evaluation.field_protocol import FieldCase, FieldProtocol, HeardCase, MeasureScale, Official
from src.evaluation.field_rows import check_names, check_problems, downloaded, is_inside, require_files
from src.evaluation.references import copy_of_input
from src.json_files import read_json
from src.judges.encoding import encode_for_judge
from src.judges.parsing import UnusableReply, check_finished, excerpt
from src.judges.question import Answer, AnswerSchema, Heard, ImagePart, Question, Reply
from src.judges.rubric import Rubric, encode_pair, prompt_digest, read_prompts, with_instruction
from src.records import Case, Feedback, Image, Triplet, Verdict

LOGICAL = "logical_reasoning"
CATEGORIES = ("temporal_reasoning", "causal_reasoning", "spatial_reasoning", LOGICAL)
CONSISTENCY, REASONING, PLAUSIBILITY = "consistency", "reasoning", "plausibility"
FULL = 5
RELEASED = re.compile(r"final scores?\*{0,2}:?\s*([\d*\s,]*)", re.IGNORECASE)
OURS = re.compile(r"final scores?\W{0,6}?(-?\d+(?:\.\d+)?)(?![\d.]*\d|\s*,\s*\d)", re.IGNORECASE)
NOT_ASKED = "RISEBench does not ask this of such a request"


@final
@dataclass(frozen=True)
class RiseFacts:
    """What a judge of an edit needs to know besides the pictures.

    Attributes:
        category: of the request.
        reference: what the right picture shows, in words; "" if a picture does.
        picture: the reference picture, or None.
        beside_original: whether reasoning is judged beside the original.
        free: whether consistency does not count.
    """

    category: str
    reference: str
    picture: EncodedImage | None
    beside_original: bool
    free: bool


@final
class Rise(Benchmark):
    """The rows of the list, in its order. Files are read when needed.

    Args:
        folder: holds the list; pictures are named from its folder.
        list: name of the list, looked for at any depth.
        rubric: the questions to a judge; None for the judge's own, which give no figures of RISEBench.
        free_if: consistency does not count if consistency_free is "given", with any value, or "true".
        free_can_be_right: whether an edit can be right where it does not count.
        copy_input: whether copying the input is judged as a row, too, at the price of another.
        judged_height: height in pixels of original and edit for the judge; None keeps the size of the edit.
    """

    def __init__(
        self,
        folder: str,
        list: str = "datav2_total_w_subtask.json",
        rubric: "RiseRubric | None" = None,
        free_if: str = "given",
        free_can_be_right: bool = True,
        copy_input: bool = False,
        judged_height: int | None = None,
    ) -> None:
        check_names("free_if", free_if, ("given", "true"))
        self.folder, self.list, self.free_if = folder, list, free_if
        self.rubric, self.copy_input, self.judged_height = rubric, copy_input, judged_height
        if rubric is not None:
            self.protocol = RiseProtocol(rubric, free_can_be_right)

    @property
    def name(self) -> str:
        """See Benchmark."""
        return "rise"

    def cases(self) -> Sequence[Case]:
        """The rows; the id is `<category>/<index>`.

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
        top = downloaded(self.folder, ["*.json", "*.png", "*.jpg", "*.jpeg"])
        path = next(iter(sorted(top.rglob(self.list))), None)
        if path is None:
            raise FileNotFoundError(f"no {self.list} in {top}; name the list with benchmark.list=NAME")
        rows = read_json(path)
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f'{path} is not of the form [{{"index", "category", ...}}, ...]')
        check_rows(path, rows)
        named = [row[name] for row in rows for name in ("image", "reference_img") if has(row, name)]
        require_files(str(path), [path.parent / name for name in named])
        if self.rubric is not None:
            self.rubric.know({id_of(row): facts_of(row, path.parent, self.free_if) for row in rows})
        return [
            Case(
                id_of(row),
                EncodedImage(str(path.parent / row["image"])),
                row["instruction"].strip(),
                row["category"],
                row["image"],
            )
            for row in rows
        ]


def id_of(row: Mapping[str, Any]) -> str:
    """The case's id, under which the release saves the edit."""
    return f"{row['category']}/{row['index']}"


def has(row: Mapping[str, Any], name: str) -> bool:
    """Whether a row has a value: null and NaN are none."""
    value = row.get(name)
    return value is not None and value == value and value != ""  # NaN is unlike itself


def check_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError for rows that can't be used, with all of them counted."""
    ids = Counter(f"{row.get('category')}/{row.get('index')}" for row in rows)
    pictures = [(row, name) for row in rows for name in ("image", "reference_img") if has(row, name)]
    check_problems(
        str(path),
        {
            f"rows are of none of the categories {', '.join(CATEGORIES)}": [
                f"{row.get('index')}: {row.get('category')!r}"
                for row in rows
                if row.get("category") not in CATEGORIES
            ],
            "rows have no instruction": [
                str(row.get("index"))
                for row in rows
                if not isinstance(row.get("instruction"), str) or not row["instruction"].strip()
            ],
            "rows have an index that names no file": [
                repr(row.get("index"))
                for row in rows
                if not has(row, "index") or set("/\\") & set(str(row["index"])) or str(row["index"]) == ".."
            ],
            "rows name no picture": [str(row.get("index")) for row in rows if not has(row, "image")],
            "rows name a picture elsewhere": [
                f"{row.get('index')}: {row[name]!r}" for row, name in pictures if not is_inside(row[name])
            ],
            "rows have no reference, in words or as a picture": [
                str(row.get("index"))
                for row in rows
                if not any(has(row, name) for name in ("reference", "reference_txt", "reference_img"))
            ],
            "ids occur twice": [id for id, count in ids.items() if count > 1],
        },
    )


def facts_of(row: Mapping[str, Any], place: Path, free_if: str) -> RiseFacts:
    """What a judge needs to know of a row."""
    words = row["reference_txt"] if has(row, "reference_txt") else row.get("reference")
    is_shown = row["category"] in ("spatial_reasoning", LOGICAL) and has(row, "reference_img")
    if row["category"] == LOGICAL and has(row, "reference_txt"):
        is_shown = False  # the release asks by the words where a logical request has both
    free = has(row, "consistency_free") if free_if == "given" else bool(row.get("consistency_free"))
    return RiseFacts(
        row["category"],
        "" if words is None or words != words else str(words),
        EncodedImage(str(place / row["reference_img"])) if is_shown else None,
        has(row, "reasoning_img"),
        free and row["category"] != LOGICAL,
    )


@final
class RiseRubric(Rubric):
    """Up to three questions per edit; see the head of this file.

    Args:
        prompts: a name without a slash is one of our versions ("rise_v1"); else a prompts.json of texts by
            the same names, or its folder, in which {quoted_instruction} or the release's {instruct} stands
            for the instruction and {reference} for the reference in words.
        max_pixels: of each picture sent.

    Raises:
        FileNotFoundError: no such prompts.
        ValueError: a text without a place for the instruction.
    """

    calls = 3

    def __init__(self, prompts: str = "rise_v1", max_pixels: int = 1_048_576) -> None:
        self.prompts = read_prompts(prompts, "{instruct}", without=(PLAUSIBILITY,))
        self.max_pixels = max_pixels
        self.facts: Mapping[str, RiseFacts] = {}
        self.fingerprint = f"rise prompts={prompt_digest(self.prompts)} max_pixels={max_pixels}"

    def know(self, facts: Mapping[str, RiseFacts]) -> None:
        """Take what a judge needs to know of the cases, by id; the fingerprint tells it."""
        told = [
            (id, each.reference, "" if each.picture is None else each.picture.where, each.free)
            for id, each in facts.items()
        ]
        digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
        self.facts = facts
        self.fingerprint = f"{self.fingerprint.partition(' facts=')[0]} facts={digest}"

    def questions(self, triplet: Triplet) -> list[Question]:
        facts, (original, edited) = self.facts[triplet.case.id], encode_pair(triplet, self.max_pixels)
        shown = original
        if facts.picture is not None:
            shown = encode_for_judge(facts.picture.decode(), None, self.max_pixels)
        logical, beside = facts.category == LOGICAL, "_beside_reference" if facts.picture is not None else ""
        text = "logical_consistency" if logical else f"{CONSISTENCY}{beside}"
        asked: list[tuple[str, str, tuple[ImagePart, ...]]] = [
            (CONSISTENCY, text, (original if logical else shown, edited))
        ]
        if beside or (facts.beside_original and not logical):
            asked.append((REASONING, f"{REASONING}{beside or '_beside_original'}", (shown, edited)))
        else:
            asked.append((REASONING, REASONING, (edited,)))
        if logical:
            asked[-1] = (REASONING, f"logical_{asked[-1][1]}", asked[-1][2])
        else:
            asked.append((PLAUSIBILITY, PLAUSIBILITY, (edited,)))
        schema = AnswerSchema(
            text="reasoning", max_score=1.0 if logical else float(FULL), nothing=None, free=True
        )
        return [
            Question(triplet.case.id, about, self._prompt(name, triplet, facts), pictures, schema)
            for about, name, pictures in asked
        ]

    def _prompt(self, name: str, triplet: Triplet, facts: RiseFacts) -> str:
        text = self.prompts[name].replace("{reference}", facts.reference)
        return with_instruction(text, triplet.case.instruction)

    def read(self, question: Question, reply: Reply) -> Answer:
        check_finished(reply)
        low, high = (0, 1) if question.schema.max_score == 1 else (1, FULL)
        return Answer((read_score(reply.text, low, high),), reply.text.strip(), None)

    def verdicts(self, answers: Sequence[Answer | str]) -> tuple[Verdict, Verdict, Verdict]:
        consistency, reasoning, *quality = answers  # plausibility is asked unless the request is logical
        is_logical = not quality
        return (
            verdict_of(reasoning, is_logical),
            verdict_of(consistency, is_logical),
            verdict_of(quality[0] if quality else NOT_ASKED, is_logical),
        )


def verdict_of(answer: Answer | str, is_logical: bool) -> Verdict:
    """An answer as a verdict; 0 and 1 of logical requests are 1 and 5."""
    if isinstance(answer, str):
        return Verdict(None, None, answer, "failed")
    return Verdict(marks(answer.scores[0], is_logical), None, answer.text, "ok")


def marks(score: float, is_logical: bool) -> float:
    """A score from 1 to 5: 0 and 1 of logical requests are its ends."""
    return 4 * min(score, 1.0) + 1 if is_logical else score


def read_score(text: str, low: int, high: int) -> float:
    """The one final score of a reply, as we read it.

    Raises:
        UnusableReply: none, several that differ, or one out of range.
    """
    found = {float(number) for number in OURS.findall(text)}
    if len(found) != 1:
        raise UnusableReply(f"one final score was asked for, got {len(found)}: {excerpt(text)}")
    (score,) = found
    if not low <= score <= high:
        raise UnusableReply(f"the score {score:g} lies outside {low} to {high}")
    return score


def released_numbers(text: str) -> list[int] | None:
    """The whole numbers after the first "Final Score" that has any, as the release reads them; None without
    one.
    """
    for found in RELEASED.findall(text):
        numbers = [int(number) for number in re.findall(r"\d+", found)]
        if numbers:
            return numbers
    return None


@final
@dataclass(frozen=True)
class Marks:
    """The marks of an edit, 1 to 5; None where one is missing.

    Attributes:
        category: of the request.
        consistency, reasoning, plausibility: the marks.
        free: whether consistency does not count.
    """

    category: str
    consistency: float | None
    reasoning: float | None
    plausibility: float | None
    free: bool = False

    @property
    def counted(self) -> tuple[float | None, ...]:
        """The marks that count."""
        if self.category == LOGICAL:
            return self.consistency, self.reasoning
        rest = (self.reasoning, self.plausibility)
        return rest if self.free else (self.consistency, *rest)


def rise_score(edit: Marks) -> float | None:
    """The weighted score of an edit, 1 to 5; None if a mark that counts is missing."""
    weights = (0.3, 0.7) if edit.category == LOGICAL else (0.8, 0.2) if edit.free else (0.3, 0.5, 0.2)
    known = [mark for mark in edit.counted if mark is not None]
    if len(known) < len(weights):
        return None
    score = sum(weight * mark for weight, mark in zip(weights, known, strict=True))
    return max(1.0, score / 2) if edit.reasoning == 1 else score


def is_right(edit: Marks, free_can_be_right: bool = True) -> bool | None:
    """Whether an edit has full marks throughout; None if nobody knows: a mark is missing and no other has
    lost anything.
    """
    known = [mark for mark in edit.counted if mark is not None]
    if any(mark != FULL for mark in known) or (edit.free and not free_can_be_right):
        return False
    return True if len(known) == len(edit.counted) else None


@final
class RiseProtocol(FieldProtocol):
    """See the head of this file.

    Args:
        rubric: the questions.
        free_can_be_right: see Rise.
    """

    failures = "wrong_in_accuracy_dropped_from_score"
    measures: Mapping[str, MeasureScale] = {
        "accuracy": MeasureScale(0.0, 1.0, "cases", "share"),
        "score": MeasureScale(1.0, float(FULL), "cases"),
    }
    notes = (
        "accuracy: share of edits with full marks in all that counts; score: the weighted marks, 1 to 5; "
        "means over edits.",
        "official counts an edit with an unreadable answer as wrong and leaves it out of the score, and "
        "reads 4.5 as 4; ours reads 4.5, and counts such an edit as failed unless another answer lost marks.",
    )

    def __init__(self, rubric: RiseRubric, free_can_be_right: bool) -> None:
        self.rubric: RiseRubric = rubric
        self.free_can_be_right = free_can_be_right

    def _edit(self, case: HeardCase, marks_of: Callable[[Heard, bool], float | None]) -> Marks:
        is_logical = case.edit_type == LOGICAL
        found = {each.about: marks_of(each, is_logical) for each in case.heard}
        free = self.rubric.facts[case.id].free
        return Marks(case.edit_type, found[CONSISTENCY], found[REASONING], found.get(PLAUSIBILITY), free)

    def official(self, cases: Sequence[HeardCase]) -> Official:
        """As the release counts."""
        rows, failed = [], []
        for case in cases:
            edit = self._edit(case, released_marks)
            score = rise_score(edit)
            if score is None:
                failed.append(case.id)
            rows.append((case.edit_type, score, is_right(edit, self.free_can_be_right) is True))
        return Official(
            released_figures(rows),
            (
                f"{len(failed)} edits with an answer that the release can't read are wrong in accuracy and "
                f"in no score ({abbreviate(failed)}; official)",
            )
            if failed
            else (),
        )

    def ours(self, case: HeardCase) -> FieldCase:
        """Score and accuracy of the answers as we read them."""
        edit = self._edit(case, our_marks)
        right = is_right(edit, self.free_can_be_right)
        scores = {"accuracy": None if right is None else float(right), "score": rise_score(edit)}
        return FieldCase(case.id, case.photograph, case.edit_type, ("all",), scores)


def released_marks(heard: Heard, is_logical: bool) -> float | None:
    """The mark of a reply as the release reads it; several numbers in one reply are none."""
    numbers = released_numbers(heard.replies[0].text) if heard.replies else None
    return None if numbers is None or len(numbers) != 1 else marks(float(numbers[0]), is_logical)


def our_marks(heard: Heard, is_logical: bool) -> float | None:
    """The mark of an answer; None for a failure."""
    answer = heard.answer
    return marks(answer.scores[0], is_logical) if isinstance(answer, Answer) else None


def released_figures(rows: Sequence[tuple[str, float | None, bool]]) -> dict[str, float]:
    """Means of score and accuracy over all edits and per category."""
    found = {}
    for category in (None, *dict.fromkeys(category for category, *_ in rows)):
        own = [(score, right) for each, score, right in rows if category in (None, each)]
        scores = [score for score, _ in own if score is not None]
        end = "" if category is None else f"/{category}"
        found[f"all/accuracy{end}"] = float(np.mean([right for _, right in own]))
        if scores:
            found[f"all/score{end}"] = float(np.mean(scores))
    return found
