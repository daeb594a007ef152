"""What is kept of a image so that it can be recognised in another size or file: a digest, a perceptual hash
and a 16 x 16 thumbnail, 800 bytes.

The hash (ImageHash's phash, 64 bits of the grey image's lowest frequencies) finds candidates among
millions; the thumbnail, in colour, decides. Both survive resizing, also to another aspect ratio, and JPEG;
neither survives a crop or a mirror, so cropped copies are not found.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import imagehash
import numpy as np
import PIL.Image
from jaxtyping import UInt8, UInt64

from src.images import NewImage
from src.records import Image

SIDE = 16
"""Of a thumbnail that is kept."""

GRID = 32
"""Blocks along a side when the two images of a pair are compared."""

ROWS_AT_ONCE = 256
"""Of the table of all pairs."""

MOST_CANDIDATES = 50
"""Of one image, before it is taken for one without a likeness (a plain grey one has the hash of every plain
one).
"""

COLOUR_GRID = 8
BRIGHTNESS = np.array((0.299, 0.587, 0.114), dtype=np.float32)

Thumbnail = UInt8[np.ndarray, "16 16 3"]
Blocks = UInt8[np.ndarray, "side side 3"]


@dataclass(frozen=True, eq=False)
class PerceptualHash:
    """What is kept of a image.

    Attributes:
        digest: of size and pixels; the same image in a lossless file has the same.
        hash: perceptual, 64 bits.
        thumbnail: block means.
    """

    digest: bytes
    hash: int
    thumbnail: Thumbnail


def perceptual_hash(image: Image) -> PerceptualHash:
    """What is kept of a opened."""
    digest = hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).digest()[:16]
    # a large image is halved a few times first, which leaves the hash as it is and takes a fifth of the
    # time
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
    """The largest difference between two images, given as block means, 0..255: of brightness in any block,
    of a colour in any of 8 x 8.

    JPEG keeps brightness at every pixel but colour only roughly, hence the two grids. A small object that
    changes counts in full.
    """
    change = first.astype(np.float32) - second.astype(np.float32)
    side = change.shape[0] // COLOUR_GRID
    coarse = change.reshape(COLOUR_GRID, side, COLOUR_GRID, side, 3).mean(axis=(1, 3))
    return float(max(np.abs(change @ BRIGHTNESS).max(), np.abs(coarse).max()))


def largest_change(original: Image, edited: NewImage) -> float:
    """How far two images are apart on a grid of 32 x 32, see `unlikeness`; those of two sizes are compared
    all the same.

    Blocks average out the noise of JPEG and of an autoencoder, a change as small as a button fills one.
    """
    if original.shape == edited.shape and np.array_equal(original, edited):
        return 0.0
    return block_difference(block_means(original), block_means(edited))


def block_means(image: Image) -> UInt8[np.ndarray, "32 32 3"]:
    """Means of 32 x 32 blocks."""
    return np.asarray(PIL.Image.fromarray(image).resize((GRID, GRID), PIL.Image.Resampling.BOX))


def hash_array(prints: list[PerceptualHash]) -> UInt64[np.ndarray, " n"]:
    """Their perceptual hashes."""
    return np.array([each.hash for each in prints], dtype=np.uint64)


def candidate_pairs(
    first: tuple[UInt64[np.ndarray, " n"], ...],
    second: tuple[UInt64[np.ndarray, " m"], ...],
    bits: int,
    earlier_only: bool = False,
) -> Iterator[tuple[int, int]]:
    """Pairs (of `first`, of `second`) all of whose hashes differ in at most `bits` of 64, at most fifty for
    each of `first`.

    Args:
        first, second: one array per image of a thing: (originals,) or (originals, edits).
        bits: that may differ.
        earlier_only: pairs with an earlier thing of the same list.
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
