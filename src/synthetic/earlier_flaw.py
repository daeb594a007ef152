"""A flaw that another one hides, found by synthesis: what it would have made of the scene is compared with
what is seen.

Bands and compression are deterministic, and the scene's own rendering is known. So each severity of them
predicts a change of the image, seen through whatever happened last: a blur of known width, a coding that
left its traces, or noise, which changes little on average. The severity counts whose change explains most of
what differs, if that is enough. What has another cause is left out first: another light or contrast, a
displacement by a part of a pixel, more or less sharpness. Compression that left no traces is found as well,
as a first flaw with none after it.

Known gap: noise that was compressed, where the coding left no traces, is neither of the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

from src.synthetic import filters
from src.synthetic.compression_traces import (
    NO_TRACES,
    SIDE,
    CompressionTraces,
    cosine_transform,
    quantisation_steps,
)
from src.synthetic.degradations import MAX_STEP, degrade, jpeg_quality
from src.synthetic.scene import FloatImage

Grey = Float[np.ndarray, "h w"]
Greys = Float[np.ndarray, "s h w"]
Mask = Bool[np.ndarray, "h w"]
Values = Float[np.ndarray, " n"]
Rows = Float[np.ndarray, "s n"]

LOOKED_AT = {"banding": np.asarray((0, 1, 0), dtype=np.float32), "jpeg": filters.LUMINANCE}
"""Bands are those of a channel, compression works on lightness."""

BAND_SEVERITIES = 0.2 * 1.03 ** np.arange(55)
JPEG_QUALITIES = (*range(8, 24), *range(24, 60, 2))
"""What is tried: steps that are off by more than two percent match little."""

LEAST_ALIKE, TRIED = 0.1, 4
"""So many severities, those whose changes correlate best with what differs, are tried exactly, if any does so
much.
"""

LEAST_EXPLAINED = {"banding": 0.07, "jpeg": 0.03}
LEAST_WITHOUT_NOISE = {"banding": 0.5, "jpeg": 0.3}
"""The least share of what differs that must be explained, and of that which is no noise: another background
is at times a little like bands.
"""

LEAST_OF_ALL = 0.03
"""The same of all that differs, other causes included."""

LEAST_STRANGE = 0.004
"""Root mean square of what differs from which on it is to be explained; rounding makes 0.001."""

SHARPNESS = 0.02
"""Scale, in image widths, of the detail that is left out since there may be more or less of it."""


@dataclass(frozen=True)
class EarlierFlaw:
    """A flaw that came first, the scene with it, the same through what came last, and the width of the blur
    if that was one.
    """

    kind: str
    severity: float
    spoiled: FloatImage
    seen: FloatImage
    width: float


@dataclass(frozen=True)
class Unexplained:
    """What differs from a scene, blurred or not, where it is judged: all of it, and what has no other cause,
    with those causes.
    """

    sharp: FloatImage
    width: float
    usual: Grey
    others: Rows
    raw: Values
    off: Values


def find_earlier_flaw(
    image: FloatImage, scenes: Sequence[FloatImage], traces: CompressionTraces, width: float, judged: Mask
) -> EarlierFlaw | None:
    """The flaw that a image got before the last one, or as the only one; None if none explains it.

    Args:
        image: what is judged.
        scenes: how the scene may look, neither blurred nor coded.
        traces: what the image shows of its coding; where it does, that happened last.
        width: of its blur else, in pixels, 0 for none. What seems to be blur may be the hidden flaw, so none
            is tried too.
        judged: where to look.
    """
    widths = sorted({0.0, width if traces == NO_TRACES else 0.0})
    usual: list[tuple[FloatImage, float, FloatImage]] = []
    for scene in scenes:
        for blur in widths:
            usual.append((scene, blur, blur_or_code(scene, traces, blur)))
            if float(np.square(image - usual[-1][2])[judged].mean()) < LEAST_STRANGE**2:
                return None
    best, found = 0.0, None
    for kind, weights in LOOKED_AT.items():
        if getattr(traces, kind) > 0:
            continue
        views = [
            unexplained(image @ weights, scene, seen @ weights, blur, judged) for scene, blur, seen in usual
        ]
        # A flaw must do better than no flaw in any scene does.
        strange, whole = min(energy(view.off) for view in views), min(energy(view.raw) for view in views)
        if strange < max(LEAST_STRANGE**2 * views[0].off.size, LEAST_OF_ALL * whole):
            continue
        tried = sorted(
            (each for view in views for each in likeliest_severities(kind, view, judged)),
            key=lambda each: each[0],
        )[:TRIED]
        for _, severity, view in tried:
            spoiled = degrade(view.sharp, kind, severity, 0)
            seen = blur_or_code(spoiled, traces, view.width)
            left = view.off - project_out((seen @ weights - view.usual)[judged], view.others)
            gain = strange - energy(left)
            without_noise = gain / max(strange - noise_energy(left, judged), gain, 0.05 * strange)
            enough = (
                gain > max(LEAST_EXPLAINED[kind] * strange, LEAST_OF_ALL * whole)
                and without_noise > LEAST_WITHOUT_NOISE[kind]
            )
            if enough and gain / strange > best:
                best, found = gain / strange, EarlierFlaw(kind, severity, spoiled, seen, view.width)
    return found


def unexplained(grey: Grey, sharp: FloatImage, usual: Grey, width: float, judged: Mask) -> Unexplained:
    """What differs in a image from how it would usually look."""
    others, raw = nuisance_directions(usual, judged), (grey - usual)[judged]
    return Unexplained(sharp, width, usual, others, raw, project_out(raw, others))


def likeliest_severities(
    kind: str, view: Unexplained, judged: Mask
) -> list[tuple[float, float, Unexplained]]:
    """The severities whose changes correlate best with what differs, each with about what it leaves
    unexplained, and with the view.

    What a coding does to the changes is left out here: coding is slow.
    """
    severities, added = (banding_changes if kind == "banding" else compression_changes)(
        view.sharp @ LOOKED_AT[kind], view.width
    )
    added, strange = project_out(added[:, judged], view.others), energy(view.off)
    slope_and_correlation = (added @ view.off) / np.sqrt(np.einsum("sn,sn->s", added, added) * strange + 1e-6)
    best = np.argsort(slope_and_correlation)[-TRIED:]
    return [
        (strange * (1 - float(slope_and_correlation[each]) ** 2), float(severities[each]), view)
        for each in best
        if slope_and_correlation[each] > LEAST_ALIKE
    ]


def blur_or_code(image: FloatImage, traces: CompressionTraces, width: float) -> FloatImage:
    """A image coded alike, or blurred."""
    return traces.apply(image) if width == 0 else filters.blur(image, width)


def banding_changes(green: Grey, width: float) -> tuple[Values, Greys]:
    """Severities, and what bands of each change as seen through a blur."""
    steps = (MAX_STEP * BAND_SEVERITIES[:, None, None]).astype(np.float32)
    added = np.clip((np.floor(green / steps) + np.float32(0.5)) * steps, 0, 1) - green
    if width > 0:
        blur = filters.blur_matrix(green.shape[0], width)
        added = blur @ added @ blur.T
    return BAND_SEVERITIES, added


def compression_changes(light: Grey, width: float) -> tuple[Values, Greys]:
    """Severities, and what compression of each changes as seen through a blur: nearly, as colours are left
    out.
    """
    size = light.shape[0]
    transform, severities, steps = block_transform(size), *compression_steps(size)
    frequencies = np.float32(255) * (transform @ (light - np.float32(128 / 255)) @ transform.T)
    change = (np.rint(frequencies / steps) * steps - frequencies) * np.float32(1 / 255)
    back = transform.T if width == 0 else filters.blur_matrix(size, width) @ transform.T
    return severities, back @ change @ back.T


@lru_cache(maxsize=4)
def block_transform(size: int) -> Float[np.ndarray, "n n"]:
    """The cosine transform of an axis, block by block."""
    return np.kron(np.eye(size // SIDE, dtype=np.float32), cosine_transform())


@lru_cache(maxsize=4)
def compression_steps(size: int) -> tuple[Values, Greys]:
    """Severities, and the encoder's steps for the frequencies of all blocks of a image."""
    by_quality = {jpeg_quality(severity): severity for severity in np.arange(0.2, 1.0005, 0.001)}
    steps = np.stack(
        [np.tile(quantisation_steps(quality), (size // SIDE,) * 2) for quality in JPEG_QUALITIES]
    )
    return np.array([by_quality[quality] for quality in JPEG_QUALITIES]), steps


def nuisance_directions(expected: Grey, judged: Mask) -> Rows:
    """Orthonormal directions of what is no flaw here: light, contrast, a displacement, sharpness."""
    down, right = np.zeros_like(expected), np.zeros_like(expected)
    down[1:-1], right[:, 1:-1] = expected[2:] - expected[:-2], expected[:, 2:] - expected[:, :-2]
    blur = filters.blur_matrix(expected.shape[0], SHARPNESS * expected.shape[0])
    fine = expected - blur @ expected @ blur.T
    found: list[np.ndarray] = []
    for each in (np.ones_like(expected), expected, down, right, fine):
        direction = each[judged]
        for other in found:
            direction = direction - (other @ direction) * other
        length = float(np.sqrt(direction @ direction))
        if length > 1e-3 * direction.size**0.5:
            found.append(direction / np.float32(length))
    return np.stack(found)


def project_out(values: Float[np.ndarray, "*r n"], directions: Rows) -> Float[np.ndarray, "*r n"]:
    """What is left beside some directions."""
    return values - (values @ directions.T) @ directions


def energy(values: Values) -> float:
    """The sum of squares."""
    return float(values @ values)


def noise_energy(left: Values, judged: Mask) -> float:
    """The part of what is left that is noise, by what differs between four neighbours: a plane has none of
    that, a photograph little.
    """
    rest = np.zeros(judged.shape, dtype=np.float32)
    rest[judged] = left
    four = judged[1:, 1:] & judged[1:, :-1] & judged[:-1, 1:] & judged[:-1, :-1]
    crossed = (rest[1:, 1:] - rest[1:, :-1] - rest[:-1, 1:] + rest[:-1, :-1])[four]
    return energy(crossed) / max(4 * crossed.size, 1) * left.size
