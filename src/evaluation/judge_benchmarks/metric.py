"""One figure of a judge on a benchmark, whose key says everything that it may not be compared across."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
from jaxtyping import Float, Int

from src.evaluation.statistics import Interval


@final
@dataclass(frozen=True)
class MetricKey:
    """What a figure is of. Two figures compare only if all of it is equal.

    Attributes:
        benchmark: "genai_bench".
        protocol: how the judge was asked: "scores" of single edits, or "verdicts" on pairs.
        labels: which of the labels count: "decided", "overall", "K=3".
        rule: how a figure is made of them, ties of the judge included: "strict", "fisher".
        n: how many pairs, groups or edits count.
    """

    benchmark: str
    protocol: str
    labels: str
    rule: str
    n: int

    @property
    def kind(self) -> str:
        """All but n, which differs where a judge's own ties decide what counts."""
        return f"{self.benchmark}/{self.protocol}/{self.labels}/{self.rule}"

    def __str__(self) -> str:
        return f"{self.kind}/n={self.n}"


@final
@dataclass(frozen=True, eq=False)
class Units:
    """How right each pair or group is, for comparisons of judges.

    Attributes:
        ids: of all of them.
        right: 0 to 1; NaN for one that doesn't count.
        clusters: their originals, by number.
    """

    ids: Sequence[str]
    right: Float[np.ndarray, " n"]
    clusters: Int[np.ndarray, " n"]

    def by_id(self) -> dict[str, tuple[float, int]]:
        """How right each one that counts is, and its original."""
        counting = np.flatnonzero(~np.isnan(self.right)).tolist()
        return {self.ids[index]: (float(self.right[index]), int(self.clusters[index])) for index in counting}


@final
@dataclass(frozen=True, eq=False)
class JudgeMetric:
    """A figure with what is needed to believe it.

    Attributes:
        key: what it is of.
        value: a share or a correlation; None where it is not defined.
        interval: 95 %, over clusters; None with fewer than two.
        clusters: originals.
        failed: answers among n that are missing or could not be used.
        bounds: the value if every failed answer and every contradictory label were counted wrong, and right.
        chance: what judges get that know nothing ("constant", "random", "always first").
        human: what a person gets; None where unknown.
        details: further numbers ("width").
        units: its pairs or groups; None for correlations.
    """

    key: MetricKey
    value: float | None
    interval: Interval | None
    clusters: int
    failed: int
    bounds: Interval | None
    chance: Mapping[str, float] = field(default_factory=dict)
    human: float | None = None
    details: Mapping[str, float | None] = field(default_factory=dict)
    units: Units | None = None


@final
@dataclass(frozen=True)
class MeasureOptions:
    """How much is drawn.

    Attributes:
        draws: of a bootstrap.
        chance_draws: judges that draw their answers.
    """

    draws: int = 1000
    chance_draws: int = 200


@final
@dataclass(frozen=True)
class Fact:
    """A number of the benchmark itself that someone published, and what the rows at hand give.

    Attributes:
        what: in words.
        printed: as published ("55.50"); "" if it was not.
        computed: from these rows, by the published formula.
        scale: printed = scale x computed.
        source: where it is published.
        corrected: by the formula's own definition, where the published one is something else.
        note: what is different.
    """

    what: str
    computed: float
    printed: str = ""
    scale: float = 1.0
    source: str = ""
    corrected: float | None = None
    note: str = ""
