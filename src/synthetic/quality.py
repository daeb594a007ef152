"""Flaws of quality against the scene's own rendering: what was added to it (noise, blocks, bands) and what
was lost from it (sharpness).

What was added is measured in two bands of detail. Each is divided by the share of that band that the image's
blur lets through ("referred to the sharp image"), and the stronger one counts. Its structure then tells
noise, blocks and bands apart: jumps at every eighth pixel, a staircase of values against values, or neither.
What the image's coding shows (compression_traces.py) is read off, and noise under it is found by coding noisy
images alike. Sharpness is the slope of fine detail against the rendering's, which noise doesn't bias. Bands
and blocks that came before the last flaw are found in earlier_flaw.py; here they are part of the scene. The
worst of these estimates counts, plus half of the second worst, as a flaw hides part of another one. How often
a second flaw still raises the score is in tests/synthetic/known_exceptions.py.

Known gaps: grey noise counts as a photograph's detail where the scene isn't recognised; blurring a
half-trained editor's noisy image may raise its score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
from jaxtyping import Bool, Float

from src.synthetic import filters
from src.synthetic.compression_traces import CompressionTraces
from src.synthetic.degradations import MAX_NOISE, MAX_STEP, degrade
from src.synthetic.scene import FloatImage

Grey = Float[np.ndarray, "h w"]
Values = Float[np.ndarray, " n"]
Mask = Bool[np.ndarray, "h w"]

FINE, MIDDLE, FAR = 0.015, 0.06, 0.15
"""Scales in image widths: of the two bands in which detail is judged, and of what changes too slowly to count
as structure.
"""

TILES = 8
"""Added detail is averaged over the quieter ones of this many tiles a side."""

MIN_TILES = 4
"""Fewer tiles say nothing."""

QUIETER = 0.75
"""Share of the tiles that is averaged, as an edge out of place is not grain."""

QUIETEST, SMALL_TILE = 0.35, 16
"""The same for an unknown background, whose own detail must not count. Even noise has less energy there than
over all tiles, at 32 px by a third; SMALL_TILE corrects that.
"""

MOST_SMOOTHED = 1.0
"""Grain is referred to before a blur of at most this many pixels at 32 px, in proportion at other sizes."""

GRAIN_SCALE = 0.06
"""Standard deviation from which grain counts less than in proportion: bands and blocks are weaker than noise,
and as ugly.
"""

MIN_GRAIN = 0.012
"""Grain up to this counts as none: rounding and mild compression."""

HIDDEN = 0.5
"""A flaw hides this share of its own severity of another one."""

NOISE_TRIED = (0.2, 0.45, 0.7, 1.0)
"""Severities of noise that are tried under compression."""

LEAST_MOVED = 0.1
"""Displacements by less than this many pixels are ignored."""

JPEG_PERIOD, MAX_JUMP, BLOCKS_SCALE = 8, 0.12, 0.03
VALUE_BINS = 48

# The share of the fine band that a blur of each severity leaves, at 32 px and from 64 px on: medians over
# blurred exact edits.
SEVERITIES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
LEFT_SMALL = (1.0, 0.97, 0.91, 0.76, 0.61, 0.5, 0.4, 0.3, 0.23, 0.17, 0.123, 0.087)
LEFT_LARGE = (0.98, 0.88, 0.72, 0.49, 0.36, 0.275, 0.22, 0.18, 0.15, 0.123, 0.1, 0.083)


@final
@dataclass(frozen=True)
class Grain:
    """Standard deviation of what was added, per channel in 0..1.

    Attributes:
        seen: in the image.
        referred: before the image's blur.
    """

    seen: float
    referred: float


@final
@dataclass(frozen=True)
class Evidence:
    """What the quality of an image is judged by.

    Attributes:
        image: what is judged.
        explained: the scene as far as it is recognised in the image, through the image's blur and coding.
        sharp: the same, neither blurred nor coded.
        traces: of the image's coding.
        width: of its blur in pixels, 0 for none.
        judged: where the scene is recognised.
        solid: where objects that are as they should be hide the background.
        known: how surely the background is the expected one, 0..1.
        is_complete: whether every kept object is there, so that sharpness may be judged on the whole image.
    """

    image: FloatImage
    explained: FloatImage
    sharp: FloatImage
    traces: CompressionTraces
    width: float
    judged: Mask
    solid: Mask
    known: float
    is_complete: bool


@lru_cache(maxsize=512)
def white_noise_gains(size: int, width: float) -> tuple[float, float]:
    """The share of white noise's standard deviation in the fine and the middle band after a blur of `width`
    pixels (0: none).
    """
    near, far = filters.blur_matrix(size, FINE * size), filters.blur_matrix(size, MIDDLE * size)
    blur = np.eye(size, dtype=np.float32) if width == 0 else filters.blur_matrix(size, width)

    def energy(first: np.ndarray, second: np.ndarray) -> float:
        # The filter is the outer product of both axes' matrices; the energy is the mean over pixels of the
        # sum of squared weights.
        return float(np.vdot(first, second) / size) ** 2

    whole, near, far = blur, near @ blur, far @ blur
    fine = energy(whole, whole) - 2 * energy(whole, near) + energy(near, near)
    middle = energy(near, near) - 2 * energy(near, far) + energy(far, far)
    return float(np.sqrt(fine)), float(np.sqrt(middle))


def measure_grain(
    image: FloatImage, reference: FloatImage, width: float, judged: Mask, known: float = 1.0
) -> Grain:
    """What was added to the reference.

    Args:
        image: what is judged.
        reference: the scene as it should look through the image's blur.
        width: of that blur in pixels, 0 for none.
        judged: where to look.
        known: 0..1, how surely the scene is the reference's. On another background only what the channels do
            not share is grain: noise is independent in them, a photograph's detail is mostly light and dark.
    """
    size = image.shape[0]
    # Even a little strangeness leaves edges out of place.
    known = max(0.0, 5 * known - 4)
    plain, blurred = white_noise_gains(size, 0.0), white_noise_gains(size, width)
    levels = [level**0.5 for level in band_energies(image - reference, judged, known)]
    # Where the middle band has more than white noise would have, the noise was smoothed (blurred noise,
    # blocks); then its level before that counts.
    smoothed = smoothing(size, levels[0] / max(levels[1], 1e-6))
    middle = levels[1] / (known * white_noise_gains(size, smoothed)[1] + (1 - known) * plain[1])
    seen = max(levels[0] / plain[0], middle)
    # A fine band that blur emptied says nothing.
    referred = max(
        level / max(left, 0.3 * whole) for level, whole, left in zip(levels, plain, blurred, strict=True)
    )
    return Grain(seen, max(seen, referred))


def band_energies(off: FloatImage, judged: Mask, known: float) -> tuple[float, float]:
    """Mean square of a difference in the fine and the middle band, over the quieter tiles.

    As far as the scene is not known, only what differs between channels counts.
    """
    size = off.shape[0]
    near, far = filters.blur(off, FINE * size), filters.blur(off, MIDDLE * size)
    tiles = tile_means(judged[..., None].astype(np.float32))[..., 0].ravel()

    def energy_of(band: FloatImage) -> float:
        energy = quiet_energy(band * band, tiles, judged)
        if known == 1:
            return energy
        apart = band[..., ::2] - band[..., 1:2]
        independent = (1 + SMALL_TILE / size) * quiet_energy(apart * apart, tiles, judged, QUIETEST) / 2
        return known * energy + (1 - known) * min(energy, independent)

    return energy_of(off - near), energy_of(near - far)


@lru_cache(maxsize=16)
def smoothing_table(size: int) -> tuple[Values, Values]:
    """Ratios of fine to middle detail in blurred white noise, ascending, and the widths of the blurs in
    pixels.
    """
    widths = np.arange(0.3, MOST_SMOOTHED, 0.02) * size / 32
    ratios = np.array(
        [
            fine / middle
            for fine, middle in (white_noise_gains(size, round(float(width), 4)) for width in widths)
        ]
    )
    return ratios[::-1].copy(), widths[::-1].copy()


def smoothing(size: int, ratio: float) -> float:
    """Width in pixels of the blur that leaves white noise this ratio of fine to middle detail, 0 for none."""
    ratios, widths = smoothing_table(size)
    return 0.0 if ratio >= ratios[-1] else round(float(np.interp(ratio, ratios, widths)), 2)


def tile_means(values: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "t t c"]:
    """Means over TILES x TILES tiles."""
    size = values.shape[0]
    side = size // TILES
    return values.reshape(TILES, side, TILES, side, -1).mean(axis=(1, 3))


def quiet_energy(
    energy: Float[np.ndarray, "h w c"], tiles: Values, judged: Mask, share: float = QUIETER
) -> float:
    """Mean energy over the quieter ones of the judged tiles."""
    per_tile = tile_means((energy.mean(axis=2) * judged)[..., None])[..., 0].ravel()
    used = tiles > 0.4
    if not used.any():
        return 0.0
    levels = np.sort(per_tile[used] / tiles[used])
    return float(levels[: max(1, round(share * len(levels)))].mean())


def grain_severity(referred: float) -> float:
    """0 for none, 1 for full noise."""
    return float(
        np.log1p(max(0.0, referred - MIN_GRAIN) / GRAIN_SCALE)
        / np.log1p((MAX_NOISE - MIN_GRAIN) / GRAIN_SCALE)
    )


def measure_flaws(evidence: Evidence) -> dict[str, float]:
    """The severity of each flaw of an image, from 0.

    What was added gets one name, the one that fits its structure; the others are 0 unless the coding shows
    them.
    """
    image, traces, judged, solid = evidence.image, evidence.traces, evidence.judged, evidence.solid
    explained = align(image, evidence.explained, judged & ~solid)
    grain = measure_grain(image, explained, evidence.width, judged, evidence.known)
    if evidence.known < 1 and int((tile_means(solid[..., None].astype(np.float32)) > 0.4).sum()) >= MIN_TILES:
        sure = measure_grain(image, explained, evidence.width, solid)
        grain = Grain(min(grain.seen, sure.seen), min(grain.referred, sure.referred))
    coded = traces.apply(evidence.sharp)
    blur = blur_severity(image, coded, judged, grain.seen, evidence.is_complete)
    # Grain that blur would hide counts as far as there is blur.
    severity = grain_severity(grain.seen + (grain.referred - grain.seen) * min(1.0, 5 * blur))
    added = {"noise": 0.0, "jpeg": 0.0, "banding": 0.0}
    if severity > 0:
        added[grain_kind(image, coded, judged, grain.seen)] = severity
        if traces.jpeg > 0:
            noise = noise_under_compression(evidence, grain.seen, explained)
            added["noise"] = max(added["noise"], noise)
    return {
        "noise": added["noise"],
        "jpeg": max(added["jpeg"], traces.jpeg),
        "banding": max(added["banding"], traces.banding),
        "blur": blur,
    }


def noise_under_compression(evidence: Evidence, seen: float, explained: FloatImage) -> float:
    """The severity of noise of which compression left this much grain, found by compressing noisy images of
    the scene alike.
    """
    noisy = (degrade(evidence.sharp, "noise", severity, 0) for severity in NOISE_TRIED)
    left = [
        measure_grain(evidence.traces.apply(image), explained, 0.0, evidence.judged, evidence.known).seen
        for image in noisy
    ]
    share = np.interp(seen, (0.0, *np.maximum.accumulate(left)), (0.0, *NOISE_TRIED))
    return grain_severity(MAX_NOISE * float(share))


def total_severity(severities: Mapping[str, float]) -> float:
    """The severity of all flaws together: that of the worst, raised by what the second worst hides of it."""
    second, worst = sorted(severities.values())[-2:]
    return worst + HIDDEN * second


def align(image: FloatImage, explained: FloatImage, judged: Mask) -> FloatImage:
    """What should be seen, moved by the fraction of a pixel by which the judged background is displaced, so
    that this doesn't count as grain.
    """
    down, right = np.zeros_like(explained), np.zeros_like(explained)
    down[1:-1] = (explained[2:] - explained[:-2]) / 2
    right[:, 1:-1] = (explained[:, 2:] - explained[:, :-2]) / 2
    slopes = np.stack((down[judged].ravel(), right[judged].ravel()))
    ridge = 1e-4 * slopes.shape[1] * np.eye(2)
    moved = np.linalg.solve(slopes @ slopes.T + ridge, slopes @ (image - explained)[judged].ravel())
    if np.abs(moved).max() < LEAST_MOVED:
        return explained
    a, b = np.clip(moved, -1, 1).astype(np.float32)
    return explained + a * down + b * right


def grain_kind(image: FloatImage, expected: FloatImage, judged: Mask, seen: float) -> str:
    """What the grain is: "jpeg" if it jumps at every eighth pixel, "banding" if values follow a staircase, or
    "noise".
    """
    if blockiness((image - expected) @ filters.LUMINANCE) > 0.25:
        return "jpeg"
    return "banding" if banding_step(image[..., 1], expected[..., 1], judged, 0.0) > 2.5 * seen else "noise"


def blur_severity(
    image: FloatImage, reference: FloatImage, judged: Mask, grainy: float, whole: bool = True
) -> float:
    """The severity of a blur, 0 if the reference has no fine detail to lose.

    It is read from the judged places or from the whole image, whichever is sharper: an altered part is no
    blur. `grainy` is the standard deviation of noise in a channel.
    """
    # Lightness keeps 0.67 of independent noise in three channels.
    noise = [0.67 * grainy * gain for gain in white_noise_gains(image.shape[0], 0.0)]
    seen, expected = detail_bands(image @ filters.LUMINANCE), detail_bands(reference @ filters.LUMINANCE)
    shares = [
        sharpness([band[part] for band in seen], [band[part] for band in expected], noise)
        for part in ([slice(None), judged] if whole else [judged])
    ]
    left = [share for share in shares if share is not None]
    if not left:
        return 0.0
    small = min(1.0, max(0.0, 64 / image.shape[0] - 1))
    curve = [small * at_32 + (1 - small) * at_64 for at_32, at_64 in zip(LEFT_SMALL, LEFT_LARGE, strict=True)]
    return float(np.interp(max(left), curve[::-1], SEVERITIES[::-1]))


def sharpness(
    seen: Sequence[np.ndarray], expected: Sequence[np.ndarray], noise: Sequence[float]
) -> float | None:
    """How much of the fine band is left compared with the middle one, 0..1; None for a part without detail.

    The comparison keeps a change of contrast from counting as blur. It uses slopes against what is expected,
    which noise doesn't bias, and where something else is seen, the strength of the two bands. `noise` is the
    standard deviation of noise in each band.
    """
    energy, wider = float(np.vdot(expected[0], expected[0])), float(np.vdot(expected[1], expected[1])) + 1e-6
    if energy <= 1e-4 * expected[0].size:
        return None
    product, strong = float(np.vdot(seen[1], expected[1])), float(np.vdot(seen[1], seen[1])) + 1e-6
    own = max(strong - noise[1] ** 2 * seen[1].size, 0.15 * strong)
    fine, middle = float(np.vdot(seen[0], expected[0])) / energy, product / wider
    left = fine / max(middle, 0.3)
    strangeness = min(1.0, max(0.0, 2 - 3.5 * product / (own * wider) ** 0.5))
    if strangeness > 0:
        detail = max(0.0, float(np.vdot(seen[0], seen[0])) - 1.2 * noise[0] ** 2 * seen[0].size)
        left = max(left, strangeness * (detail / own / (energy / wider)) ** 0.5)
    return min(1.0, max(0.0, left))


def blurred_correlation(image: FloatImage, reference: FloatImage, width: float) -> float:
    """Correlation, -1..1, of an image with its reference blurred by `width` pixels, without slow changes."""
    size = image.shape[0]
    blur, far = filters.blur_matrix(size, width), filters.blur_matrix(size, FAR * size)
    seen, expected = image @ filters.LUMINANCE, blur @ (reference @ filters.LUMINANCE) @ blur.T
    seen, expected = seen - far @ seen @ far.T, expected - far @ expected @ far.T
    return float(np.vdot(seen, expected)) / (
        float(np.sqrt(np.vdot(seen, seen) * np.vdot(expected, expected))) + 1e-6
    )


def detail_bands(grey: Grey) -> tuple[Grey, Grey]:
    """Fine and middle detail."""
    size = grey.shape[0]
    near, far = filters.blur_matrix(size, FINE * size), filters.blur_matrix(size, MIDDLE * size)
    smooth = near @ grey @ near.T
    return grey - smooth, smooth - far @ grey @ far.T


def blockiness(grey: Grey) -> float:
    """How much larger jumps are at every eighth pixel than elsewhere; about 1 at full compression."""
    excess = 0.0
    for jumps in (np.abs(grey[1:] - grey[:-1]), np.abs(grey[:, 1:] - grey[:, :-1]).T):
        # Large jumps are edges of objects, not of blocks.
        per_line = np.minimum(jumps, np.float32(MAX_JUMP)).mean(axis=1)
        at_edges = per_line[JPEG_PERIOD - 1 :: JPEG_PERIOD]
        elsewhere = (per_line.sum() - at_edges.sum()) / (len(per_line) - len(at_edges))
        excess += float(at_edges.mean() - elsewhere) / 2
    return excess / BLOCKS_SCALE


def banding_step(seen: Grey, expected: Grey, judged: Mask, grain: float) -> float:
    """Distance between grey levels, if values were rounded to a few: the height of the steps by which seen
    values follow expected ones.
    """
    wanted, got = expected[judged], seen[judged]
    if wanted.size < 64:
        return 0.0
    return staircase_height(got, wanted, grain)


def staircase_height(got: Values, wanted: Values, grain: float) -> float:
    """Height of the steps by which seen values follow expected ones.

    It counts only if steps account for nearly all that differs beyond noise of standard deviation `grain`; a
    different background does not do so.
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
