"""Votes on pairs of edits, and their figures: what GenAI-Bench, and pairs in its form, have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from src.evaluation.judge_benchmarks.answer_files import number
from src.evaluation.judge_benchmarks.answers import Answers
from src.evaluation.judge_benchmarks.metric import JudgeMetric
from src.evaluation.judge_benchmarks.pairs import (
    DECIDED,
    TIED,
    MetricSource,
    PairSet,
    group_metric,
    margins_of,
    numbered,
    pair_metric,
)
from src.evaluation.judge_benchmarks.replies import VerdictName
from src.records import Candidate, Case, Contest, Ranking, StoredImage

VOTES: dict[str, VerdictName] = {
    "leftvote": "first",
    "rightvote": "second",
    "tievote": "good",
    "bothbad_vote": "bad",
}
CLASSES = ("first", "second", "good", "bad")


@final
@dataclass(frozen=True, eq=False)
class VotedPair:
    """A vote as a row has it.

    Attributes:
        id: of the row.
        instruction: the edit that was asked for.
        photograph: names the original, for clusters.
        vote: the verdict.
        pictures: original, first and second edit.
        editors: of the edits; "" where unknown.
    """

    id: str
    instruction: str
    photograph: str
    vote: VerdictName
    pictures: tuple[StoredImage, StoredImage, StoredImage]
    editors: tuple[str, str] = ("", "")

    def contest(self, source: str) -> Contest:
        """The vote as a contest of two edits, `<id>/A` and `<id>/B`."""
        original, *edits = self.pictures
        case = Case(self.id, original, self.instruction, "", self.photograph)
        candidates = [
            Candidate(f"{self.id}/{letter}", picture, editor)
            for letter, picture, editor in zip("AB", edits, self.editors, strict=True)
        ]
        tiers = {"first": ((0,), (1,)), "second": ((1,), (0,))}.get(self.vote, ((0, 1),))
        return Contest(case, tuple(candidates), (Ranking("overall", tiers, self.vote == "bad"),), source)


def vote_of(contest: Contest) -> VerdictName:
    """What people said of a contest of two edits."""
    ranking = contest.rankings[0]
    if len(ranking.tiers) == 1:
        return "bad" if ranking.both_bad else "good"
    return "first" if ranking.tiers[0] == (0,) else "second"


def human_of(contest: Contest) -> int:
    """A vote as 1, -1 or 0."""
    return {"first": 1, "second": -1}.get(vote_of(contest), 0)


def pair_set(contests: Sequence[Contest], contested: int = 0) -> PairSet:
    """Contests of two edits as arrays; their edits count in the order of the contests."""
    places = np.arange(len(contests))
    return PairSet(
        [contest.case.id for contest in contests],
        2 * places,
        2 * places + 1,
        np.array([human_of(contest) for contest in contests], dtype=int),
        numbered([contest.case.photograph for contest in contests]),
        contested,
    )


def edit_ids(contests: Sequence[Contest]) -> list[str]:
    """The edits of all contests, in order."""
    return [candidate.id for contest in contests for candidate in contest.candidates]


def vote_metrics(
    asked: MetricSource, contests: Sequence[Contest], contested: int, answers: Answers, tells_ties_apart: bool
) -> list[JudgeMetric]:
    """All figures of a judge on votes."""
    pairs = pair_set(contests, contested)
    margin = margins_of(answers, pairs, edit_ids(contests))
    found = []
    if asked.protocol == "verdicts":
        found += [four_classes(asked, contests, contested, answers)] if tells_ties_apart else []
        found.append(pair_metric(asked, "three_classes", pairs, margin, "exact"))
    else:
        found += [pair_metric(asked, "three_classes", pairs, margin, rule) for rule in TIED]
    return [*found, *(pair_metric(asked, "decided", pairs, margin, rule) for rule in DECIDED)]


def four_classes(
    asked: MetricSource, contests: Sequence[Contest], contested: int, answers: Answers
) -> JudgeMetric:
    """First, second, both good or both bad, as GenAI-Bench counts."""
    human = {contest.case.id: vote_of(contest) for contest in contests}
    said = {id: answers.verdict(id) for id in human}
    shares = {name: float(np.mean([vote == name for vote in human.values()])) for name in CLASSES}
    chance = {
        "constant": max(shares.values()),
        "random": float(sum(shares.values())) / len(CLASSES),
        "always first": shares["first"],
    }
    return group_metric(
        asked,
        "four_classes",
        "exact",
        {id: float(said[id] == vote) for id, vote in human.items()},
        {id: verdict is None for id, verdict in said.items()},
        {contest.case.id: contest.case.photograph for contest in contests},
        chance,
        contested,
    )


def converted_vote(row: Mapping[str, Any], where: str) -> VerdictName:
    """The vote of EditReward's copies of benchmarks: the edit of the larger first score is better.

    Raises:
        ValueError: a score is missing or no number.
    """
    first, second = (number(row.get(f"model{side}_dim1_score"), where) for side in (1, 2))
    if np.isnan(first) or np.isnan(second):
        raise ValueError(f"{where}: model1_dim1_score or model2_dim1_score is missing, and both are needed")
    return "good" if first == second else "first" if first > second else "second"
