"""Agreement of judges, as pure functions of their scores. NaN stands for a failed verdict and is left out.

No single figure is enough: rank correlation ignores a shift (a judge that always gives one point less), exact
matches treat a gap of half a point like one of five, and both call judges unanimous that give everything a 5.
Krippendorff's alpha compares the disagreement with chance.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float
from rich.table import Table
from scipy.stats import rankdata

from src.records import PERSPECTIVES


@final
@dataclass(frozen=True)
class Agreement:
    """Agreement of two judges, or the mean over all pairs of several; NaN where undefined.

    Attributes:
        items: number of triplets that at least two judges scored.
        spearman: rank correlation; 0 where a judge gives everything the same score.
        alpha: Krippendorff's, for interval data: 1 for no disagreement, 0 for that of chance.
        exact: share of equal scores.
        difference: mean absolute difference in points.
    """

    items: int
    spearman: float
    alpha: float
    exact: float
    difference: float


def rank_correlation(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> float:
    """Spearman's correlation over the items that both scored; 0 if one judge's scores are all equal, NaN for
    fewer than two items.
    """
    both = np.isfinite(first) & np.isfinite(second)
    if both.sum() < 2:
        return math.nan
    one, other = first[both], second[both]
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def krippendorff_alpha(scores: Float[np.ndarray, "judges items"]) -> float:
    """Krippendorff's alpha with squared differences, 1 - observed / expected disagreement; NaN if all scores
    are equal.

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


def measure_agreement(scores: Float[np.ndarray, "judges items"], tolerance: float = 1e-9) -> Agreement:
    """Agreement of judges on one perspective: means over the pairs of judges, except for alpha, which is of
    all judges at once.

    Args:
        scores: in [0, 5], NaN where a verdict failed.
        tolerance: largest difference of scores that count as equal.
    """
    ranks, equal, apart = [], [], []
    for one, other in itertools.combinations(scores, 2):
        both = np.isfinite(one) & np.isfinite(other)
        gaps = np.abs(one[both] - other[both])
        ranks.append(rank_correlation(one, other))
        equal.append(float(np.mean(gaps <= tolerance)) if len(gaps) else math.nan)
        apart.append(float(np.mean(gaps)) if len(gaps) else math.nan)
    items = int((np.isfinite(scores).sum(axis=0) >= 2).sum())
    return Agreement(
        items,
        mean_of_defined(ranks),
        krippendorff_alpha(scores),
        mean_of_defined(equal),
        mean_of_defined(apart),
    )


def cohen_kappa(first: Bool[np.ndarray, " n"], second: Bool[np.ndarray, " n"]) -> float:
    """Cohen's kappa of two yes/no judges: agreement beyond chance at their shares of yes; 0 where chance
    agreement is certain, NaN for no item.

    Source: Cohen, "A Coefficient of Agreement for Nominal Scales", 1960.
    """
    if len(first) == 0:
        return math.nan
    observed = float(np.mean(first == second))
    chance = float(first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean()))
    return (observed - chance) / (1 - chance) if chance < 1 else 0.0


def mean_of_defined(values: list[float]) -> float:
    """The mean without NaN; NaN if nothing is left."""
    defined = [value for value in values if not math.isnan(value)]
    return math.fsum(defined) / len(defined) if defined else math.nan


def agreement_table(scores: Mapping[str, Float[np.ndarray, "items 3"]]) -> Table:
    """A table for the terminal: per perspective, each pair of judges and all together."""
    table = Table(title=f"Agreement of {', '.join(scores)}")
    for title in ("perspective", "judges", "triplets", "Spearman", "alpha", "equal", "apart"):
        table.add_column(title, justify="left" if title in ("perspective", "judges") else "right")
    pairs = list(itertools.combinations(scores, 2))
    for index, perspective in enumerate(PERSPECTIVES):
        for names in pairs if len(pairs) == 1 else [*pairs, tuple(scores)]:
            measured = measure_agreement(np.stack([scores[name][:, index] for name in names]))
            figures = (measured.spearman, measured.alpha, measured.exact, measured.difference)
            label = " and ".join(names) if len(names) == 2 else "all"
            table.add_row(
                perspective.value,
                label,
                str(measured.items),
                *("-" if math.isnan(each) else f"{each:.2f}" for each in figures),
            )
    return table
