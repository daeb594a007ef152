"""Flaws of quality, each estimated on its own against the scene's rendering: noise, blur, blocks, bands.

Estimates are severities as degradations.py defines them (0 none, 1 full), so a score is 5 x (1 - the worst). They separate by statistics
that the other flaws don't move: noise is what is left at the finest scale after fitting the reference to the picture, which blur can't hide;
blur is the fit's slope, which noise doesn't bias; blocks are jumps at every eighth pixel only; bands are a staircase of values against values.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from src.synthetic import filters
from src.synthetic.degradations import MAX_NOISE, MAX_STEP
from src.synthetic.scene import Picture

Grey = Float[np.ndarray, "h w"]
Values = Float[np.ndarray, " n"]

FINE, MIDDLE, FAR = 0.015, 0.06, 0.15
"""Scales in picture widths: the two bands that blur is judged by, and what is too slow to count as structure."""

QUIET = 12
"""Noise is read from this block of 64, from the quietest: what was altered or replaced must not count as noise."""

JPEG_PERIOD, MAX_JUMP, BLOCKS_SCALE = 8, 0.12, 0.03
VALUE_BINS = 48

# How much of the fine band a blur of each severity leaves, at 32 px and from 64 px on: medians over exact edits, blurred.
SEVERITIES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
LEFT_SMALL = (1.0, 0.97, 0.91, 0.76, 0.61, 0.5, 0.4, 0.3, 0.23, 0.17, 0.123, 0.087)
LEFT_LARGE = (0.98, 0.88, 0.72, 0.49, 0.36, 0.275, 0.22, 0.18, 0.15, 0.123, 0.1, 0.083)


def flaws(picture: Picture, reference: Picture, free: Bool[np.ndarray, "h w"]) -> Mapping[str, float]:
    """The severity of each flaw of a picture, from 0.

    Args:
        picture: what is judged.
        reference: the scene as it should look, as far as the edit was done.
        free: where only background is seen.
    """
    seen, expected = picture @ filters.LUMINANCE, reference @ filters.LUMINANCE
    grain = noise(seen, expected, free)
    return {
        "noise": grain / MAX_NOISE,
        "blur": blur_severity(picture, reference, free),
        "jpeg": max(0.0, blocks(seen) - max(0.0, blocks(expected)) - 0.1),
        "banding": bands(picture[..., 1], reference[..., 1], free, grain) / MAX_STEP,
    }


def blur_severity(picture: Picture, reference: Picture, free: Bool[np.ndarray, "h w"] | None = None) -> float:
    """The severity of a blur, judged where the picture is sharpest of background, objects and the whole: a part that was altered is no blur.

    0 if the reference has no fine detail that could be lost.
    """
    seen, expected = bands_of(picture @ filters.LUMINANCE), bands_of(reference @ filters.LUMINANCE)
    parts = [slice(None)] if free is None else [slice(None), free, ~free]
    left = [share for part in parts if (share := sharpness([band[part] for band in seen], [band[part] for band in expected])) is not None]
    if not left:
        return 0.0
    small = min(1.0, max(0.0, 64 / picture.shape[0] - 1))
    curve = [small * few + (1 - small) * many for few, many in zip(LEFT_SMALL, LEFT_LARGE, strict=True)]
    return float(np.interp(max(left), curve[::-1], SEVERITIES[::-1]))


def finest(grey: Grey) -> Float[np.ndarray, "h-1 w-1"]:
    """What changes from pixel to pixel along both diagonals; the noise in it is as strong as in the picture."""
    vertical = grey[1:] - grey[:-1]
    return (vertical[:, 1:] - vertical[:, :-1]) * np.float32(0.5)


def noise(seen: Grey, expected: Grey, free: Bool[np.ndarray, "h w"]) -> float:
    """Standard deviation of noise in a channel: from the quieter blocks of what the reference does not explain.

    Where the background is not the expected one, its texture is not explained either; then only what exceeds the expected texture is noise.
    """
    fine, wanted = finest(seen), finest(expected)
    slope = np.float32(np.vdot(fine, wanted) / (np.vdot(wanted, wanted) + 1e-6))
    unexplained = quiet_level(fine - slope * wanted)
    known = recognised(bands_of(seen)[1][free], bands_of(expected)[1][free])
    excess = max(0.0, quiet_level(fine) ** 2 - quiet_level(wanted) ** 2) ** 0.5
    quiet = known * unexplained + (1 - known) * min(unexplained, excess)
    # 1.25 turns a mean deviation into a standard one, 0.67 is what lightness keeps of independent noise in three channels, and the last
    # factor (fitted) makes up for reading a quiet block, which is the quieter the fewer pixels it has.
    return max(0.0, 1.25 * quiet / 0.67 - 0.006) * (1.15 + 14 / seen.shape[0])


def quiet_level(fine: Grey) -> float:
    """Mean deviation in one of the quieter of 64 blocks."""
    side = fine.shape[0] // 8
    cut = np.abs(fine[: 8 * side, : 8 * side]).reshape(8, side, 8, side).mean(axis=(1, 3))
    return float(np.sort(cut.ravel())[QUIET])


def sharpness(seen: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float | None:
    """How much of the fine band is left compared with the middle one, 0..1: a change of contrast is no blur. None for a part without detail."""
    energy = float(np.vdot(expected[0], expected[0]))
    if energy <= 1e-4 * expected[0].size:
        return None
    fine = float(np.vdot(seen[0], expected[0])) / energy
    middle = float(np.vdot(seen[1], expected[1])) / (float(np.vdot(expected[1], expected[1])) + 1e-6)
    return min(1.0, max(0.0, fine / max(middle, 0.3)))


def likeness(picture: Picture, reference: Picture, width: float) -> float:
    """Correlation, -1..1, of a picture with its reference blurred by so many pixels; overall light and slow changes don't count."""
    size = picture.shape[0]
    blur, far = filters.blur_matrix(size, width), filters.blur_matrix(size, FAR * size)
    seen, expected = picture @ filters.LUMINANCE, blur @ (reference @ filters.LUMINANCE) @ blur.T
    seen, expected = seen - far @ seen @ far.T, expected - far @ expected @ far.T
    return float(np.vdot(seen, expected)) / (float(np.sqrt(np.vdot(seen, seen) * np.vdot(expected, expected))) + 1e-6)


