"""GEdit-Bench: 606 requests of users in English and 606 in Chinese, of 11 tasks, scored by a judge.

    python -m src.evaluate checkpoint=runs/.../editor benchmark=gedit judge=gpt4o
    python -m src.evaluate edits=results/MODEL/fullset output=runs/model benchmark=gedit judge=gpt4o

The folder is the hub's dataset, its parquet files, or a saved table, with the columns task_type, key,
instruction, instruction_language (en, cn), input_image, Intersection_exist. An edit's file is
`<task>/<language>/<key>.png`, as the released scripts write below fullset/, so a folder of theirs can be
judged as it is.

Protocol: VIEScore. A judge sees both pictures, the edit at the original's size, and gives two numbers from 0
to 10, of which SC is the lower; then the edit alone, PQ the lower of two; O = sqrt(SC PQ) of each edit. Means
per task, then over the tasks; of all cases ("full") and of those that every model of the paper answered
("intersection"). `official` counts as the release: a reply that can't be read becomes a number drawn at
random, and an edit whose call failed is left out. The release's judge "gpt4o" is gpt-4.1, and its `--language
zh` matches no row, as the data say cn. Published figures of one model differ by 0.1 between sources.

Source: stepfun-ai/Step1X-Edit, GEdit-Bench (Apache-2.0), read on 2026-12-01.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, final

import numpy as np
from jaxtyping import Bool

from src.data.rows import EncodedImage
from src.evaluation.benchmark import Benchmark, Reference
from src.evaluation.field_protocol import FieldCase, FieldProtocol, HeardCase, MeasureScale, Official
from src.evaluation.field_rows import check_names, check_problems, columns_of, field_table, pictures_of
from src.evaluation.references import copy_of_input
from src.evaluation.viescore import HIGHEST, released_means, released_notes, released_score, root_of
from src.judges.editscore import NAMES, EditScoreRubric
from src.judges.question import Answer
from src.records import Case, Feedback, Image

TASKS = (
    *("background_change", "color_alter", "material_alter", "motion_change", "ps_human", "style_change"),
    *("subject-add", "subject-remove", "subject-replace", "text_change", "tone_transfer"),
)
LANGUAGES = ("en", "cn")
FULL, INTERSECTION = "full", "intersection"
COLUMNS = ("task_type", "key", "instruction", "instruction_language", "Intersection_exist")
NOTES = (
    "SC, PQ, O: semantic consistency, perceptual quality and sqrt(SC PQ) of each edit, 0 to 10; means of the "
    "means of tasks.",
    "official counts a reply that can't be read as a number drawn at random and leaves out an edit whose "
    "call failed; ours counts neither, and its bounds say what they could change.",
)


@final
class GEdit(Benchmark):
    """The rows of the table, in its order. Pictures are kept as encoded files in memory, each once: about
    half a gigabyte.

    Args:
        folder: see the head of this file.
        language: "en", "cn" or "both".
        part: "full", or "intersection" for its cases alone; figures of full are of what is evaluated.
        picture: column of the original: "input_image", as judged by the release, or "input_image_raw".
        split: of the table.
        rubric: the questions to a judge; None for the judge's own, which give no figures of GEdit-Bench.
        copy_input: whether copying the input is judged as a row, too, at the price of another.
        judged_height: height in pixels of original and edit for the judge; None keeps the size of the edit.
    """

    def __init__(
        self,
        folder: str = "stepfun-ai/GEdit-Bench",
        language: str = "both",
        part: str = "full",
        picture: str = "input_image",
        split: str = "train",
        rubric: EditScoreRubric | None = None,
        copy_input: bool = False,
        judged_height: int | None = None,
    ) -> None:
        check_names("language", language, (*LANGUAGES, "both"))
        check_names("part", part, (FULL, INTERSECTION))
        check_names("picture", picture, ("input_image", "input_image_raw"))
        self.folder, self.language, self.part = folder, language, part
        self.picture, self.split, self.rubric = picture, split, rubric
        self.copy_input, self.judged_height = copy_input, judged_height
        self._intersection: dict[str, bool] = {}
        if rubric is not None:
            self.protocol = GEditProtocol(rubric, self._intersection)

    @property
    def name(self) -> str:
        """See Benchmark."""
        return "gedit"

    def cases(self) -> Sequence[Case]:
        """The rows; the id is `<task>/<language>/<key>`.

        Raises:
            FileNotFoundError: no such table.
            ValueError: rows that can't be used, all named; no row of the language.
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
        table = field_table(self.folder, self.split, COLUMNS, (self.picture,))
        rows = columns_of(table, COLUMNS)
        check_rows(self.folder, rows)
        asked = [number for number, row in enumerate(rows) if self._is_asked(row)]
        if not asked:
            there = sorted({row["instruction_language"] for row in rows})
            raise ValueError(
                f"{self.folder} has no case of benchmark.language={self.language} "
                f"benchmark.part={self.part}; its languages are {', '.join(there)}"
            )
        pictures = pictures_of(table, self.picture, asked, self.folder)
        self._intersection.update({id_of(rows[number]): is_common(rows[number]) for number in asked})
        return [case_of(rows[number], pictures[number]) for number in asked]

    def _is_asked(self, row: Mapping[str, Any]) -> bool:
        return self.language in (row["instruction_language"], "both") and (
            self.part == FULL or is_common(row)
        )


