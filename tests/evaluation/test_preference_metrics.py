"""Figures of preference are what their definitions say, whatever the order of the rows."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from src.evaluation.preference_metrics import (
    TieLadder,
    bounds_of,
    excluded,
    fitted_interval,
    folds_of,
    half,
    margins,
    mean_right,
    strict,
    ties_beside,
    whole_order,
    with_ties,
    with_ties_cross,
    with_ties_fitted,
)
from src.evaluation.rating_metrics import averages, correlation_intervals, correlations, filled, spearman_rows

PAIRS = st.lists(
    st.tuples(st.sampled_from([-1, 0, 1]), st.one_of(st.integers(-4, 4), st.just(None))),
    min_size=1,
    max_size=30,
)


def arrays(pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    human = np.array([each for each, _ in pairs], dtype=int)
    margin = np.array([np.nan if each is None else each for _, each in pairs], dtype=float)
    return human, margin, np.arange(len(pairs)) // 2


@given(PAIRS)
@settings(max_examples=20, deadline=None)
def test_the_tie_width_is_the_best_there_is(pairs) -> None:
    """Against every width, on whole scores with many ties and failures."""
    human, margin, _ = arrays(pairs)
    widths = [-np.inf, *np.unique(np.abs(margin[~np.isnan(margin)]))]
    values = [float(with_ties(human, margin, width).mean()) for width in widths]
    fit = TieLadder(human, margin).fit()
    assert fit.value == pytest.approx(max(values), abs=1e-12)
    assert float(with_ties(human, margin, fit.width).mean()) == pytest.approx(fit.value, abs=1e-12)
    assert fit.width == widths[int(np.argmax(values))]


@given(PAIRS, st.randoms(use_true_random=False))
@settings(max_examples=10, deadline=None)
def test_the_order_of_the_rows_means_nothing(pairs, random) -> None:
    human, margin, clusters = arrays(pairs)
    mixed = list(range(len(pairs)))
    random.shuffle(mixed)
    for rule in (strict, half, excluded, with_ties_fitted, with_ties_cross, ties_beside):
        one = rule(human, margin, clusters)[mixed]
        np.testing.assert_array_equal(one, rule(human[mixed], margin[mixed], clusters[mixed]))


def test_the_three_ways_to_count_a_tie() -> None:
    """Two right, one wrong, one tie of the judge, one failure, and a pair that people call equal."""
    human = np.array([1, -1, 1, 1, -1, 0])
    margin = np.array([2.0, -1.0, -3.0, 0.0, np.nan, 0.0])
    means = {rule.__name__: mean_right(rule(human, margin, human)) for rule in (strict, half, excluded)}
    assert means == {"strict": 2 / 5, "half": 2.5 / 5, "excluded": 2 / 4}
    failed = np.isnan(margin)
    assert bounds_of(strict(human, margin, human), failed) == (2 / 5, 3 / 5)
    assert bounds_of(half(human, margin, human), failed) == (2.5 / 5, 3.5 / 5)


def test_sums_in_another_order_are_equal_margins() -> None:
    assert margins(np.array([0.1 + 0.2]), np.array([0.3])) == 0.0


def test_a_constant_scorer_gets_the_share_of_ties() -> None:
    human = np.array([0, 0, 1, -1, 1])
    assert mean_right(with_ties_fitted(human, np.zeros(5), human)) == 2 / 5
    assert TieLadder(np.array([1, -1]), np.zeros(2)).fit().width == -np.inf


def test_what_a_fold_gets_was_fitted_without_it() -> None:
    """A width that only its own cluster would choose doesn't help it."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(40), 5)
    human, margin = rng.integers(-1, 2, 200), rng.normal(size=200)
    folds = folds_of(clusters, 5)
    assert {fold: len(np.unique(clusters[folds == fold])) for fold in range(5)} == dict.fromkeys(range(5), 8)
    right = with_ties_cross(human, margin, clusters)
    for fold in range(5):
        held = folds == fold
        width = TieLadder(human[~held], margin[~held]).fit().width
        np.testing.assert_array_equal(right[held], with_ties(human[held], margin[held], width))


def test_an_interval_needs_two_originals() -> None:
    human, margin = np.array([1, 0, -1]), np.array([1.0, 0.0, -1.0])
    assert fitted_interval(human, margin, np.zeros(3, dtype=int), 20) is None
    interval = fitted_interval(human, margin, np.arange(3), 20)
    assert interval is not None
    assert interval.low <= 1.0 == interval.high


def test_an_order_is_right_as_a_whole_and_ties_are_wrong() -> None:
    places = [np.array([2, 0, 1])] * 4
    scores = [
        np.array(each) for each in ([1.0, 3.0, 2.0], [1.0, 2.0, 3.0], [1.0, 2.0, 2.0], [np.nan, 3.0, 2.0])
    ]
    assert list(whole_order(scores, places)) == [1.0, 0.0, 0.0, 0.0]


