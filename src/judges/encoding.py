"""Images as they are sent to a judge: the file itself where it will do, else a PNG, which adds no flaw of
its own to what is judged.
"""

import io
import math

import numpy as np
import PIL.Image

from src.images import encode_png, image_size
from src.judges.question import Encoded
from src.records import Image

MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
"""Formats that the OpenAI protocol and its servers take."""


def encoded(image: Image, file: bytes | None, max_pixels: int) -> Encoded:
    """A image ready to be sent.

    Args:
        image: as it was decoded, upright, RGB.
        file: as it is stored, or None. It is passed through byte for byte if it is a still PNG, JPEG or WebP
            within the budget that every reader sees the same way: not turned by its EXIF orientation, not
            transparent, 8 bits.
        max_pixels: larger images are made smaller, aspect ratio kept.

    Raises:
        ValueError: a budget below one pixel.
    """
    if max_pixels < 1:
        raise ValueError(f"max_pixels={max_pixels}: a judge has to be shown at least one pixel")
    height, width = image.shape[:2]
    if height * width <= max_pixels:
        media_type = passed_through(file, image) if file is not None else None
        if file is not None and media_type is not None:
            return Encoded(file, media_type, height, width)
    else:
        scale = math.sqrt(max_pixels / (height * width))
        size = (max(1, math.floor(width * scale)), max(1, math.floor(height * scale)))
        image = np.array(PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.LANCZOS))
    return Encoded(encode_png(image), "image/png", *image.shape[:2])


def passed_through(file: bytes, image: Image) -> str | None:
    """The media type of a file that needs no change, or None."""
    with PIL.Image.open(io.BytesIO(file)) as opened:
        plain = (
            opened.format in MEDIA_TYPES and opened.mode in ("RGB", "L") and not opened.has_transparency_data
        )
        if not plain or getattr(opened, "n_frames", 1) > 1 or opened.getexif().get(0x0112, 1) != 1:
            return None
        media_type = MEDIA_TYPES[str(opened.format)]
    return media_type if image_size(io.BytesIO(file), "a judged picture") == image.shape[:2] else None
