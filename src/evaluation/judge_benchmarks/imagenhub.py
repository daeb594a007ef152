"""ImagenHub's human ratings of edits: three raters gave each edit SC (semantic consistency: following and
minimal editing, the worse of both) and PQ (perceptual quality), each 0, 0.5 or 1.

    python -m src.evaluate_judge judge_benchmark=imagenhub judge_benchmark.path=DIR scores=FILE

DIR holds `<task>_rater1.tsv`, ... at any depth: a row per picture (uid), a column per editing model, cells
"[SC, PQ]". Overall is sqrt(SC PQ) of each rater, then the mean over raters. For a judge that looks:
judge_benchmark.pictures=DIR with input/<uid>, <editor>/<uid> and dataset_lookup.json, as ImagenHub writes
them.

Published: Spearman per editing model, averaged over models. The average that VIEScore's notebook and
EditReward's table print is tanh(mean) ("as_published"); by its own name, Fisher's, it is tanh(mean(atanh))
("fisher"). Beside them pairs of two edits of one picture, by the overall ratings. Pictures are the clusters;
several of them are turns of one session of MagicBrush, which clusters=session takes together. Source: Ku et
al., "ImagenHub", ICLR 2024 (github.com/TIGER-AI-Lab/ImagenHub), and "VIEScore", ACL 2024.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from jaxtyping import Float

from src.data.labelled_rows import RowFindings, digest_of_lines, text_of
from src.evaluation.judge_benchmarks.answers import Answers, Protocol
from src.evaluation.judge_benchmarks.benchmark import JudgeBenchmark, edits_in
from src.evaluation.judge_benchmarks.metric import Fact, JudgeMetric, MeasureOptions
from src.evaluation.judge_benchmarks.pairs import MetricSource, numbered
from src.evaluation.judge_benchmarks.rated import RatingTable, rater_correlations, rating_metrics
from src.evaluation.judge_benchmarks.sources import local_place, read_rows
from src.evaluation.judge_benchmarks.stored_pictures import picture_in
from src.json_files import read_json
from src.records import Candidate, Case, Contest

CELL = re.compile(r"\[\s*([\d.]+)\s*,\s*([\d.]+)\s*\]")
REMEDY = "give judge_benchmark.pictures=DIR with input/<uid> and <editor>/<uid>"
ASPECTS = ("overall", "semantic", "quality")
NAMES = {"semantic": "SC", "quality": "PQ", "overall": "overall"}

MEANS: dict[str, dict[str, tuple[str, str, str]]] = {
    "Text-Guided_IE": {
        "MagicBrush": ("0.51", "0.65", "0.47"),
        "InstructPix2Pix": ("0.28", "0.70", "0.27"),
        "CycleDiffusion": ("0.17", "0.56", "0.14"),
        "DiffEdit": ("0.02", "0.23", "0.01"),
        "Imagic": ("0.00", "0.03", "0.00"),
        "Pix2PixZero": ("0.01", "0.48", "0.01"),
        "Prompt2prompt": ("0.17", "0.55", "0.15"),
        "SDEdit": ("0.04", "0.56", "0.04"),
        "Text2Live": ("0.02", "0.82", "0.02"),
    },
    "Mask-Guided_IE": {
        "BlendedDiffusion": ("0.11", "0.11", "0.05"),
        "Glide": ("0.20", "0.48", "0.16"),
        "SDInpaint": ("0.28", "0.27", "0.17"),
        "SDXLInpaint": ("0.49", "0.51", "0.37"),
    },
}
"""SC, PQ and overall of each editor, as AnalyzeHumanEval.ipynb prints them."""


@final
@dataclass(frozen=True, eq=False)
class RaterTable:
    """One rater's file.

    Attributes:
        name: of the file.
        cells: (editor, uid) -> (SC, PQ).
        repeated, contradictory: uids that stand twice, with the same and with other ratings; of the latter
            none counts.
    """

    name: str
    cells: Mapping[tuple[str, str], tuple[float, float]]
    repeated: Sequence[str] = ()
    contradictory: Sequence[str] = ()


@final
class ImagenHub(JudgeBenchmark):
    """The ratings of one task.

    Args:
        path: see the module; or a hub id that has the files.
        task: "Text-Guided_IE", "Mask-Guided_IE", "Subject-Driven_IE".
        pictures: see the module.
        clusters: "picture" or "session".
        keep_repeats: of two contradictory rows of a rater, both count as published tables have them: the
        last.
    """

    def __init__(
        self,
        path: str,
        task: str = "Text-Guided_IE",
        pictures: str | None = None,
        clusters: Literal["picture", "session"] = "picture",
        keep_repeats: bool = False,
    ) -> None:
        if clusters not in ("picture", "session"):
            raise ValueError(f"judge_benchmark.clusters={clusters}: picture or session")
        self.path, self.task, self.clusters, self.keep_repeats = path, task, clusters, keep_repeats
        self.pictures = None if pictures is None else Path(pictures)

    @property
    def name(self) -> str:
        """See JudgeBenchmark; the task is part of it."""
        return "imagenhub" if self.task == "Text-Guided_IE" else f"imagenhub_{self.task.lower()}"

    @property
    def protocols(self) -> Sequence[Protocol]:
        """Edits were rated one by one."""
        return ("scores",)

    def contests(self) -> Sequence[Contest]:
        """One contest per picture, `<task>/<uid>`, of all editors' edits, `<task>/<uid>/<editor>`."""
        return self._contests

    def edits(self) -> Sequence[tuple[Case, Candidate]]:
        """Those of the contests."""
        return edits_in(self.contests())

    def findings(self) -> RowFindings:
        """See JudgeBenchmark."""
        tables = self._tables
        rows = len({uid for table in tables for _, uid in table.cells})
        lines = [
            f"{table.name}\t{editor}\t{uid}\t{cell}"
            for table in tables
            for (editor, uid), cell in table.cells.items()
        ]
        twice = {table.name: list(table.contradictory) for table in tables if table.contradictory}
        sessions = len({session_of(uid) for uid in self._uids})
        return RowFindings(
            rows,
            digest_of_lines(lines),
            [f"{table.name} {uid}" for table in tables for uid in table.repeated],
            twice,
            self.keep_repeats,
            (
                f"{len(tables)} raters, {len(self._editors)} editing models, {rows} pictures of {sessions} "
                f"originals; intervals take {self.clusters}s for independent",
            ),
        )

    def pairs(self) -> Sequence[str]:
        """None."""
        return ()

    def answer_id(self, row: Mapping[str, Any], where: str) -> str | None:
        """VIEScore's task, model and uid, or an id."""
        if "uid" not in row or "model" not in row:
            return text_of(row, "id", where)
        if row.get("task", self.task) != self.task:
            return None
        return self._id(text_of(row, "model", where), text_of(row, "uid", where))

    def metrics(self, answers: Answers, options: MeasureOptions) -> list[JudgeMetric]:
        """Correlations of overall, SC and PQ; pairs."""
        kept = self._edits.asked(answers)
        return rating_metrics(
            MetricSource(self.name, "scores", options), self._edits.only(kept), answers, "as_published"
        )

    def unasked(self, answers: Answers) -> Sequence[str]:
        """See JudgeBenchmark."""
        return self._edits.unasked(answers)

    def facts(self) -> Sequence[Fact]:
        """The means that the notebook prints, and how well raters agree."""
        return [*self._means(), *self._agreement()]

    def _means(self) -> list[Fact]:
        means, printed = {aspect: self._human[aspect] for aspect in NAMES}, MEANS.get(self.task, {})
        return [
            Fact(
                f"{editor}, mean {NAMES[aspect]}",
                float(np.nanmean(means[aspect][row])),
                printed.get(editor, ("", "", ""))[place],
                source="ImagenHub, AnalyzeHumanEval.ipynb" if editor in printed else "",
            )
            for row, editor in enumerate(self._editors)
            for place, aspect in enumerate(NAMES)
        ]

    def _agreement(self) -> list[Fact]:
        found = rater_correlations(self._edits, "overall")
        if not found:
            return []
        published = self.task == "Text-Guided_IE"
        return [
            Fact(
                "one rater against the mean of the others, overall",
                found["as_published"],
                "41.84" if published else "",
                100.0,
                "EditReward's README, human-to-human" if published else "",
                found["fisher"],
                "published as tanh of a mean of correlations, twice; by Fisher's transform it is more",
            )
        ]

    @cached_property
    def _contests(self) -> list[Contest]:
        lookup = self._lookup
        return [self._contest(column, uid, lookup.get(uid, {})) for column, uid in enumerate(self._uids)]

    @cached_property
    def _tables(self) -> list[RaterTable]:
        place = local_place(self.path, ("*.tsv",), f"a folder with {self.task}_rater1.tsv")
        files = sorted(place.rglob(f"{self.task}_rater*.tsv*")) if place.is_dir() else [place]
        if not files:
            there = sorted({file.name.partition("_rater")[0] for file in place.rglob("*_rater*.tsv*")})
            hint = f"; there are {', '.join(there)}: judge_benchmark.task=" if there else ""
            raise FileNotFoundError(f"{place} has no {self.task}_rater1.tsv{hint}")
        return [read_rater(file, self.keep_repeats) for file in files]

    @cached_property
    def _editors(self) -> list[str]:
        return sorted({editor for table in self._tables for editor, _ in table.cells})

    @cached_property
    def _uids(self) -> list[str]:
        return sorted({uid for table in self._tables for _, uid in table.cells})

    @cached_property
    def _raters(self) -> dict[str, Float[np.ndarray, "raters editors cases"]]:
        missing = (math.nan, math.nan)
        cells = np.array(
            [
                [[table.cells.get((editor, uid), missing) for uid in self._uids] for editor in self._editors]
                for table in self._tables
            ]
        )
        semantic, quality = cells[..., 0], cells[..., 1]
        return {"overall": np.sqrt(semantic * quality), "semantic": semantic, "quality": quality}

    @cached_property
    def _human(self) -> dict[str, Float[np.ndarray, "editors cases"]]:
        return {aspect: mean_over_raters(self._raters[aspect]) for aspect in ASPECTS}

    @cached_property
    def _edits(self) -> RatingTable:
        named = session_of if self.clusters == "session" else str
        return RatingTable(
            self._editors,
            self._uids,
            [[self._id(editor, uid) for uid in self._uids] for editor in self._editors],
            numbered([named(uid) for uid in self._uids]),
            self._human,
            self._raters,
        )

    @cached_property
    def _lookup(self) -> dict[str, Mapping[str, Any]]:
        file = None if self.pictures is None else self.pictures / "dataset_lookup.json"
        rows = read_json(file) if file is not None and file.is_file() else []
        listed = rows.values() if isinstance(rows, dict) else rows
        return {str(row.get("uid", "")): row for row in listed if isinstance(row, dict)}

    def _id(self, editor: str, uid: str) -> str:
        return f"{self.task}/{uid}/{editor}"

    def _contest(self, column: int, uid: str, row: Mapping[str, Any]) -> Contest:
        instruction = str(row.get("instruction") or row.get("prompt") or "")
        original = picture_in(self.pictures, f"input/{uid}", REMEDY)
        candidates = [
            Candidate(
                self._id(editor, uid),
                picture_in(self.pictures, f"{editor}/{uid}", REMEDY),
                editor,
                {aspect: float(self._human[aspect][place, column]) for aspect in ASPECTS},
            )
            for place, editor in enumerate(self._editors)
        ]
        case = Case(f"{self.task}/{uid}", original, instruction, self.task, session_of(uid))
        return Contest(case, tuple(candidates), (), self.name)


