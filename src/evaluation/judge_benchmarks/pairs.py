"""Figures of pairs: a rule, the judge's margins, and judges that know nothing under the same rule."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Int

from src.evaluation.judge_benchmarks.answers import Answers, Protocol
from src.evaluation.judge_benchmarks.metric import JudgeMetric, MeasureOptions, MetricKey, Units
from src.evaluation.preference_metrics import (
    Human,
    Margin,
    Right,
    Rule,
    TieLadder,
    bounds_of,
    draws_within,
    excluded,
    fitted_interval,
    half,
    margins,
    mean_right,
    strict,
    three_classes,
    ties_beside,
    with_ties_cross,
    with_ties_fitted,
)
from src.evaluation.statistics import Interval, clustered_interval

RULES: dict[str, Rule] = {
    "strict": strict,
    "half": half,
    "excluded": excluded,
    "exact": three_classes,
    "with_ties_cross": with_ties_cross,
    "with_ties": with_ties_fitted,
    "ties_beside": ties_beside,
}
DECIDED = ("strict", "half", "excluded")
TIED = ("with_ties_cross", "with_ties")


@final
@dataclass(frozen=True, eq=False)
class PairSet:
    """Pairs that people compared.

    Attributes:
        ids: of the pairs.
        first, second: which of the judged edits are compared.
        human: 1, -1 or 0.
        clusters: the original of each pair, by its number in the order of names.
        contested: pairs with opposite labels, that count in bounds alone.
    """

    ids: Sequence[str]
    first: Int[np.ndarray, " n"]
    second: Int[np.ndarray, " n"]
    human: Human
    clusters: Int[np.ndarray, " n"]
    contested: int = 0


@final
@dataclass(frozen=True)
class MetricSource:
    """Where figures come from.

    Attributes:
        benchmark: its name.
        protocol: how the judge was asked.
        options: how much is drawn.
    """

    benchmark: str
    protocol: Protocol
    options: MeasureOptions

    def key(self, labels: str, rule: str, n: int) -> MetricKey:
        """The key of a figure."""
        return MetricKey(self.benchmark, self.protocol, labels, rule, n)


def numbered(names: Sequence[str]) -> Int[np.ndarray, " n"]:
    """Numbers in the order of the names, equal for equal ones."""
    return np.unique(np.asarray(names, dtype=str), return_inverse=True)[1].astype(int)


def scored_margins(pairs: PairSet, scores: Float[np.ndarray, " edits"]) -> Margin:
    """The margins of scores of all edits."""
    return margins(scores[pairs.first], scores[pairs.second])


def pair_metric(
    asked: MetricSource, labels: str, pairs: PairSet, margin: Margin, rule: str, human: float | None = None
) -> JudgeMetric:
    """One figure of a rule.

    Args:
        asked: where it comes from.
        labels: name of these pairs.
        pairs: the pairs.
        margin: the judge's.
        rule: a name in RULES.
        human: what a person gets.
    """
    right = RULES[rule](pairs.human, margin, pairs.clusters)
    counts, failed = ~np.isnan(right), np.isnan(margin)
    n = int(counts.sum())
    value = mean_right(right)
    return JudgeMetric(
        asked.key(labels, rule, n),
        None if np.isnan(value) else value,
        within_shares(_interval(asked, pairs, margin, rule, right)),
        len(np.unique(pairs.clusters[counts])),
        int((failed & counts).sum()),
        with_contested(bounds_of(right, failed), n, pairs.contested),
        chance_of(asked, pairs, rule),
        human,
        {"width": _width(pairs, margin)} if rule in ("with_ties", "ties_beside") else {},
        Units(pairs.ids, right, pairs.clusters),
    )


def _width(pairs: PairSet, margin: Margin) -> float | None:
    width = TieLadder(pairs.human, margin).fit().width
    return width if np.isfinite(width) else None


def _interval(
    asked: MetricSource, pairs: PairSet, margin: Margin, rule: str, right: Right
) -> Interval | None:
    """The t-interval over clusters; where the tie width is fitted on the same pairs, a bootstrap that fits it
    again.
    """
    if rule == "with_ties":
        draws = draws_within(len(right), asked.options.draws, 6e7, 30)
        return fitted_interval(pairs.human, margin, pairs.clusters, draws)
    counts = ~np.isnan(right)
    return clustered_interval(right[counts], pairs.clusters[counts]) if counts.any() else None


def within_shares(interval: Interval | None) -> Interval | None:
    """An interval of a share ends at 0 and 1."""
    return None if interval is None else Interval(max(0.0, interval.low), min(1.0, interval.high))


def with_contested(bounds: Interval, n: int, contested: int) -> Interval:
    """Bounds with further pairs counted wrong, and right."""
    whole = n + contested
    return Interval(bounds.low * n / whole, (bounds.high * n + contested) / whole) if whole else bounds


def chance_of(asked: MetricSource, pairs: PairSet, rule: str) -> dict[str, float]:
    """What a rule gives to judges that don't look."""
    n, edits = (
        len(pairs.human),
        int(max(pairs.first.max(), pairs.second.max())) + 1 if len(pairs.human) else 0,
    )
    zeros, ones = np.zeros(n), np.ones(n)

    def mean(margin: Margin) -> float:
        return mean_right(RULES[rule](pairs.human, margin, pairs.clusters))

    def drawn(draw: Callable[[np.random.Generator], Margin]) -> float:
        rng = np.random.default_rng(0)
        repeats = draws_within(n, asked.options.chance_draws, 4e6 if rule == "with_ties_cross" else 1e7)
        return float(np.mean([mean(draw(rng)) for _ in range(repeats)]))

    if asked.protocol == "verdicts":
        found = {
            "always tie": mean(zeros),
            "random": drawn(lambda rng: rng.integers(-1, 2, n).astype(float)),
            "always first": mean(ones),
        }
    else:
        found = {
            "constant": mean(zeros),
            "random": drawn(lambda rng: scored_margins(pairs, rng.normal(size=edits))),
            "always first": mean(ones),
        }
    return {name: value for name, value in found.items() if not np.isnan(value)}


