"""Backgrounds and whole images: whether the background is the expected one, which colours it has, and which
filter explains an image.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from src.synthetic import filters, quality
from src.synthetic.attributes import TOLERANCE, Similarity
from src.synthetic.degradations import blur_width
from src.synthetic.filters import FILTERS
from src.synthetic.ground_truth import Blocks, GroundTruth, Mask
from src.synthetic.language import FILLS
from src.synthetic.scene import BLOCKS, FloatImage, GradientBackground, rgb

BLUR_STEPS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0)
"""Severities of blur that are tried to explain a blurred image."""

MIN_LIKENESS = 0.5
"""The least correlation at which an image counts as a blur of its reference."""

MIN_GAIN = 0.35
"""The least contrast that a filter may leave, as a share of what it should leave."""

PRIOR = 0.008**2
"""Mean squared contrast below which a background has no structure to be recognised by."""

LEAST_SIGNAL = 0.15
"""At least this share of what is seen counts as signal; otherwise pure noise would correlate with anything.
"""

MAX_UNEXPLAINED = 0.25
"""The largest share of what original and right answer leave unexplained that another filter may leave."""

SURELY_UNEXPLAINED = 0.1
"""The same before noise is subtracted, as what looks like noise may come from the filter."""

REACH = 0.14
"""A shift of the background is searched up to this many image widths."""

MIN_SHIFTED = 0.6
"""The least correlation at which a shifted background is recognised."""

SPREAD = 0.1
"""Scale, in image widths, over which a difference of the background is extended behind the objects."""


def ramp(value: float, low: float, high: float) -> float:
    """0 up to `low`, 1 from `high` on, linear between."""
    return min(1.0, max(0.0, (value - low) / (high - low)))


def background_known(blocks: Blocks, expected: Blocks, free: Mask, noise: float) -> float:
    """0 for another background, 1 for the expected one, whatever its noise or colour cast."""
    seen, wanted = blocks[free], expected[free]
    slope, correlation = slope_and_correlation(seen - seen.mean(axis=0), wanted - wanted.mean(axis=0), noise)
    return ramp(min(slope, correlation), 0.8, 0.97)


def estimate_blur(truth: GroundTruth, image: FloatImage, free: np.ndarray, noise: float) -> float:
    """Standard deviation in pixels of the blur that explains the image best, 0 if it is sharp.

    What should be seen is blurred alike before it is compared, so blur counts as quality and not as following
    or preserving.
    """
    references = (truth.original, truth.exact)
    if min(quality.blur_severity(image, reference, free, noise) for reference in references) < 0.05:
        return 0.0
    size = image.shape[0]
    likeness = {
        width: max(quality.blurred_correlation(image, reference, width) for reference in references)
        for width in (blur_width(step, size) for step in BLUR_STEPS)
    }
    best = max(likeness, key=lambda width: likeness[width])
    # A blank image or noise is no blur of anything.
    return best if likeness[best] > MIN_LIKENESS else 0.0


def slope_and_correlation(seen: np.ndarray, expected: np.ndarray, noise: float = 0.0) -> tuple[float, float]:
    """Slope and correlation of what is seen against what is expected, both centred.

    The correlation is corrected for noise of standard deviation `noise` in what is seen.
    """
    prior = PRIOR * expected.size
    product, own = float(np.vdot(seen, expected)), float(np.vdot(expected, expected))
    other = float(np.vdot(seen, seen))
    signal = max(other - noise**2 * seen.size, LEAST_SIGNAL * other)
    correlation = (product + prior) / float(np.sqrt((own + prior) * (signal + prior)))
    return (product + prior) / (own + prior), min(1.0, correlation)


@lru_cache(maxsize=4)
def slow_block_matrix(scale: float) -> Float[np.ndarray, "b b"]:
    """The matrix that keeps only slow changes of blocks along one axis."""
    return filters.blur_matrix(BLOCKS, scale)


def block_structure(blocks: Blocks) -> Float[np.ndarray, "b b"]:
    """Medium-scale structure in lightness, without slow changes, which unrelated images share by chance."""
    light = blocks @ filters.LUMINANCE
    slow = slow_block_matrix(2.5)
    return light - slow @ light @ slow.T


def scene_likeness(blocks: Blocks, references: Sequence[Blocks], noise: float) -> float:
    """How much of a scene's structure the image shows, 0..1: the best correlation, of either sign, with the
    ways the scene may look.

    Structure too faint for a correlation to mean anything (a dark wall) is there as far as it is exactly the
    expected one.
    """
    seen = block_structure(blocks)
    energy = float(np.vdot(seen, seen))
    signal = max(energy - noise**2 * seen.size, LEAST_SIGNAL * energy) + 0.02**2 * seen.size
    best = 0.0
    for reference in references:
        expected = block_structure(reference)
        scale = float(np.sqrt(signal * np.vdot(expected, expected)) + 1e-6)
        best = max(best, abs(float(np.vdot(seen, expected))) / scale)
        off = seen - expected
        best = max(best, 1 - float(np.sqrt(np.vdot(off, off) / (np.vdot(expected, expected) + 1e-12))))
    return min(1.0, best)


def background_similarity(
    seen: Float[np.ndarray, "n 3"], expected: Float[np.ndarray, "n 3"], noise: float = 0.0
) -> Similarity:
    """How much of the background is there: the smaller of its fit in structure and its nearness in colour.

    Structure is the slope of what is seen against what is expected, both centred. Noise doesn't bias the
    slope, a shifted or other background has a slope near zero, and a plain background can only be judged by
    its colour.
    """
    seen_mean, expected_mean = seen.mean(axis=0), expected.mean(axis=0)
    slope, correlation = slope_and_correlation(seen - seen_mean, expected - expected_mean, noise)
    fits = min(1.0, max(0.0, (min(slope, correlation) - 0.15) / 0.7))
    near = max(0.0, 1 - max(0.0, float(np.abs(seen_mean - expected_mean).max()) - TOLERANCE) / 0.22)
    return Similarity(float(min(fits, near)), "cast" if near < fits else "replaced")


def undo_cast(
    image: FloatImage, seen: Float[np.ndarray, "n 3"], expected: Float[np.ndarray, "n 3"]
) -> FloatImage:
    """The image with the background's colours restored, as far as the background is recognised."""
    seen_mean, expected_mean = seen.mean(axis=0), expected.mean(axis=0)
    deviation, structure = seen - seen_mean, expected - expected_mean
    prior = PRIOR * structure.size
    product = float((deviation * structure).sum()) + prior
    own = float((structure * structure).sum()) + prior
    correlation = product / np.sqrt(own * (float((deviation * deviation).sum()) + prior))
    trust = min(1.0, max(0.0, (correlation - 0.6) / 0.3))
    if trust == 0:
        return image
    gain = 1 + trust * (min(1.2, max(0.6, product / own)) - 1)
    offset = trust * (seen_mean - expected_mean * gain)
    return (image - offset.astype(np.float32)) * np.float32(1 / gain)


