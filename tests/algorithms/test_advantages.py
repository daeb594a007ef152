"""Advantages of groups: exact small cases and what must not matter."""

import math

import pytest
import torch
from jaxtyping import TypeCheckError

from src.algorithms.advantages import Advantages, Scale, advantages

NAN = math.nan
SCALES: tuple[Scale, ...] = ("group", "step", "constant")


def rewards(*groups: list[float]) -> torch.Tensor:
    return torch.tensor(groups)


def test_by_hand() -> None:
    found = advantages(rewards([0.0, 1.0, 2.0, 3.0]), "group", 0.05)
    deviation = math.sqrt(1.25)
    torch.testing.assert_close(found.value, rewards([-1.5, -0.5, 0.5, 1.5]) / deviation)
    torch.testing.assert_close(found.spread, torch.tensor([deviation]))
    step = advantages(rewards([0.0, 2.0], [4.0, 4.0]), "step", 0.05)
    # around the common mean of 2.5: squares 6.25, 0.25, 2.25, 2.25
    torch.testing.assert_close(step.value, rewards([-1.0, 1.0], [0.0, 0.0]) / math.sqrt(11 / 4))
    constant = advantages(rewards([0.0, 2.0]), "constant", 0.05)
    torch.testing.assert_close(constant.value, rewards([-1.0, 1.0]))


@pytest.mark.parametrize("scale", SCALES)
def test_a_group_is_compared_with_itself_alone(scale: Scale) -> None:
    drawn = torch.rand(3, 5, generator=torch.Generator().manual_seed(0))
    found = advantages(drawn, scale, 0.05)
    torch.testing.assert_close(found.value.mean(1), torch.zeros(3), atol=1e-6, rtol=0)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(advantages(drawn[order], scale, 0.05).value, found.value[order])
    if scale != "step":
        raised = drawn + torch.tensor([[0.0], [7.0], [-3.0]])
        torch.testing.assert_close(advantages(raised, scale, 0.05).value, found.value, atol=1e-5, rtol=1e-5)
    assert found.value.abs().max() <= math.sqrt(5 - 1) or scale != "group"


@pytest.mark.parametrize("scale", SCALES)
def test_a_group_without_spread_teaches_nothing(scale: Scale) -> None:
    found = advantages(rewards([0.3] * 3, [0.1, 0.5, 0.9]), scale, 0.05)
    assert found.value[0].tolist() == [0.0] * 3
    assert found.valid.tolist() == [[False] * 3, [True] * 3]
    assert found.spread[0] == 0.0


@pytest.mark.parametrize("scale", SCALES)
def test_a_failed_verdict_is_in_no_mean_deviation_or_number(scale: Scale) -> None:
    found = advantages(rewards([0.1, NAN, 0.5, 0.9], [0.2, 0.4, NAN, 0.3]), scale, 0.05)
    apart = [
        advantages(rewards([0.1, 0.5, 0.9]), scale, 0.05),
        advantages(rewards([0.2, 0.4, 0.3]), scale, 0.05),
    ]
    assert found.valid.tolist() == [[True, False, True, True], [True, True, False, True]]
    assert found.value[0, 1] == found.value[1, 2] == 0.0
    if scale != "step":
        for group, alone in zip(found.value, apart, strict=True):
            torch.testing.assert_close(
                group[group != 0].sort().values, alone.value[alone.value != 0].sort().values
            )
    lonely: Advantages = advantages(rewards([NAN, NAN, 0.4], [NAN, NAN, NAN]), scale, 0.05)
    assert not lonely.valid.any()
    assert not lonely.value.any()


def test_rounding_is_not_blown_up() -> None:
    nearly_equal = rewards([0.5, 0.5001])
    assert advantages(nearly_equal, "group", 0.05).value.abs().max() < 0.0011
    assert advantages(nearly_equal, "group", 1e-8).value.abs().max() > 0.99


def test_two_ranks_are_one() -> None:
    drawn = torch.rand(4, 3, generator=torch.Generator().manual_seed(1))
    whole = advantages(drawn, "step", 0.01)
    sums: list[torch.Tensor] = []

    def remember(own: torch.Tensor) -> torch.Tensor:
        sums.append(own)
        return own

    for half in drawn.split(2):
        advantages(half, "step", 0.01, remember)
    total = sums[0] + sums[1]
    halves = [advantages(half, "step", 0.01, lambda own: total).value for half in drawn.split(2)]
    torch.testing.assert_close(torch.cat(halves), whole.value)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"floor=0\.0"):
        advantages(rewards([0.0, 1.0]), "group", 0.0)
    with pytest.raises((ValueError, TypeCheckError)):  # the second while tests check types
        advantages(rewards([0.0, 1.0]), "batch", 0.1)  # pyright: ignore[reportArgumentType]
