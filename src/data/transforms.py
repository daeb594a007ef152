"""Transforms of a pair of images between disk and batch: pure functions of the pair and a seed, the same for
both images.

The release resizes to a square, which makes its random crop a no-op; here the aspect ratio is kept and the
crop is random, as the paper describes.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Protocol, final, runtime_checkable

import numpy as np
import PIL.Image

from src.data.mirroring import may_be_mirrored
from src.images import NewImage
from src.records import Image, Reward, Triplet
from src.seeds import fold_seed

MOST_DEVIATION = 0.02
"""Largest relative difference between the aspect ratios of a pair; sizes rounded to whole pixels, or to
multiples of 8 by a model, stay below.
"""

Size = tuple[int, int]
"""Height and width."""


@runtime_checkable
class Transform(Protocol):
    """Triplet at native size -> triplet at `image_size`; depends on nothing but the triplet and the seed."""

    @property
    def image_size(self) -> Size:
        """Height and width of the result."""
        ...

    def __call__(self, triplet: Triplet, reward: Reward | None, seed: int) -> Triplet:
        """Transform both images. Raises ValueError for a pair that doesn't belong together."""
        ...


@final
class RandomCrop:
    """The paper's transform: short side to `size` pixels, aspect ratio kept, then one random square crop and
    possibly one flip, the same for both images.

    Args:
        size: side of the crop in pixels.
        flip: share of mirrored pairs, 0 to 1; a pair is never mirrored unless its instruction, feedback and
            answer are plainly free of sides and of writing (mirroring.py).
        unmirrored: in place of these rules, the words, or beginnings of words, whose pairs are never
            mirrored, in any language.

    Raises:
        ValueError: a size below 1, or a share outside [0, 1].
    """

    def __init__(self, size: int, flip: float = 0.0, unmirrored: Sequence[str] | None = None) -> None:
        if size < 1 or not 0.0 <= flip <= 1.0:
            raise ValueError(
                f"a crop of size={size} flipped with a chance of flip={flip} is not possible: "
                "size is at least 1, flip lies in [0, 1]"
            )
        self.size = size
        self.flip = flip
        self.unmirrored = None if unmirrored is None else tuple(unmirrored)

    @property
    def image_size(self) -> Size:
        return self.size, self.size

    def __call__(self, triplet: Triplet, reward: Reward | None, seed: int) -> Triplet:
        chance = Random(fold_seed("crop", seed))
        vertical, horizontal, mirror = chance.random(), chance.random(), chance.random() < self.flip
        feedback = [] if reward is None else [verdict.feedback for verdict in reward.verdicts]
        answer = [] if triplet.answer is None else [triplet.answer]
        texts = [triplet.case.instruction, *feedback, *answer]
        flipped = mirror and may_be_mirrored(texts, self.unmirrored)
        return crop_pair(triplet, self.size, vertical, horizontal, flipped)


@final
class CentreCrop:
    """Short side to `size` pixels, then the centre square: for previews and for conditions computed once.

    Args:
        size: side of the crop in pixels.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a crop of size={size} is not possible: at least 1 pixel is needed")
        self.size = size

    @property
    def image_size(self) -> Size:
        return self.size, self.size

    def __call__(self, triplet: Triplet, reward: Reward | None, seed: int) -> Triplet:
        return crop_pair(triplet, self.size, 0.5, 0.5, flipped=False)


def crop_pair(triplet: Triplet, size: int, vertical: float, horizontal: float, flipped: bool) -> Triplet:
    """Resize both images alike, short side to `size`, and crop the same square, at `vertical` and
    `horizontal` (0 to 1) of its range.

    Raises:
        ValueError: images of different aspect ratios.
    """
    original = triplet.case.original
    check_aspect_ratios(original.shape[:2], triplet.edited.shape[:2], triplet.case.id)
    scaled = scaled_size(original.shape[:2], size)
    place = int(vertical * (scaled[0] - size) + 0.5), int(horizontal * (scaled[1] - size) + 0.5)
    first, second = (
        crop_square(resize_to(image, scaled), place, size, flipped) for image in (original, triplet.edited)
    )
    return replace(triplet, case=replace(triplet.case, image=first), edited=second, files=None)


def check_aspect_ratios(original: Size, edited: Size, id: str) -> None:
    """Raise ValueError, with both sizes, unless the aspect ratios agree: otherwise the pair shows the scene
    at two places.
    """
    deviation = abs((original[0] * edited[1]) / (original[1] * edited[0]) - 1.0)
    if deviation > MOST_DEVIATION:
        raise ValueError(
            f"the images of {id!r} don't match: the original is {original[1]}x{original[0]}, the edited one "
            f"{edited[1]}x{edited[0]} pixels, whose aspect ratios differ by {deviation:.1%} "
            f"(up to {MOST_DEVIATION:.0%} counts as rounding)"
        )


def scaled_size(size: Size, short_side: int) -> Size:
    """Scale a size to a shorter side of `short_side`, aspect ratio kept to the pixel."""
    scale = short_side / min(size)
    return max(short_side, round(size[0] * scale)), max(short_side, round(size[1] * scale))


def resize_to(image: Image, size: Size) -> NewImage:
    """Resize an image; one that already has the size is returned unchanged."""
    if image.shape[:2] == size:
        return image
    return np.array(PIL.Image.fromarray(image).resize((size[1], size[0]), PIL.Image.Resampling.LANCZOS))


def crop_square(image: Image, place: tuple[int, int], size: int, flipped: bool) -> NewImage:
    """Crop a square out of an image, and mirror it if asked to."""
    top, left = place
    square = image[top : top + size, left : left + size]
    return np.ascontiguousarray(square[:, ::-1] if flipped else square)
