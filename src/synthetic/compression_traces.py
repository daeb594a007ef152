"""Traces of a coded image: its quality of compression and the distance between its grey levels, where the
image itself shows them.

Compression leaves frequencies of 8 x 8 blocks at multiples of known steps, banding leaves a few levels at
known distances. Where either is the last thing that happened to a image, its severity is read off, and what
should be seen is coded alike before it is compared: so neither counts as a change of the scene. A image
coded before something else happened to it shows no such traces, nor should a model's; there, the scene tells
(hidden.py), or grain (quality.py). Compression is found in seven to nine of ten images of the world's
scenes, more seldom if it is severe, the background plain or much of it black or white; of 840 other images
a size, none was taken for coded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from src.records import Image
from src.synthetic import filters
from src.synthetic.degradations import MAX_STEP, degrade, jpeg_quality
from src.synthetic.scene import FloatImage, to_float, to_uint8

SIDE = 8
"""Compression works on blocks of this many pixels a side."""

MOST_BLOCKS = 16
"""So many blocks, those with the most detail, are looked at."""

ROUNDING = 0.7
"""A frequency is at a multiple of its step if it is off by at most this much: pixels are whole numbers."""

LEAST_FOUND, MOST_FOUND = 3, 200
"""From fewer frequencies other than zero nothing can be said, and more are not looked at."""

LEAST_EVIDENCE, MISS = 7.0, -2.0
"""Logarithm of how unlikely it must be that as many frequencies lie at multiples by chance, and what one that
does not says against it.
"""

MOST_LEVELS = 30
"""Bands have at most so many levels."""

# Steps of the JPEG standard (annex K, lightness) at quality 50, by row and column of frequencies; traces are
# looked for at the lowest ones.
STEPS = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
LOW = 5


@dataclass(frozen=True)
class CompressionTraces:
    """Severities, 0 where nothing is found."""

    jpeg: float = 0.0
    banding: float = 0.0

    def apply(self, image: FloatImage) -> FloatImage:
        """A image coded alike."""
        if self.jpeg > 0:
            return degrade(image, "jpeg", self.jpeg, 0)
        return degrade(image, "banding", self.banding, 0) if self.banding > 0 else image


NO_TRACES = CompressionTraces()


def find_traces(image: Image, references: Sequence[FloatImage]) -> CompressionTraces:
    """What a image shows of its coding; few levels say something only where what should be seen has at
    least twice as many.
    """
    banding = find_banding(image)
    if banding > 0 and 2 * count_levels(image) <= min(count_levels(to_uint8(each)) for each in references):
        return CompressionTraces(banding=banding)
    return CompressionTraces(jpeg=find_jpeg(image))


def count_levels(image: Image) -> int:
    """How many different values a image has."""
    return int(np.count_nonzero(np.bincount(image.ravel(), minlength=256)))


def find_banding(image: Image) -> float:
    """Severity of bands: the widest distance at which all levels of the image lie."""
    count = np.bincount(image.ravel(), minlength=256)
    levels = np.flatnonzero(count)
    if not 2 <= len(levels) <= MOST_LEVELS:
        return 0.0
    severities, allowed = band_levels()
    fits = allowed[:, levels].all(axis=1)
    return float(severities[fits.argmax()]) if fits.any() else 0.0


@lru_cache(maxsize=1)
def band_levels() -> tuple[Float[np.ndarray, " n"], np.ndarray]:
    """Severities, the worst first, and which values of 0..255 each leaves."""
    severities = np.arange(1.0, 0.08, -0.0025)
    allowed = np.zeros((len(severities), 256), dtype=bool)
    for row, severity in enumerate(severities):
        step = MAX_STEP * severity
        levels = np.clip((np.arange(int(1 / step) + 2) + 0.5) * step, 0, 1) * 255
        # Wide steps are tried densely enough for the lowest levels only, so a level may be off by as much as
        # half a trial moves it.
        slack = 0.6 + levels / step * MAX_STEP * 0.00125
        for level, off in zip(levels, slack, strict=True):
            allowed[row, int(np.ceil(max(0, level - off))) : int(np.floor(min(255, level + off))) + 1] = True
    return severities, allowed


@lru_cache(maxsize=1)
def cosine_transform() -> Float[np.ndarray, "8 8"]:
    """The discrete cosine transform of a block's axis, a frequency a row."""
    place, frequency = np.arange(SIDE), np.arange(SIDE)[:, None]
    matrix = np.sqrt(2 / SIDE) * np.cos((2 * place + 1) * frequency * np.pi / (2 * SIDE))
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


