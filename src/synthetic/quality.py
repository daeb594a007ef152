"""Flaws of quality, each estimated on its own against the scene's rendering: noise, blur, blocks, bands.

Estimates are severities as corruptions.py defines them (0 none, 1 full), so a score is 5 x (1 - the worst). They separate by statistics
that the other flaws don't move: noise is what is left at the finest scale after fitting the reference to the picture, which blur can't hide;
blur is the fit's slope, which noise doesn't bias; blocks are jumps at every eighth pixel only; bands are a staircase of values against values.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from src.synthetic import filters
from src.synthetic.corruptions import MAX_NOISE, MAX_STEP
from src.synthetic.scene import Picture

Grey = Float[np.ndarray, "h w"]

FINE, MIDDLE = 0.015, 0.06
"""Scales of the two bands that blur is judged by, in picture widths."""

JPEG_PERIOD = 8
VALUE_BINS = 48

# Estimates (x) at severities (y), found by corrupting exact edits: experiments can repeat it with tests/synthetic/test_measure.py.
BLUR_CURVE = ((0.05, 0.2, 0.4, 0.6, 0.8, 0.95), (1.0, 0.7, 0.45, 0.3, 0.15, 0.0))


def flaws(picture: Picture, reference: Picture) -> Mapping[str, float]:
    """The severity of each flaw of a picture, from 0.

    Args:
        picture: what is judged.
        reference: the scene as it should look, as far as the edit was done.
    """
    seen, expected = picture @ filters.LUMINANCE, reference @ filters.LUMINANCE
    return {
        "noise": noise(seen, expected) / MAX_NOISE,
        "blur": float(np.interp(sharpness(seen, expected), *BLUR_CURVE)),
        "jpeg": blocks(seen - expected),
        "banding": bands(picture[..., 1], reference[..., 1]) / MAX_STEP,
    }


def finest(grey: Grey) -> Grey:
    """What changes from pixel to pixel along both diagonals; the noise in it is as strong as in the picture."""
    vertical = grey[1:] - grey[:-1]
    return (vertical[:, 1:] - vertical[:, :-1]) * np.float32(0.5)


def noise(seen: Grey, expected: Grey) -> float:
    """Standard deviation of noise in a channel: from the quieter blocks of what the reference does not explain."""
    fine, wanted = finest(seen), finest(expected)
    slope = np.float32(np.vdot(fine, wanted) / (np.vdot(wanted, wanted) + 1e-6))
    rest = np.abs(fine - slope * wanted)
    side = rest.shape[0] // 8
    cut = rest[: 8 * side, : 8 * side].reshape(8, side, 8, side).mean(axis=(1, 3))
    quiet = float(np.sort(cut.ravel())[24])
    # 1.25 turns a mean deviation into a standard one, 0.67 is what lightness keeps of independent noise in three channels.
    return max(0.0, 1.25 * quiet / 0.67 - 0.008)


def sharpness(seen: Grey, expected: Grey) -> float:
    """How much of the finer structure is left compared with the coarser, 0..1: a change of contrast is no blur."""
    fine_seen, middle_seen = bands_of(seen)
    fine_expected, middle_expected = bands_of(expected)
    fine = np.vdot(fine_seen, fine_expected) / (np.vdot(fine_expected, fine_expected) + 1e-6)
    middle = np.vdot(middle_seen, middle_expected) / (np.vdot(middle_expected, middle_expected) + 1e-6)
    return float(min(1.0, max(0.0, fine / max(middle, 0.3))))


def bands_of(grey: Grey) -> tuple[Grey, Grey]:
    """Fine and middle detail."""
    size = grey.shape[0]
    near, far = filters.blur_matrix(size, FINE * size), filters.blur_matrix(size, MIDDLE * size)
    smooth = near @ grey @ near.T
    return grey - smooth, smooth - far @ grey @ far.T


def blocks(error: Grey) -> float:
    """Severity of compression blocks: how much larger jumps are at every eighth pixel than elsewhere."""
    excess = 0.0
    for jumps in (np.abs(error[1:] - error[:-1]), np.abs(error[:, 1:] - error[:, :-1]).T):
        per_line = np.minimum(jumps, np.float32(0.15)).mean(axis=1)
        at_edges = per_line[JPEG_PERIOD - 1 :: JPEG_PERIOD].mean()
        elsewhere = (per_line.sum() - per_line[JPEG_PERIOD - 1 :: JPEG_PERIOD].sum()) / (len(per_line) - len(per_line) // JPEG_PERIOD)
        excess += float(at_edges - elsewhere) / 2
    return max(0.0, excess - 0.003) / 0.03


def bands(seen: Grey, expected: Grey) -> float:
    """Distance between grey levels if values were rounded to a few: the staircase of seen values against expected ones."""
    values = np.minimum((expected * np.float32(VALUE_BINS)).astype(np.int64).ravel(), VALUE_BINS - 1)
    error = np.clip(seen - expected, -0.25, 0.25).ravel()
    count = np.bincount(np.maximum(values, 0), minlength=VALUE_BINS)
    used = count >= 4
    if used.sum() < 4:
        return 0.0
    mean = np.bincount(np.maximum(values, 0), error, minlength=VALUE_BINS)[used] / count[used]
    weight = count[used] / count[used].sum()
    level = np.flatnonzero(used) / VALUE_BINS
    centred = level - weight @ level
    slope = (weight * centred) @ mean / ((weight * centred) @ centred)
    rest = mean - weight @ mean - slope * centred
    sampling = float(error.var()) * len(rest) / count[used].sum()
    return float(np.sqrt(12 * max(0.0, float(weight @ rest**2) - sampling)))
