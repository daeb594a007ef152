"""What the project's HTML pages share: each is one file that loads nothing; its images are inside it, and
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
"""Up to here, pixels are enlarged as squares, and so kept without loss."""


def template_environment(folder: Path) -> Environment:
    """Renders the templates of a folder: what is filled in is escaped, and a missing value is an error."""
    return Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def thumbnail(image: Image, side: int = THUMBNAIL) -> NewImage:
    """The image as it is shown: its longer side at most `side` pixels."""
    return image if max(image.shape[:2]) <= side else scale_to_fit(image, side)


def encode_webp(image: Image, quality: int = 80, exact: bool | None = None) -> bytes:
    """A image as a WebP file; without loss if `exact`, or if that is None and it is so small that each of
    its pixels is seen.
    """
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
    """A image inside a page."""
    return "data:image/webp;base64," + base64.b64encode(encode_webp(image)).decode()
