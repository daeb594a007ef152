"""What can be done to a finished picture: the four flaws of quality, and a colour cast. Severities lie in (0, 1]."""

import io

import numpy as np
from PIL import Image as Pillow

from src.synthetic import filters
from src.synthetic.scene import Picture, rgb, to_image, to_picture

QUALITY_FLAWS = ("noise", "blur", "jpeg", "banding")

MAX_NOISE = 0.22
"""Standard deviation of full noise; pictures are 0..1."""

MAX_BLUR = 0.025
"""Standard deviation of a full blur, in picture widths; see blur_width."""

MAX_STEP = 0.4
"""Distance between the grey levels that full banding leaves."""

CAST_SHARE = 0.35
"""How much of the picture is the tint's colour under a full cast."""


def cast(picture: Picture, tint: str, severity: float) -> Picture:
    """A tint over everything."""
    share = np.float32(CAST_SHARE * severity)
    height, width, _ = picture.shape
    tints = np.tile(share * rgb(tint), width)  # as long as a row of the picture: faster than broadcasting over three channels
    return ((1 - share) * picture.reshape(height, width * 3) + tints).reshape(picture.shape)


def degrade(picture: Picture, kind: str, severity: float, seed: int) -> Picture:
    """The picture with one quality flaw.

    Raises:
        ValueError: an unknown kind.
    """
    size = picture.shape[0]
    if kind == "noise":
        # SFC64 is the fastest generator of numpy, and noise is half of the cost of a noisy triplet.
        noise = np.random.Generator(np.random.SFC64(seed)).standard_normal(picture.shape, dtype=np.float32)
        noise *= np.float32(MAX_NOISE * severity)
        noise += picture
        return np.maximum(np.minimum(noise, np.float32(1), out=noise), np.float32(0), out=noise)
    if kind == "blur":
        return filters.blur(picture, blur_width(severity, size))
    if kind == "jpeg":
        buffer = io.BytesIO()
        Pillow.fromarray(to_image(picture)).save(buffer, "JPEG", quality=jpeg_quality(severity), subsampling=0)
        return to_picture(np.asarray(Pillow.open(buffer)))
    if kind == "banding":
        step = np.float32(MAX_STEP * severity)
        return np.clip((np.floor(picture / step) + np.float32(0.5)) * step, 0, 1)
    raise ValueError(f"unknown quality flaw {kind!r}: one of {', '.join(QUALITY_FLAWS)}")


def blur_width(severity: float, size: int) -> float:
    """Standard deviation of a blur in pixels; up to 0.4 pixels a blur can't be seen, so that is where severities start."""
    return round(0.3 + severity * (MAX_BLUR * size + 0.4), 2)


def jpeg_quality(severity: float) -> int:
    """The encoder's quality: 90 for next to no flaw, 8 for a full one."""
    return round(8 + 82 * (1 - severity) ** 2)
