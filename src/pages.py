"""Shared parts of the project's HTML pages: each is one file that loads nothing, with its images inside, and
every text from outside is escaped.
"""

import base64
from io import BytesIO
from pathlib import Path

import PIL.Image
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from src.images import NewImage, scale_to_fit
from src.records import Image

THUMBNAIL = 256
"""Longer side in pixels; smaller images stay as they are."""

SMALL = 128
"""Images up to this size are kept lossless, as their pixels are shown as squares."""


def template_environment(folder: Path) -> Environment:
    """Render the templates of a folder; values are escaped, and a missing one is an error."""
    return Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def thumbnail(image: Image, side: int = THUMBNAIL) -> NewImage:
    """Shrink an image to a longer side of at most `side` pixels."""
    return image if max(image.shape[:2]) <= side else scale_to_fit(image, side)


def encode_webp(image: Image, quality: int = 80, exact: bool | None = None) -> bytes:
    """Encode an image as WebP; lossless if `exact`, or if that is None and the image is small."""
    opened = PIL.Image.fromarray(image)
    content = BytesIO()
    opened.save(
        content,
        format="WEBP",
        lossless=max(opened.size) <= SMALL if exact is None else exact,
        quality=quality,
        method=4,
    )
    return content.getvalue()


def webp_data_uri(image: Image) -> str:
    """Encode an image for the source of an <img>."""
    return "data:image/webp;base64," + base64.b64encode(encode_webp(image)).decode()
