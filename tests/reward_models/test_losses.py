"""Losses of comparisons and ratings: reference values by independent quadrature, and laws."""

import math

import pytest
import torch
from torch import tensor

from src.reward_models.aspects import (
    aspect_utilities,
    identified_by,
    nearest_aspects,
    soft_minimum,
)
from src.reward_models.losses import (
    bradley_terry,
    davidson,
    gaussian,
    gaussian_outside,
    gaussian_rating,
    margin,
    ordinal_rating,
    pair_losses,
    plackett_luce,
    ranking,
    rao_kupper,
    soft_bradley_terry,
    squared_rating,
)
from src.reward_models.reward_model import Estimates

D, S = tensor([1.0, -2.0]), tensor([1.0, 2.0])


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        (bradley_terry(D), (0.313262, 2.126928)),
        (margin(D), (0.501084, 2.643748)),
        (gaussian_outside(D, S), (0.406856, 2.356316)),
        (gaussian(D, S), (0.361351, 1.492545)),
        (soft_bradley_terry(D, tensor([1.0, 1.0])), (0.313262, 2.126928)),
        (soft_bradley_terry(D, tensor([0.0, 0.0])), (1.313262, 0.126928)),
    ],
)
def test_losses_at_two_points(losses: torch.Tensor, expected: tuple[float, float]) -> None:
    assert losses.tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("spread", "error"), [(0.5, 1e-6), (2.0, 1e-5), (5.0, 2e-3)])
def test_quadrature_agrees_with_a_fine_grid(spread: float, error: float) -> None:
    grid = torch.linspace(-9.0, 9.0, 20_001, dtype=torch.float64)
    density = torch.exp(-grid.square() / 2) / math.sqrt(2 * math.pi) * (grid[1] - grid[0])
    for d in (-6.0, -1.0, 0.0, 2.5, 6.0):
        z = d + spread * grid
        inside = -math.log(float((density * z.sigmoid()).sum()))
        outside = float((density * torch.nn.functional.softplus(-z)).sum())
        found = gaussian(tensor([d]), tensor([spread])), gaussian_outside(tensor([d]), tensor([spread]))
        assert (float(found[0]), float(found[1])) == pytest.approx((inside, outside), abs=2 * error)


def test_only_the_likelihood_ever_asks_for_a_deviation() -> None:
    """EditReward's loss falls whenever the deviation does; the likelihood has an optimum."""
    d = torch.linspace(-6.0, 6.0, 25)
    spread = torch.full_like(d, 1.0, requires_grad=True)
    (outside,) = torch.autograd.grad(gaussian_outside(d, spread).sum(), spread)
    (inside,) = torch.autograd.grad(gaussian(d, spread).sum(), spread)
    assert (outside > 0).all()
    assert (inside[d < -1] < 0).all()
    assert (inside[d > 1] > 0).all()


@pytest.mark.parametrize("ratio", [1.5, 5.0])
def test_rao_kupper(ratio: float) -> None:
    width = tensor([math.log(ratio)])
    for d in (0.0, 1.0, -3.0):
        won, lost, tied = (
            float(rao_kupper(tensor([each]), tensor([tie]), width))
            for each, tie in ((d, False), (-d, False), (d, True))
        )
        assert math.exp(-won) + math.exp(-lost) + math.exp(-tied) == pytest.approx(1.0, abs=1e-6)
    expected = {(5.0, 0.0): 2 / 3, (5.0, 1.0): 0.579279, (1.5, 0.0): 0.2, (1.5, 1.0): 0.158645}
    for d in (0.0, 1.0):
        tied = math.exp(-float(rao_kupper(tensor([d]), tensor([True]), width)))
        assert tied == pytest.approx(expected[ratio, d], abs=1e-5)


def test_davidson() -> None:
    none = tensor([0.0])
    assert math.exp(-float(davidson(none, tensor([True]), none))) == pytest.approx(1 / 3)
    three = [
        math.exp(-float(davidson(tensor([d]), tensor([tie]), none)))
        for d, tie in ((1.3, False), (-1.3, False), (1.3, True))
    ]
    assert sum(three) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["rao_kupper", "davidson"])
