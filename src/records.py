"""The project's nouns: Case, Triplet, Verdict, Reward, TargetReward, Contest. Frozen, checked on
construction, free of tensors.

Perspectives always come in the order following, preserving, quality (F, P, Q), as in the paper (Multi-Reward
as Condition, ICLR 2025).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import combinations
from typing import Literal, NamedTuple, Protocol, TypeVar, final, runtime_checkable

import numpy as np
from jaxtyping import UInt8

Image = UInt8[np.ndarray, "h w 3"]
"""An RGB image, values 0..255, rows from the top."""

T = TypeVar("T")

MAX_SCORE = 5.0
TRACE = 1.0
"""The scale of every prompt calls this a trace of what was asked for, so no success."""
NO_FAILURE = "None"
"""The feedback text of a perspective in which nothing failed (the paper's inference text)."""


class Perspective(StrEnum):
    """The three ways in which an edit can be good; iteration order is the order of every score vector."""

    FOLLOWING = "following"
    PRESERVING = "preserving"
    QUALITY = "quality"


PERSPECTIVES: tuple[Perspective, ...] = tuple(Perspective)

Scores = tuple[float, float, float]
Feedback = tuple[str, str, str]


@runtime_checkable
class StoredImage(Protocol):
    """An image in a file or table, read when needed: a benchmark's photographs don't fit into memory
    together.
    """

    def size(self) -> tuple[int, int]:
        """Height and width, without decoding it."""
        ...

    def decode(self) -> Image:
        """The image, decoded at each call."""
        ...


@final
@dataclass(frozen=True)
class Turn:
    """One of several edits, each of which starts from the result of the previous one.

    Attributes:
        id: names this edit's file and seeds its noise.
        instruction: of this edit alone.
    """

    id: str
    instruction: str


@final
@dataclass(frozen=True, eq=False)
class Case:
    """One item of a benchmark: an image and an instruction.

    Attributes:
        id: names the edit.
        image: the original, in memory or stored.
        instruction: the whole edit.
        edit_type: the row of the per-type table.
        photograph: the original that the case was made from; cases that share one are not independent, so
            intervals cluster by it.
        turns: the steps of an edit that is made in several, the last one with the case's id; empty for a
            single step.
    """

    id: str
    image: Image | StoredImage
    instruction: str
    edit_type: str
    photograph: str
    turns: tuple[Turn, ...] = ()

    @property
    def original(self) -> Image:
        """The image; a stored one is decoded at each call."""
        return self.image if isinstance(self.image, np.ndarray) else self.image.decode()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the original, without decoding it."""
        if isinstance(self.image, np.ndarray):
            height, width, _ = self.image.shape
            return height, width
        return self.image.size()


@final
@dataclass(frozen=True, eq=False)
class Triplet:
    """A Case together with an edited image, as found in a dataset or made by an Editor.

    Attributes:
        case, edited: the two.
        files: the bytes of original and edited, where they come from files: sent unchanged to judges that
            take files.
        answer: for a chat sample, the answer to a question about the case's image, and `edited` is the
            original; None for an edit.
    """

    case: Case
    edited: Image
    files: tuple[bytes, bytes] | None = field(default=None, repr=False)
    answer: str | None = None


@final
@dataclass(frozen=True)
class Verdict:
    """A judge's assessment of one perspective of one triplet.

    Attributes:
        score: in [0, 5]; None if and only if the status is "failed".
        success: whether the perspective's criterion is met; None in annotation, which asks for score and
            feedback only.
        feedback: what failed, in words; "None" if nothing did.
        status: "ok", "repaired" (the reply was corrected before it parsed) or "failed" (no usable answer).
        deviation: the judge's own uncertainty of the score, in points; None where it says none.

    Raises:
        ValueError: a score outside [0, 5], a deviation below 0, a failed verdict with a score, or a verdict
            that is not failed without one.
    """

    score: float | None
    success: bool | None = None
    feedback: str = NO_FAILURE
    status: Literal["ok", "repaired", "failed"] = "ok"
    deviation: float | None = None

    def __post_init__(self) -> None:
        if (self.score is None) != (self.status == "failed"):
            raise ValueError(
                f"a verdict has no score if and only if it failed: score {self.score}, status {self.status!r}"
            )
        if self.score is not None:
            check_score(self.score)
        if self.deviation is not None and not 0.0 <= self.deviation < math.inf:
            raise ValueError(f"a deviation of a score must be 0 or more, got {self.deviation!r}")

    @property
    def is_contradictory(self) -> bool:
        """Whether success and score can't both be meant: yes with at most a trace, no with full marks."""
        if self.score is None or self.success is None:
            return False
        return self.score <= TRACE if self.success else self.score >= MAX_SCORE


@final
@dataclass(frozen=True)
class Reward:
    """Three Verdicts of one Triplet by one Judge, with provenance.

    Attributes:
        id: the triplet's id.
        judge: the judge's name.
        key: sha256 of original, edited, instruction and the judge's fingerprint; identifies what was judged
            and how.
    """

    id: str
    judge: str
    key: str
    following: Verdict
    preserving: Verdict
    quality: Verdict

    @property
    def verdicts(self) -> tuple[Verdict, Verdict, Verdict]:
        """The three verdicts in the order of PERSPECTIVES."""
        return self.following, self.preserving, self.quality

    @property
    def failed(self) -> bool:
        """Whether any perspective has no answer. A failed reward never trains a model, and every report
        counts it.
        """
        return any(verdict.status == "failed" for verdict in self.verdicts)


ASPECTS = (*(perspective.value for perspective in PERSPECTIVES), "semantic", "overall")
"""What people compare edits by: a perspective; "semantic", following and preserving in one; or all of it."""


@final
@dataclass(frozen=True, eq=False)
class Candidate:
    """One of several edits of a case that were compared or rated.

    Attributes:
        id: names the edit, in the whole benchmark or dataset.
        picture: in memory or stored.
        editor: the model that made it; "" where unknown.
        ratings: by aspect, in the source's own scale.
    """

    id: str
    picture: Image | StoredImage
    editor: str = ""
    ratings: Mapping[str, float] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Ranking:
    """The order in which someone put the candidates of a contest.

    Attributes:
        aspect: by what, one of ASPECTS.
        tiers: indices of candidates, the best first; those that are equal share a tier.
        both_bad: all are equal because none is any good.

    Raises:
        ValueError: an unknown aspect, an empty tier, or an index twice.
    """

    aspect: str
    tiers: tuple[tuple[int, ...], ...]
    both_bad: bool = False

    def __post_init__(self) -> None:
        ranked = [index for tier in self.tiers for index in tier]
        if self.aspect not in ASPECTS:
            raise ValueError(f"the aspect {self.aspect!r} is none of {', '.join(ASPECTS)}")
        if not all(self.tiers) or len(set(ranked)) < len(ranked) or min(ranked, default=0) < 0:
            raise ValueError(f"tiers {self.tiers} need candidates in each, and no candidate twice")
        if self.both_bad and len(self.tiers) != 1:
            raise ValueError(f"candidates that are all bad share one tier, got {self.tiers}")


@final
class ComparedPair(NamedTuple):
    """Two candidates of a contest, by index: the first is better, or both are equal."""

    better: int
    worse: int
    tie: bool


@final
@dataclass(frozen=True, eq=False)
class Contest:
    """Several edits of one case with what people said of them.

    Attributes:
        case: its id names the contest.
        candidates: two or more.
        rankings: at most one per aspect; empty where the candidates' ratings say all.
        source: the benchmark or dataset.

    Raises:
        ValueError: fewer than two candidates, two of one id, a ranking of others, or two of one aspect.
    """

    case: Case
    candidates: tuple[Candidate, ...]
    rankings: tuple[Ranking, ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        ids = [candidate.id for candidate in self.candidates]
        aspects = [ranking.aspect for ranking in self.rankings]
        beyond = [ranking.tiers for ranking in self.rankings if max(map(max, ranking.tiers)) >= len(ids)]
        if len(ids) < 2 or len(set(ids)) < len(ids):
            raise ValueError(f"contest {self.case.id!r} needs two or more edits of different ids, got {ids}")
        if beyond or len(set(aspects)) < len(aspects):
            raise ValueError(
                f"contest {self.case.id!r} of {len(ids)} edits: one ranking per aspect, of these edits "
                f"alone, is needed, got {[(ranking.aspect, ranking.tiers) for ranking in self.rankings]}"
            )

    def pairs(self, aspect: str) -> Iterator[ComparedPair]:
        """All pairs that the ranking of an aspect orders or calls equal; none without one."""
        for ranking in self.rankings:
            if ranking.aspect == aspect:
                placed = [(place, index) for place, tier in enumerate(ranking.tiers) for index in tier]
                for (above, first), (below, second) in combinations(placed, 2):
                    yield ComparedPair(first, second, above == below)


@final
@dataclass(frozen=True)
class TargetReward:
    """The reward asked for at inference: the paper's 5/5/5 and "None" unless said otherwise.

    Attributes:
        scores: following, preserving, quality, each in [0, 5].
        feedback: one text per perspective.

    Raises:
        ValueError: not three values, or a score outside [0, 5].
    """

    scores: Sequence[float | int] = (MAX_SCORE, MAX_SCORE, MAX_SCORE)
    feedback: Sequence[str] = (NO_FAILURE, NO_FAILURE, NO_FAILURE)

    def __post_init__(self) -> None:
        # lists, as yaml gives them, become tuples: a frozen record can then be compared and hashed
        object.__setattr__(
            self, "scores", three([float(score) for score in self.scores], "target reward scores")
        )
        object.__setattr__(self, "feedback", three(self.feedback, "target reward feedback"))
        for score in self.scores:
            check_score(score)


def check_score(score: float) -> None:
    """Raise ValueError unless 0 <= score <= 5 (NaN is outside)."""
    if not 0.0 <= score <= MAX_SCORE:
        raise ValueError(f"a score must lie in [0, {MAX_SCORE:g}], got {score!r}")


def three(values: Sequence[T], what: str) -> tuple[T, T, T]:
    """The values as a tuple, one per perspective, or ValueError naming what was given."""
    if isinstance(values, str) or len(values) != len(PERSPECTIVES):
        raise ValueError(f"{what}: one value each for {', '.join(PERSPECTIVES)} is needed, got {values!r}")
    first, second, third = values
    return first, second, third
