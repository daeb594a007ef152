"""Pictures of a Python program, in a file, in Pillow or in NumPy, read as the commands read theirs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import PIL.Image

from src.images import (
    MOST_PIXELS,
    Framing,
    black_is_zero,
    decode_opened,
    image_size,
    load_image,
    native,
    require_file,
    upright_size,
    whole_image,
)
from src.records import Image

Picture = str | os.PathLike | PIL.Image.Image | np.ndarray
"""A path, a Pillow image of any mode, or an array of whole numbers 0..255: (h, w, 3), (h, w, 4) or (h, w)."""


def read_picture(picture: object, what: str = "the picture", framing: Framing = native) -> Image:
    """The picture as `load_image` reads a file: upright by its EXIF orientation, RGB in the colours of sRGB
    by its profile, transparency on white. A Pillow image is left as it was.

    Args:
        picture: a `Picture`; anything else is refused.
        what: names a picture without a file in errors.
        framing: image size -> size of the result.

    Raises:
        FileNotFoundError: no such file.
        ValueError: none of the kinds of `Picture`, or an image that `load_image` refuses.
    """
    if is_file(picture):
        return load_image(Path(picture), framing)
    opened = _pillow(picture, what)
    with whole_image(what):
        # what follows turns its image in place, and a copy forgets that it was a TIFF
        return decode_opened(black_is_zero(opened).copy(), what, framing)


def picture_size(picture: object, what: str = "the picture") -> tuple[int, int]:
    """Height and width, upright. Raises as `read_picture`."""
    if is_file(picture):
        return image_size(require_file(Path(picture)), str(picture))
    opened = _pillow(picture, what)
    with whole_image(what):
        return upright_size(opened)


def arguments_of_each(given: Mapping[str, tuple[Any, bool]], what: str) -> list[dict[str, Any]]:
    """The arguments of each of several pictures, with `what` as its name in errors.

    Args:
        given: argument -> its value, and whether that is one for all, not a list.
        what: the argument that is the picture.

    Raises:
        ValueError: lists of several lengths, or an empty one.
    """
    lists = {name: list(value) for name, (value, is_one) in given.items() if not is_one}
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        counted = ", ".join(f"{count} of {name}" for name, count in lengths.items())
        raise ValueError(f"{counted}: give one for all, or lists of one length")
    count = next(iter(lengths.values()), 1)
    columns = {name: lists.get(name, [value] * count) for name, (value, _) in given.items()}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [{**row, "what": _name_of(row[what], place if lists else None)} for place, row in enumerate(rows)]


def is_list(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether an argument holds one value for each of several pictures; scores and texts of one reward are
    told apart from that by their owner.
    """
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def is_file(picture: object) -> TypeGuard[str | os.PathLike]:
    """Whether a picture is given by its path."""
    return isinstance(picture, str | os.PathLike)


def _name_of(picture: object, place: int | None) -> str:
    if is_file(picture):
        return str(picture)
    return "the picture" if place is None else f"picture {place}"


def _pillow(picture: object, what: str) -> PIL.Image.Image:
    if isinstance(picture, np.ndarray):
        picture = _from_array(picture, what)
    if not isinstance(picture, PIL.Image.Image):
        raise ValueError(
            f"{what} is a {type(picture).__name__}: give a path, a Pillow image or a uint8 array"
        )
    if picture.width * picture.height > MOST_PIXELS:
        raise ValueError(
            f"{what} has {picture.width}x{picture.height} pixels, more than {MOST_PIXELS:,}: scale it down, "
            "or give the path of a JPEG"
        )
    return picture


def _from_array(array: np.ndarray, what: str) -> PIL.Image.Image:
    is_picture = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not is_picture or array.size == 0:
        raise ValueError(
            f"{what} is an array of {array.dtype} of shape {array.shape}: give uint8, 0 to 255, of shape "
            "(height, width, 3)"
        )
    return PIL.Image.fromarray(np.ascontiguousarray(array))