def bands_of(grey: Grey) -> tuple[Grey, Grey]:
    """Fine and middle detail."""
    size = grey.shape[0]
    near, far = filters.blur_matrix(size, FINE * size), filters.blur_matrix(size, MIDDLE * size)
    smooth = near @ grey @ near.T
    return grey - smooth, smooth - far @ grey @ far.T


def blocks(grey: Grey) -> float:
    """How much larger jumps are at every eighth pixel than elsewhere; about 1 for full compression."""
    excess = 0.0
    for jumps in (np.abs(grey[1:] - grey[:-1]), np.abs(grey[:, 1:] - grey[:, :-1]).T):
        # Large jumps are edges of things, not of blocks.
        per_line = np.minimum(jumps, np.float32(MAX_JUMP)).mean(axis=1)
        at_edges = per_line[JPEG_PERIOD - 1 :: JPEG_PERIOD]
        elsewhere = (per_line.sum() - at_edges.sum()) / (len(per_line) - len(at_edges))
        excess += float(at_edges.mean() - elsewhere) / 2
    return excess / BLOCKS_SCALE


def bands(seen: Grey, expected: Grey, free: Bool[np.ndarray, "h w"], grain: float) -> float:
    """Distance between grey levels if values were rounded to a few: the staircase of seen values against expected ones.

    Only the background is looked at, since objects have few values anyway. As far as it is not the expected one, its own levels are counted,
    and compared with those of the expected one (a poster has few).
    """
    wanted, got = expected[free], seen[free]
    if wanted.size < 64:
        return 0.0
    known = recognised(got, wanted)
    return known * staircase(got, wanted, grain) + (1 - known) * max(0.0, level_distance(got) - level_distance(wanted))


def level_distance(got: Values) -> float:
    """Distance between grey levels if a few of them hold nearly all pixels, else 0."""
    share = np.bincount((got * 255).astype(np.int64).clip(0, 255), minlength=256) / got.size
    levels = np.flatnonzero(share > 0.02)
    if len(levels) < 2 or share[levels].sum() < 0.9:
        return 0.0
    return float(levels[-1] - levels[0]) / (len(levels) - 1) / 255


def staircase(got: Values, wanted: Values, grain: float) -> float:
    """Height of the steps by which seen values follow expected ones.

    Steps account for nearly all of what differs but for noise (`grain`, its standard deviation); another background does not.
    """
    values = np.clip(wanted * np.float32(VALUE_BINS), 0, VALUE_BINS - 1).astype(np.int64)
    error = got - wanted
    near = np.abs(error - np.median(error)) < 0.75 * MAX_STEP
    values, error = values[near], error[near]
    count = np.bincount(values, minlength=VALUE_BINS)
    used = count >= 4
    if used.sum() < 4:
        return 0.0
    mean = np.bincount(values, error, minlength=VALUE_BINS)[used] / count[used]
    weight = count[used] / count[used].sum()
    level = np.flatnonzero(used) / VALUE_BINS
    centred = level - weight @ level
    slope = (weight * centred) @ mean / ((weight * centred) @ centred)
    rest = mean - weight @ mean - slope * centred
    sampling = float(error.var()) * len(rest) / count[used].sum()
    steps = max(0.0, float(weight @ rest**2) - sampling)
    explained = steps / max(float(error.var()) - grain**2, 1e-5)
    return float(np.sqrt(12 * steps)) * min(1.0, max(0.0, (explained - 0.25) / 0.25))


def recognised(got: Values, wanted: Values) -> float:
    """0 for another background, 1 for the same one with whatever noise: by correlation, where there is anything to correlate."""
    first, second = got - got.mean(), wanted - wanted.mean()
    norm = float(np.sqrt(np.vdot(first, first) * np.vdot(second, second)))
    return 1.0 if norm < 1e-4 * got.size else min(1.0, max(0.0, (float(np.vdot(first, second)) / norm - 0.4) / 0.3))
