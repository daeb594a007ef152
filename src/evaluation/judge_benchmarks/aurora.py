"""AURORA-Bench's human ratings: about 2,000 edits by five models on 400 cases.

    python -m src.evaluate_judge judge_benchmark=aurora judge_benchmark.path=ratings.json scores=FILE

The path is a JSON or JSON-lines file of points, {prompt, input, gen, score, model}, or a folder with one; the
edit's id is its `gen`. Published: Spearman per editing model, plain mean ("plain"); EditReward's table also
has pairs, which the set's author makes by taking the larger score: every two edits of one case here. Cases of
one input form a cluster. Source: Krojer et al., "AURORA", NeurIPS 2024; its ratings are no part of its
repository.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np

from src.data.labelled_rows import RowFindings, digest_of_lines, text_of
from src.evaluation.judge_benchmarks.answer_files import number
from src.evaluation.judge_benchmarks.answers import Answers, Protocol
from src.evaluation.judge_benchmarks.benchmark import JudgeBenchmark
from src.evaluation.judge_benchmarks.metric import Fact, JudgeMetric, MeasureOptions
from src.evaluation.judge_benchmarks.pairs import MetricSource, numbered
from src.evaluation.judge_benchmarks.rated import RatingTable, rating_metrics
from src.evaluation.judge_benchmarks.sources import as_mapping, local_place, read_rows
from src.evaluation.judge_benchmarks.stored_pictures import picture_in
from src.records import Candidate, Case, Contest

REMEDY = "give judge_benchmark.pictures=DIR, in which the names of input and gen lie"


@final
@dataclass(frozen=True)
class RatedEdit:
    """A rated edit as a row has it."""

    id: str
    input: str
    instruction: str
    editor: str
    score: float

    @property
    def case(self) -> str:
        """Input and instruction."""
        return f"{self.input}|{self.instruction}"


@final
class Aurora(JudgeBenchmark):
    """Ratings of single edits.

    Args:
        path: see the module; or a hub id that has the file.
        pictures: a folder in which the pictures lie; None: that of the file.
        keep_repeats: of an edit that is rated twice and differently, count the last rating.
    """

    def __init__(self, path: str, pictures: str | None = None, keep_repeats: bool = False) -> None:
        self.path, self.keep_repeats = path, keep_repeats
        self.pictures = None if pictures is None else Path(pictures)

    @property
    def name(self) -> str:
        """See JudgeBenchmark."""
        return "aurora"

    @property
    def protocols(self) -> Sequence[Protocol]:
        """Edits were rated one by one."""
        return ("scores",)

    def contests(self) -> Sequence[Contest]:
        """The cases that have two edits or more."""
        by_case: dict[str, list[tuple[Case, Candidate]]] = {}
        for case, edit in self.edits():
            by_case.setdefault(case.id, []).append((case, edit))
        return [
            Contest(edits[0][0], tuple(edit for _, edit in edits), (), self.name)
            for edits in by_case.values()
            if len(edits) > 1
        ]

    def edits(self) -> Sequence[tuple[Case, Candidate]]:
        """All rated ones, in the order of cases and ids."""
        return [self._edit(edit) for edit in sorted(self._read[0], key=lambda edit: (edit.case, edit.id))]

    def findings(self) -> RowFindings:
        """See JudgeBenchmark."""
        return self._read[1]

    def pairs(self) -> Sequence[str]:
        """None."""
        return ()

    def answer_id(self, row: Mapping[str, Any], where: str) -> str | None:
        """Its gen or id."""
        return text_of(row, "gen" if "gen" in row else "id", where)

    def metrics(self, answers: Answers, options: MeasureOptions) -> list[JudgeMetric]:
        """Correlations, then pairs."""
        edits = self._edits
        return rating_metrics(
            MetricSource(self.name, "scores", options), edits.only(edits.asked(answers)), answers, "plain"
        )

    def unasked(self, answers: Answers) -> Sequence[str]:
        """See JudgeBenchmark."""
        return self._edits.unasked(answers)

    def facts(self) -> Sequence[Fact]:
        """None."""
        return ()

    @cached_property
    def _read(self) -> tuple[list[RatedEdit], RowFindings]:
        place = local_place(self.path, ("*.json", "*.jsonl"), "a JSON of ratings, or a folder with one")
        files = (
            [place] if place.is_file() else sorted(file for file in place.glob("*.json*") if file.is_file())
        )
        if len(files) != 1:
            names = ", ".join(file.name for file in files[:4]) or "none"
            raise ValueError(
                f"{place} holds {names}: give judge_benchmark.path=FILE, rows of "
                "{prompt, input, gen, score, model}"
            )
        return settled_ratings(
            [rated_edit(as_mapping(row, where), where) for where, row in read_rows(files[0])],
            self.keep_repeats,
        )

    @cached_property
    def _edits(self) -> RatingTable:
        edits = self._read[0]
        editors, cases = (sorted({getattr(edit, name) for edit in edits}) for name in ("editor", "case"))
        ids = [[f"no edit of {case} by {editor}" for case in cases] for editor in editors]
        human = np.full((len(editors), len(cases)), np.nan)
        for edit in edits:
            row, column = editors.index(edit.editor), cases.index(edit.case)
            ids[row][column], human[row, column] = edit.id, edit.score
        return RatingTable(
            editors, cases, ids, numbered([case.partition("|")[0] for case in cases]), {"overall": human}
        )

    def _edit(self, edit: RatedEdit) -> tuple[Case, Candidate]:
        folder = self.pictures if self.pictures is not None else Path(self.path).parent
        original = picture_in(folder, edit.input, REMEDY)
        case = Case(edit.case, original, edit.instruction, "", edit.input)
        picture = picture_in(folder, edit.id, REMEDY)
        return case, Candidate(edit.id, picture, edit.editor, {"overall": edit.score})


def rated_edit(row: Mapping[str, Any], where: str) -> RatedEdit:
    """A row of points. Raises ValueError."""
    score = number(row.get("score"), where)
    if np.isnan(score):
        raise ValueError(f"{where}: a rating needs a score, got {str(row.get('score'))[:40]!r}")
    id, input, prompt, model = (text_of(row, name, where) for name in ("gen", "input", "prompt", "model"))
    return RatedEdit(id, input, prompt, model, score)


def settled_ratings(edits: Sequence[RatedEdit], keep: bool) -> tuple[list[RatedEdit], RowFindings]:
    """The ratings that count, and what was found. Raises ValueError for two edits of one case and model."""
    by_id: dict[str, list[RatedEdit]] = {}
    for edit in edits:
        by_id.setdefault(edit.id, []).append(edit)
    repeated = [id for id, group in by_id.items() for _ in group[1:] if len(set(group)) == 1]
    wrong = [id for id, group in by_id.items() if len(set(group)) > 1]
    kept = [group[-1] for id, group in by_id.items() if keep or id not in wrong]
    taken: dict[tuple[str, str], str] = {}
    for edit in kept:
        if taken.setdefault((edit.editor, edit.case), edit.id) != edit.id:
            raise ValueError(
                f"{edit.id} and {taken[edit.editor, edit.case]} are both {edit.editor}'s edit "
                f"of {edit.case!r}: ratings are of one edit per model and case"
            )
    if not kept:
        raise ValueError("the benchmark has no ratings: give another path")
    digest = digest_of_lines(f"{edit.id}\t{edit.case}\t{edit.editor}\t{edit.score!r}" for edit in edits)
    notes = (
        f"{len({edit.editor for edit in kept})} editing models, {len({edit.case for edit in kept})} cases",
    )
    aside = frozenset(() if keep else wrong)
    return kept, RowFindings(len(edits), digest, repeated, {"": wrong} if wrong else {}, keep, notes, aside)
