"""Laws of the overall score, and that it is the mean over cases, not a function of means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.evaluation.comparison import CaseScores
from src.evaluation.overall import overall_score
from src.evaluation.report import overall_of

SCORE = st.floats(0.0, 5.0)


def test_by_hand() -> None:
    assert overall_score(0.0, 5.0, 5.0) == 0.0  # a copy of the input
    assert overall_score(5.0, 5.0, 5.0) == 5.0
    assert overall_score(4.0, 1.0, 4.0) == overall_score(1.0, 4.0, 4.0) == 2.0
    assert [overall_score(*scores) for scores in ((None, 5.0, 5.0), (5.0, None, 5.0), (5.0, 5.0, None))] == [
        None
    ] * 3
    with pytest.raises(ValueError, match=r"must lie in \[0, 5\], got 5\.5"):
        overall_score(5.0, 5.0, 5.5)


@given(SCORE, SCORE, SCORE)
def test_it_lies_between_the_lowest_score_and_five(
    following: float, preserving: float, quality: float
) -> None:
    overall = overall_score(following, preserving, quality)
    assert overall is not None
    assert min(following, preserving, quality) - 1e-9 <= overall <= 5.0
    assert (
        overall < 5.0
        or following == preserving == quality == 5.0
        or min(following, preserving, quality) > 4.9
    )


@given(st.tuples(SCORE, SCORE, SCORE), st.tuples(SCORE, SCORE, SCORE))
def test_it_never_falls_when_scores_rise(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    low = overall_score(*(min(pair) for pair in zip(one, other, strict=True)))
    high = overall_score(*(max(pair) for pair in zip(one, other, strict=True)))
    assert low is not None
    assert high is not None
    assert low <= high


def test_the_mean_is_over_cases_and_leaves_out_those_without_all_three() -> None:
    scores = [(0.0, 5.0, 5.0), (4.0, 4.0, 4.0), (5.0, None, 5.0)]
    found = overall_of([CaseScores(str(n), f"p{n}", each) for n, each in enumerate(scores)])
    assert (found.score, found.n) == (2.0, 2)  # of the mean scores 2/4.5/4.5 it would be 3
    assert found.ci95 is not None
    assert (found.ci95.low, found.ci95.high) == (0.0, 5.0)
    assert overall_of([]).score is None
