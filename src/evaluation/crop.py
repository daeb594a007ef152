"""Crops of images at their own resolution."""

from typing import NamedTuple, final

import numpy as np
import PIL.Image
from jaxtyping import Shaped

Grid = Shaped[np.ndarray, "_ _ *channels"]
"""An image, a mask or a region."""


@final
class Crop(NamedTuple):
    """A crop of an image: its four sides as fractions of width and height."""

    left: float
    top: float
    right: float
    bottom: float


WHOLE = Crop(0.0, 0.0, 1.0, 1.0)


def crop(image: Grid, part: Crop, resampling: PIL.Image.Resampling = PIL.Image.Resampling.BICUBIC) -> Grid:
    """Crop an image at its own resolution; returns the image itself if the crop is all of it.

    Args:
        image: rows x columns, with or without channels.
        part: if a side lies between two pixels, values are resampled; the size is rounded to whole pixels.
        resampling: filter; nearest for masks, whose values must not be mixed.
    """
    height, width = image.shape[:2]
    box = (part.left * width, part.top * height, part.right * width, part.bottom * height)
    if max(abs(side - whole) for side, whole in zip(box, (0, 0, width, height), strict=True)) < 1e-6:
        return image
    size = (max(1, round(box[2] - box[0])), max(1, round(box[3] - box[1])))
    values = image.astype(np.uint8) if image.dtype == bool else image
    return np.asarray(PIL.Image.fromarray(values).resize(size, resampling, box=box)).astype(image.dtype)
