"""Intervals and bounds: exact small cases and limits."""

import numpy as np
import pytest

from src.evaluation.statistics import bounds_under_failures, clustered_interval


def test_constant_data_give_an_interval_of_no_width() -> None:
    interval = clustered_interval(np.full(12, 3.0), [f"c{index % 4}" for index in range(12)])
    assert interval == (3.0, 3.0)


def test_one_cluster_or_none_gives_no_interval() -> None:
    assert clustered_interval(np.array([1.0, 4.0]), ["a", "a"]) is None
    assert clustered_interval(np.array([]), []) is None


def test_the_same_data_give_the_same_interval_in_any_order_of_cluster_names() -> None:
    values, clusters = np.random.default_rng(0).uniform(0, 5, 60), [f"c{index // 6}" for index in range(60)]
    assert clustered_interval(values, clusters) == clustered_interval(values, clusters)


def test_singleton_clusters_give_the_interval_of_the_mean() -> None:
    values = np.random.default_rng(1).normal(2.5, 0.5, 400)
    low, high = clustered_interval(values, [str(index) for index in range(400)], resamples=4000) or (0.0, 0.0)
    half_width = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half_width, abs=0.01)
    assert high == pytest.approx(values.mean() + half_width, abs=0.01)


def test_copies_within_clusters_add_no_information() -> None:
    values = np.random.default_rng(2).uniform(0, 5, 80)
    names = [f"{index:02}" for index in range(80)]
    once = clustered_interval(values, names)
    seven_times = clustered_interval(np.repeat(values, 7), [name for name in names for _ in range(7)])
    assert seven_times == pytest.approx(once)


def test_bounds() -> None:
    assert bounds_under_failures(np.array([2.0, 4.0]), 2) == (3.0, 3.0)
    assert bounds_under_failures(np.array([2.0, 4.0]), 4) == (1.5, 4.0)
    assert bounds_under_failures(np.array([]), 3) == (0.0, 5.0)
    with pytest.raises(ValueError, match="do not fit"):
        bounds_under_failures(np.array([1.0, 2.0]), 1)


def test_values_and_clusters_must_match() -> None:
    with pytest.raises(ValueError, match="as many clusters"):
        clustered_interval(np.array([1.0]), ["a", "b"])
