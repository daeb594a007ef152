"""What a judge said about a benchmark: scores of edits, or verdicts on pairs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

from src.data.labelled_rows import plain_id
from src.evaluation.judge_benchmarks.replies import VerdictName

Protocol = Literal["scores", "verdicts"]
AspectScores = Mapping[str, float]
"""By aspect; NaN where the judge failed."""

FORWARD, REVERSE = "forward", "reverse"


@final
@dataclass(frozen=True, eq=False)
class Answers:
    """All answers of one judge.

    Attributes:
        judge: its name.
        protocol: how it was asked.
        scores: by the edit's id.
        verdicts: by the pair's id and the order in which it was shown; None where the judge failed. They are
            of the pair as the benchmark has it, whatever the order.
        repeated: answers given twice, alike.
        skipped: answers about other parts of the source, such as another task.
        source: the file, or "" for a judge that was asked here.
        digest: of the file.
        notes: sentences about the answers.
    """

    judge: str
    protocol: Protocol
    scores: Mapping[str, AspectScores] = field(default_factory=dict)
    verdicts: Mapping[tuple[str, str], VerdictName | None] = field(default_factory=dict)
    repeated: int = 0
    skipped: int = 0
    source: str = ""
    digest: str = ""
    notes: Sequence[str] = ()

    def score(self, id: str, aspect: str) -> float:
        """One score; NaN where there is none."""
        return self.scores.get(id, {}).get(aspect, math.nan)

    def verdict(self, id: str, order: str | None = None) -> VerdictName | None:
        """One verdict, in one order or, with None, forward if it was asked so; None where there is none."""
        asked = (order,) if order is not None else (FORWARD, REVERSE)
        keys = ((plain_id(id), each) for each in asked)
        return next((self.verdicts[key] for key in keys if key in self.verdicts), None)

    def margin(self, id: str, order: str | None = None) -> float:
        """A verdict as a margin: 1, -1, 0 for a tie of any kind; NaN where there is none."""
        verdict = self.verdict(id, order)
        return math.nan if verdict is None else {"first": 1.0, "second": -1.0}.get(verdict, 0.0)

    @property
    def failed(self) -> int:
        """How many answers are there and could not be used."""
        return sum(
            all(math.isnan(score) for score in scores.values()) for scores in self.scores.values()
        ) + sum(verdict is None for verdict in self.verdicts.values())


def completed(scores: AspectScores) -> dict[str, float]:
    """The scores with those that follow from others: semantic, the worse of following and preserving;
    overall, the root of semantic times quality (see `overall_score`), on any scale that begins at 0.
    """
    known = dict(scores)
    if "semantic" not in known and {"following", "preserving"} <= known.keys():
        known["semantic"] = lower(known["following"], known["preserving"])
    if "overall" not in known and {"semantic", "quality"} <= known.keys():
        known["overall"] = root(known["semantic"], known["quality"])
    return known


def lower(one: float, other: float) -> float:
    """The lower of two; NaN if either is."""
    return math.nan if math.isnan(one) or math.isnan(other) else min(one, other)


def root(semantic: float, quality: float) -> float:
    """The geometric mean; NaN if a score is.

    Raises:
        ValueError: a score below 0.
    """
    if min(semantic, quality) < 0:
        raise ValueError(
            f"semantic {semantic:g} and quality {quality:g} have no geometric mean: on a scale that goes "
            "below 0 give the overall score, too"
        )
    return math.sqrt(semantic * quality)
