"""What the field's benchmarks are made of besides cases: their own questions to a judge, and two ways to
count the answers.

`official` does what a benchmark's published code does, to the digit, and names in its key what that code does
with a reply that it can't read. `ours` reads replies as the rest of this project does: one that can't be read
is no number, the mean is over the others, with the bounds that failures allow and an interval over original
photographs. Both are pure functions of the same replies, which are in the judge's ledger.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

from src.evaluation.judging import JudgedCase
from src.judges.judge import Judge, QuestionedJudge
from src.judges.question import Heard

if TYPE_CHECKING:  # tables read figures without pictures
    from src.judges.rubric import Rubric


@final
@dataclass(frozen=True)
class HeardCase:
    """A case of one row with what a judge said about its edit.

    Attributes:
        id, edit_type, photograph: of the case.
        heard: one per question, in the order of the rubric.
    """

    id: str
    edit_type: str
    photograph: str
    heard: tuple[Heard, ...]

    def about(self, question: str) -> Heard:
        """What was said to a question. Raises KeyError for one that wasn't asked."""
        return {each.about: each for each in self.heard}[question]


@final
@dataclass(frozen=True)
class FieldCase:
    """A case as we count it.

    Attributes:
        id, photograph: of the case.
        task: of which there is a mean of its own.
        parts: of the benchmark to which it belongs ("en/full").
        scores: by measure; None where the judge failed.
    """

    id: str
    photograph: str
    task: str
    parts: tuple[str, ...]
    scores: Mapping[str, float | None]


@final
@dataclass(frozen=True)
class Official:
    """What the published code makes of the replies of a row.

    Attributes:
        figures: by part, measure and task ("en/full/O", "en/full/O/add").
        notes: sentences about what it did with replies that it could not read.
    """

    figures: Mapping[str, float]
    notes: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class MeasureScale:
    """A measure of a benchmark.

    Attributes:
        low, high: what a case can have.
        weighting: of the whole: "tasks", the mean of the tasks' means, or "cases", the mean over cases.
        unit: "points", or "share", which tables print in percent.
    """

    low: float
    high: float
    weighting: Literal["tasks", "cases"] = "tasks"
    unit: Literal["points", "share"] = "points"


class FieldProtocol(ABC):
    """How a benchmark asks and counts.

    Attributes:
        rubric: the questions.
        failures: what the published code does with a reply that it can't read, in one word of each official
            key ("guessed"); "" if no code to aggregate is published.
        measures: by name, in the order of tables; the first one is the headline.
        notes: sentences about how the two ways of counting differ.
    """

    rubric: "Rubric"
    failures: str
    measures: Mapping[str, MeasureScale]
    notes: tuple[str, ...] = ()

    @abstractmethod
    def official(self, cases: Sequence[HeardCase]) -> Official:
        """The published aggregation; nothing where there is none."""

    @abstractmethod
    def ours(self, case: HeardCase) -> FieldCase:
        """A case with the scores that our reading of the replies gives."""


def asked_by(judge: Judge, protocol: FieldProtocol | None, benchmark: str) -> Judge:
    """The judge, asking the benchmark's own questions if there are any and it answers questions; its name
    then says so, and its rewards are kept apart from those of its own questions.
    """
    if protocol is None or not isinstance(judge, QuestionedJudge):
        return judge
    return judge.asking(protocol.rubric, f"{judge.name}@{benchmark}")


def heard_cases(judged: Sequence[JudgedCase], judge: QuestionedJudge) -> tuple[list[HeardCase], int]:
    """What the judge's ledger holds of the cases of a row, and of how many it holds nothing."""
    found, lost = [], 0
    for case in judged:
        heard = None if case.reward is None else judge.heard(case.id, case.reward.key)
        if heard is None:
            lost += 1
        else:
            found.append(HeardCase(case.id, case.edit_type, case.photograph, tuple(heard)))
    return found, lost
