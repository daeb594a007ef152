"""The interface of benchmarks of judges: contests, what is known of their rows, and their protocol."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from src.data.labelled_rows import RowFindings
from src.evaluation.judge_benchmarks.answers import Answers, Protocol
from src.evaluation.judge_benchmarks.metric import Fact, JudgeMetric, MeasureOptions
from src.records import Candidate, Case, Contest


class JudgeBenchmark(ABC):
    """Edits that people compared or rated, and how a judge is measured on them.

    To add one, write a file in this folder and a yaml in `conf/judge_benchmark`.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name for paths, keys and tables."""

    @property
    @abstractmethod
    def protocols(self) -> Sequence[Protocol]:
        """How a judge may be asked."""

    @abstractmethod
    def contests(self) -> Sequence[Contest]:
        """All contests that count, in the order of their ids.

        Raises:
            FileNotFoundError, ValueError: the rows are missing, or can't be used.
        """

    @abstractmethod
    def edits(self) -> Sequence[tuple[Case, Candidate]]:
        """All edits that count, once each, with their cases; those of a contest, and those alone in their
        case.
        """

    @abstractmethod
    def findings(self) -> RowFindings:
        """What the rows are like. Raises as `contests`."""

    @abstractmethod
    def pairs(self) -> Sequence[str]:
        """The ids that verdicts are about; empty where a judge is only asked for scores."""

    @abstractmethod
    def answer_id(self, row: Mapping[str, Any], where: str) -> str | None:
        """The id that a row of answers is about: an edit, a contest or a pair; None for another part of the
        source. Raises ValueError for a row without one.
        """

    @abstractmethod
    def metrics(self, answers: Answers, options: MeasureOptions) -> list[JudgeMetric]:
        """All figures of a judge, the most telling one first."""

    @abstractmethod
    def unasked(self, answers: Answers) -> Sequence[str]:
        """Editing models of whose edits a judge was asked about none, where those don't count."""

    @abstractmethod
    def facts(self) -> Sequence[Fact]:
        """Published numbers of the benchmark itself, and what these rows give."""


def edits_in(contests: Sequence[Contest]) -> list[tuple[Case, Candidate]]:
    """The edits of contests, once each."""
    found = {edit.id: (contest.case, edit) for contest in contests for edit in contest.candidates}
    return list(found.values())
