"""The images of cases at the sizes at which they are edited, judged and measured; files are decoded when
needed.

    edited:   the file, framed as the sampler's `resize` says and cropped to what the latent holds
    judged:   that part of the original, and the edit, at the benchmark's `judged_height`
    measured: that part of the ground truth, original and mask at their own resolution, against the edit

Images in memory, those of the synthetic world, are edited and judged as they are.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import final

import numpy as np
import PIL.Image
from jaxtyping import Bool

from src.data.rows import EncodedImage
from src.data.transforms import Size, resize_to
from src.evaluation.benchmark import Reference
from src.evaluation.crop import WHOLE, Crop
from src.images import Frame, Framing, centre_crop, load_mask, native
from src.records import Case, Image, Triplet, Turn


@final
@dataclass(frozen=True)
class FramedImage:
    """A stored image resized and cropped by a framing."""

    image: EncodedImage
    framing: Framing

    def size(self) -> Size:
        """Height and width, from the header."""
        return self.framing(*self.image.size()).size

    def decode(self) -> Image:
        """RGB, upright. Raises as EncodedImage."""
        return self.image.decode(self.framing)


def frame_case(case: Case, framing: Framing) -> Case:
    """The case with its stored image at another size; an image in memory stays as it is."""
    return (
        replace(case, image=FramedImage(case.image, framing))
        if isinstance(case.image, EncodedImage)
        else case
    )


def frame_of_height(height: int, width: int, pixels: int) -> Frame:
    """The frame of a given height in pixels with the same aspect ratio; the width is rounded down, as in the
    release of the multi-reward paper.
    """
    return Frame((pixels, max(1, int(pixels * width / height))), (0, 0, width, height))


def decode_case(case: Case) -> Case:
    """The case with its image decoded. Raises as EncodedImage."""
    return replace(case, image=case.original)


def reference_triplets(reference: Reference, cases: Sequence[Case], height: int | None) -> Iterator[Triplet]:
    """The triplets of a reference as a judge sees them; see `prepare_for_judge`."""
    framing = native if height is None else partial(frame_of_height, pixels=height)
    for triplet in reference.triplets([frame_case(case, framing) for case in cases]):
        case = decode_case(triplet.case)
        yield replace(triplet, case=case, edited=resize_to(triplet.edited, case.size))


def prepare_for_judge(triplet: Triplet, height: int | None, framing: Framing | None) -> Triplet:
    """The triplet that a judge sees: original and edit of one size, showing the same part of the photograph.

    As in the release, both are scaled to one height and to the aspect ratio of the whole photograph, whatever
    was cropped before editing.

    Args:
        triplet: the edit as it was made; returned unchanged if its original is in memory.
        height: of both images; None keeps the size of the edit.
        framing: that of the edit, applied to the original as well; None for edits made elsewhere, which are
            assumed to show the whole photograph.

    Raises:
        ValueError: an edit larger than its framed original; broken images.
        FileNotFoundError: the photograph is gone.
    """
    case, edited = triplet.case, triplet.edited
    if not isinstance(case.image, EncodedImage):
        return triplet
    size: Size = (edited.shape[0], edited.shape[1])
    if height is not None:
        size = frame_of_height(*case.size, pixels=height).size
    if framing is None:
        original = case.image.decode(lambda high, wide: Frame(size, (0, 0, wide, high)))
    else:
        original = resize_to(centre_crop(case.image.decode(framing), edited.shape[0], edited.shape[1]), size)
    return Triplet(replace(case, image=original), resize_to(edited, size))


def turns_of(case: Case) -> tuple[Turn, ...]:
    """The turns of a case in order; the edit of the last turn is the edit of the case."""
    return case.turns or (Turn(case.id, case.instruction),)


def shown_crop(triplet: Triplet, framing: Framing | None) -> Crop:
    """The part of its photograph that an edit shows: less than all if the framing crops it, or if the latent
    could not hold the rim.

    Args:
        triplet: the edit as it was made; an image in memory is assumed to be shown whole.
        framing: that of the edit; None for edits made elsewhere, which are assumed to show all of it.

    Raises:
        ValueError: an edit larger than its framed original, or a broken image.
        FileNotFoundError: the photograph is gone.
    """
    case, edited = triplet.case, triplet.edited.shape
    if framing is None or not isinstance(case.image, EncodedImage):
        return WHOLE
    height, width = case.size
    frame = framing(height, width)
    left, top, right, bottom = frame.part
    if edited[0] > frame.size[0] or edited[1] > frame.size[1]:
        raise ValueError(
            f"the edit of {case.id} has {edited[1]}x{edited[0]} pixels and was made of "
            f"{frame.size[1]}x{frame.size[0]}; make it again"
        )
    # as centre_crop cuts
    above, before = (frame.size[0] - edited[0]) // 2, (frame.size[1] - edited[1]) // 2
    rows, columns = (bottom - top) / frame.size[0], (right - left) / frame.size[1]
    return Crop(
        (left + before * columns) / width,
        (top + above * rows) / height,
        (left + (before + edited[1]) * columns) / width,
        (top + (above + edited[0]) * rows) / height,
    )


def abbreviate(names: Sequence[str], most: int = 3) -> str:
    """The first few names and the number of others: "a, b, c and 4 more"."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def natural_sort_key(name: str) -> list[tuple[int, str]]:
    """Sort key that puts 2.png before 10.png."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def read_region(path: Path, size: Size) -> Bool[np.ndarray, "h w"]:
    """Where a mask allows changes: where it is transparent, as in DALL-E and MagicBrush, or, without an alpha
    channel, where it is white.

    Args:
        path: the mask; resized by the nearest pixel.
        size: of the image.

    Raises:
        FileNotFoundError, ValueError: no such image, or a broken one.
    """
    mask = load_mask(path)
    values, least = (mask.grey, 128) if mask.opacity is None else (255 - mask.opacity, 255)
    resized = PIL.Image.fromarray(values).resize((size[1], size[0]), PIL.Image.Resampling.NEAREST)
    return np.asarray(resized) >= least
