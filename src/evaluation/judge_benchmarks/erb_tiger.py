"""EditReward-Bench of TIGER-Lab: groups of 2, 3 or 4 edits that people put into an order.

    python -m src.evaluate_judge judge_benchmark=erb_tiger judge=editscore
    python -m src.evaluate_judge judge_benchmark=erb_tiger judge_benchmark.path=DIR scores=FILE

The path is the hub's dataset or a folder of its three configurations saved as 2pair, 3pair and 4pair (a row
per pair of a group, with `comparison_type` AvsB); a JSON-lines file of such rows without pictures; or JSON of
whole groups, {prompt, path_src, paths_generated, human_vote: {ranking}}. A group is right if all of its order
is:

    K=2   with scores `ties_beside` is EditReward's rule, which fits a tie width for people's ties and leaves
          it out for all others, as no threshold could; with_ties is what a threshold reaches
    K>2   scores have to be in people's order, the scorer's ties being wrong; verdicts have to be right on all
          3 or 6 pairs

`all` is the share of right groups. An edit's id is `<K>/<group>/<letter>`, a pair's `<K>/<group>/<AvsB>`. Not
EditScore's set of the same name (erb_editscore). Source: github.com/TIGER-AI-Lab/EditReward; Apache-2.0.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, final

import numpy as np

from src.data.labelled_rows import LabelledRow, RowFindings, settle, text_of
from src.data.table_picture import TablePicture
from src.data.votes import LETTERS, tiers_of
from src.evaluation.judge_benchmarks.answers import Answers, Protocol
from src.evaluation.judge_benchmarks.benchmark import JudgeBenchmark, edits_in
from src.evaluation.judge_benchmarks.metric import Fact, JudgeMetric, MeasureOptions
from src.evaluation.judge_benchmarks.pairs import MetricSource, group_metric, margins_of, pair_metric
from src.evaluation.judge_benchmarks.sources import as_mapping, is_table, open_rows, read_rows
from src.evaluation.judge_benchmarks.stored_pictures import MissingPicture, picture_in
from src.evaluation.judge_benchmarks.voted import edit_ids, pair_set
from src.evaluation.preference_metrics import whole_order
from src.records import Candidate, Case, Contest, Ranking, StoredImage

CONFIGS = {2: "2pair", 3: "3pair", 4: "4pair"}
PICTURES = ("source_image", "candidate_1", "candidate_2")
REMEDY = "give judge_benchmark.path=TIGER-Lab/EditReward-Bench"


@final
@dataclass(frozen=True, eq=False)
class Group:
    """A group as its rows have it.

    Attributes:
        id: in the set.
        instruction: the edit.
        photograph: names the original.
        ranking: as written, "C>A>B".
        pictures: original, then the edits by letter.
    """

    id: str
    instruction: str
    photograph: str
    ranking: str
    original: StoredImage
    edits: tuple[StoredImage, ...]
    editors: tuple[str, ...]


@final
class ERBTiger(JudgeBenchmark):
    """Groups in the order of their ids.

    Args:
        path: see the module.
        split: of the hub's dataset.
        pictures: a folder in which the pictures of JSON groups lie.
        keep_repeats: count every group as it stands.
    """

    def __init__(
        self, path: str, split: str = "train", pictures: str | None = None, keep_repeats: bool = False
    ) -> None:
        self.path, self.split, self.keep_repeats = path, split, keep_repeats
        self.pictures = None if pictures is None else Path(pictures)

    @property
    def name(self) -> str:
        """See JudgeBenchmark."""
        return "erb_tiger"

    @property
    def protocols(self) -> Sequence[Protocol]:
        """Both."""
        return ("scores", "verdicts")

    def contests(self) -> Sequence[Contest]:
        """Groups as contests of two to four edits."""
        return self._read[0]

    def edits(self) -> Sequence[tuple[Case, Candidate]]:
        """Those of the contests."""
        return edits_in(self.contests())

    def findings(self) -> RowFindings:
        """See JudgeBenchmark."""
        return self._read[1]

    def pairs(self) -> Sequence[str]:
        """All pairs of all groups."""
        return [pair for contest in self.contests() for pair in pair_ids(contest)]

    def answer_id(self, row: Mapping[str, Any], where: str) -> str | None:
        """Its id, with the pair of a verdict where it stands apart."""
        id = text_of(row, "id", where)
        pair = row.get("pair", row.get("comparison_type"))
        return id if pair is None else f"{id}/{pair}"

    def metrics(self, answers: Answers, options: MeasureOptions) -> list[JudgeMetric]:
        """All groups, then each size; for scores of pairs also what a tie width reaches."""
        asked = MetricSource(self.name, answers.protocol, options)
        by_size = {
            size: [contest for contest in self.contests() if len(contest.candidates) == size]
            for size in CONFIGS
        }
        sizes = [self._of_size(asked, size, group, answers) for size, group in by_size.items() if group]
        return [overall(asked, sizes), *sizes, *self._with_ties(asked, by_size[2], answers)]

    def unasked(self, answers: Answers) -> Sequence[str]:
        """None: what is missing is a failure."""
        return ()

    def facts(self) -> Sequence[Fact]:
        """None."""
        return ()

    def _of_size(
        self, asked: MetricSource, size: int, contests: Sequence[Contest], answers: Answers
    ) -> JudgeMetric:
        contested = self.findings().contested(f"K={size}")
        if size == 2 and asked.protocol == "scores":
            pairs = pair_set(contests, contested)
            margin = margins_of(answers, pairs, edit_ids(contests))
            return pair_metric(asked, "K=2", pairs, margin, "ties_beside")
        right, failed = (order_right if asked.protocol == "scores" else verdicts_right)(contests, answers)
        clusters = {contest.case.id: contest.case.photograph for contest in contests}
        ties = float(np.mean([len(contest.rankings[0].tiers) == 1 for contest in contests]))
        first = float(np.mean([order_of(contest) == sorted(order_of(contest)) for contest in contests]))
        if asked.protocol == "scores":
            chance = {"constant": 0.0, "random": 1 / math.factorial(size)}
        elif size == 2:
            chance = {"always tie": ties, "random": 1 / 3, "always first": first - ties}
        else:
            chance = {"always tie": 0.0, "random": 0.5 ** math.comb(size, 2), "always first": first}
        return group_metric(asked, f"K={size}", "whole_order", right, failed, clusters, chance, contested)

    def _with_ties(
        self, asked: MetricSource, contests: Sequence[Contest], answers: Answers
    ) -> list[JudgeMetric]:
        if asked.protocol != "scores" or not contests:
            return []
        pairs = pair_set(contests, self.findings().contested("K=2"))
        margin = margins_of(answers, pairs, edit_ids(contests))
        rules = ("with_ties_cross", "with_ties", "strict", "half", "excluded")
        return [pair_metric(asked, "K=2", pairs, margin, rule) for rule in rules]

    @cached_property
    def _read(self) -> tuple[list[Contest], RowFindings]:
        groups = [labelled(group, self.name) for group in (read_groups(self.path, self.split, self.pictures))]
        sizes = {size: sum(len(row.contest.candidates) == size for row in groups) for size in CONFIGS}
        notes = [", ".join(f"{count} groups of {size}" for size, count in sizes.items())]
        return settle(groups, self.keep_repeats, notes)


def overall(asked: MetricSource, sizes: Sequence[JudgeMetric]) -> JudgeMetric:
    """All groups together. Its interval takes groups of different sizes for independent."""
    total = sum(metric.key.n for metric in sizes)
    right = {
        id: value
        for metric in sizes
        if metric.units is not None
        for id, (value, _) in metric.units.by_id().items()
    }
    whole = group_metric(
        asked, "all", "whole_order", right, dict.fromkeys(right, False), {id: id for id in right}, {}
    )
    names = set.intersection(*(set(metric.chance) for metric in sizes))
    weights = np.array([metric.key.n for metric in sizes]) / max(total, 1)
    bounds = [metric.bounds for metric in sizes if metric.bounds is not None]
    return replace(
        whole,
        failed=sum(metric.failed for metric in sizes),
        clusters=sum(metric.clusters for metric in sizes),
        bounds=type(bounds[0])(*(float(weights @ np.array(ends)) for ends in zip(*bounds, strict=True))),
        chance={name: float(weights @ [metric.chance[name] for metric in sizes]) for name in sorted(names)},
    )


def order_of(contest: Contest) -> list[int]:
    """The candidates, the best first."""
    return [index for tier in contest.rankings[0].tiers for index in tier]


def pair_ids(contest: Contest) -> list[str]:
    """The pairs of a group."""
    letters = LETTERS[: len(contest.candidates)]
    return [f"{contest.case.id}/{one}vs{other}" for one, other in combinations(letters, 2)]


def order_right(contests: Sequence[Contest], answers: Answers) -> tuple[dict[str, float], dict[str, bool]]:
    """Which groups the scores put in order, and in which one is missing."""
    scores = [
        np.array([answers.score(each.id, "overall") for each in contest.candidates], dtype=float)
        for contest in contests
    ]
    places = [np.argsort(order_of(contest)) for contest in contests]
    right = whole_order(scores, places)
    ids = [contest.case.id for contest in contests]
    failed = {id: bool(np.isnan(score).any()) for id, score in zip(ids, scores, strict=True)}
    return dict(zip(ids, map(float, right), strict=True)), failed


def verdicts_right(contests: Sequence[Contest], answers: Answers) -> tuple[dict[str, float], dict[str, bool]]:
    """Which groups have all pairs right, and in which one is missing."""
    right, failed = {}, {}
    for contest in contests:
        said = [answers.margin(pair) for pair in pair_ids(contest)]
        placed = {index: place for place, tier in enumerate(contest.rankings[0].tiers) for index in tier}
        human = [np.sign(placed[other] - placed[one]) for one, other in combinations(range(len(placed)), 2)]
        right[contest.case.id] = float(all(one == other for one, other in zip(said, human, strict=True)))
        failed[contest.case.id] = bool(np.isnan(said).any())
    return right, failed


def labelled(group: Group, source: str) -> LabelledRow:
    """A group in terms of what is compared. Raises ValueError."""
    size = len(group.edits)
    id = f"{size}/{group.id}"
    tiers, both_bad = tiers_of(group.ranking, size, f"group {id}")
    candidates = [
        Candidate(f"{id}/{letter}", picture, editor)
        for letter, picture, editor in zip(LETTERS, group.edits, group.editors, strict=False)
    ]
    case = Case(id, group.original, group.instruction, "", f"{group.instruction}|{group.photograph}")
    contest = Contest(case, tuple(candidates), (Ranking("overall", tiers, both_bad),), source)
    names = list(group.editors)
    told_apart = all(names) and len(set(names)) == size and bool(group.photograph)
    subject = "|".join((str(size), group.instruction, group.photograph, *sorted(names))) if told_apart else id
    order = " > ".join(
        "=".join(sorted(names[i] if told_apart else LETTERS[i] for i in tier)) for tier in tiers
    )
    return LabelledRow(contest, subject, f"{order}{' bad' if both_bad else ''}", f"K={size}")


def read_groups(path: str, split: str, pictures: Path | None) -> list[Group]:
    """All groups at a path. Raises FileNotFoundError or ValueError."""
    place = Path(path)
    saved = [place / name for name in CONFIGS.values() if (place / name).is_dir()]
    if saved:
        return [group for folder in saved for group in grouped(table_rows(str(folder), split, None))]
    if is_table(path):
        return [group for name in CONFIGS.values() for group in grouped(table_rows(path, split, name))]
    if not place.is_file():
        raise FileNotFoundError(
            f"{path} holds none of {', '.join(CONFIGS.values())}; give judge_benchmark.path=FILE, or a hub id"
        )
    rows = [(where, as_mapping(row, where)) for where, row in read_rows(place)]
    if rows and "paths_generated" in rows[0][1]:
        return [whole_group(row, where, number, pictures) for number, (where, row) in enumerate(rows)]
    return grouped((where, row, None) for where, row in rows)


def table_rows(path: str, split: str, name: str | None) -> Iterable[tuple[str, Mapping[str, Any], Any]]:
    """(where, row, picture of a column) of a table."""
    table = open_rows(path, split, name, PICTURES, ("id", "instruction", "ranking", "comparison_type"))
    for number, row in enumerate(table.remove_columns(list(PICTURES))):
        yield (
            f"row {number} of {path}",
            row,
            lambda column, number=number: TablePicture(table, number, column),
        )


def grouped(rows: Iterable[tuple[str, Mapping[str, Any], Any]]) -> list[Group]:
    """The groups of rows that hold a pair each. Raises ValueError for an incomplete or contradictory
    group.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for where, row, picture in rows:
        pair = text_of(row, "comparison_type", where)
        letters = re.fullmatch(r"([A-D])vs([A-D])", pair)
        if letters is None:
            raise ValueError(f"{where}: comparison_type is {pair!r}, and AvsB to CvsD are needed")
        key = text_of(row, "id", where), re.sub(r"\s+", "", text_of(row, "ranking", where))
        group = found.setdefault(
            key, {"row": row, "where": where, "edits": {}, "editors": {}, "original": picture}
        )
        for side, letter in enumerate(letters.groups(), 1):
            shown = (
                picture(f"candidate_{side}") if picture else MissingPicture("a picture of the set", REMEDY)
            )
            group["edits"].setdefault(letter, shown)
            group["editors"].setdefault(letter, str(row.get(f"model_{side}") or ""))
    return [_assembled(id, ranking, group) for (id, ranking), group in found.items()]