def colour_map(
    expected: Float[np.ndarray, "b b 3"], seen: Float[np.ndarray, "b b 3"]
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """The linear map of colours, as matrix and offset, that takes expected blocks nearest to those seen.

    It is regularised towards the identity; applied to the scene, it follows the filter of the image.
    """
    x, y = expected.reshape(-1, 3).astype(np.float64), seen.reshape(-1, 3).astype(np.float64)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = x - x_mean, y - y_mean
    ridge = 0.02 * len(x) * np.eye(3) * 0.25
    matrix = np.linalg.solve(x.T @ x + ridge, x.T @ y + ridge)
    # No filter takes nearly all contrast away, and mapping that would make anything look alike.
    if ((x @ matrix) ** 2).sum() < MIN_GAIN**2 * (x**2).sum():
        return np.eye(3, dtype=np.float32), np.zeros(3, dtype=np.float32)
    return matrix.astype(np.float32), (y_mean - x_mean @ matrix).astype(np.float32)


def extend_behind_objects(difference: FloatImage, free: Float[np.ndarray, "h w"]) -> FloatImage:
    """A difference of the background, known where it is free, extended smoothly behind the objects."""
    size = difference.shape[0]
    matrix = filters.blur_matrix(size, SPREAD * size)
    weight = matrix @ free @ matrix.T
    return filters.blur(difference * free[..., None], SPREAD * size) / (weight[..., None] + np.float32(1e-3))


def best_filter(
    truth: GroundTruth, image: FloatImage, expected: FloatImage, width: float, noise: float
) -> str | None:
    """The filter that, applied to the original, explains an image which the expected one does not.

    It must leave only a small share unexplained of what `expected`, the best blend of original and right
    answer, leaves: reduced to a few levels, any image looks somewhat like a poster. `noise` is the standard
    deviation of noise, which nothing explains.
    """

    def unexplained(reference: FloatImage) -> float:
        off = image - reference
        return float(np.vdot(off, off)) / off.size

    remaining = {name: unexplained(filter_and_blur(name, truth.original, width)) for name in FILTERS}
    whole = unexplained(expected)
    best = min(remaining, key=lambda name: remaining[name])
    beyond_noise = max(0.0, remaining[best] - noise**2)
    explains = (
        beyond_noise < min(MAX_UNEXPLAINED * max(0.0, whole - noise**2), 0.01)
        or remaining[best] < SURELY_UNEXPLAINED * whole
    )
    return best if explains else None


def estimate_shift(
    image: FloatImage, background: FloatImage, free: Float[np.ndarray, "h w"]
) -> tuple[int, int]:
    """Shift of a background in an image in pixels, (down, right); (0, 0) if no shifted one is recognised.

    It maximises the correlation of the free background with the expected one, found by Fourier transforms.
    """
    size = image.shape[0]
    seen, expected = image @ filters.LUMINANCE, background @ filters.LUMINANCE
    seen = (seen - float((seen * free).sum() / free.sum())) * free
    expected = expected - expected.mean()
    reach = int(np.ceil(REACH * size))
    product = np.fft.irfft2(np.fft.rfft2(seen) * np.conj(np.fft.rfft2(expected)), s=(size, size))
    energy = np.fft.irfft2(np.fft.rfft2(free) * np.conj(np.fft.rfft2(expected * expected)), s=(size, size))
    correlation = product / np.sqrt(np.maximum(energy, 1e-3) * (float(np.vdot(seen, seen)) + 1e-6))
    near = np.concatenate((np.arange(-reach, 0), np.arange(reach + 1)))
    window = correlation[np.ix_(near, near)]
    row, column = divmod(int(window.argmax()), len(near))
    best = float(window.max())
    is_shifted = best > MIN_SHIFTED and best > float(correlation[0, 0]) + 0.03
    return (int(near[row]), int(near[column])) if is_shifted else (0, 0)


def filter_and_blur(name: str, image: FloatImage, width: float) -> FloatImage:
    """A sharp image through a filter, then through a blur."""
    seen = filters.apply_filter(name, image)
    return seen if width == 0 else filters.blur(seen, width)


def nearest_fills(background: GradientBackground, blocks: Blocks, free: Mask) -> tuple[str, str]:
    """The known colours nearest to both ends of the background along a gradient's axis.

    The ends are those of a straight line fitted to the free blocks.
    """
    rows, columns = np.nonzero(free)
    at = ((rows if background.vertical else columns) + 0.5) / BLOCKS
    line = np.stack((1 - at, at), axis=1)
    ends = np.linalg.lstsq(line, blocks[free], rcond=None)[0]
    first, second = (
        min(FILLS, key=lambda name, end=end: float(np.square(rgb(name) - end).sum())) for end in ends
    )
    return first, second
