"""Images compared outside a mask and cropped inside it, as in the evaluation of Reason-Edit; pure functions
without a model.

From the authors' script (TencentARC/SmartEdit, test/metrics_evaluation.py): original and edit are resized to
256 x 256 pixels by Pillow, bicubic, the mask by the nearest pixel. A pixel's weight is 1 - mask / 255, so
grey counts in part; both images are multiplied by it and compared over all 256 x 256 pixels, with the inside
of the mask black in both. A value therefore also depends on the size of the masks: compare it on the same
cases only.

scikit-image replaces torchmetrics. SSIM equals that of torchmetrics before 1.5 (September 2024), which the
published numbers come from: the mean over windows inside the image; later versions include windows that cross
its border.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as PillowImage
from skimage.metrics import mean_squared_error, structural_similarity

from src.evaluation.pixels import SIGMA, RGBImage, resize_bicubic

SIDE = 256
"""Side of the squares that are compared, in pixels."""

GreyMask = UInt8[np.ndarray, "mask_rows mask_columns"]
"""0 where the edit may change nothing, 255 where it may, with values between from lossy compression."""

Background = Float[np.ndarray, "256 256 3"]
"""An image on [0, 1], black inside the mask."""


def square_mask(mask: GreyMask) -> UInt8[np.ndarray, "256 256"]:
    """The mask at the size of the comparison."""
    return np.asarray(PillowImage.fromarray(mask).resize((SIDE, SIDE), PillowImage.Resampling.NEAREST))


def outside_mask(image: RGBImage, mask: GreyMask) -> Background:
    """The image outside the mask."""
    return resize_bicubic(image, SIDE, SIDE) / 255 * (1 - square_mask(mask)[..., None] / 255)


def masked_mse(edited: RGBImage, original: RGBImage, mask: GreyMask) -> float:
    """Mean squared difference on [0, 1] outside the mask, over all pixels of the square."""
    return float(mean_squared_error(outside_mask(edited, mask), outside_mask(original, mask)))


def masked_psnr(edited: RGBImage, original: RGBImage, mask: GreyMask) -> float:
    """The same as a PSNR in decibels; infinite if nothing changed."""
    error = masked_mse(edited, original, mask)
    return -10 * math.log10(error) if error else math.inf


def masked_ssim(edited: RGBImage, original: RGBImage, mask: GreyMask) -> float:
    """SSIM outside the mask, in [-1, 1], per colour channel; the black inside counts as equal."""
    settings = {
        "gaussian_weights": True,
        "sigma": SIGMA,
        "use_sample_covariance": False,
        "channel_axis": -1,
        "data_range": 1.0,
    }
    similarity: Any = structural_similarity(
        outside_mask(edited, mask), outside_mask(original, mask), **settings
    )
    return float(similarity)


def masked_rectangle(edited: RGBImage, mask: GreyMask) -> RGBImage:
    """The rectangle around the mask, cropped from the square edit.

    As in the script, the rectangle spans all pixels that are not quite black, without their last row and
    column; at least one of each is kept here, where the script fails.

    Raises:
        ValueError: a mask that is entirely black.
    """
    rows, columns = np.nonzero(square_mask(mask))
    if not len(rows):
        raise ValueError(f"the mask is black all over, {SIDE}x{SIDE} pixels of it: nothing lies inside")
    (top, bottom), (left, right) = (rows.min(), rows.max()), (columns.min(), columns.max())
    return resize_bicubic(edited, SIDE, SIDE)[top : max(bottom, top + 1), left : max(right, left + 1)]