def quantisation_steps(quality: int) -> Float[np.ndarray, "8 8"]:
    """The steps that the encoder uses at a quality."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((STEPS * scale + 50) // 100, 1, 255).astype(np.float32)


@lru_cache(maxsize=1)
def quantisation_tables() -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n k"]]:
    """Severities, the worst first, and the steps of the lowest frequencies under each."""
    tables: dict[int, tuple[float, np.ndarray]] = {}
    for severity in np.arange(1.0, 0.09, -0.0025):
        quality = jpeg_quality(float(severity))
        tables.setdefault(quality, (float(severity), quantisation_steps(quality)[:LOW, :LOW].ravel()))
    for quality in range(91, 98):  # so mild that it is no flaw, but better known than taken for another
        tables[quality] = (0.0, quantisation_steps(quality)[:LOW, :LOW].ravel())
    severities, steps = zip(*tables.values(), strict=True)
    return np.array(severities), np.stack(steps)


def find_jpeg(image: Image) -> float:
    """Severity of compression: that at whose steps the frequencies that are not zero lie, if it is sure."""
    grey = image.astype(np.float32) @ (filters.LUMINANCE)
    rows = grey.shape[0] // SIDE
    blocks = grey.reshape(rows, SIDE, rows, SIDE).swapaxes(1, 2).reshape(-1, SIDE, SIDE)
    extremes = (
        ((image == 0) | (image == 255)).any(axis=2).reshape(rows, SIDE, rows, SIDE).any(axis=(1, 3)).ravel()
    )
    matrix = cosine_transform()[:LOW]
    size = np.abs((matrix @ (blocks - np.float32(128)) @ matrix.T).reshape(len(blocks), -1))
    order = np.argsort(extremes * 100 - (size > 1).sum(axis=1), kind="stable")[:MOST_BLOCKS]
    size, extremes = size[order], extremes[order]
    used = size > 1
    if int(used[:, 1:].sum()) < LEAST_FOUND:
        return 0.0
    severities, steps = quantisation_tables()
    block, at = (each[:MOST_FOUND] for each in np.nonzero(used))
    values, per_value = size[block, at], steps[:, at]
    off = np.abs(values - per_value * np.round(values / per_value))
    evidence = np.where(off < ROUNDING, np.log(per_value / np.float32(2 * ROUNDING)), np.float32(MISS)) * (
        per_value > 2.5
    )
    per_block = evidence @ (block[:, None] == np.arange(len(size))).astype(np.float32)
    # Values that were cut off at black or white are at no multiples: such blocks say nothing against, and for
    # it no more than the others do.
    sure = per_block[:, ~extremes].sum(axis=1)
    total = sure + np.minimum(sure, np.maximum(per_block[:, extremes], 0).sum(axis=1))
    best = int(total.argmax())
    severity = float(severities[best])
    if severity == 0 or total[best] < LEAST_EVIDENCE:
        return 0.0
    # Compressing it once more changes a compressed image little.
    off = (to_uint8(degrade(to_float(image), "jpeg", severity, 0)).astype(np.float32) - image).ravel()
    return severity if float(off @ off) < (1 + 6 * severity) ** 2 * off.size else 0.0
