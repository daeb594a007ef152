"""What people's ratings say of the raters: agreement, self-consistency, gold. Pure functions of arrays; means
and their intervals over photographs and raters are in statistics.py (`two_way_mean`).
"""

import math
from importlib.util import find_spec
from typing import Literal

import numpy as np
from jaxtyping import Float

Level = Literal["nominal", "ordinal", "interval"]
"""What differences mean: categories differ or not; categories have an order; differences are numbers."""

LIBRARY = "krippendorff"


def has_alpha() -> bool:
    """Whether the optional library that computes alpha is installed."""
    return find_spec(LIBRARY) is not None


def agreement_alpha(ratings: Float[np.ndarray, "raters units"], level: Level) -> float:
    """Krippendorff's alpha: 1 for no disagreement, 0 for that of chance.

    Source: Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011; computed by the library
    krippendorff (the extra `study`).

    Args:
        ratings: NaN where a rater did not rate a unit.
        level: of measurement.

    Returns:
        NaN where no unit has two ratings, or all ratings are equal.
    """
    import krippendorff

    paired = ratings[:, np.isfinite(ratings).sum(axis=0) >= 2]
    values = paired[np.isfinite(paired)]
    if len(values) == 0 or np.ptp(values) == 0:
        return math.nan
    return float(krippendorff.alpha(reliability_data=paired, level_of_measurement=level))


def rating_matrix(
    raters: list[str], units: list[str], values: list[float]
) -> Float[np.ndarray, "raters units"]:
    """Ratings as a matrix, raters and units in the order of their names; NaN where there is none."""
    rows, row_of = np.unique(np.asarray(raters, dtype=str), return_inverse=True)
    columns, column_of = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    matrix = np.full((len(rows), len(columns)), math.nan)
    matrix[row_of, column_of] = values
    return matrix


def share_equal(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> float:
    """Share of repeated items that got the same answer again; NaN of none."""
    return float(np.mean(first == second)) if len(first) else math.nan


def mean_apart(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> float:
    """Mean absolute difference of repeated answers; NaN of none."""
    return float(np.mean(np.abs(first - second))) if len(first) else math.nan
