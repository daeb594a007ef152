"""Guidance weights and condition dropout against the formulas of InsPix2Pix."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from src.diffusion.guidance import Branch, Guidance, condition_dropout

scale = st.floats(0, 20)


@given(scale, scale, scale)
def test_weights_are_the_published_combination(text: float, image: float, reward: float) -> None:
    full, image_only, none, low = 1.3, -0.4, 2.2, 0.9
    weights = Guidance(text, image, reward).weights()
    outputs = {
        Branch.FULL: full,
        Branch.IMAGE_ONLY: image_only,
        Branch.NONE: none,
        Branch.REFERENCE_REWARD: low,
    }
    combined = sum(weight * outputs[branch] for branch, weight in weights.items())
    published = none + image * (image_only - none) + text * (full - image_only) + (reward - 1) * (full - low)
    assert combined == pytest.approx(published, abs=1e-6)
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("guidance", "branches"),
    [
        (Guidance(), {Branch.FULL}),
        (Guidance(text=7.5), {Branch.FULL, Branch.IMAGE_ONLY}),
        (Guidance(text=7.5, image=1.5), {Branch.FULL, Branch.IMAGE_ONLY, Branch.NONE}),
        (Guidance(reward=2.0), {Branch.FULL, Branch.REFERENCE_REWARD}),
    ],
)
def test_only_branches_that_matter_are_computed(guidance: Guidance, branches: set[Branch]) -> None:
    assert guidance.weights().keys() == branches


def test_dropout_cases_of_the_published_table() -> None:
    text, image = condition_dropout(torch.tensor([0.0, 0.049, 0.05, 0.099, 0.1, 0.149, 0.15, 0.99]), 0.05)
    assert text.tolist() == [True, True, True, True, False, False, False, False]
    assert image.tolist() == [False, False, True, True, True, True, False, False]


def test_no_dropout_drops_nothing() -> None:
    text, image = condition_dropout(torch.rand(100), 0.0)
    assert not text.any()
    assert not image.any()


def test_impossible_dropout_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got 0\.5"):
        condition_dropout(torch.rand(2), 0.5)
