"""Recognise an image in another size or file by 800 bytes: a digest, a perceptual hash and a 16 x 16
thumbnail.

The hash (ImageHash's phash, 64 bits of the grey image's lowest frequencies) finds candidates among
millions; the thumbnail, in colour, decides. Both survive resizing, also to another aspect ratio, and JPEG;
neither survives a crop or a mirror, so cropped copies are not found.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import imagehash
import numpy as np
import PIL.Image
from jaxtyping import UInt8, UInt64

from src.images import NewImage
from src.records import Image

SIDE = 16
"""Of a thumbnail, in pixels."""

GRID = 32
"""Blocks along a side in the comparison of a pair's images."""

ROWS_AT_ONCE = 256
"""Rows of the table of all pairs that are in memory at a time."""

MOST_CANDIDATES = 50
"""Most candidates of one image: images without features share one hash (plain grey has that of every plain
image).
"""

COLOUR_GRID = 8
BRIGHTNESS = np.array((0.299, 0.587, 0.114), dtype=np.float32)

Thumbnail = UInt8[np.ndarray, "16 16 3"]
Blocks = UInt8[np.ndarray, "side side 3"]


@final
@dataclass(frozen=True, eq=False)
class PerceptualHash:
    """What identifies an image.

    Attributes:
        digest: of size and pixels; a lossless copy has the same.
        hash: perceptual, 64 bits.
        thumbnail: block means.
    """

    digest: bytes
    hash: int
    thumbnail: Thumbnail


def perceptual_hash(image: Image) -> PerceptualHash:
    """Compute digest, hash and thumbnail of an image."""
    digest = hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).digest()[:16]
    # shrinking a large image first leaves the hash unchanged and takes a fifth of the time
    opened = PIL.Image.fromarray(image)
    factor = max(1, min(image.shape[:2]) // 128)
    small = opened.reduce(factor) if factor > 1 else opened
    bits = np.packbits(imagehash.phash(small).hash.ravel())
    return PerceptualHash(
        digest,
        int.from_bytes(bits.tobytes(), "big"),
        np.asarray(small.resize((SIDE, SIDE), PIL.Image.Resampling.BOX)),
    )


def block_difference(first: Blocks, second: Blocks) -> float:
    """Return the largest difference between two images, given as block means, 0..255: of brightness in any
    block, or of a colour in any of 8 x 8 blocks.

    JPEG keeps brightness at every pixel but colour only roughly, hence the two grids. A change of a small
    object counts in full.
    """
    change = first.astype(np.float32) - second.astype(np.float32)
    side = change.shape[0] // COLOUR_GRID
    coarse = change.reshape(COLOUR_GRID, side, COLOUR_GRID, side, 3).mean(axis=(1, 3))
    return float(max(np.abs(change @ BRIGHTNESS).max(), np.abs(coarse).max()))


def largest_change(original: Image, edited: NewImage) -> float:
    """Return how far two images, of any sizes, differ on a grid of 32 x 32, see `block_difference`.

    Blocks average out the noise of JPEG and of an autoencoder; a change as small as a button fills one.
    """
    if original.shape == edited.shape and np.array_equal(original, edited):
        return 0.0
    return block_difference(grid_means(original), grid_means(edited))


def grid_means(image: Image) -> UInt8[np.ndarray, "32 32 3"]:
    """Average 32 x 32 blocks."""
    return np.asarray(PIL.Image.fromarray(image).resize((GRID, GRID), PIL.Image.Resampling.BOX))


def hash_array(images: list[PerceptualHash]) -> UInt64[np.ndarray, " n"]:
    """Stack the perceptual hashes of images."""
    return np.array([image.hash for image in images], dtype=np.uint64)


def candidate_pairs(
    first: tuple[UInt64[np.ndarray, " n"], ...],
    second: tuple[UInt64[np.ndarray, " m"], ...],
    bits: int,
    earlier_only: bool = False,
) -> Iterator[tuple[int, int]]:
    """Find pairs (item of `first`, item of `second`) all of whose hashes differ in at most `bits` of 64, at
    most fifty per item of `first`.

    Args:
        first, second: one array per image of an item: (originals,) or (originals, edits).
        bits: most bits that may differ.
        earlier_only: pair an item only with earlier ones of the same list.
    """
    for start in range(0, len(first[0]), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        width = min(start + ROWS_AT_ONCE, len(second[0])) if earlier_only else len(second[0])
        near = np.bitwise_count(first[0][rows, None] ^ second[0][None, :width]) <= bits
        for one, other in zip(first[1:], second[1:], strict=True):
            places = np.nonzero(near)
            near[places] = np.bitwise_count(one[rows][places[0]] ^ other[places[1]]) <= bits
        if earlier_only:
            near &= np.arange(width)[None, :] < (start + np.arange(len(near)))[:, None]
        for row in np.nonzero(near.any(axis=1))[0]:
            for column in np.nonzero(near[row])[0][:MOST_CANDIDATES]:
                yield start + int(row), int(column)