def test_correlations_are_scipys() -> None:
    rng = np.random.default_rng(0)
    human, judged = rng.integers(0, 4, (3, 40)) / 2, rng.integers(0, 11, (3, 40)).astype(float)
    judged[0, :5] = np.nan
    rhos = spearman_rows(judged, human)
    expected = [spearmanr(judged[row, 5 * (row == 0) :], human[row, 5 * (row == 0) :])[0] for row in range(3)]
    np.testing.assert_allclose(rhos, expected, atol=1e-12)
    means = {name: value[0] for name, value in averages(rhos[None]).items()}
    assert float(means["plain"]) == pytest.approx(np.mean(expected))
    assert float(means["fisher"]) == pytest.approx(np.tanh(np.mean(np.arctanh(expected))))
    assert float(means["as_published"]) == pytest.approx(np.tanh(np.mean(expected)))


def test_what_does_not_vary_has_no_correlation_on_the_human_side_only() -> None:
    human, judged = (
        np.array([[0.0, 0, 0], [0, 1, 2], [0, 1, 2]]),
        np.array([[1.0, 2, 3], [4, 4, 4], [1, 2, 3]]),
    )
    found = correlations(judged, human)
    np.testing.assert_array_equal(found.per_editor, [np.nan, 0.0, 1.0])
    assert found.values["plain"] == 0.5


def test_the_bounds_of_missing_scores_hold_the_truth() -> None:
    human = np.array([[0.0, 1, 2, 3, 4, 5, 6, 7]])
    judged = human.copy()
    judged[0, [0, 7]] = np.nan
    low, high = (
        correlations(filled(judged, human, rightly), human).values["plain"] for rightly in (False, True)
    )
    assert low < 0.5 < 0.98 < high


def test_draws_are_of_whole_originals() -> None:
    """Doubling every column inside its cluster changes no interval of an average over editors by more than
    the ranks do.
    """
    rng = np.random.default_rng(1)
    human, judged = rng.normal(size=(2, 30)), rng.normal(size=(2, 30))
    once = correlation_intervals(judged, human, np.arange(30), 200)
    twice = correlation_intervals(
        np.repeat(judged, 2, axis=1), np.repeat(human, 2, axis=1), np.repeat(np.arange(30), 2), 200
    )
    for rule, interval in once.items():
        assert interval is not None
        assert interval == pytest.approx(twice[rule], abs=0.02)


@pytest.mark.slow
def test_a_million_pairs_take_seconds() -> None:
    from src.evaluation.judge_benchmarks.metric import MeasureOptions
    from src.evaluation.judge_benchmarks.pairs import (
        DECIDED,
        TIED,
        MetricSource,
        PairSet,
        pair_metric,
        scored_margins,
    )

    n = 1_000_000
    rng = np.random.default_rng(0)
    human, scores = rng.integers(-1, 2, n), rng.integers(0, 26, 2 * n) / 5
    pairs = PairSet(
        [str(i) for i in range(n)], np.arange(n), n + np.arange(n), human, rng.integers(0, 50_000, n)
    )
    start = time.process_time()
    margin = scored_margins(pairs, scores)
    found = [
        pair_metric(MetricSource("b", "scores", MeasureOptions()), "all", pairs, margin, rule)
        for rule in (*TIED, *DECIDED)
    ]
    assert time.process_time() - start < 20  # 10 s on a machine of its own
    assert [metric.key.n for metric in found[:2]] == [n, n]


def test_every_two_of_a_group_are_compared() -> None:
    from src.records import Candidate, Case, Contest, Ranking

    picture = np.zeros((2, 2, 3), dtype=np.uint8)
    case = Case("c", picture, "make it red", "", "p")
    contest = Contest(
        case, tuple(Candidate(name, picture) for name in "abc"), (Ranking("overall", ((2,), (0, 1))),)
    )
    assert list(contest.pairs("overall")) == [(2, 0, False), (2, 1, False), (0, 1, True)]
    assert list(contest.pairs("quality")) == []


@pytest.mark.parametrize(
    ("aspect", "tiers", "message"),
    [
        ("beauty", ((0,), (1,)), "'beauty' is none of following"),
        ("overall", ((0,), ()), "no candidate twice"),
        ("overall", ((0,), (0,)), "no candidate twice"),
    ],
)
def test_a_ranking_is_of_different_candidates(aspect: str, tiers, message: str) -> None:
    from src.records import Ranking

    with pytest.raises(ValueError, match=message):
        Ranking(aspect, tiers)
