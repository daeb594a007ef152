"""The statistics of a report, as pure functions of arrays.

Cases that share an original photograph are not independent (80 originals x 7 edit types are 560 cases but 80 observations), so intervals are
bootstrapped over photographs, not over cases: treating the cases as independent makes them too narrow.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from src.records import MAX_SCORE


class Interval(NamedTuple):
    """A closed interval."""

    low: float
    high: float


def clustered_interval(
    values: Float[np.ndarray, " n"], clusters: Sequence[str], resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Interval | None:
    """Bootstrap interval of the mean: whole clusters are drawn with replacement, the mean is over the drawn clusters' values.

    Args:
        values: one per case, finite.
        clusters: the cluster (photograph) of each value.
        resamples: bootstrap draws.
        level: of the interval, in (0, 1).
        seed: of the draws; equal input gives an equal interval.

    Returns:
        The percentile interval, or None with fewer than two clusters: one cluster says nothing about how clusters differ.

    Raises:
        ValueError: numbers of values and clusters differ.
    """
    if len(values) != len(clusters):
        raise ValueError(f"{len(values)} values need as many clusters, got {len(clusters)}")
    names, member_of = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    if len(names) < 2:
        return None
    sums = np.bincount(member_of, weights=values)
    counts = np.bincount(member_of)
    drawn = np.random.default_rng(seed).integers(len(names), size=(resamples, len(names)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def bounds_under_failures(values: Float[np.ndarray, " judged"], n: int) -> Interval:
    """The lowest and highest mean that the n - judged missing scores allow: each counted as 0, and each as 5.

    Raises:
        ValueError: no case at all, or more values than cases.
    """
    if n < 1 or len(values) > n:
        raise ValueError(f"{len(values)} judged values do not fit {n} cases")
    if len(values) == n:
        mean = float(np.mean(values))
        return Interval(mean, mean)
    total = float(np.sum(values))
    return Interval(total / n, (total + MAX_SCORE * (n - len(values))) / n)
