"""Choosing: exact small cases, and the closed form of the best of k against every subset there is."""

from itertools import combinations

import numpy as np
import pytest

from src.evaluation.selection import Selection, choice_probabilities, chosen, dominated, expected_best, ties

NAN = float("nan")
ONE_CASE = np.array([[[5.0, 1.0, 3.0], [4.0, 4.0, 1.0], [4.0, 2.0, 5.0], [4.0, 1.0, 5.0]]])


def choice(scores: np.ndarray, **selection: object) -> int:
    return int(chosen(Selection(**selection).preference(scores))[0])


def test_choices_by_hand() -> None:
    assert choice(ONE_CASE) == 2  # means 3, 3, 11/3, 10/3
    assert choice(ONE_CASE, weights=[1, 0, 0]) == 0
    assert choice(ONE_CASE, weights=[0, 2, 0]) == 1
    assert choice(ONE_CASE, weights=[2, 1, 0]) == 1  # 11, 12, 10, 9
    assert choice(ONE_CASE, weights=[0, 0, 1]) == 2  # a tie with 3: the lower number
    assert choice(ONE_CASE[:, ::-1], weights=[0, 0, 1]) == 0
    # 3 is dominated by 2, and equal to it in quality
    assert choice(ONE_CASE[:, ::-1], weights=[0, 0, 1], pareto=True) == 1
    assert dominated(ONE_CASE[0]).tolist() == [False, False, False, True]


def test_equal_means_are_ties_though_their_terms_are_added_in_another_order() -> None:
    scores = np.array(
        [
            [[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.3, 0.1, 0.2]],
            [[1.0, 2.0, 3.0], [3.0, 3.0, 3.0], [0.0, 0.0, 0.0]],
        ]
    )
    preference = Selection().preference(scores)
    assert ties(preference).tolist() == [True, False]
    assert chosen(preference).tolist() == [0, 1]


def test_failed_candidates_are_chosen_only_where_all_failed() -> None:
    scores = np.array(
        [
            [[NAN] * 3, [0.0, 0.0, 0.0], [NAN] * 3],
            [[NAN] * 3] * 3,
            [[5.0, 5.0, NAN], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0]],
        ]
    )
    preference = Selection().preference(scores)
    assert preference.tolist() == [[-1, 0, -1], [-1, -1, -1], [-1, 0, 1]]
    assert chosen(preference).tolist() == [1, 0, 2]
    assert ties(preference).tolist() == [False, False, False]
    # a score that doesn't count may be missing, unless it is needed to tell who dominates
    assert chosen(Selection([1, 0, 0]).preference(scores)).tolist() == [1, 0, 0]
    assert chosen(Selection([1, 0, 0], pareto=True).preference(scores)).tolist() == [1, 0, 2]


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 0, 0), (0, 2, 1), (0.5, 3, 1)])
def test_pareto_is_what_it_says(weights: tuple[float, float, float]) -> None:
    """The non-dominated candidates, the highest weighted mean of them, the highest plain mean of these."""
    rng, selection = np.random.default_rng(0), Selection(weights, pareto=True)
    scores = rng.integers(0, 4, (200, 6, 3)).astype(float)
    preference = selection.preference(scores)
    for case, number in zip(scores, chosen(preference), strict=True):
        front = np.flatnonzero(~dominated(case))
        assert number in front
        best = max(front, key=lambda one: (round(case[one] @ np.array(weights), 9), case[one].sum()))
        assert selection.utility(case)[number] == selection.utility(case)[best]
        assert case[number].sum() == case[best].sum()
    if min(weights) > 0:
        assert (
            selection.utility(scores).argmax(axis=1) == Selection(weights).preference(scores).argmax(axis=1)
        ).all()


def by_enumeration(preference: np.ndarray, values: np.ndarray, k: int) -> float:
    """The mean over all subsets of size k of the mean value of those that share the best place."""
    means = []
    for subset in combinations(range(len(values)), k):
        order = preference[list(subset)]
        means.append(values[list(subset)][order == order.max()].mean())
    return float(np.mean(means))


@pytest.mark.parametrize("levels", [100, 3, 1])
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_the_best_of_k_is_the_mean_over_all_subsets(n: int, levels: int) -> None:
    rng = np.random.default_rng(n * 1000 + levels)
    preference, values = rng.integers(-1, levels, (4, n)), rng.uniform(0, 5, (4, n))
    exact = [
        [by_enumeration(order, value, k) for k in range(1, n + 1)]
        for order, value in zip(preference, values, strict=True)
    ]
    assert expected_best(preference, values) == pytest.approx(np.array(exact), abs=1e-12)


def test_the_best_of_k_by_hand() -> None:
    # of three pairs two hold the best (4), one the second (1)
    assert expected_best(np.array([[2, 0, 1]]), np.array([[4.0, 2.0, 1.0]]))[0] == pytest.approx(
        [7 / 3, (4 + 4 + 1) / 3, 4.0]
    )
    # all alike: a draw by lot, whatever k
    assert expected_best(np.array([[0, 0, 0]]), np.array([[4.0, 2.0, 0.0]]))[0] == pytest.approx(
        [2.0, 2.0, 2.0]
    )


def test_probabilities_are_probabilities() -> None:
    found = choice_probabilities(np.array([3, 1, 1, 0, -1, 3, 2]))
    assert found.sum(axis=1) == pytest.approx(np.ones(7))
    assert found[0] == pytest.approx(np.full(7, 1 / 7))
    assert found[-1] == pytest.approx([0.5, 0, 0, 0, 0, 0.5, 0])


def test_choosing_by_the_value_itself_never_falls_with_more_candidates() -> None:
    rng = np.random.default_rng(5)
    values = np.round(rng.uniform(0, 5, (50, 8)))
    own = expected_best(values.astype(int), values)
    assert (np.diff(own, axis=1) >= -1e-12).all()
    assert own[:, -1] == pytest.approx(values.max(axis=1))


def test_a_missing_value_leaves_its_case_out() -> None:
    found = expected_best(np.array([[0, 1], [1, 0]]), np.array([[1.0, NAN], [1.0, 2.0]]))
    assert np.isnan(found[0]).all()
    assert found[1] == pytest.approx([1.5, 1.0])


def test_labels() -> None:
    settings = [
        {},
        {"weights": [2, 2, 2]},
        {"weights": [0, 3, 0]},
        {"weights": [2, 1, 0.5]},
        {"weights": [1, 0, 0], "pareto": True},
    ]
    assert [Selection(**each).label for each in settings] == [
        "mean",
        "mean",
        "preserving",
        "2F+1P+0.5Q",
        "following Pareto",
    ]


@pytest.mark.parametrize("weights", [[1, 1], [0, 0, 0], [1, -1, 1], [1, NAN, 1]])
def test_weights_that_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match=r"selection\.weights"):
        Selection(weights)
