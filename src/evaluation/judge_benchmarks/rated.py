"""Edits that people rated one by one: correlations per editing model, and the pairs that ratings imply."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Int

from src.evaluation.judge_benchmarks.answers import Answers
from src.evaluation.judge_benchmarks.metric import JudgeMetric
from src.evaluation.judge_benchmarks.pairs import (
    DECIDED,
    RULES,
    TIED,
    MetricSource,
    PairSet,
    pair_metric,
    scored_margins,
)
from src.evaluation.preference_metrics import margins, mean_right
from src.evaluation.rating_metrics import averages, correlation_intervals, correlations, filled
from src.evaluation.statistics import Interval

ORDER = ("fisher", "pooled", "plain", "as_published")


@final
@dataclass(frozen=True, eq=False)
class RatingTable:
    """A table of edits: one row per editing model, one column per case.

    Attributes:
        editors: of the rows.
        cases: of the columns.
        ids: of the edits.
        clusters: the original of each case, by number.
        human: by aspect, the mean over raters; NaN where an edit has no rating.
        raters: by aspect, what each rater gave; None where ratings are not told apart.
    """

    editors: Sequence[str]
    cases: Sequence[str]
    ids: Sequence[Sequence[str]]
    clusters: Int[np.ndarray, " cases"]
    human: Mapping[str, Float[np.ndarray, "editors cases"]]
    raters: Mapping[str, Float[np.ndarray, "raters editors cases"]] | None = None

    def only(self, kept: Bool[np.ndarray, " editors"]) -> "RatingTable":
        """Some editors."""
        rows = np.flatnonzero(kept).tolist()
        return RatingTable(
            [self.editors[row] for row in rows],
            self.cases,
            [self.ids[row] for row in rows],
            self.clusters,
            {aspect: values[rows] for aspect, values in self.human.items()},
            None
            if self.raters is None
            else {aspect: values[:, rows] for aspect, values in self.raters.items()},
        )

    def judged(self, answers: Answers, aspect: str) -> Float[np.ndarray, "editors cases"]:
        """A judge's scores; NaN where it failed or wasn't asked."""
        return np.array([[answers.score(id, aspect) for id in row] for row in self.ids], dtype=float)

    def asked(self, answers: Answers) -> Bool[np.ndarray, " editors"]:
        """Editors of whose edits the judge was asked about any. One that it never heard of is left out and
        named; of the others, what is missing is a failure.
        """
        return np.array([any(id in answers.scores for id in row) for row in self.ids])

    def unasked(self, answers: Answers) -> list[str]:
        """The editors that the judge never heard of."""
        return [editor for editor, asked in zip(self.editors, self.asked(answers), strict=True) if not asked]

    def contests_of_two(self) -> PairSet:
        """All pairs of edits of a case that people rated, by their overall ratings."""
        return implied_pairs(self, self.human["overall"])


def implied_pairs(edits: RatingTable, ratings: Float[np.ndarray, "editors cases"]) -> PairSet:
    """Every two edits of a case, the better rated one preferred; edits are numbered row by row."""
    width = len(edits.cases)
    rows = list(combinations(range(len(edits.editors)), 2))
    first = np.array([one * width + np.arange(width) for one, _ in rows], dtype=int).reshape(-1)
    second = np.array([other * width + np.arange(width) for _, other in rows], dtype=int).reshape(-1)
    flat = ratings.reshape(-1)
    apart = margins(flat[first], flat[second])
    rated = ~np.isnan(apart)
    first, second, apart = first[rated], second[rated], apart[rated]
    ids = [id for row in edits.ids for id in row]
    return PairSet(
        [f"{ids[one]} {ids[other]}" for one, other in zip(first, second, strict=True)],
        first,
        second,
        np.sign(apart).astype(int),
        edits.clusters[first % width],
    )


def rating_metrics(
    asked: MetricSource, edits: RatingTable, answers: Answers, published: str
) -> list[JudgeMetric]:
    """All figures of a judge on rated edits.

    Args:
        asked: where they come from.
        edits: those of the editors that the judge was asked about.
        answers: the judge's.
        published: the average that was published: its rule comes by its own name, too.
    """
    found = []
    for aspect, human in edits.human.items():
        judged = edits.judged(answers, aspect)
        ceiling = rater_correlations(edits, aspect)
        found += correlation_metrics(asked, aspect, edits, judged, human, ceiling, published)
    pairs, scores = edits.contests_of_two(), edits.judged(answers, "overall").reshape(-1)
    margin = scored_margins(pairs, scores)
    found += [pair_metric(asked, "overall_pairs", pairs, margin, rule) for rule in (*TIED, *DECIDED)]
    return [*found, *against_raters(asked, edits, scores)]


def correlation_metrics(
    asked: MetricSource,
    aspect: str,
    edits: RatingTable,
    judged: Float[np.ndarray, "editors cases"],
    human: Float[np.ndarray, "editors cases"],
    ceiling: Mapping[str, float],
    published: str,
) -> list[JudgeMetric]:
    """The correlations of one aspect, each average under its own name."""
    rated = ~np.isnan(human)
    lost = np.isnan(judged) & rated
    whole = correlations(judged, human)
    intervals = correlation_intervals(judged, human, edits.clusters, asked.options.draws)
    low, high = (correlations(filled(judged, human, rightly), human).values for rightly in (False, True))
    drawn = random_correlations(human, asked.options.chance_draws)
    varied = [human[row][rated[row]] for row in range(len(human))]
    flat = sum(len(values) < 2 or np.ptp(values) == 0 for values in varied)
    found = []
    for rule in ORDER if published == "as_published" else ORDER[:-1]:
        value = whole.values[rule]
        ends = (low[rule], high[rule]) if lost.any() else (value, value)
        found.append(
            JudgeMetric(
                asked.key(aspect, rule, int(rated.sum())),
                None if np.isnan(value) else value,
                intervals[rule],
                len(np.unique(edits.clusters)),
                int(lost.sum()),
                None if np.isnan(ends).any() else Interval(min(*ends, value), max(*ends, value)),
                {"constant": 0.0, "random": drawn[rule]},
                ceiling.get(rule),
                {"editors": float(len(human) - flat), "editors without variation": float(flat)},
            )
        )
    return found


def random_correlations(human: Float[np.ndarray, "editors cases"], draws: int) -> dict[str, float]:
    """The mean correlation of scores that are drawn."""
    rng = np.random.default_rng(0)
    drawn = [correlations(rng.normal(size=human.shape), human).values for _ in range(min(draws, 50))]
    return {rule: float(np.mean([values[rule] for values in drawn])) for rule in ORDER}


def rater_correlations(edits: RatingTable, aspect: str) -> dict[str, float]:
    """One rater against the mean of the others: per editor the average over raters, then over editors, both
    by the same rule; pooled is the mean over raters.
    """
    raters = None if edits.raters is None else edits.raters[aspect]
    if raters is None or len(raters) < 2:
        return {}
    found = []
    for index in range(len(raters)):
        others = np.delete(raters, index, axis=0).mean(axis=0)
        found.append(correlations(raters[index], others))
    by_editor = np.stack([each.per_editor for each in found], axis=1)
    by_editor = by_editor[~np.isnan(by_editor).any(axis=1)]
    whole = _twice_averaged(by_editor)
    return whole | {"pooled": float(np.mean([each.values["pooled"] for each in found]))}


def _twice_averaged(rhos: Float[np.ndarray, "editors raters"]) -> dict[str, float]:
    inner = averages(rhos)
    return {rule: float(averages(values[None])[rule][0]) for rule, values in inner.items()}


def against_raters(
    asked: MetricSource, edits: RatingTable, scores: Float[np.ndarray, " edits"]
) -> list[JudgeMetric]:
    """The judge against the mean of all raters but one, beside that one: what a person gets for the same
    labels. All leave-one-out label sets count together.
    """
    raters = None if edits.raters is None else edits.raters["overall"]
    if raters is None or len(raters) < 2:
        return []
    sets, people = [], []
    for index in range(len(raters)):
        pairs = implied_pairs(edits, np.delete(raters, index, axis=0).mean(axis=0))
        sets.append(pairs)
        people.append(scored_margins(pairs, raters[index].reshape(-1)))
    found = []
    for rule in (*DECIDED, "with_ties"):
        human = np.mean(
            [_value(asked, each, margin, rule) for each, margin in zip(sets, people, strict=True)]
        )
        judge = [
            pair_metric(asked, "other_raters", each, scored_margins(each, scores), rule) for each in sets
        ]
        found.append(averaged(judge, float(human)))
    return found


def _value(asked: MetricSource, pairs: PairSet, margin: Float[np.ndarray, " n"], rule: str) -> float:
    return mean_right(RULES[rule](pairs.human, margin, pairs.clusters))


def averaged(metrics: Sequence[JudgeMetric], human: float) -> JudgeMetric:
    """The mean of figures of one rule over label sets of the same edits; intervals are averaged, too, as the
    sets share all their originals.
    """
    first = metrics[0]
    values = [metric.value for metric in metrics if metric.value is not None]
    intervals = [metric.interval for metric in metrics if metric.interval is not None]
    bounds = [metric.bounds for metric in metrics if metric.bounds is not None]
    key = first.key
    return JudgeMetric(
        type(key)(key.benchmark, key.protocol, key.labels, key.rule, sum(metric.key.n for metric in metrics)),
        float(np.mean(values)) if values else None,
        Interval(*(float(x) for x in np.mean(intervals, axis=0))) if intervals else None,
        first.clusters,
        sum(metric.failed for metric in metrics),
        Interval(*(float(x) for x in np.mean(bounds, axis=0))) if bounds else None,
        {name: float(np.mean([metric.chance[name] for metric in metrics])) for name in first.chance},
        human,
    )
