"""Degradations of a finished image: the four flaws of quality and a colour cast, of severity in (0, 1]."""

import io

import numpy as np
from PIL import Image as Pillow

from src.synthetic import filters
from src.synthetic.scene import FloatImage, rgb, to_float, to_uint8

QUALITY_FLAWS = ("noise", "blur", "jpeg", "banding")

MAX_NOISE = 0.22
"""Standard deviation of full noise, for images in 0..1."""

MAX_BLUR = 0.025
"""Standard deviation of a full blur, in image widths; see blur_width."""

MAX_STEP = 0.4
"""Distance between grey levels under full banding."""

CAST_SHARE = 0.35
"""Share of the tint's colour in the image under a full cast."""


def cast(image: FloatImage, tint: str, severity: float) -> FloatImage:
    """The image with a tint over everything."""
    share = np.float32(CAST_SHARE * severity)
    height, width, _ = image.shape
    # As long as a row of the image: faster than broadcasting over three channels.
    tints = np.tile(share * rgb(tint), width)
    return ((1 - share) * image.reshape(height, width * 3) + tints).reshape(image.shape)


def degrade(image: FloatImage, kind: str, severity: float, seed: int) -> FloatImage:
    """The image with one quality flaw.

    Raises:
        ValueError: an unknown kind.
    """
    size = image.shape[0]
    if kind == "noise":
        # SFC64 is numpy's fastest generator, and noise is half the cost of a noisy triplet.
        noise = np.random.Generator(np.random.SFC64(seed)).standard_normal(image.shape, dtype=np.float32)
        noise *= np.float32(MAX_NOISE * severity)
        noise += image
        return np.maximum(np.minimum(noise, np.float32(1), out=noise), np.float32(0), out=noise)
    if kind == "blur":
        return filters.blur(image, blur_width(severity, size))
    if kind == "jpeg":
        buffer = io.BytesIO()
        Pillow.fromarray(to_uint8(image)).save(buffer, "JPEG", quality=jpeg_quality(severity), subsampling=0)
        return to_float(np.asarray(Pillow.open(buffer)))
    if kind == "banding":
        step = np.float32(MAX_STEP * severity)
        return np.clip((np.floor(image / step) + np.float32(0.5)) * step, 0, 1)
    raise ValueError(f"unknown quality flaw {kind!r}: one of {', '.join(QUALITY_FLAWS)}")


def blur_width(severity: float, size: int) -> float:
    """Standard deviation of a blur in pixels. Severities start at 0.4 pixels, up to which a blur is
    invisible.
    """
    return round(0.3 + severity * (MAX_BLUR * size + 0.4), 2)


def jpeg_quality(severity: float) -> int:
    """The encoder's quality: 90 for almost no flaw, 8 for a full one."""
    return round(8 + 82 * (1 - severity) ** 2)
