"""MMRB2's editing task: 1,000 pairs of edits, each rated by three people, judged in both orders.

    python -m src.evaluate_judge judge_benchmark=mmrb2 judge_benchmark.path=DIR verdicts=FILE

DIR holds edit.json (with prompts and pictures) or edit_response_only.json; any other task's JSON of this form
can be given as a file. A verdict judge is right in each order by itself, and the figure is the mean of both
("two_orders"); a judge of scores is the same in both. Labels are the majority of the raters. MMRB2 is for
benchmarking only: train on nothing of it. Source: github.com/facebookresearch/MMRB2 (CC BY-NC 4.0).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, final

import numpy as np

from src.data.labelled_rows import LabelledRow, RowFindings, settle, text_of
from src.evaluation.judge_benchmarks.answers import FORWARD, REVERSE, Answers, Protocol
from src.evaluation.judge_benchmarks.benchmark import JudgeBenchmark, edits_in
from src.evaluation.judge_benchmarks.metric import Fact, JudgeMetric, MeasureOptions
from src.evaluation.judge_benchmarks.pairs import (
    DECIDED,
    MetricSource,
    PairSet,
    group_metric,
    margins_of,
    pair_metric,
)
from src.evaluation.judge_benchmarks.replies import VerdictName
from src.evaluation.judge_benchmarks.sources import as_mapping, local_place, read_rows
from src.evaluation.judge_benchmarks.stored_pictures import SeveralPictures, picture_in
from src.evaluation.judge_benchmarks.voted import VotedPair, edit_ids, pair_set
from src.records import Candidate, Case, Contest

FILES = ("edit.json", "edit_response_only.json")
REMEDY = "build edit.json with MMRB2's scripts and give judge_benchmark.pictures=DIR"
FOR_A = 4
"""Ratings from here on are for A."""


@final
class MMRB2(JudgeBenchmark):
    """Pairs in the order of their ids.

    Args:
        path: see the module; or a hub id that has the file.
        pictures: a folder in which the pictures lie.
        keep_repeats: count every row as it stands.
    """

    def __init__(self, path: str, pictures: str | None = None, keep_repeats: bool = False) -> None:
        self.path, self.keep_repeats = path, keep_repeats
        self.pictures = None if pictures is None else Path(pictures)

    @property
    def name(self) -> str:
        """See JudgeBenchmark."""
        return "mmrb2"

    @property
    def protocols(self) -> Sequence[Protocol]:
        """Both."""
        return ("verdicts", "scores")

    def contests(self) -> Sequence[Contest]:
        """Pairs as contests of `<id>/A` and `<id>/B`."""
        return self._read[0]

    def edits(self) -> Sequence[tuple[Case, Candidate]]:
        """Those of the contests."""
        return edits_in(self.contests())

    def findings(self) -> RowFindings:
        """See JudgeBenchmark."""
        return self._read[1]

    def pairs(self) -> Sequence[str]:
        """The pairs."""
        return [contest.case.id for contest in self.contests()]

    def answer_id(self, row: Mapping[str, Any], where: str) -> str | None:
        """Its id."""
        return text_of(row, "id", where)

    def metrics(self, answers: Answers, options: MeasureOptions) -> list[JudgeMetric]:
        """Both orders, each order, and how often they agree."""
        asked = MetricSource(self.name, answers.protocol, options)
        pairs = pair_set(self.contests(), self.findings().contested())
        if answers.protocol == "scores":
            margin = margins_of(answers, pairs, edit_ids(self.contests()))
            found = [pair_metric(asked, "chosen", pairs, margin, rule) for rule in DECIDED]
        else:
            found = self._of_orders(asked, pairs, answers)
        ceiling = self._one_rater()
        return [replace(metric, human=ceiling if metric.key.rule == "strict" else None) for metric in found]

    def unasked(self, answers: Answers) -> Sequence[str]:
        """None: what is missing is a failure."""
        return ()

    def facts(self) -> Sequence[Fact]:
        """What the labels are like, and what knows nothing of the pictures."""
        ratings = [row["human_annotations"] for row in self._rated()]
        sides = [[rating >= FOR_A for rating in each] for each in ratings]
        majority = [np.mean(side) > 0.5 for side in sides]
        chosen = [row["chosen"] == "A" for row in self._rated()]
        prior = prior_accuracy(
            [(contest.candidates[0].editor, contest.candidates[1].editor) for contest in self.contests()],
            [contest.rankings[0].tiers[0] == (0,) for contest in self.contests()],
        )
        same = [
            len({candidate.editor for candidate in contest.candidates}) == 1 for contest in self.contests()
        ]
        found = [
            Fact(
                "share of pairs whose label is A (always A)",
                float(np.mean([c.rankings[0].tiers[0] == (0,) for c in self.contests()])),
            ),
            Fact("the better editing model by the other pairs, a coin where there is none", prior),
            Fact("share of pairs of two edits of one model", float(np.mean(same))),
        ]
        if ratings and all(len(side) > 1 for side in sides):
            agree = [one == other for side in sides for one, other in combinations(side, 2)]
            found += [
                Fact(
                    "the label is the majority of the raters",
                    float(np.mean(np.equal(majority, chosen))),
                    "100.00",
                    100.0,
                    "MMRB2's construction",
                ),
                Fact("two raters are on one side", float(np.mean(agree))),
                Fact("all raters are on one side", float(np.mean([len(set(side)) == 1 for side in sides]))),
                Fact("one rater agrees with the label, of which he is part", self._one_rater() or np.nan),
            ]
        return found

    def _of_orders(self, asked: MetricSource, pairs: PairSet, answers: Answers) -> list[JudgeMetric]:
        orders = [order for order in (FORWARD, REVERSE) if any(name == order for _, name in answers.verdicts)]
        one_way = {
            order: np.array([answers.margin(id, order) for id in pairs.ids], dtype=float) for order in orders
        }
        shares = {FORWARD: float(np.mean(pairs.human == 1)), REVERSE: float(np.mean(pairs.human == -1))}
        single = [
            replace(
                pair_metric(asked, order, pairs, margin, "strict"),
                chance={"always tie": 0.0, "random": 0.5, "always first shown": shares[order]},
            )
            for order, margin in one_way.items()
        ]
        if len(orders) < 2:
            return single
        forward, reverse = (right_of(metric) for metric in single)
        lost = {
            id: bool(np.isnan(one_way[FORWARD][index]) or np.isnan(one_way[REVERSE][index]))
            for index, id in enumerate(pairs.ids)
        }
        clusters = {id: str(pairs.clusters[index]) for index, id in enumerate(pairs.ids)}
        both = group_metric(
            asked,
            "two_orders",
            "strict",
            {id: (forward[id] + reverse[id]) / 2 for id in forward},
            {id: lost[id] for id in forward},
            clusters,
            {
                "always tie": 0.0,
                "random": 0.5,
                "always first shown": 0.5,
                "always A": float(np.mean(pairs.human == 1)),
            },
            pairs.contested,
        )
        low = single[0].bounds, single[1].bounds
        assert low[0] is not None
        assert low[1] is not None
        bounds = type(low[0])((low[0].low + low[1].low) / 2, (low[0].high + low[1].high) / 2)
        steady = {
            id: float(not lost[id] and one_way[FORWARD][i] == one_way[REVERSE][i])
            for i, id in enumerate(pairs.ids)
        }
        consistency = group_metric(
            asked,
            "two_orders",
            "consistency",
            steady,
            lost,
            clusters,
            {"random": 1 / 2, "always first shown": 0.0, "always A": 1.0},
        )
        return [replace(both, bounds=bounds), *single, consistency]

    def _rated(self) -> list[dict[str, Any]]:
        return [row for row in self._rows if row.get("human_annotations")]

    def _one_rater(self) -> float | None:
        votes = [
            (rating >= FOR_A) == (row["chosen"] == "A")
            for row in self._rated()
            for rating in row["human_annotations"]
        ]
        return float(np.mean(votes)) if votes else None

    @cached_property
    def _rows(self) -> list[dict[str, Any]]:
        place = local_place(
            self.path, (*FILES, *(f"**/{name}" for name in FILES)), f"a folder with {FILES[0]} or {FILES[1]}"
        )
        files = [place] if place.is_file() else [file for name in FILES for file in sorted(place.rglob(name))]
        if not files:
            raise FileNotFoundError(
                f"{place} holds none of {', '.join(FILES)}; give judge_benchmark.path=FILE"
            )
        found = []
        for where, whole in read_rows(files[0]):
            pairs = as_mapping(whole, where).get("pairs")
            if not isinstance(pairs, list):
                raise ValueError(f'{where} is not of the form {{"pairs": [...]}}')
            found += [checked(pair, f"{where}, pair {number}") for number, pair in enumerate(pairs, 1)]
        return found

    @cached_property
    def _read(self) -> tuple[list[Contest], RowFindings]:
        rows = [self._labelled(row) for row in self._rows]
        several = sum(isinstance(row.contest.case.image, SeveralPictures) for row in rows)
        sources = Counter(row["prompt_source"] for row in self._rows if "prompt_source" in row)
        notes = [", ".join(f"{name} {count}" for name, count in sorted(sources.items()))] if sources else []
        notes += (
            [f"{several} pairs edit several pictures, about which no judge of single edits is asked"]
            if several
            else []
        )
        return settle(rows, self.keep_repeats, notes)

    def _labelled(self, row: Mapping[str, Any]) -> LabelledRow:
        texts, names = prompt_of(row)
        edits = [response_picture(row[f"response_{side}"]) for side in "ab"]
        original = (
            SeveralPictures(tuple(names))
            if len(names) > 1
            else picture_in(self.pictures, names[0] if names else "", REMEDY)
        )
        vote: VerdictName = "first" if row["chosen"] == "A" else "second"
        pair = VotedPair(
            row["id"],
            " ".join(texts) or "(the prompt is not in this file)",
            original_of(row),
            vote,
            (
                original,
                picture_in(self.pictures, edits[0], REMEDY),
                picture_in(self.pictures, edits[1], REMEDY),
            ),
            tuple(str(row[f"response_{side}"].get("model_name", "")) for side in "ab"),  # pyright: ignore[reportArgumentType]
        )
        subject = "|".join((original_of(row), *sorted(edits)))
        return LabelledRow(pair.contest(self.name), subject, f"better: {edits[vote == 'second']}")


def right_of(metric: JudgeMetric) -> dict[str, float]:
    """How right each pair is."""
    assert metric.units is not None
    return {id: right for id, (right, _) in metric.units.by_id().items()}


def checked(pair: Any, where: str) -> dict[str, Any]:
    """A pair that has what is needed. Raises ValueError."""
    row = dict(as_mapping(pair, where))
    row["id"] = text_of(row, "id", where)
    if row.get("chosen") not in ("A", "B"):
        raise ValueError(f"{where}: chosen is {str(row.get('chosen'))[:40]!r}, and A or B is needed")
    for side in "ab":
        if not isinstance(row.get(f"response_{side}"), dict):
            raise ValueError(f"{where} has no response_{side}")
    ratings = row.get("human_annotations") or []
    if not all(isinstance(rating, int) and 1 <= rating <= 6 for rating in ratings):
        raise ValueError(
            f"{where}: human_annotations are {str(ratings)[:60]}, and numbers from 1 to 6 are needed"
        )
    return row


def prompt_of(row: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Texts and pictures of a prompt; none in the files of responses only."""
    parts = [part for part in row.get("prompt_content") or [] if isinstance(part, list) and len(part) == 2]
    return [str(text) for kind, text in parts if kind == "text"], [
        str(name) for kind, name in parts if kind == "image"
    ]


