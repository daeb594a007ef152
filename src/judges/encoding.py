"""Encodes images for a judge: the file itself where possible, else a PNG, which adds no flaw of its own to
the image under judgement.
"""

import io
import math

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from src.colours import shows_stored_numbers
from src.images import encode_png, image_size, open_image
from src.judges.question import ImagePart
from src.records import Image

MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
"""Formats that the OpenAI protocol and its servers accept."""


def encode_for_judge(image: Image, file: bytes | None, max_pixels: int) -> ImagePart:
    """Encode an image for sending.

    Args:
        image: decoded, upright, RGB.
        file: the stored file, or None. It is passed through byte for byte if it is a still PNG, JPEG or WebP
            of at most `max_pixels` that every reader decodes alike: not rotated by its EXIF orientation, not
            transparent, 8 bits, without a colour profile other than sRGB.
        max_pixels: larger images are downsized, aspect ratio kept.

    Raises:
        ValueError: max_pixels below 1.
    """
    seen = bounded(image, max_pixels)
    if seen is image:
        media_type = passthrough_type(file, image) if file is not None else None
        if file is not None and media_type is not None:
            return ImagePart(file, media_type, *image.shape[:2])
    return ImagePart(encode_png(seen), "image/png", *seen.shape[:2])


def bounded(image: Image, max_pixels: int) -> UInt8[np.ndarray, "height width 3"]:
    """The image itself, or a smaller one of its proportions with at most `max_pixels`. Raises ValueError for
    fewer than one.
    """
    if max_pixels < 1:
        raise ValueError(f"max_pixels={max_pixels}: an image for a judge has at least one pixel")
    height, width = image.shape[:2]
    if height * width <= max_pixels:
        return image
    scale = math.sqrt(max_pixels / (height * width))
    size = (max(1, math.floor(width * scale)), max(1, math.floor(height * scale)))
    return np.array(PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.LANCZOS))


def passthrough_type(file: bytes, image: Image) -> str | None:
    """The media type of a file that can be sent as it is, or None."""
    with open_image(io.BytesIO(file), "a judged image") as opened:
        plain = (
            opened.format in MEDIA_TYPES and opened.mode in ("RGB", "L") and not opened.has_transparency_data
        )
        if not plain or not shows_stored_numbers(opened):
            return None
        if getattr(opened, "n_frames", 1) > 1 or opened.getexif().get(0x0112, 1) != 1:
            return None
        media_type = MEDIA_TYPES[str(opened.format)]
    return media_type if image_size(io.BytesIO(file), "a judged image") == image.shape[:2] else None
