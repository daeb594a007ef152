"""How far judges agree, as pure functions of their scores. NaN is a verdict that failed, and is left out
where it stands.

Several figures, since each hides something: rank correlation sees no shift (a judge who always gives a point
less), exact matches count a gap of half a point like one of five, and both call judges unanimous who give
everything a 5. Krippendorff's alpha compares the disagreement with chance.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from rich.table import Table
from scipy.stats import rankdata

from src.records import PERSPECTIVES


@dataclass(frozen=True)
class Agreement:
    """Of two judges, or on average of all pairs of several; NaN where it isn't defined.

    Attributes:
        items: triplets that at least two judges scored.
        spearman: rank correlation; 0 where a judge gives everything the same score, which ranks nothing.
        alpha: Krippendorff's, for intervals: 1 for no disagreement, 0 for that of chance.
        exact: share of equal scores.
        difference: mean absolute difference in points.
    """

    items: int
    spearman: float
    alpha: float
    exact: float
    difference: float


def rank_correlation(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> float:
    """Spearman's correlation over the items that both scored; 0 if one of them ranks nothing, NaN of fewer
    than two items.
    """
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 2:
        return math.nan
    one, other = first[both], second[both]
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def krippendorff_alpha(scores: Float[np.ndarray, "judges items"]) -> float:
    """Krippendorff's alpha with squared differences, 1 - observed / expected disagreement; NaN where no two
    scores differ.

    Source: Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011.
    """
    paired = scores[:, np.isfinite(scores).sum(axis=0) >= 2]
    values = paired[np.isfinite(paired)]
    if len(values) < 2 or np.ptp(values) == 0:
        return math.nan
    # sum over pairs of (a - b)^2 = n sum a^2 - (sum a)^2
    counts = np.isfinite(paired).sum(axis=0)
    within = counts * np.nansum(paired**2, axis=0) - np.nansum(paired, axis=0) ** 2
    n = len(values)
    observed = 2 * float((within / (counts - 1)).sum()) / n
    expected = 2 * float(n * (values**2).sum() - values.sum() ** 2) / (n * (n - 1))
    return 1 - observed / expected


def agreement(scores: Float[np.ndarray, "judges items"], tolerance: float = 1e-9) -> Agreement:
    """How far judges agree in one perspective; means over the pairs of judges, but for alpha, which takes all
    at once.

    Args:
        scores: in [0, 5], NaN where a verdict failed.
        tolerance: of scores that count as equal.
    """
    ranks, equal, apart = [], [], []
    for one, other in itertools.combinations(scores, 2):
        both = np.isfinite(one) & np.isfinite(other)
        gaps = np.abs(one[both] - other[both])
        ranks.append(rank_correlation(one, other))
        equal.append(float(np.mean(gaps <= tolerance)) if len(gaps) else math.nan)
        apart.append(float(np.mean(gaps)) if len(gaps) else math.nan)
    items = int((np.isfinite(scores).sum(axis=0) >= 2).sum())
    return Agreement(items, mean_of(ranks), krippendorff_alpha(scores), mean_of(equal), mean_of(apart))


def kappa(first: Bool[np.ndarray, " n"], second: Bool[np.ndarray, " n"]) -> float:
    """Cohen's kappa of two yes/no judges: agreement beyond what their shares of yes make likely; 0 where one
    of them always says the same.

    NaN of no item. Source: Cohen, "A Coefficient of Agreement for Nominal Scales", 1960.
    """
    if len(first) == 0:
        return math.nan
    seen = float(np.mean(first == second))
    chance = float(first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean()))
    return (seen - chance) / (1 - chance) if chance < 1 else 0.0


def mean_of(values: list[float]) -> float:
    """The mean of those that are defined."""
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def agreement_table(scores: Mapping[str, Float[np.ndarray, "items 3"]]) -> Table:
    """Per perspective, each pair of judges and all of them."""
    table = Table(title=f"Agreement of {', '.join(scores)}")
    for title in ("perspective", "judges", "triplets", "Spearman", "alpha", "equal", "apart"):
        table.add_column(title, justify="left" if title in ("perspective", "judges") else "right")
    pairs = list(itertools.combinations(scores, 2))
    for index, perspective in enumerate(PERSPECTIVES):
        for names in pairs if len(pairs) == 1 else [*pairs, tuple(scores)]:
            found = agreement(np.stack([scores[name][:, index] for name in names]))
            figures = (found.spearman, found.alpha, found.exact, found.difference)
            who = " and ".join(names) if len(names) == 2 else "all"
            table.add_row(
                perspective.value,
                who,
                str(found.items),
                *("-" if math.isnan(each) else f"{each:.2f}" for each in figures),
            )
    return table