def is_common(row: Mapping[str, Any]) -> bool:
    """Whether a row is in the intersection."""
    return bool(row["Intersection_exist"])


def id_of(row: Mapping[str, Any]) -> str:
    """The case's id, under which the release saves the edit."""
    return f"{row['task_type']}/{row['instruction_language']}/{row['key']}"


def case_of(row: Mapping[str, Any], picture: EncodedImage) -> Case:
    """The case of a row; edits of one picture, in either language, form a cluster."""
    return Case(id_of(row), picture, row["instruction"].strip(), row["task_type"], picture.digest())


def check_rows(where: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError for rows that can't be used, with all of them counted."""
    twice = Counter(map(id_of, rows))
    check_problems(
        where,
        {
            f"rows are of none of the tasks {', '.join(TASKS)}": [
                f"{row['key']}: {row['task_type']!r}" for row in rows if row["task_type"] not in TASKS
            ],
            f"rows are in none of the languages {', '.join(LANGUAGES)}": [
                f"{row['key']}: {row['instruction_language']!r}"
                for row in rows
                if row["instruction_language"] not in LANGUAGES
            ],
            "rows have no instruction": [
                id_of(row) for row in rows if not str(row["instruction"] or "").strip()
            ],
            "keys name no file": [
                repr(row["key"])
                for row in rows
                if not isinstance(row["key"], str) or set("/\\") & set(row["key"]) or row["key"] in ("", "..")
            ],
            "rows don't say whether they are in the intersection": [
                id_of(row) for row in rows if not isinstance(row["Intersection_exist"], bool)
            ],
            "ids occur twice": [id for id, count in twice.items() if count > 1],
        },
    )


@final
class GEditProtocol(FieldProtocol):
    """See the head of this file.

    Args:
        rubric: on a scale of 10, one pass.
        intersection: by case id, whether it is in the intersection; filled when the cases are read.

    Raises:
        ValueError: a rubric on another scale, or of several passes.
    """

    failures = "guessed"
    measures: Mapping[str, MeasureScale] = dict.fromkeys(("O", "SC", "PQ"), MeasureScale(0.0, float(HIGHEST)))
    notes = NOTES

    def __init__(self, rubric: EditScoreRubric, intersection: Mapping[str, bool]) -> None:
        if rubric.schema.max_score != HIGHEST or rubric.repeats != 1:
            raise ValueError(
                f"benchmark.rubric.score_range={rubric.schema.max_score:g} repeats={rubric.repeats}: "
                f"GEdit-Bench asks for scores from 0 to {HIGHEST}, once: say score_range={HIGHEST} repeats=1"
            )
        self.rubric, self.intersection = rubric, intersection

    def parts(self, id: str) -> tuple[str, ...]:
        """The parts of a case."""
        language = id.split("/")[1]
        return tuple(
            f"{language}/{part}" for part in ((FULL, INTERSECTION) if self.intersection[id] else (FULL,))
        )

    def official(self, cases: Sequence[HeardCase]) -> Official:
        """As the release counts."""
        dropped = [case.id for case in cases if any(not heard.replies for heard in case.heard)]
        rows, guessed = [], 0
        for case in cases:
            if case.id in dropped:
                continue
            (semantic, drawn), (quality, also) = (released_score(case.about(name), case.id) for name in NAMES)
            guessed += drawn + also
            scores = {"SC": semantic, "PQ": quality, "O": root_of(semantic, quality)}
            rows.append((self.parts(case.id), case.edit_type, scores))
        return Official(released_means(rows), released_notes(guessed, dropped))

    def ours(self, case: HeardCase) -> FieldCase:
        """A failed reply fails what depends on it: O needs both."""
        semantic, quality = (case.about(name).answer for name in NAMES)
        low = min(semantic.scores) if isinstance(semantic, Answer) else None
        fine = min(quality.scores) if isinstance(quality, Answer) else None
        both = None if low is None or fine is None else root_of(low, fine)
        scores = {"O": both, "SC": low, "PQ": fine}
        return FieldCase(case.id, case.photograph, case.edit_type, self.parts(case.id), scores)
