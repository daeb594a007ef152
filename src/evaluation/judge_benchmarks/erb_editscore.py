"""EditReward-Bench of EditScore: 3,072 pairs of edits of 13 tasks, each compared in one of three dimensions.

    python -m src.evaluate_judge judge_benchmark=erb_editscore judge=editscore
    python -m src.evaluate_judge judge_benchmark=erb_editscore judge_benchmark.path=bench.jsonl scores=FILE

The path is the hub's dataset, a saved table, or a JSON-lines file of its rows without pictures: {key:
[winner, loser], instruction, task_type, dimension}. Each row is compared in its own dimension alone:
prompt_following with a judge's following, consistency with its preserving, overall with its overall score.
Published: the share of right pairs per task, a tie being wrong, then the unweighted mean over tasks. An
edit's id is its part of the key; a row's is `<dimension>/<winner>/<loser>`, in the order of the two names.
Rows of one instruction and picture form a cluster: losers recur. Not TIGER's set of the same name
(erb_tiger). Source: EditScore (github.com/VectorSpaceLab/EditScore); the set is Apache-2.0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float, Int

from src.data.labelled_rows import LabelledRow, RowFindings, settle, text_of
from src.data.table_picture import TablePicture
from src.evaluation.judge_benchmarks.answers import Answers, Protocol
from src.evaluation.judge_benchmarks.benchmark import JudgeBenchmark, edits_in
from src.evaluation.judge_benchmarks.metric import Fact, JudgeMetric, MeasureOptions
from src.evaluation.judge_benchmarks.pairs import (
    RULES,
    MetricSource,
    PairSet,
    margins_of,
    pair_metric,
    with_contested,
    within_shares,
)
from src.evaluation.judge_benchmarks.sources import as_mapping, is_table, open_rows, read_rows
from src.evaluation.judge_benchmarks.stored_pictures import MissingPicture
from src.evaluation.judge_benchmarks.voted import edit_ids, pair_set
from src.evaluation.preference_metrics import bounds_of
from src.evaluation.statistics import Interval, jackknife_interval
from src.records import Candidate, Case, Contest, Ranking, StoredImage

DIMENSIONS = {"prompt_following": "following", "consistency": "preserving", "overall": "overall"}
GROUPS = {
    "subject": ("subject-add", "subject-remove", "subject-replace"),
    "appearance": ("color_alter", "material_alter", "style_change", "tone_transfer"),
    "scene": ("background_change", "extract"),
    "advanced": ("ps_human", "text_change", "motion_change", "compose"),
}
TASKS = tuple(task for tasks in GROUPS.values() for task in tasks)
REMEDY = "give judge_benchmark.path=EditScore/EditReward-Bench"


@final
class ERBEditScore(JudgeBenchmark):
    """Rows in the order of their ids.

    Args:
        path: see the module.
        split: of the hub's dataset.
        keep_repeats: count every row as it stands.
    """

    def __init__(self, path: str, split: str = "train", keep_repeats: bool = False) -> None:
        self.path, self.split, self.keep_repeats = path, split, keep_repeats

    @property
    def name(self) -> str:
        """See JudgeBenchmark."""
        return "erb_editscore"

    @property
    def protocols(self) -> Sequence[Protocol]:
        """Both."""
        return ("scores", "verdicts")

    def contests(self) -> Sequence[Contest]:
        """Rows as contests of two edits; an edit stands in several."""
        return self._read[0]

    def edits(self) -> Sequence[tuple[Case, Candidate]]:
        """Those of the contests."""
        return edits_in(self.contests())

    def findings(self) -> RowFindings:
        """See JudgeBenchmark."""
        return self._read[1]

    def pairs(self) -> Sequence[str]:
        """The rows."""
        return [contest.case.id for contest in self.contests()]

    def answer_id(self, row: Mapping[str, Any], where: str) -> str | None:
        """Its id."""
        return text_of(row, "id", where)

    def metrics(self, answers: Answers, options: MeasureOptions) -> list[JudgeMetric]:
        """Each dimension over all tasks and by groups of tasks, overall first."""
        asked, found = MetricSource(self.name, answers.protocol, options), []
        for dimension in ("overall", "prompt_following", "consistency"):
            contests = [contest for contest in self.contests() if contest.case.id.startswith(f"{dimension}/")]
            if contests:
                found += self._of_dimension(asked, dimension, contests, answers)
        return found

    def unasked(self, answers: Answers) -> Sequence[str]:
        """None: what is missing is a failure."""
        return ()

    def facts(self) -> Sequence[Fact]:
        """None."""
        return ()

    def _of_dimension(
        self, asked: MetricSource, dimension: str, contests: Sequence[Contest], answers: Answers
    ) -> list[JudgeMetric]:
        pairs = pair_set(contests, self.findings().contested(dimension))
        margin = margins_of(answers, pairs, edit_ids(contests), DIMENSIONS[dimension])
        tasks = np.array([contest.case.edit_type for contest in contests])
        found = [
            task_mean(asked, dimension, rule, pairs, margin, tasks) for rule in ("strict", "half", "excluded")
        ]
        for group, members in GROUPS.items():
            chosen = np.isin(tasks, members)
            if chosen.any():
                part = subset(pairs, chosen)
                found.append(
                    task_mean(asked, f"{dimension}/{group}", "strict", part, margin[chosen], tasks[chosen])
                )
        return found

    @cached_property
    def _read(self) -> tuple[list[Contest], RowFindings]:
        rows = table_rows(self.path, self.split) if is_table(self.path) else file_rows(Path(self.path))
        contests, findings = settle(rows, self.keep_repeats)
        missing = [task for task in TASKS if task not in {contest.case.edit_type for contest in contests}]
        notes = [f"no rows of {', '.join(missing)}: means are over the other tasks"] if missing else []
        return contests, replace(findings, notes=notes)


def subset(pairs: PairSet, chosen: np.ndarray) -> PairSet:
    """Some of the pairs."""
    places = np.flatnonzero(chosen).tolist()
    return PairSet(
        [pairs.ids[place] for place in places],
        pairs.first[places],
        pairs.second[places],
        pairs.human[places],
        pairs.clusters[places],
    )


def task_mean(
    asked: MetricSource,
    labels: str,
    rule: str,
    pairs: PairSet,
    margin: Float[np.ndarray, " n"],
    tasks: np.ndarray,
) -> JudgeMetric:
    """The unweighted mean over tasks of a rule's share; its interval by leaving out one cluster at a time."""
    plain = pair_metric(asked, labels, pairs, margin, rule)
    right = RULES[rule](pairs.human, margin, pairs.clusters)
    codes = np.unique(tasks, return_inverse=True)[1]
    failed = np.isnan(margin)

    def over(kept: np.ndarray) -> float:
        return mean_of_groups(right[kept], codes[kept], int(codes.max()) + 1)

    ends = [bounds_of(right[codes == code], failed[codes == code]) for code in range(codes.max() + 1)]
    value = over(np.ones(len(right), dtype=bool))
    return JudgeMetric(
        plain.key,
        None if np.isnan(value) else value,
        within_shares(jackknife_interval(over, pairs.clusters)),
        plain.clusters,
        plain.failed,
        with_contested(
            Interval(float(np.mean([end.low for end in ends])), float(np.mean([end.high for end in ends]))),
            len(right),
            pairs.contested,
        ),
        plain.chance,
        details={
            name: float(np.nanmean(right[tasks == name]))
            for name in sorted(set(tasks))
            if not np.isnan(right[tasks == name]).all()
        },
        units=plain.units,
    )