def test_width_means_the_same_in_both_models_of_ties(kind: str) -> None:
    width = tensor([0.8])
    tied = pair_losses(kind, tensor([0.0]), tensor([0.0]), tensor([True]), width)  # pyright: ignore[reportArgumentType]
    share = {"rao_kupper": math.tanh(0.4), "davidson": math.expm1(0.8) / (2 + math.expm1(0.8))}[kind]
    assert math.exp(-float(tied)) == pytest.approx(share) == pytest.approx(math.tanh(0.4))


def test_a_tie_is_half_a_comparison_in_each_direction() -> None:
    tied = pair_losses("gaussian", D, S, tensor([True, True]), S)
    assert tied.tolist() == pytest.approx(((gaussian(D, S) + gaussian(-D, S)) / 2).tolist())


def test_rankings() -> None:
    ordered = tensor([1.2, 0.3, -0.5])
    assert float(ranking(ordered)) == pytest.approx(0.293347, abs=1e-5)
    assert float(plackett_luce(ordered)) == pytest.approx(0.834365, abs=1e-5)
    assert float(plackett_luce(D)) == pytest.approx(float(bradley_terry(D[:1] - D[1:])))


def test_ratings() -> None:
    levels = torch.arange(4)
    thresholds = tensor([[-1.5, 0.0, 1.5]]).repeat(4, 1)
    found = ordinal_rating(torch.full((4,), 0.7), torch.ones(4), levels, thresholds)
    assert (-found).exp().tolist() == pytest.approx([0.099750, 0.232062, 0.358162, 0.310026], abs=1e-5)
    padded = torch.cat((thresholds, torch.full((4, 2), torch.inf)), 1)  # of a source with fewer levels
    assert torch.equal(found, ordinal_rating(torch.full((4,), 0.7), torch.ones(4), levels, padded))
    value = gaussian_rating(tensor([1.0]), tensor([math.log(2.0)]), tensor([4.0]))
    assert float(value) == pytest.approx(0.5 * 1.5**2 + math.log(2.0))
    assert float(squared_rating(tensor([1.0]), tensor([3.0]))) == 4.0


def test_ordinal_far_out_is_finite_and_has_a_gradient() -> None:
    utility = tensor([60.0, -60.0], requires_grad=True)
    loss = ordinal_rating(utility, torch.ones(2), tensor([0, 3]), tensor([[-1.5, 0.0, 1.5]]).repeat(2, 1))
    (slope,) = torch.autograd.grad(loss.sum(), utility)
    assert loss.isfinite().all()
    assert slope.tolist() == pytest.approx([1.0, -1.0], abs=1e-4)


def test_aspects_of_several_perspectives() -> None:
    assert float(soft_minimum(tensor([2.0, -1.0]))) == pytest.approx(-0.655, abs=1e-3)
    assert float(soft_minimum(tensor([1.0, 1.0]))) == pytest.approx(1.0)
    weights = tensor([0.5, 0.3, 0.2])
    estimates = Estimates(tensor([[2.0, -1.0, 0.5]]), tensor([[0.0, 0.7, -0.3]]))
    found = aspect_utilities(estimates, weights)
    assert found.mean[0].tolist() == pytest.approx([2.0, -1.0, 0.5, -0.6547, 0.8], abs=1e-4)
    draws = estimates.mean + torch.randn(200_000, 3, generator=torch.manual_seed(0)) * 0.01 * (
        estimates.log_deviation.exp()  # pyright: ignore[reportOptionalMemberAccess]
    )
    assert found.variance is not None
    drawn = aspect_utilities(Estimates(draws), weights).mean.var(0) / 1e-4
    assert drawn.tolist() == pytest.approx(found.variance[0].tolist(), rel=0.02)


def test_what_labels_identify() -> None:
    assert identified_by(["quality", "semantic"]) == ("quality", "semantic")
    assert identified_by(["following", "preserving"]) == ("following", "preserving", "semantic")
    assert identified_by(["preserving", "quality", "following"])[-1] == "overall"
    assert nearest_aspects(("quality", "semantic"), True) == ("semantic", "semantic", "quality")
    assert nearest_aspects(("overall",), True) == ("overall", "overall", "overall")
    with pytest.raises(ValueError, match=r"identify quality, semantic, and not following, preserving"):
        nearest_aspects(("quality", "semantic"), False)
    with pytest.raises(ValueError, match="identify quality: nothing of it says"):
        nearest_aspects(("quality",), True)