def _assembled(id: str, ranking: str, group: Mapping[str, Any]) -> Group:
    row, letters = group["row"], sorted(group["edits"])
    if letters != list(LETTERS[: len(letters)]):
        raise ValueError(
            f"{group['where']}: group {id!r} has the edits {', '.join(letters)} and lacks one before"
        )
    original = (
        group["original"]("source_image")
        if group["original"]
        else MissingPicture("a picture of the set", REMEDY)
    )
    return Group(
        id,
        text_of(row, "instruction", group["where"]),
        original.stored().digest() if isinstance(original, TablePicture) else "",
        ranking,
        original,
        tuple(group["edits"][letter] for letter in letters),
        tuple(group["editors"][letter] for letter in letters),
    )


def whole_group(row: Mapping[str, Any], where: str, number: int, pictures: Path | None) -> Group:
    """A group of EditReward's JSON. Raises ValueError."""
    paths, vote = row.get("paths_generated"), row.get("human_vote")
    if not isinstance(paths, list) or not 2 <= len(paths) <= 4 or not isinstance(vote, dict):
        raise ValueError(f"{where}: paths_generated of 2 to 4 edits and human_vote with a ranking are needed")
    source = text_of(row, "path_src", where)
    return Group(
        str(row.get("id", number)),
        text_of(row, "prompt", where),
        source,
        text_of(vote, "ranking", where),
        picture_in(pictures, source, REMEDY),
        tuple(picture_in(pictures, str(path), REMEDY) for path in paths),
        tuple(str(path) for path in paths),
    )