def margins_of(answers: Answers, pairs: PairSet, edits: Sequence[str], aspect: str = "overall") -> Margin:
    """A judge's margins, from its scores or its verdicts.

    Args:
        answers: the judge's.
        pairs: the pairs.
        edits: the ids that `pairs` count.
        aspect: which score.
    """
    if answers.protocol == "verdicts":
        return np.array([answers.margin(id) for id in pairs.ids], dtype=float)
    return scored_margins(pairs, np.array([answers.score(id, aspect) for id in edits], dtype=float))


def group_metric(
    asked: MetricSource,
    labels: str,
    rule: str,
    right: Mapping[str, float],
    failed: Mapping[str, bool],
    clusters: Mapping[str, str],
    chance: Mapping[str, float],
    contested: int = 0,
) -> JudgeMetric:
    """A figure whose units are right or wrong as a whole: groups of several edits, votes of four classes.

    Args:
        asked: where it comes from.
        labels, rule: of its key.
        right: by unit.
        failed: whether the judge failed on it.
        clusters: its original.
        chance: what judges that don't look get.
        contested: units of opposite labels.
    """
    ids = list(right)
    values = np.array([right[id] for id in ids], dtype=float)
    lost = np.array([failed[id] for id in ids], dtype=bool)
    codes = numbered([clusters[id] for id in ids])
    return JudgeMetric(
        asked.key(labels, rule, len(ids)),
        mean_right(values) if ids else None,
        within_shares(clustered_interval(values, codes)) if ids else None,
        len(np.unique(codes)),
        int(lost.sum()),
        with_contested(bounds_of(values, lost), len(ids), contested) if ids else None,
        chance,
        units=Units(ids, values, codes),
    )