def mean_of_groups(values: Float[np.ndarray, " n"], groups: Int[np.ndarray, " n"], number: int) -> float:
    """The mean over groups of their means; NaN values don't count, and a group of none neither."""
    known = ~np.isnan(values)
    counts = np.bincount(groups[known], minlength=number)
    sums = np.bincount(groups[known], weights=values[known], minlength=number)
    there = counts > 0
    return float((sums[there] / counts[there]).mean()) if there.any() else np.nan


def labelled(
    row: Mapping[str, Any], where: str, pictures: tuple[StoredImage, StoredImage, StoredImage] | None
) -> LabelledRow:
    """A row. Raises ValueError."""
    key, dimension = row.get("key"), row.get("dimension")
    if (
        not isinstance(key, list | tuple)
        or len(key) != 2
        or key[0] == key[1]
        or not all(isinstance(id, str) and id for id in key)
    ):
        raise ValueError(f"{where}: key is {str(key)[:60]!r}, and the ids of winner and loser are needed")
    if dimension not in DIMENSIONS:
        raise ValueError(
            f"{where}: dimension is {str(dimension)[:40]!r}, and one of {', '.join(DIMENSIONS)} is needed"
        )
    instruction, task = text_of(row, "instruction", where), text_of(row, "task_type", where)
    if task not in TASKS:
        raise ValueError(f"{where}: task_type is {task!r}, and one of {', '.join(TASKS)} is needed")
    names = sorted(key)
    original, winner, loser = pictures or (MissingPicture("a picture of the set", REMEDY),) * 3
    shown = {key[0]: winner, key[1]: loser}
    photograph = row.get("input_image") if isinstance(row.get("input_image"), str) else ""
    case = Case(
        f"{dimension}/{names[0]}/{names[1]}", original, instruction, task, f"{instruction}|{photograph}"
    )
    won = names.index(key[0])
    contest = Contest(
        case,
        tuple(Candidate(id, shown[id]) for id in names),
        (Ranking("overall", ((won,), (1 - won,))),),
        "erb_editscore",
    )
    return LabelledRow(contest, case.id, f"better: {key[0]}", dimension)


def file_rows(file: Path) -> list[LabelledRow]:
    """Rows of a file, without pictures. Raises FileNotFoundError or ValueError."""
    return [labelled(as_mapping(row, where), where, None) for where, row in read_rows(file)]


def table_rows(path: str, split: str) -> list[LabelledRow]:
    """Rows of a table, with pictures. Raises FileNotFoundError or ValueError."""
    columns = ("input_image", "output_images")
    table = open_rows(path, split, None, columns, ("key", "instruction", "task_type", "dimension"))
    rows = []
    for number, row in enumerate(table.remove_columns(list(columns))):
        pictures = (
            TablePicture(table, number, "input_image"),
            TablePicture(table, number, "output_images", 0),
            TablePicture(table, number, "output_images", 1),
        )
        rows.append(labelled(row, f"row {number} of {path}", pictures))
    return rows
