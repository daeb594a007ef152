"""Contests of one's own as a benchmark of judges: the synthetic world's, whose truth is exact, or any table
that reward models learn from.

    python -m src.evaluate_judge judge_benchmark=synthetic_contests judge=reward_model judge.model.path=DIR
    python -m src.evaluate_judge judge_benchmark=contests judge_benchmark.source.path=TABLE judge=local_vlm

Judges are asked for scores of edits, and every pair of edits that a ranking orders or calls equal is compared
in the ranking's own aspect. What a judge learnt from must not be measured here: the default split of the
synthetic world is on photographs that no training sees.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, final

import numpy as np

from src.data.contests import ContestSource
from src.data.labelled_rows import RowFindings, text_of
from src.evaluation.judge_benchmarks.answers import Answers, Protocol
from src.evaluation.judge_benchmarks.benchmark import JudgeBenchmark, edits_in
from src.evaluation.judge_benchmarks.metric import Fact, JudgeMetric, MeasureOptions
from src.evaluation.judge_benchmarks.pairs import (
    DECIDED,
    TIED,
    MetricSource,
    PairSet,
    margins_of,
    numbered,
    pair_metric,
)
from src.evaluation.judge_benchmarks.voted import edit_ids
from src.records import ASPECTS, Candidate, Case, Contest


@final
class OwnContests(JudgeBenchmark):
    """All contests of a source, in the order of their ids.

    Args:
        source: of the contests.
        name: for paths, keys and tables.
    """

    def __init__(self, source: ContestSource, name: str = "contests") -> None:
        self.source, self._name = source, name

    @property
    def name(self) -> str:
        """See JudgeBenchmark."""
        return self._name

    @property
    def protocols(self) -> Sequence[Protocol]:
        """Scores of edits: a contest may be ranked in several aspects."""
        return ("scores",)

    def contests(self) -> Sequence[Contest]:
        """See JudgeBenchmark."""
        return self._contests

    def edits(self) -> Sequence[tuple[Case, Candidate]]:
        """Those of the contests."""
        return edits_in(self.contests())

    def findings(self) -> RowFindings:
        """See JudgeBenchmark; what the source left out is counted in notes."""
        problems = self.source.problems
        notes = [f"{number} {what}" for what, number in self.source.counts().items() if number]
        notes += [f"left out: {len(problems)}, the first: {problems[0].reason}"] if problems else []
        return RowFindings(len(self.source) + len(problems), self.source.digest, notes=notes)

    def pairs(self) -> Sequence[str]:
        """None: see `protocols`."""
        return ()

    def answer_id(self, row: Mapping[str, Any], where: str) -> str | None:
        """The id of the edit or the contest."""
        return text_of(row, "id", where)

    def metrics(self, answers: Answers, options: MeasureOptions) -> list[JudgeMetric]:
        """Each aspect, the widest first."""
        asked, found = MetricSource(self.name, answers.protocol, options), []
        ids = edit_ids(self.contests())
        for aspect in ASPECTS[::-1]:
            pairs = ranked_pairs(self.contests(), aspect)
            if not len(pairs.ids):
                continue
            margin = margins_of(answers, pairs, ids, aspect)
            rules = (*TIED, *DECIDED) if (pairs.human == 0).any() else DECIDED
            found += [pair_metric(asked, aspect, pairs, margin, rule) for rule in rules]
        return found

    def unasked(self, answers: Answers) -> Sequence[str]:
        """None: what is missing is a failure."""
        return ()

    def facts(self) -> Sequence[Fact]:
        """None: nobody published any."""
        return ()

    @cached_property
    def _contests(self) -> list[Contest]:
        contests = (self.source[index] for index in range(len(self.source)))
        found = sorted(contests, key=lambda contest: contest.case.id)
        if not any(contest.rankings for contest in found):
            raise ValueError(
                f"none of {len(found)} contests of {self.source.name} ranks its edits, so nothing can be "
                "compared: give others (judge_benchmark.source)"
            )
        return found


def ranked_pairs(contests: Sequence[Contest], aspect: str) -> PairSet:
    """All pairs of edits that rankings of an aspect compare, each in the order in which its edits stand;
    edits are counted through all contests.
    """
    ids: list[str] = []
    rows: list[tuple[int, int, int]] = []
    names: list[str] = []
    first = 0
    for contest in contests:
        for pair in contest.pairs(aspect):
            one, other = sorted((pair.better, pair.worse))
            human = 0 if pair.tie else 1 if pair.better == one else -1
            rows.append((first + one, first + other, human))
            ids.append(f"{contest.candidates[one].id} {contest.candidates[other].id}")
            names.append(contest.case.photograph)
        first += len(contest.candidates)
    columns = np.array(rows, dtype=int).reshape(-1, 3)
    return PairSet(ids, columns[:, 0], columns[:, 1], columns[:, 2], numbered(names))
