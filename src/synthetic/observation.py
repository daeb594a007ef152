"""How the scene reached the image: noise, coding, shift and blur, which are read before asking what the
image shows.

What should be seen is put through the same coding, shift and blur before anything is compared, so none of
them counts as a change of the scene.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool

from src.records import Image
from src.synthetic import quality
from src.synthetic.background import background_known, estimate_blur, estimate_shift
from src.synthetic.compression_traces import CompressionTraces, count_levels, find_traces
from src.synthetic.following import share_done
from src.synthetic.ground_truth import (
    Blocks,
    GroundTruth,
    Mask,
    background_blocks,
    blend,
    compare_blocks,
)
from src.synthetic.scene import BLOCKS, FloatImage, PhotoBackground, block_means, to_float

CALM = 0.05
"""A background whose blocks are right is in its place if its pixels differ by less than this root mean
square beyond noise.
"""


@final
@dataclass(frozen=True)
class Observation:
    """An image, and how the scene reached it.

    Attributes:
        image: in 0..1.
        levels: number of different grey levels in the image.
        blocks: its mean colours in BLOCKS x BLOCKS blocks.
        free_blocks: blocks that show nothing but background, before and after the edit.
        free_pixels: the same per pixel.
        noise: standard deviation of noise, a first estimate that needs no scene to compare with.
        traces: of the image's coding.
        shift: of its background in pixels, (down, right).
        blur_width: standard deviation of its blur in pixels, 0 for none.
        truth: the right answer, its background shifted alike.
        blurred: `truth` through the image's blur.
        as_seen: `blurred` after the image's coding.
    """

    image: FloatImage
    levels: int
    blocks: Blocks
    free_blocks: Mask
    free_pixels: Bool[np.ndarray, "h w"]
    noise: float
    traces: CompressionTraces
    shift: tuple[int, int]
    blur_width: float
    truth: GroundTruth
    blurred: GroundTruth
    as_seen: GroundTruth

    @property
    def size(self) -> int:
        """Side of the image in pixels."""
        return self.image.shape[0]

    @property
    def block_noise(self) -> float:
        """Standard deviation of noise in the blocks."""
        return self.noise * BLOCKS / self.size


def observe(truth: GroundTruth, edited: Image) -> Observation:
    """Read noise, coding, shift and blur from an image, in this order: each needs those before it."""
    # Sums over other orders of the same pixels differ in the seventh digit, so there is one order in memory.
    edited = np.ascontiguousarray(edited)
    image = to_float(edited)
    size = image.shape[0]
    blocks, free_blocks = block_means(image), background_blocks(truth.scene, truth.edit, size)
    free_pixels = np.kron(free_blocks, np.ones((size // BLOCKS,) * 2, dtype=bool))
    everywhere = np.ones((size, size), dtype=bool)
    noise = quality.measure_grain(image, truth.original, 0.0, everywhere, known=0.0).seen
    traces = find_traces(edited, (truth.original, truth.exact))
    coded = truth.coded(traces)
    shift = find_shift(coded, image, blocks, free_blocks, free_pixels, noise * BLOCKS / size)
    if shift != (0, 0):
        truth = truth.shifted(shift)
        coded = truth.coded(traces)
    blur_width = estimate_blur(coded, image, free_pixels, noise)
    blurred = truth.blurred(blur_width)
    return Observation(
        image,
        count_levels(edited),
        blocks,
        free_blocks,
        free_pixels,
        noise,
        traces,
        shift,
        blur_width,
        truth,
        blurred,
        as_seen=coded if blur_width == 0 else blurred.coded(traces),
    )


def find_shift(
    truth: GroundTruth,
    image: FloatImage,
    blocks: Blocks,
    free_blocks: Mask,
    free_pixels: Bool[np.ndarray, "h w"],
    noise: float,
) -> tuple[int, int]:
    """Shift of the photograph in the image in pixels, (down, right). `noise` is that of the blocks."""
    edit = truth.edit
    if edit.type == "background" or not isinstance(truth.scene.background, PhotoBackground):
        return 0, 0
    colours = compare_blocks(truth, blocks, free_blocks)
    done = share_done(truth, image, colours) if edit.after.filter_name is not None else 0.0
    background = blend(truth.background_before, truth.background_after, done)
    off = (image - background)[free_pixels]
    strange = float(np.vdot(off, off)) / off.size - (1.5 * noise * image.shape[0] / BLOCKS) ** 2
    expected = blend(colours.original, colours.exact, done)
    if strange < CALM**2 and background_known(blocks, expected, free_blocks, noise) == 1:
        return 0, 0
    return estimate_shift(image, background, free_pixels.astype(np.float32))
