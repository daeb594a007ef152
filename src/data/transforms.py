"""What becomes of a pair of images between the disk and a batch: pure functions of the pair and a seed, the
same for both images.

The release resizes to a square, which makes its random crop do nothing; here the aspect ratio is kept and the
crop is random, as the paper says.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Protocol, final, runtime_checkable

import numpy as np
import PIL.Image

from src.images import NewImage
from src.records import Image, Reward, Triplet
from src.seeds import fold_seed

MOST_DEVIATION = 0.02
"""By how much the aspect ratios of a pair may differ, relatively; sizes rounded to whole pixels, or to
multiples of 8 by a model, stay below.
"""

HANDED = re.compile(
    # sides, turns, and whatever must be read: a mirrored word is no word
    r"\b(left|right|clockwise|counter-?clockwise|anti-?clockwise|flip|mirror|texts?\b|word|letter|write|written|writing|caption|says|logo|number|digit)",
    re.IGNORECASE,
)
"""Words, or their beginnings, that don't survive a mirror."""

Size = tuple[int, int]
"""Height and width."""


@runtime_checkable
class Transform(Protocol):
    """Triplet at native size -> triplet at `image_size`; depends on nothing else but the seed."""

    @property
    def image_size(self) -> Size:
        """Height and width of what comes out."""
        ...

    def __call__(self, triplet: Triplet, reward: Reward | None, seed: int) -> Triplet:
        """The triplet with other images. Raises ValueError for a pair that doesn't belong together."""
        ...


@final
class RandomCrop:
    """The paper's transform: the short side to `size` pixels, aspect ratio kept, then one random square crop,
    and maybe one flip, of both images.

    Args:
        size: side of the crop in pixels.
        flip: how often a pair is mirrored, 0 to 1; never one whose instruction or feedback speaks of sides or
            of something to read (HANDED).

    Raises:
        ValueError: a size below 1, or a share outside [0, 1].
    """

    def __init__(self, size: int, flip: float = 0.0) -> None:
        if size < 1 or not 0.0 <= flip <= 1.0:
            raise ValueError(
                f"a crop of size={size} flipped with a chance of flip={flip} is not possible: size is at least 1, flip lies in [0, 1]"
            )
        self.size = size
        self.flip = flip

    @property
    def image_size(self) -> Size:
        return self.size, self.size

    def __call__(self, triplet: Triplet, reward: Reward | None, seed: int) -> Triplet:
        chance = Random(fold_seed("crop", seed))
        vertical, horizontal, mirror = chance.random(), chance.random(), chance.random() < self.flip
        feedback = [] if reward is None else [verdict.feedback for verdict in reward.verdicts]
        answer = [] if triplet.answer is None else [triplet.answer]
        flipped = mirror and not mentions_handedness([triplet.case.instruction, *feedback, *answer])
        return crop_pair(triplet, self.size, vertical, horizontal, flipped)


@final
class CentreCrop:
    """The middle of both images, short side to `size` pixels: for previews and for conditions that are
    computed once.

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


def mentions_handedness(texts: Sequence[str]) -> bool:
    """Whether any text would be wrong of the mirrored images."""
    return any(HANDED.search(text) for text in texts)


def crop_pair(triplet: Triplet, size: int, vertical: float, horizontal: float, flipped: bool) -> Triplet:
    """Both images resized alike, short side to `size`, and cut to the same square, `vertical` and
    `horizontal` of the way to its last place.

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
    """Raise ValueError, with both sizes, unless the aspect ratios agree: a pair that differs in more than
    scale shows the scene at two places.
    """
    deviation = abs((original[0] * edited[1]) / (original[1] * edited[0]) - 1.0)
    if deviation > MOST_DEVIATION:
        raise ValueError(
            f"the pictures of {id!r} don't fit each other: the original is {original[1]}x{original[0]}, the edited one {edited[1]}x{edited[0]} "
            f"pixels, whose aspect ratios differ by {deviation:.1%} (at most {MOST_DEVIATION:.0%} is taken for rounding)"
        )


def scaled_size(size: Size, short_side: int) -> Size:
    """The size with its shorter side at `short_side`, aspect ratio kept to the pixel."""
    scale = short_side / min(size)
    return max(short_side, round(size[0] * scale)), max(short_side, round(size[1] * scale))


def resize_to(image: Image, size: Size) -> NewImage:
    """The image at this size; one that has it already is handed back as it is, bit for bit."""
    if image.shape[:2] == size:
        return image
    return np.array(PIL.Image.fromarray(image).resize((size[1], size[0]), PIL.Image.Resampling.LANCZOS))


def crop_square(image: Image, place: tuple[int, int], size: int, flipped: bool) -> NewImage:
    """A square out of a image, mirrored or not."""
    top, left = place
    square = image[top : top + size, left : left + size]
    return np.ascontiguousarray(square[:, ::-1] if flipped else square)
