"""Traces that coding leaves in an image: its compression quality, and the distance between its grey levels.

Compression leaves the frequencies of 8 x 8 blocks at multiples of known steps; banding leaves a few levels at
known distances. Where either came last, its severity is read off, and what should be seen is coded alike
before it is compared, so neither counts as a change of the scene. An image that was changed after coding
shows no such traces, and neither should a model's; there the scene tells (earlier_flaw.py), or grain
(quality.py). Compression is found in 70 to 90 % of the images of the world's scenes, less often if it is
severe, or the background is plain or largely black or white. Of 840 other images per size, none was taken for
coded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
from jaxtyping import Float

from src.records import Image
from src.synthetic import filters
from src.synthetic.degradations import MAX_STEP, degrade, jpeg_quality
from src.synthetic.scene import FloatImage, to_float, to_uint8

SIDE = 8
"""Side in pixels of the blocks that compression works on."""

MOST_BLOCKS = 16
"""This many blocks are used, those with the most detail."""

ROUNDING = 0.7
"""A frequency is at a multiple of its step if it is off by at most this much, as pixels are whole numbers."""

LEAST_FOUND, MOST_FOUND = 3, 200
"""Fewer nonzero frequencies say nothing, and more are not used."""

LEAST_EVIDENCE, MISS = 7.0, -2.0
"""Logarithm of how unlikely it must be that this many frequencies lie at multiples by chance, and the
evidence of one that does not.
"""

MOST_LEVELS = 30
"""The largest number of levels that banding leaves."""

# Steps of the JPEG standard (annex K, lightness) at quality 50, by row and column of frequencies; traces are
# sought at the lowest ones.
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


@final
@dataclass(frozen=True)
class CompressionTraces:
    """Severities of compression and banding, 0 where nothing is found."""

    jpeg: float = 0.0
    banding: float = 0.0

    def apply(self, image: FloatImage) -> FloatImage:
        """An image after the same coding."""
        if self.jpeg > 0:
            return degrade(image, "jpeg", self.jpeg, 0)
        return degrade(image, "banding", self.banding, 0) if self.banding > 0 else image


NO_TRACES = CompressionTraces()


def find_traces(image: Image, references: Sequence[FloatImage]) -> CompressionTraces:
    """Find the traces of an image's coding. Few levels count only where the references have at least twice as
    many.
    """
    banding = find_banding(image)
    if banding > 0 and 2 * count_levels(image) <= min(count_levels(to_uint8(image)) for image in references):
        return CompressionTraces(banding=banding)
    return CompressionTraces(jpeg=find_jpeg(image))


def count_levels(image: Image) -> int:
    """The number of different values in an image."""
    return int(np.count_nonzero(np.bincount(image.ravel(), minlength=256)))


def find_banding(image: Image) -> float:
    """Severity of banding: the widest distance at which all levels of the image lie."""
    count = np.bincount(image.ravel(), minlength=256)
    levels = np.flatnonzero(count)
    if not 2 <= len(levels) <= MOST_LEVELS:
        return 0.0
    severities, allowed = band_levels()
    fits = allowed[:, levels].all(axis=1)
    return float(severities[fits.argmax()]) if fits.any() else 0.0


@lru_cache(maxsize=1)
def band_levels() -> tuple[Float[np.ndarray, " n"], np.ndarray]:
    """Severities, the worst first, and the values of 0..255 that each leaves."""
    severities = np.arange(1.0, 0.08, -0.0025)
    allowed = np.zeros((len(severities), 256), dtype=bool)
    for row, severity in enumerate(severities):
        step = MAX_STEP * severity
        levels = np.clip((np.arange(int(1 / step) + 2) + 0.5) * step, 0, 1) * 255
        # Wide steps are tried densely enough for the lowest levels only, so a level may be off by half of
        # what one trial moves it.
        slack = 0.6 + levels / step * MAX_STEP * 0.00125
        for level, off in zip(levels, slack, strict=True):
            allowed[row, int(np.ceil(max(0, level - off))) : int(np.floor(min(255, level + off))) + 1] = True
    return severities, allowed


@lru_cache(maxsize=1)
def cosine_transform() -> Float[np.ndarray, "8 8"]:
    """The discrete cosine transform of one axis of a block, one frequency a row."""
    place, frequency = np.arange(SIDE), np.arange(SIDE)[:, None]
    matrix = np.sqrt(2 / SIDE) * np.cos((2 * place + 1) * frequency * np.pi / (2 * SIDE))
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


def quantisation_steps(quality: int) -> Float[np.ndarray, "8 8"]:
    """The encoder's steps at a quality."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((STEPS * scale + 50) // 100, 1, 255).astype(np.float32)


@lru_cache(maxsize=1)
def quantisation_tables() -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n k"]]:
    """Severities, the worst first, and the steps of the lowest frequencies under each."""
    tables: dict[int, tuple[float, np.ndarray]] = {}
    for severity in np.arange(1.0, 0.09, -0.0025):
        quality = jpeg_quality(float(severity))
        tables.setdefault(quality, (float(severity), quantisation_steps(quality)[:LOW, :LOW].ravel()))
    # Too mild for a flaw, but listed so that it is not taken for another quality.
    for quality in range(91, 98):
        tables[quality] = (0.0, quantisation_steps(quality)[:LOW, :LOW].ravel())
    severities, steps = zip(*tables.values(), strict=True)
    return np.array(severities), np.stack(steps)


def find_jpeg(image: Image) -> float:
    """Severity of compression: the one at whose steps the nonzero frequencies lie, if that is certain."""
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
    # Values clipped at black or white are at no multiples: such blocks say nothing against compression, and
    # no more for it than the others do.
    sure = per_block[:, ~extremes].sum(axis=1)
    total = sure + np.minimum(sure, np.maximum(per_block[:, extremes], 0).sum(axis=1))
    best = int(total.argmax())
    severity = float(severities[best])
    if severity == 0 or total[best] < LEAST_EVIDENCE:
        return 0.0
    # Compressing a compressed image once more changes it little.
    off = (to_uint8(degrade(to_float(image), "jpeg", severity, 0)).astype(np.float32) - image).ravel()
    return severity if float(off @ off) < (1 + 6 * severity) ** 2 * off.size else 0.0
