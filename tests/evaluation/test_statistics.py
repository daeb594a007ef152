"""Intervals and bounds: exact small cases and limits."""

import math

import numpy as np
import pytest

from src.evaluation.comparison import CaseScores, compare
from src.evaluation.statistics import (
    Estimate,
    _flips_p,
    _flips_pass,
    bounds_under_failures,
    clustered_interval,
    clustered_mean,
    difference_of,
    holm,
    interval_of,
    jackknife_interval,
    sign_flip_p,
    smallest_detectable,
    student_p,
    two_way_mean,
    with_trainings,
)


def test_constant_data_give_an_interval_of_no_width() -> None:
    interval = clustered_interval(np.full(12, 3.0), [f"c{index % 4}" for index in range(12)])
    assert interval == (3.0, 3.0)


def test_one_cluster_or_none_gives_no_interval() -> None:
    assert clustered_interval(np.array([1.0, 4.0]), ["a", "a"]) is None
    assert clustered_interval(np.array([]), []) is None


def test_the_interval_depends_neither_on_the_order_of_cases_nor_on_the_names_of_clusters() -> None:
    chance = np.random.default_rng(0)
    values, clusters = chance.uniform(0, 5, 60), [f"c{index // 7}" for index in range(60)]
    interval = clustered_interval(values, clusters)
    renamed = dict(zip(sorted(set(clusters)), chance.permutation(9), strict=True))
    order = chance.permutation(60)
    shuffled = clustered_interval(
        values[order], [f"photograph {renamed[clusters[index]]}" for index in order]
    )
    assert shuffled == pytest.approx(interval, rel=1e-12)
    regrouped = clustered_interval(values[order], clusters)
    assert regrouped != pytest.approx(interval, rel=1e-3), (
        "the interval depends on which values share a cluster"
    )


def test_singleton_clusters_give_the_interval_of_the_mean() -> None:
    values = np.random.default_rng(1).normal(2.5, 0.5, 400)
    low, high = clustered_interval(values, [str(index) for index in range(400)]) or (0.0, 0.0)
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


def test_the_interval_of_equal_clusters_is_the_t_interval_over_their_means() -> None:
    # cluster means 1, 2, 3: standard error 1 / sqrt(3), and 4.303 is Student's t with 2 degrees of freedom
    low, high = clustered_interval(np.array([0.5, 1.5, 2.0, 2.0, 4.0, 2.0]), list("aabbcc")) or (0.0, 0.0)
    assert (low, high) == (
        pytest.approx(2 - 4.303 / 3**0.5, abs=1e-3),
        pytest.approx(2 + 4.303 / 3**0.5, abs=1e-3),
    )


def test_unequal_clusters_have_fewer_degrees_of_freedom() -> None:
    estimate = clustered_mean(np.arange(10.0), ["a"] * 7 + ["b", "c", "d"])
    assert estimate is not None
    assert estimate.clusters == 4
    assert estimate.freedom == 1.0  # 100 / (49 + 3) - 1 is below 1


def test_sign_flips_by_hand() -> None:
    # cluster sums 3, 2, -1: of the 8 flips, those with |sum| >= 4 are +3+2-1, +3+2+1 and their mirrors
    assert sign_flip_p(np.array([1.0, 2.0, 2.0, -1.0]), ["a", "a", "b", "c"]) == 4 / 8
    assert sign_flip_p(np.array([1.0] * 8), list("abcdefgh")) == 2 / 256
    assert sign_flip_p(np.zeros(4), list("abcd")) == 1.0


def test_drawn_flips_agree_with_enumerated_ones() -> None:
    differences = np.random.default_rng(3).normal(0.35, 1.0, 17)
    names = [f"{index:02}" for index in range(17)]
    signs = 1.0 - 2.0 * ((np.arange(2**17)[:, None] >> np.arange(17)) & 1)
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9)
    assert sign_flip_p(differences, names) == pytest.approx(exact, abs=0.01)
    assert sign_flip_p(differences, names) == sign_flip_p(differences, names)


