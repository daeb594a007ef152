"""How well a judge's scores of single edits follow people's ratings: rank correlations, as pure functions.

Scores and ratings are tables of (editors, edits), NaN where one is missing. The published protocols correlate
within each editing model and then average; three averages are in use and give different numbers:

    plain         the mean of the correlations
    fisher        tanh(mean(atanh)), Fisher's
    as_published  tanh(mean): what VIEScore's notebook and EditReward's table compute and call Fisher's

A mean over editors weighs one whose edits are nearly all rated 0 like any other; `pooled` is the correlation
over all edits at once.
"""

from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from src.evaluation.statistics import Interval

MOST = 1 - 1e-9
"""Fisher's transform of a perfect correlation is infinite; this is as near as it gets."""

AVERAGES = ("fisher", "plain", "as_published")


def spearman_rows(
    one: Float[np.ndarray, "rows n"], other: Float[np.ndarray, "rows n"]
) -> Float[np.ndarray, " rows"]:
    """Spearman's correlation of each row, over the places where neither is NaN.

    Returns:
        NaN where `other`, the human side, does not vary or is too short; 0 where only `one` does not.
    """
    known = ~(np.isnan(one) | np.isnan(other))
    # what is missing ranks above everything, which leaves the other ranks alone
    first, second = (
        np.where(known, rankdata(np.where(known, side, np.inf), axis=1), 0.0) for side in (one, other)
    )
    n = known.sum(axis=1)
    middle = np.where(known, (n[:, None] + 1) / 2, 0.0)
    first, second = first - middle, second - middle
    spread, rated = (first**2).sum(axis=1), (second**2).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = (first * second).sum(axis=1) / np.sqrt(spread * rated)
    rho = np.where(spread == 0, 0.0, rho)
    return np.where((rated == 0) | (n < 2), np.nan, rho)


def averages(rhos: Float[np.ndarray, "rows editors"]) -> dict[str, Float[np.ndarray, " rows"]]:
    """All AVERAGES of each row, over the editors that have a correlation; NaN where none has."""
    counts = (~np.isnan(rhos)).sum(axis=-1)

    def mean(values: Float[np.ndarray, "rows editors"]) -> Float[np.ndarray, " rows"]:
        total = np.where(np.isnan(values), 0.0, values).sum(axis=-1)
        return np.where(counts == 0, np.nan, total / np.maximum(counts, 1))

    plain = mean(rhos)
    fisher = np.tanh(mean(np.arctanh(np.clip(rhos, -MOST, MOST))))
    return {"fisher": fisher, "plain": plain, "as_published": np.tanh(plain)}


@final
class Correlations(NamedTuple):
    """Correlations of a judge with people.

    Attributes:
        values: fisher, plain, as_published and pooled.
        per_editor: NaN for an editor whose ratings do not vary.
    """

    values: dict[str, float]
    per_editor: Float[np.ndarray, " editors"]


def correlations(
    judged: Float[np.ndarray, "editors n"], human: Float[np.ndarray, "editors n"]
) -> Correlations:
    """All correlations of a table."""
    rhos = spearman_rows(judged, human)
    pooled = spearman_rows(judged.reshape(1, -1), human.reshape(1, -1))[0]
    values = {name: float(value[0]) for name, value in averages(rhos[None]).items()}
    return Correlations(values | {"pooled": float(pooled)}, rhos)


def correlation_intervals(
    judged: Float[np.ndarray, "editors n"],
    human: Float[np.ndarray, "editors n"],
    clusters: Int[np.ndarray, " n"],
    draws: int,
    level: float = 0.95,
) -> dict[str, Interval | None]:
    """Percentile bootstrap over whole clusters of edits; None with fewer than two clusters, or where too few
    draws have a correlation.
    """
    columns = _drawn_columns(clusters, draws)
    if columns is None:
        return dict.fromkeys((*AVERAGES, "pooled"))
    judged, human = (
        np.concatenate([side, np.full((len(side), 1), np.nan)], axis=1) for side in (judged, human)
    )
    rhos = np.stack(
        [spearman_rows(one[columns], other[columns]) for one, other in zip(judged, human, strict=True)]
    )
    flat = [side[:, columns].transpose(1, 0, 2).reshape(draws, -1) for side in (judged, human)]
    drawn = averages(rhos.T) | {"pooled": spearman_rows(*flat)}
    return {name: _percentiles(values, level) for name, values in drawn.items()}


def _drawn_columns(clusters: Int[np.ndarray, " n"], draws: int) -> Int[np.ndarray, "draws most"] | None:
    """The edits of each draw of clusters, filled up with n, the column of what is missing."""
    names, member_of = np.unique(clusters, return_inverse=True)
    if len(names) < 2:
        return None
    members = [np.flatnonzero(member_of == index) for index in range(len(names))]
    rng = np.random.default_rng(0)
    drawn = [
        np.concatenate([members[i] for i in rng.integers(0, len(names), len(names))]) for _ in range(draws)
    ]
    columns = np.full((draws, max(map(len, drawn))), len(clusters))
    for row, each in enumerate(drawn):
        columns[row, : len(each)] = each
    return columns


def _percentiles(values: Float[np.ndarray, " draws"], level: float) -> Interval | None:
    known = values[~np.isnan(values)]
    if len(known) < len(values) / 2:
        return None
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def filled(
    judged: Float[np.ndarray, "editors n"], human: Float[np.ndarray, "editors n"], rightly: bool
) -> Float[np.ndarray, "editors n"]:
    """The judge's table with its missing scores filled in, for bounds: as high among the scores of that
    editor as people rate the edit among its edits, or, wrongly, as low as that.
    """
    out = judged.copy()
    for row, (scores, ratings) in enumerate(zip(judged, human, strict=True)):
        missing, known = np.isnan(scores) & ~np.isnan(ratings), ~np.isnan(scores)
        if missing.any() and known.any():
            rated = ratings[~np.isnan(ratings)]
            share = np.searchsorted(np.sort(rated), ratings[missing], side="left") / max(len(rated) - 1, 1)
            share = np.clip(share, 0, 1)
            out[row, missing] = np.quantile(scores[known], share if rightly else 1 - share)
    return out
