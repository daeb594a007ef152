"""Agreement and self-consistency of raters: exact small cases."""

import math

import numpy as np
import pytest

from src.evaluation.raters import agreement_alpha, mean_apart, rating_matrix, share_equal
from src.judges.agreement import krippendorff_alpha

NOT = math.nan


def test_alpha_of_two_raters_by_hand() -> None:
    """Units (1, 1), (1, 0), (0, 0), (0, 0): 2 of 8 values stand beside another one, so the observed
    disagreement is 1/4; 3 ones and 5 zeros differ by chance in 2 * 3 * 5 / (8 * 7) = 15/28.
    1 - (1/4) / (15/28) = 8/15.
    """
    ratings = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    for level in ("nominal", "ordinal", "interval"):
        assert agreement_alpha(ratings, level) == pytest.approx(8 / 15)


def test_levels_differ_by_how_far_answers_are_apart() -> None:
    """Units (0, 0), (5, 5), (3, 2). Nominal: observed 2/6; of the 30 ordered pairs of two of the values 0, 0,
    5, 5, 3, 2 all but 4 differ. Interval: observed (1 + 1) / 6; the squares of all ordered pairs sum to
    2 (6 * 63 - 15^2) = 2 * 153. Ordinal: distances are numbers of values between, half of the ends included.
    """
    ratings = np.array([[0.0, 5.0, 3.0], [0.0, 5.0, 2.0]])
    assert agreement_alpha(ratings, "nominal") == pytest.approx(1 - (2 / 6) / (26 / 30))
    assert agreement_alpha(ratings, "interval") == pytest.approx(1 - (2 / 6) / (2 * 153 / 30))
    # from 2 to 3 it is 1, from 0 to 2 and 3 to 5 1.5, from 0 to 3 and 2 to 5 2.5, from 0 to 5 4
    expected = 2 * (1 + 2 * (2 * 2.25) + 2 * (2 * 6.25) + 4 * 16) / 30
    assert agreement_alpha(ratings, "ordinal") == pytest.approx(1 - (2 * 1 / 6) / expected)


def test_a_unit_that_one_rater_left_out_counts_for_nothing() -> None:
    """And the library agrees with the alpha of judges where both compute it."""
    chance = np.random.default_rng(0)
    ratings = chance.integers(0, 6, (3, 12)).astype(float)
    ratings[0, 3], ratings[1:, 5] = NOT, NOT
    without = np.delete(ratings, 5, axis=1)
    assert agreement_alpha(ratings, "interval") == pytest.approx(agreement_alpha(without, "interval"))
    assert agreement_alpha(ratings, "interval") == pytest.approx(krippendorff_alpha(ratings))


def test_alpha_is_undefined_without_disagreement_or_pairs() -> None:
    assert math.isnan(agreement_alpha(np.full((2, 3), 4.0), "ordinal"))
    assert math.isnan(agreement_alpha(np.array([[1.0, NOT], [NOT, 2.0]]), "nominal"))
    assert math.isnan(agreement_alpha(np.empty((0, 0)), "nominal"))


def test_ratings_as_a_matrix() -> None:
    matrix = rating_matrix(["b", "a", "a"], ["i2", "i1", "i2"], [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(matrix, [[2.0, 3.0], [NOT, 1.0]])
    assert rating_matrix([], [], []).shape == (0, 0)


def test_asked_again() -> None:
    first, second = np.array([5.0, 3.0, 0.0, 1.0]), np.array([5.0, 4.0, 2.0, 1.0])
    assert share_equal(first, second) == 0.5
    assert mean_apart(first, second) == 0.75
    assert math.isnan(share_equal(first[:0], second[:0]))