def test_a_test_needs_a_case() -> None:
    with pytest.raises(ValueError, match="no case"):
        sign_flip_p(np.array([]), [])


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_two_samples_by_hand() -> None:
    # equal errors and degrees of freedom: Welch's are the sum; t = 2 / sqrt(2) with 14 degrees of freedom has
    # p = 0.179
    found = difference_of(Estimate(3.0, 1.0, 8, 7.0), Estimate(1.0, 1.0, 8, 7.0))
    assert (found.mean, found.freedom, student_p(found)) == (2.0, 14.0, pytest.approx(0.179, abs=1e-3))
    interval = interval_of(found.mean, found.error, found.freedom)
    assert interval.high == pytest.approx(2 + 2.145 * 2**0.5, abs=1e-3)
    exact = difference_of(Estimate(3.0, 0.0, 8, 7.0), Estimate(1.0, 0.0, 8, 7.0))
    assert (exact.mean, exact.error, student_p(exact)) == (2.0, 0.0, 0.0)


PUBLISHED = {
    # printed interval over photographs, printed deviation over 3 seeds; half-width with seeds
    "table 6, 5/5/5 - 0/0/0, F": (0.47, 0.79, 0.31, 0.67),
    "table 6, 5/5/5 - 0/0/0, P": (1.53, 1.80, 0.75, 1.82),
    "table 4, both - none, P": (-0.27, -0.13, 0.06, 0.12),
    "table 4, all-5 - none, P": (0.01, 0.16, 0.05, 0.10),
    "table 4, both - none, F": (0.32, 0.53, 0.02, 0.11),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_intervals_of_published_pages_with_their_seeds(name: str) -> None:
    low, high, deviation, reach = PUBLISHED[name]
    photographs = Estimate((low + high) / 2, (high - low) / 2 / 2.3646, 8, 7.0)
    # three numbers with this standard deviation
    whole = with_trainings(photographs, [-deviation, 0.0, deviation])
    interval = interval_of(whole.mean, whole.error, whole.freedom)
    assert (interval.high - interval.low) / 2 == pytest.approx(reach, abs=0.01)
    assert (student_p(whole) < 0.05) == (abs(whole.mean) > reach)


def test_trainings_only_ever_widen_an_interval() -> None:
    photographs = Estimate(1.0, 0.1, 8, 7.0)
    assert with_trainings(photographs) is photographs
    assert with_trainings(photographs, [1.7]) is photographs  # one training says nothing about its spread
    assert with_trainings(photographs, [1.0, 1.0]) is photographs
    # without any error of photographs, the t-interval of three means: sd 1, 4.303 / sqrt(3)
    alone = with_trainings(Estimate(1.0, 0.0, 8, 7.0), [0.0, 1.0, 2.0])
    assert (alone.error, alone.freedom) == (pytest.approx(3**-0.5), pytest.approx(2.0))
    # unpaired, the variances of both lines count
    both = with_trainings(photographs, [0.0, 1.0, 2.0], [3.0, 5.0])
    assert both.error == pytest.approx((0.01 + 1 / 3 + 2 / 2) ** 0.5)
    assert both.freedom == pytest.approx((0.01 + 4 / 3) ** 2 / (0.0001 / 7 + 1 / 9 / 2 + 1.0))


@pytest.mark.slow
def test_intervals_with_seeds_cover_where_those_over_photographs_alone_do_not() -> None:
    rng, trials, covered, alone = np.random.default_rng(7), 2000, 0, 0
    names = [f"p{index}" for index in range(8)]
    for _ in range(trials):
        photographs, trainings = rng.normal(0, 0.2, 8), rng.normal(0, 0.3, 3)
        estimate = clustered_mean(photographs + trainings.mean(), names)
        assert estimate is not None
        for whole in (estimate, with_trainings(estimate, list(trainings))):
            low, high = interval_of(whole.mean, whole.error, whole.freedom)
            alone += whole is estimate and low <= 0 <= high
            covered += whole is not estimate and low <= 0 <= high
    assert 0.93 <= covered / trials <= 0.98
    assert alone / trials < 0.7


def test_the_jackknife_of_a_mean_is_its_interval() -> None:
    values, names = np.random.default_rng(4).uniform(0, 5, 40), [f"c{index % 8}" for index in range(40)]
    assert jackknife_interval(lambda kept: float(values[kept].mean()), names) == pytest.approx(
        clustered_interval(values, names)
    )
    assert jackknife_interval(lambda kept: float(values[:5][kept].mean()), ["a"] * 5) is None
    assert jackknife_interval(lambda kept: float("nan"), names) is None


EIGHT = Estimate(0.0, 0.5, 8, 7.0)


def test_a_difference_must_be_larger_to_be_found_after_a_correction() -> None:
    alone, corrected = smallest_detectable(EIGHT, family=1), smallest_detectable(EIGHT, family=3)
    assert alone is not None
    assert corrected is not None
    # the t-test alone would find 3.27 errors; after Holm all eight photographs must agree, or nearly so
    assert 3.27 * 0.5 < alone < 1.15 * 3.27 * 0.5 < corrected
    assert corrected == pytest.approx(0.5 * DETECTED_BY_EIGHT, rel=0.02)
    surer = smallest_detectable(EIGHT, family=3, power=0.9)
    assert surer is not None
    assert surer > corrected
    doubled = smallest_detectable(Estimate(0.0, 1.0, 8, 7.0), family=3)
    assert doubled == pytest.approx(2 * corrected)


DETECTED_BY_EIGHT = 4.40
"""In standard errors."""


def test_few_photographs_find_nothing_at_all() -> None:
    # 3 x 2 / 2^7 = 0.047 and 3 x 2 / 2^6 = 0.094
    assert smallest_detectable(Estimate(0.0, 0.5, 7, 6.0), family=3) is not None
    assert smallest_detectable(Estimate(0.0, 0.5, 6, 5.0), family=3) is None
    assert smallest_detectable(Estimate(0.0, 0.0, 6, 5.0), family=3) is None
    assert smallest_detectable(Estimate(0.0, 0.0, 8, 7.0), family=3) == 0.0
    with pytest.raises(ValueError, match="two or more"):
        smallest_detectable(Estimate(0.0, 0.5, 1, 1.0), family=3)


def test_many_photographs_find_what_the_normal_distribution_says() -> None:
    # 0.05 / 3 two-sided and power 0.8: 2.394 + 0.842 errors
    found = smallest_detectable(Estimate(0.0, 0.5, 400, 399.0), family=3)
    assert found == pytest.approx(0.5 * 3.236, rel=0.02)


def test_flips_and_what_stands_for_them_meet() -> None:
    flips = smallest_detectable(Estimate(0.0, 1.0, 10, 9.0), family=3)
    student = smallest_detectable(Estimate(0.0, 1.0, 11, 10.0), family=3)
    assert student is not None
    assert flips == pytest.approx(student, rel=0.06)


@pytest.mark.parametrize("clusters", [5, 8, 10])
def test_flips_need_not_be_tried_where_signs_say_it(clusters: int) -> None:
    rng = np.random.default_rng(clusters)
    sums = rng.normal(rng.uniform(-2, 2, (2000, 1)), 1, (2000, clusters))
    sums[:300] = sums[:300].round()  # ties and zeros
    sums[300], sums[301] = 0.0, 1.0
    for level in (0.001, 0.05 / 3, 0.05, 0.3):
        assert np.array_equal(_flips_pass(sums, level), _flips_p(sums) < level)


def test_trainings_that_differ_hide_differences() -> None:
    alike, apart = [0.1, 0.1, 0.1], [-0.5, 0.0, 0.5]
    without = smallest_detectable(EIGHT, family=3)
    assert without is not None
    assert smallest_detectable(EIGHT, [alike], family=3) == without
    two, three = (smallest_detectable(EIGHT, [apart[:n]], family=3) for n in (2, 3))
    assert two is not None
    assert three is not None
    assert without < three < two


@pytest.mark.slow
@pytest.mark.parametrize("trainings", [0, 3])
def test_what_is_called_detectable_is_detected_in_eight_of_ten_tries(trainings: int) -> None:
    """By the comparison itself, Holm included, with photographs and trainings drawn anew."""
    rng, trials, spread = np.random.default_rng(6), 1000, 0.3
    groups = [[-spread, 0.0, spread]] if trainings else []
    true = smallest_detectable(Estimate(0.0, 1 / 8**0.5, 8, 7.0), groups, family=3)
    assert true is not None
    found = 0
    for _ in range(trials):
        repeated = spread * rng.normal(size=trainings)
        shift = true + (repeated.mean() if trainings else 0.0)
        scores = [rng.normal(shift, 1, 8), rng.normal(0, 1, 8), rng.normal(0, 1, 8)]
        cases = [
            CaseScores(str(n), f"p{n}", (float(scores[0][n]), float(scores[1][n]), float(scores[2][n])))
            for n in range(8)
        ]
        zero = [CaseScores(case.id, case.photograph, (0.0, 0.0, 0.0)) for case in cases]
        own = [list(true + repeated)] if trainings else []
        p = compare("a", cases, "b", zero, [own, (), ()])[0].p_holm
        found += p is not None and p < 0.05
    # the other perspectives show something by chance now and then, which only helps
    assert 0.76 <= found / trials <= 0.84


def clustered_draw(rng: np.random.Generator, clusters: int = 8, cases: int = 70) -> np.ndarray:
    """Differences without an effect, of which a third of the variance is the photographs'."""
    return (rng.normal(0, 0.7, (clusters, 1)) + rng.normal(0, 1, (clusters, cases))).ravel()


@pytest.mark.slow
def test_only_flips_of_whole_photographs_err_as_often_as_they_say() -> None:
    """Design.md, section 8: with 8 photographs, a test that takes cases as independent errs many times too
    often.
    """
    rng, trials = np.random.default_rng(0), 2000
    names, alone = [f"p{index // 70}" for index in range(560)], [str(index) for index in range(560)]
    clustered = np.mean([sign_flip_p(clustered_draw(rng), names) <= 0.05 for _ in range(trials)])
    assert 0.03 <= clustered <= 0.065
    naive = np.mean([sign_flip_p(clustered_draw(rng), alone, draws=400) <= 0.05 for _ in range(100)])
    assert naive > 0.3


@pytest.mark.slow
def test_the_interval_of_eight_photographs_covers_where_a_percentile_bootstrap_does_not() -> None:
    rng, trials = np.random.default_rng(1), 2000
    names, covered, by_bootstrap = [f"p{index // 70}" for index in range(560)], 0, 0
    for _ in range(trials):
        values = clustered_draw(rng)
        interval = clustered_interval(values, names)
        assert interval is not None
        covered += interval.low <= 0 <= interval.high
        means = values.reshape(8, 70).mean(axis=1)
        low, high = np.quantile(means[rng.integers(8, size=(400, 8))].mean(axis=1), [0.025, 0.975])
        by_bootstrap += low <= 0 <= high
    assert 0.935 <= covered / trials <= 0.965
    assert by_bootstrap / trials < 0.92
    print(f"t-interval {covered / trials:.3f}, percentile bootstrap {by_bootstrap / trials:.3f}")


def scores_of_originals(rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """80 originals with 1 to 7 cases each, scores in whole points that share an original's difficulty, and
    the originals' names.
    """
    sizes = rng.integers(1, 8, 80)
    difficulty = np.repeat(rng.normal(0, 1.0, 80), sizes)
    scores = np.clip(np.round(3 + difficulty + rng.normal(0, 1.2, sizes.sum())), 0, 5)
    return scores, [f"o{index}" for index in np.repeat(np.arange(80), sizes)]


@pytest.mark.slow
def test_eighty_originals_in_two_thousand_runs() -> None:
    """Intervals cover the mean in 93 to 97 % of the runs and tests err in at most 6.5 %, though cases share
    originals and are unequally many.
    """
    rng, trials = np.random.default_rng(2), 2000
    # The mean over cases that such runs scatter around, to a hundredth of an interval's width.
    pooled = [scores_of_originals(rng)[0] for _ in range(4000)]
    truth = sum(scores.sum() for scores in pooled) / sum(len(scores) for scores in pooled)
    covered = erred = as_if_independent = 0
    for _ in range(trials):
        scores, names = scores_of_originals(rng)
        low, high = clustered_interval(scores, names) or (0.0, 0.0)
        covered += low <= truth <= high
        low, high = clustered_interval(scores, [str(index) for index in range(len(scores))]) or (0.0, 0.0)
        as_if_independent += low <= truth <= high
        # two rows alike: each case's difference is as likely the other way round, by originals that share a
        # sign
        sizes = rng.integers(1, 8, 80)
        differences = np.repeat(rng.normal(0, 0.7, 80), sizes) + rng.normal(0, 1, sizes.sum())
        erred += (
            sign_flip_p(
                np.round(differences), [f"o{index}" for index in np.repeat(np.arange(80), sizes)], draws=2000
            )
            <= 0.05
        )
    print(
        f"covered {covered / trials:.3f}, erred {erred / trials:.3f}, covered if cases were independent "
        f"{as_if_independent / trials:.3f}"
    )
    assert 0.93 <= covered / trials <= 0.97
    assert erred / trials <= 0.065
    assert as_if_independent / trials < 0.9


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_statistic_is_made_of_what_is_no_number(bad: float) -> None:
    values, clusters = np.array([1.0, bad, 2.0]), ["a", "b", "c"]
    computed = [
        lambda: clustered_mean(values, clusters),
        lambda: clustered_interval(values, clusters),
        lambda: sign_flip_p(values, clusters),
        lambda: bounds_under_failures(values, 5),
        lambda: holm([0.01, bad]),
        lambda: with_trainings(Estimate(1.0, 0.1, 5, 4.0), [1.0, bad]),
    ]
    for compute in computed:
        with pytest.raises(ValueError, match=r"values are not finite \(NaN or infinity\)"):
            compute()


def test_two_raters_and_two_photographs_by_hand() -> None:
    """Ratings 1, 3 (rater a) and 2, 4 (b) of photographs p, q: deviations -1.5, 0.5, -0.5, 1.5 from 2.5. Sums
    by photograph are -2, 2, by rater -1, 1, so the variances are 2 (4 + 4) / 16 = 1 and 2 (1 + 1) / 16 = 1/4;
    that of the four alone, 4/3 (2.25 + 0.25 + 0.25 + 2.25) / 16 = 5/12, is in both: 1 + 1/4 - 5/12 = 5/6. It
    is no less than that of the photographs alone, 1.
    """
    values, photographs, raters = np.array([1.0, 3.0, 2.0, 4.0]), ["p", "q", "p", "q"], ["a", "a", "b", "b"]
    estimate = two_way_mean(values, photographs, raters)
    assert estimate is not None
    assert (estimate.mean, estimate.error, estimate.clusters) == pytest.approx((2.5, 1.0, 2))
    assert estimate.freedom == 1.0, "1^2 / (1^2 + (1/4)^2), and no less than 1"
    # where photographs hardly differ and raters do, it is the raters
    exchanged = two_way_mean(values, raters, photographs)
    assert exchanged is not None
    assert exchanged.error == pytest.approx(1.0)


def test_ratings_of_one_rater_say_nothing_about_others() -> None:
    values, photographs = np.array([1.0, 3.0, 2.0, 4.0]), ["p", "q", "p", "r"]
    assert two_way_mean(values, photographs, ["a"] * 4) == clustered_mean(values, photographs)
    assert two_way_mean(values, ["p"] * 4, photographs) == clustered_mean(values, photographs)
    assert two_way_mean(values, ["p"] * 4, ["a"] * 4) is None
    assert two_way_mean(np.full(4, 3.0), photographs, ["a", "a", "b", "b"]) == Estimate(
        3.0, 0.0, 3, pytest.approx(5 / 3)
    )


def test_more_raters_narrow_what_more_photographs_cannot() -> None:
    """Raters who differ by a constant: the error is theirs, however many photographs they see."""
    strict = {"a": 0.0, "b": 1.0, "c": 2.0}
    for number in (4, 400):
        rated = [(strict[rater], f"p{index}", rater) for index in range(number) for rater in strict]
        values, photographs, raters = (list(each) for each in zip(*rated, strict=True))
        estimate = two_way_mean(np.array(values), photographs, raters)
        assert estimate is not None
        # the standard error of the mean of 0, 1 and 2
        assert estimate.error == pytest.approx(1 / math.sqrt(3))
        assert estimate.freedom == pytest.approx(2.0)
