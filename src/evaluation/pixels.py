"""Images prepared and compared as the official evaluation of MagicBrush does it; pure functions, no model.

From the authors' script (OSU-NLP-Group/MagicBrush, evaluation/image_eval.py): both distances are on [0, 1],
after the edit was resized to its ground truth by Pillow, bicubic; for CLIP the short side is resized to 224
pixels, for DINO to 256, bicubic, followed by a centre crop of 224 x 224. The two measures outside the edit
are not part of that script.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, final

import numpy as np
import PIL.Image
import torch
from jaxtyping import Bool, Float, UInt8
from scipy.ndimage import maximum_filter
from skimage.metrics import structural_similarity
from torch import Tensor

from src.images import NewImage
from src.records import Image

Colour = tuple[float, float, float]

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

SIGMA = 1.5
WINDOW = 11
"""Side of SSIM's window in pixels; scikit-image truncates the Gaussian of sigma 1.5 at 3.5 sigma."""

RGBImage = UInt8[np.ndarray, "_ _ 3"]
"""An Image among others of other sizes."""

Mask = Bool[np.ndarray, "rows columns"]
"""A selection of an image's pixels."""


@final
class Preprocessing(NamedTuple):
    """The preprocessing of a network.

    Attributes:
        short_side: of the whole image before cropping, in pixels.
        side: of the square centre crop.
        mean, std: per channel, on [0, 1].
        middle: rounds the offset of the crop.
    """

    short_side: int
    side: int
    mean: Colour
    std: Colour
    middle: Callable[[float], int] = round


def resize_bicubic(image: Image, height: int, width: int) -> NewImage:
    """Resize an image by Pillow, bicubic; returns the image itself if it has that size."""
    if image.shape[:2] == (height, width):
        return image
    return np.array(PIL.Image.fromarray(image).resize((width, height), PIL.Image.Resampling.BICUBIC))


def preprocess(image: Image, how: Preprocessing) -> Float[Tensor, "3 side side"]:
    """Preprocess an image for a network.

    The long side is rounded down. The offset of the centre crop is rounded to the nearest integer by
    torchvision and down by the image processors of transformers; for some sizes these differ by one pixel,
    which changes the metrics.
    """
    height, width = image.shape[:2]
    scaled = [int(how.short_side * side / min(height, width)) for side in (height, width)]
    scaled_image = resize_bicubic(image, *scaled)
    top, left = (how.middle((side - how.side) / 2) for side in scaled)
    pixels = to_unit_range(scaled_image[top : top + how.side, left : left + how.side])
    return (pixels - torch.tensor(how.mean)[:, None, None]) / torch.tensor(how.std)[:, None, None]


def to_unit_range(image: NewImage) -> Float[Tensor, "3 new_h new_w"]:
    """Scale values from 0..255 to [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255


def l1(one: Float[Tensor, "*shape"], other: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Mean absolute difference."""
    return (one - other).abs().mean()


def l2(one: Float[Tensor, "*shape"], other: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Mean squared difference, which the literature on MagicBrush calls L2."""
    return (one - other).square().mean()


def cosine(one: Float[Tensor, "n d"], other: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Pairwise cosine of vectors, in [-1, 1]."""
    one, other = one.double(), other.double()
    return ((one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))).clamp(-1, 1)


def outside_l1(edited: Image, original: Image, region: Bool[np.ndarray, "h w"]) -> float | None:
    """Mean absolute difference on [0, 1] over the pixels outside the region; None if there are none."""
    if region.all():
        return None
    return float(
        l1(
            to_unit_range(edited)[:, torch.from_numpy(~region)],
            to_unit_range(original)[:, torch.from_numpy(~region)],
        )
    )


def outside_ssim(edited: Image, original: Image, region: Bool[np.ndarray, "h w"]) -> float | None:
    """Mean SSIM over the windows outside the region, in [-1, 1]; None if there are none.

    SSIM as its authors define it (Wang et al., 2004: Gaussian window with sigma 1.5), per colour channel, by
    scikit-image. A window that touches the region would also compare pixels that the edit may change, so it
    counts only if all of its 11 x 11 pixels lie outside the region and inside the image.
    """
    whole = whole_windows(region)
    if not whole.any():
        return None
    settings = {
        "gaussian_weights": True,
        "sigma": SIGMA,
        "use_sample_covariance": False,
        "channel_axis": -1,
        "data_range": 255,
        "full": True,
    }
    similarity: Any = structural_similarity(
        edited.astype(np.float64), original.astype(np.float64), **settings
    )[1]
    return float(similarity[whole].mean())


def whole_windows(region: Mask) -> Mask:
    """Centres of the SSIM windows that lie inside the image and outside the region."""
    reach, touched = WINDOW // 2, dilate(region, WINDOW // 2)
    inside = np.zeros_like(region)
    inside[reach : region.shape[0] - reach, reach : region.shape[1] - reach] = True
    return inside & ~touched


def changed_region(original: Image, target: Image, margin: int) -> Mask:
    """Where two images of one size differ in any channel, dilated by `margin` pixels, diagonals included."""
    return dilate((original != target).any(axis=2), margin)


def dilate(region: Mask, margin: int) -> Mask:
    """Dilate a region by `margin` pixels, diagonals included."""
    return np.asarray(maximum_filter(region, size=2 * margin + 1, mode="constant"))
