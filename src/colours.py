"""What the colours of an image file mean: from the file's profile to sRGB, as viewers show them (LittleCMS).

A profile whose colours are those of sRGB, up to rounding, leaves the stored numbers as they are. One that
can't be read, or is for another kind of image, is ignored with a warning.
"""

import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
import PIL.Image
from jaxtyping import UInt8
from PIL import ImageCms

ROUNDING = 2
"""Largest difference, of 255, at which colours count as those of sRGB: copies of its profile differ by 1."""

MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}
"""Colour space of a profile -> mode of the images that it is for."""

GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N")
COLOURED = ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "YCbCr", "HSV")
FITTING = {"RGB": (*COLOURED, *GREY), "L": GREY, "CMYK": ("CMYK",), "LAB": ("LAB",)}
"""Mode of a profile -> modes of the images whose colours it can say."""

_told: set[int] = set()


@final
@dataclass(frozen=True)
class Meaning:
    """What a readable profile says.

    Attributes:
        mode: of the images that it is for.
        transform: from there to sRGB.
        is_srgb: whether it leaves all colours as they are.
    """

    mode: str
    transform: ImageCms.ImageCmsTransform
    is_srgb: bool


def in_srgb(image: PIL.Image.Image, where: str) -> PIL.Image.Image:
    """The image in the colours of sRGB by its profile, if it has one; its transparency is kept.

    Args:
        image: as opened by Pillow.
        where: names it in a warning.
    """
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    meaning = meaning_of(profile)
    if isinstance(meaning, str):
        return _ignored(image, where, meaning)
    if image.mode not in FITTING[meaning.mode]:
        return _ignored(image, where, f"it is for {meaning.mode} and the image is {image.mode}")
    return image if meaning.is_srgb else _shown(image, meaning)


def shows_stored_numbers(image: PIL.Image.Image) -> bool:
    """Whether programs that obey the profile of an image and those that don't show the same colours."""
    profile = image.info.get("icc_profile")
    meaning = meaning_of(profile) if profile else None
    return meaning is None or (isinstance(meaning, Meaning) and meaning.is_srgb)


@lru_cache(maxsize=32)
def meaning_of(profile: bytes) -> Meaning | str:
    """What a profile says, or why it can't be used."""
    try:
        opened = ImageCms.core.profile_frombytes(profile)
        space = str(opened.xcolor_space)
        if space not in MODES:
            return f"its colour space is {space.strip()}, known are {', '.join(map(str.strip, MODES))}"
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(opened), ImageCms.createProfile("sRGB"), MODES[space], "RGB"
        )
        return Meaning(MODES[space], transform, _changes_nothing(transform, MODES[space]))
    except (OSError, ValueError, ImageCms.PyCMSError) as error:
        return str(error)


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform leaves a grid of colours, or all greys, as they are."""
    if mode not in ("RGB", "L"):
        return False
    steps = np.arange(0, 256, 15)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3).astype(np.uint8)
    before = PIL.Image.fromarray(grid) if mode == "RGB" else _all_greys()
    after = np.asarray(transform.apply(before)).astype(int)
    return bool(np.abs(after - np.asarray(before.convert("RGB"))).max() <= ROUNDING)


def _shown(image: PIL.Image.Image, meaning: Meaning) -> PIL.Image.Image:
    """RGB, or RGBA of a transparent image."""
    if image.mode.startswith("I;16"):
        return PIL.Image.fromarray(_sixteen_bits(image, meaning))
    opacity = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    solid = image if opacity is None else image.convert("RGBA")
    shown = meaning.transform.apply(_as_mode(solid, meaning.mode))
    if opacity is not None:
        shown.putalpha(opacity)
    return shown


def _sixteen_bits(image: PIL.Image.Image, meaning: Meaning) -> UInt8[np.ndarray, "_ _ 3"]:
    """Grey of 16 bits, between the colours of the 256 greys: LittleCMS takes 8 bits from Pillow."""
    greys = np.asarray(meaning.transform.apply(_as_mode(_all_greys(), meaning.mode)))[0].astype(float)
    values = np.asarray(image).astype(float) / 257
    channels = [np.rint(np.interp(values, np.arange(256), greys[:, channel])) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def _all_greys() -> PIL.Image.Image:
    return PIL.Image.fromarray(np.arange(256, dtype=np.uint8)[None])


def _as_mode(image: PIL.Image.Image, mode: str) -> PIL.Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _ignored(image: PIL.Image.Image, where: str, reason: str) -> PIL.Image.Image:
    """Warn of a profile, the first time that it is met."""
    met = hash(image.info["icc_profile"])
    if met not in _told:
        _told.add(met)
        print(f"warning: the colour profile of {where} is ignored ({reason})", file=sys.stderr)
    return image
