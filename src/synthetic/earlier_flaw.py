"""A flaw that a later one hides, found by synthesis: what it would have done to the scene is compared with
what the image shows.

Bands and compression are deterministic, and the scene's own rendering is known. So each of their severities
predicts a change of the image, seen through whatever happened last: a blur of known width, a coding that left
its traces, or noise, which changes little on average. The severity whose change explains most of the
difference counts, if it explains enough. Differences with another cause are removed first: light, contrast, a
displacement by a fraction of a pixel, sharpness. Compression that left no traces is found as well, as an
earlier flaw with none after it.

Known gap: compressed noise whose coding left no traces is neither of the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

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

WEIGHTS = {"banding": np.asarray((0, 1, 0), dtype=np.float32), "jpeg": filters.LUMINANCE}
"""Weights of the channels: bands are those of one channel, compression works on lightness."""

BAND_SEVERITIES = 0.2 * 1.03 ** np.arange(55)
JPEG_QUALITIES = (*range(8, 24), *range(24, 60, 2))
"""What is tried: steps that are off by more than two percent match little."""

LEAST_ALIKE, TRIED = 0.1, 4
"""This many severities, those whose changes correlate best with the difference, are tried exactly if they
correlate by at least LEAST_ALIKE.
"""

LEAST_EXPLAINED = {"banding": 0.07, "jpeg": 0.03}
LEAST_WITHOUT_NOISE = {"banding": 0.5, "jpeg": 0.3}
"""The least share of the difference that must be explained, and of its part that is no noise: another
background sometimes resembles bands a little.
"""

LEAST_OF_ALL = 0.03
"""The same share of the whole difference, other causes included."""

LEAST_STRANGE = 0.004
"""Root mean square from which a difference needs an explanation; rounding makes 0.001."""

SHARPNESS = 0.02
"""Scale, in image widths, of the detail that is ignored, as there may be more or less of it."""


@final
@dataclass(frozen=True)
class EarlierFlaw:
    """A flaw that came before the last one.

    Attributes:
        kind, severity: "banding" or "jpeg", and how much of it.
        spoiled: the scene with this flaw alone.
        seen: the same through what came last.
        width: of the blur in pixels if that came last, else 0.
    """

    kind: str
    severity: float
    spoiled: FloatImage
    seen: FloatImage
    width: float


@final
@dataclass(frozen=True)
class SceneView:
    """A way the scene may look.

    Attributes:
        sharp: the scene, neither blurred nor coded.
        width: of the blur it is seen through in pixels, 0 for none.
        seen: the scene through that blur, or through the image's coding.
    """

    sharp: FloatImage
    width: float
    seen: FloatImage


@final
@dataclass(frozen=True)
class Difference:
    """The difference between an image and a view of its scene, in one weighting of the channels.

    Attributes:
        view: that of the scene.
        usual: the view in this weighting.
        nuisances: orthonormal directions of what is no flaw: light, contrast, displacement, sharpness.
        raw: the difference in the judged pixels.
        off: the part of it outside the nuisances.
    """

    view: SceneView
    usual: Grey
    nuisances: Rows
    raw: Values
    off: Values


def find_earlier_flaw(
    image: FloatImage, scenes: Sequence[FloatImage], traces: CompressionTraces, width: float, judged: Mask
) -> EarlierFlaw | None:
    """The flaw that an image got before the last one, or as the only one; None if none explains it.

    Args:
        image: what is judged.
        scenes: how the scene may look, neither blurred nor coded.
        traces: of the image's coding; if there are any, coding came last.
        width: of its blur otherwise, in pixels, 0 for none. What looks like blur may be the earlier flaw, so
            no blur is tried too.
        judged: where to look.
    """
    widths = sorted({0.0, width if traces == NO_TRACES else 0.0})
    views = []
    for scene in scenes:
        for blur in widths:
            view = SceneView(scene, blur, blur_or_code(scene, traces, blur))
            if float(np.square(image - view.seen)[judged].mean()) < LEAST_STRANGE**2:
                return None
            views.append(view)
    best, earlier = 0.0, None
    for kind in WEIGHTS:
        if getattr(traces, kind) == 0:
            differences = [difference_from(image @ WEIGHTS[kind], view, kind, judged) for view in views]
            share, candidate = best_explanation(kind, differences, traces, judged)
            if share > best:
                best, earlier = share, candidate
    return earlier


def best_explanation(
    kind: str, differences: Sequence[Difference], traces: CompressionTraces, judged: Mask
) -> tuple[float, EarlierFlaw | None]:
    """The flaw of this kind that explains the largest share of the difference, and that share; (0, None) if
    none explains enough.
    """
    # A flaw must do better than no flaw does in any view.
    strange = min(energy(difference.off) for difference in differences)
    whole = min(energy(difference.raw) for difference in differences)
    if strange < max(LEAST_STRANGE**2 * differences[0].off.size, LEAST_OF_ALL * whole):
        return 0.0, None
    candidates = [
        candidate
        for difference in differences
        for candidate in likeliest_severities(kind, difference, judged)
    ]
    best, earlier = 0.0, None
    for _, severity, difference in sorted(candidates, key=lambda candidate: candidate[0])[:TRIED]:
        width = difference.view.width
        spoiled = degrade(difference.view.sharp, kind, severity, 0)
        seen = blur_or_code(spoiled, traces, width)
        added = (seen @ WEIGHTS[kind] - difference.usual)[judged]
        left = difference.off - project_out(added, difference.nuisances)
        gain = strange - energy(left)
        without_noise = gain / max(strange - noise_energy(left, judged), gain, 0.05 * strange)
        is_enough = (
            gain > max(LEAST_EXPLAINED[kind] * strange, LEAST_OF_ALL * whole)
            and without_noise > LEAST_WITHOUT_NOISE[kind]
        )
        if is_enough and gain / strange > best:
            best, earlier = gain / strange, EarlierFlaw(kind, severity, spoiled, seen, width)
    return best, earlier


def difference_from(grey: Grey, view: SceneView, kind: str, judged: Mask) -> Difference:
    """The difference of an image, weighted for a kind of flaw, from a view of its scene."""
    usual = view.seen @ WEIGHTS[kind]
    nuisances, raw = nuisance_directions(usual, judged), (grey - usual)[judged]
    return Difference(view, usual, nuisances, raw, project_out(raw, nuisances))


def likeliest_severities(
    kind: str, difference: Difference, judged: Mask
) -> list[tuple[float, float, Difference]]:
    """The severities whose changes correlate best with the difference, each as (about what it leaves
    unexplained, severity, difference).

    The effect of coding on the changes is ignored here, as coding is slow.
    """
    changes_of = banding_changes if kind == "banding" else compression_changes
    severities, added = changes_of(difference.view.sharp @ WEIGHTS[kind], difference.view.width)
    added, strange = project_out(added[:, judged], difference.nuisances), energy(difference.off)
    alike = (added @ difference.off) / np.sqrt(np.einsum("sn,sn->s", added, added) * strange + 1e-6)
    return [
        (strange * (1 - float(alike[index]) ** 2), float(severities[index]), difference)
        for index in np.argsort(alike)[-TRIED:]
        if alike[index] > LEAST_ALIKE
    ]


def blur_or_code(image: FloatImage, traces: CompressionTraces, width: float) -> FloatImage:
    """The image after a blur of `width` pixels, or without one after the coding of these traces."""
    return traces.apply(image) if width == 0 else filters.blur(image, width)


def banding_changes(green: Grey, width: float) -> tuple[Values, Greys]:
    """Severities of banding, and the change that each makes, seen through a blur."""
    steps = (MAX_STEP * BAND_SEVERITIES[:, None, None]).astype(np.float32)
    added = np.clip((np.floor(green / steps) + np.float32(0.5)) * steps, 0, 1) - green
    if width > 0:
        blur = filters.blur_matrix(green.shape[0], width)
        added = blur @ added @ blur.T
    return BAND_SEVERITIES, added


def compression_changes(light: Grey, width: float) -> tuple[Values, Greys]:
    """Severities of compression, and roughly the change that each makes, seen through a blur; colours are
    ignored.
    """
    size = light.shape[0]
    transform, severities, steps = block_transform(size), *compression_steps(size)
    frequencies = np.float32(255) * (transform @ (light - np.float32(128 / 255)) @ transform.T)
    change = (np.rint(frequencies / steps) * steps - frequencies) * np.float32(1 / 255)
    back = transform.T if width == 0 else filters.blur_matrix(size, width) @ transform.T
    return severities, back @ change @ back.T


@lru_cache(maxsize=4)
def block_transform(size: int) -> Float[np.ndarray, "n n"]:
    """The cosine transform of one axis, block by block."""
    return np.kron(np.eye(size // SIDE, dtype=np.float32), cosine_transform())


@lru_cache(maxsize=4)
def compression_steps(size: int) -> tuple[Values, Greys]:
    """Severities, and the encoder's steps for the frequencies of all blocks of an image."""
    by_quality = {jpeg_quality(severity): severity for severity in np.arange(0.2, 1.0005, 0.001)}
    steps = np.stack(
        [np.tile(quantisation_steps(quality), (size // SIDE,) * 2) for quality in JPEG_QUALITIES]
    )
    return np.array([by_quality[quality] for quality in JPEG_QUALITIES]), steps


def nuisance_directions(expected: Grey, judged: Mask) -> Rows:
    """Orthonormal directions of what is no flaw here: light, contrast, displacement, sharpness."""
    down, right = np.zeros_like(expected), np.zeros_like(expected)
    down[1:-1], right[:, 1:-1] = expected[2:] - expected[:-2], expected[:, 2:] - expected[:, :-2]
    blur = filters.blur_matrix(expected.shape[0], SHARPNESS * expected.shape[0])
    fine = expected - blur @ expected @ blur.T
    directions: list[np.ndarray] = []
    for cause in (np.ones_like(expected), expected, down, right, fine):
        direction = cause[judged]
        for other in directions:
            direction = direction - (other @ direction) * other
        length = float(np.sqrt(direction @ direction))
        if length > 1e-3 * direction.size**0.5:
            directions.append(direction / np.float32(length))
    return np.stack(directions)


def project_out(values: Float[np.ndarray, "*r n"], directions: Rows) -> Float[np.ndarray, "*r n"]:
    """What is left of values outside some orthonormal directions."""
    return values - (values @ directions.T) @ directions


def energy(values: Values) -> float:
    """The sum of squares."""
    return float(values @ values)


def noise_energy(left: Values, judged: Mask) -> float:
    """The energy of noise in what is left, from crossed differences of four neighbours: they vanish on a
    plane and are small in a photograph.
    """
    rest = np.zeros(judged.shape, dtype=np.float32)
    rest[judged] = left
    four = judged[1:, 1:] & judged[1:, :-1] & judged[:-1, 1:] & judged[:-1, :-1]
    crossed = (rest[1:, 1:] - rest[1:, :-1] - rest[:-1, 1:] + rest[:-1, :-1])[four]
    return energy(crossed) / max(4 * crossed.size, 1) * left.size
