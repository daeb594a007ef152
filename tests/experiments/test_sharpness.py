"""experiments/sharpness.py: known changes have known gains."""

import numpy as np
import pytest

from experiments.sharpness import EDGES, gains

CHANGE = np.random.default_rng(0).normal(size=(2, 32, 32, 3))


def blurred(change: np.ndarray, pixels: float) -> np.ndarray:
    down, right = np.fft.fftfreq(32)[:, None], np.fft.fftfreq(32)[None]
    factor = np.exp(-2 * (np.pi * pixels) ** 2 * (down**2 + right**2))
    return np.fft.ifft2(np.fft.fft2(change, axes=(1, 2)) * factor[:, :, None], axes=(1, 2)).real


@pytest.mark.parametrize("strength", [1.0, 0.5, 0.0])
def test_gain_is_the_strength_of_the_change(strength: float) -> None:
    np.testing.assert_allclose(gains(strength * CHANGE, CHANGE), strength, atol=1e-12)


def test_a_blur_takes_its_frequencies_away() -> None:
    """The band from 0.1 to 0.2 keeps between what a Gaussian of 1.5 pixels leaves at its ends."""
    low, high = (np.exp(-2 * (np.pi * 1.5 * frequency) ** 2) for frequency in EDGES[2:4])
    found = gains(blurred(CHANGE, 1.5), CHANGE)
    assert high < found[2] < low
    assert (np.diff(found) < 0).all()


def test_a_change_elsewhere_adds_nothing() -> None:
    elsewhere = np.random.default_rng(1).normal(size=(200, 32, 32, 3))
    wanted = np.random.default_rng(2).normal(size=(200, 32, 32, 3))
    assert np.abs(gains(wanted + elsewhere, wanted) - 1).max() < 0.05
