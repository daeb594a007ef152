"""One reward from three scores."""

import math

import pytest
import torch
from jaxtyping import TypeCheckError

from src.aggregation import Overall, PerPerspective, WeightedMean
from src.evaluation.overall import overall_score

COPY, GOOD, FAILED = [0.0, 5.0, 5.0], [4.0, 3.0, 5.0], [math.nan] * 3


def test_overall_is_the_reports() -> None:
    scores = torch.rand(20, 3, generator=torch.Generator().manual_seed(0)) * 5
    expected = [overall_score(*row) for row in scores.tolist()]
    assert (Overall()(scores).flatten() * 5).tolist() == pytest.approx(expected, rel=1e-5)


def test_a_copy_is_worth_nothing_overall_and_two_thirds_on_average() -> None:
    scores = torch.tensor([COPY, GOOD])
    assert Overall()(scores).flatten().tolist() == pytest.approx([0.0, math.sqrt(15) / 5])
    assert WeightedMean()(scores).flatten().tolist() == pytest.approx([2 / 3, 0.8])
    assert WeightedMean([2.0, 0.0, 0.0])(scores).flatten().tolist() == pytest.approx([0.0, 0.8])
    torch.testing.assert_close(PerPerspective()(scores), scores / 5)


@pytest.mark.parametrize("aggregation", [Overall(), WeightedMean(), PerPerspective()])
def test_a_failed_verdict_is_no_number(aggregation) -> None:
    found = aggregation(torch.tensor([FAILED, GOOD]))
    assert found[0].isnan().all()
    assert not found[1].isnan().any()


@pytest.mark.parametrize("weights", [[0.0, 0.0, 0.0], [-1.0, 1.0, 1.0], [1.0, 1.0]])
def test_weights_that_are_none(weights: list[float]) -> None:
    with pytest.raises((ValueError, TypeCheckError), match=r"weights"):
        WeightedMean(weights)