def mean_over_raters(values: Float[np.ndarray, "raters editors cases"]) -> Float[np.ndarray, "editors cases"]:
    """The mean over the raters that there are; NaN where there is none."""
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    return np.where(counts == 0, np.nan, np.where(known, values, 0.0).sum(axis=0) / np.maximum(counts, 1))


def session_of(uid: str) -> str:
    """The original of a picture: sample_100081 of sample_100081_3.jpg."""
    return re.sub(r"_\d+(\.\w+)?$", "", uid)


def read_rater(file: Path, keep: bool) -> RaterTable:
    """One rater's table. Raises ValueError, naming row and column of a bad cell."""
    cells: dict[tuple[str, str], tuple[float, float]] = {}
    by_uid: dict[str, dict[str, tuple[float, float] | None]] = {}
    repeated, contradictory = [], []
    for where, row in read_rows(file):
        uid = text_of(row, "uid", where)
        found = {
            editor: cell_of(cell, f"{where}, column {editor}")
            for editor, cell in row.items()
            if editor != "uid"
        }
        if uid in by_uid:
            (repeated if by_uid[uid] == found else contradictory).append(uid)
        by_uid[uid] = found
    for uid, found in by_uid.items():
        for editor, cell in found.items() if keep or uid not in contradictory else ():
            if cell is not None:
                cells[editor, uid] = cell
    return RaterTable(file.name.partition(".")[0], cells, repeated, sorted(set(contradictory)))


def cell_of(cell: Any, where: str) -> tuple[float, float] | None:
    """The two ratings of a cell; None for an empty one. Raises ValueError."""
    if not str(cell).strip():
        return None
    match = CELL.fullmatch(str(cell).strip())
    if match is None or not all(0.0 <= float(part) <= 1.0 for part in match.groups()):
        raise ValueError(f"{where} holds {str(cell)[:40]!r}, and [SC, PQ] with 0, 0.5 or 1 is needed")
    return float(match[1]), float(match[2])