def response_picture(response: Mapping[str, Any]) -> str:
    """The name of an edit's picture; "" where there is none."""
    parts = [
        part for part in response.get("response_content") or [] if isinstance(part, list) and len(part) == 2
    ]
    return next((str(name) for kind, name in parts if kind == "image"), "")


def original_of(row: Mapping[str, Any]) -> str:
    """What names the prompt: its source and its number there; pairs that share it share original and
    instruction.
    """
    metadata = row.get("prompt_metadata")
    number = metadata.get("id") if isinstance(metadata, dict) else None
    return f"{row.get('prompt_source', '')}/{row['id'] if number is None else number}"


def prior_accuracy(editors: Sequence[tuple[str, str]], first_wins: Sequence[bool]) -> float:
    """How often the editing model that wins more of the other pairs wins this one; half for equal ones."""
    wins: Counter[str] = Counter()
    games: Counter[str] = Counter()
    for (one, other), first in zip(editors, first_wins, strict=True):
        if one != other:
            games.update((one, other))
            wins[one if first else other] += 1
    right = []
    for (one, other), first in zip(editors, first_wins, strict=True):
        apart = one != other
        rates = [
            (wins[name] - (apart and won)) / max(games[name] - apart, 1)
            for name, won in ((one, first), (other, not first))
        ]
        right.append(0.5 if rates[0] == rates[1] else float((rates[0] > rates[1]) == first))
    return float(np.mean(right)) if right else np.nan
