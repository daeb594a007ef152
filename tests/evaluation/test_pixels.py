"""Distances, SSIM outside a region and the preparation of images, against the definition written out
another way.
"""

import numpy as np
import PIL.Image
import pytest
import torch
from evaluation.drawn import random_image
from skimage.metrics import structural_similarity
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from src.evaluation.pixels import (
    CLIP_MEAN,
    CLIP_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    changed_region,
    cosine,
    l1,
    l2,
    outside_l1,
    outside_ssim,
    preprocess,
    resize_bicubic,
    to_unit_range,
    whole_windows,
)

SIZES = [(64, 64), (300, 224), (225, 500), (500, 227), (40, 31), (1024, 701)]
CLIP, DINO = (
    Preprocessing(224, 224, CLIP_MEAN, CLIP_STD),
    Preprocessing(256, 224, IMAGENET_MEAN, IMAGENET_STD),
)


def test_l1_and_l2_by_hand() -> None:
    one, other = torch.tensor([[0.0, 0.5], [1.0, 1.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    assert float(l1(one, other)) == 1.5 / 4
    assert float(l2(one, other)) == 1.25 / 4


def test_an_edit_of_another_size_is_compared_at_the_size_of_its_target() -> None:
    edited, target = random_image(40, 60), random_image(80, 100, seed=1)
    expected = (
        np.asarray(PIL.Image.fromarray(edited).resize((100, 80), PIL.Image.Resampling.BICUBIC)) / 255
        - target / 255
    )
    pixels = to_unit_range(resize_bicubic(edited, 80, 100)), to_unit_range(target)
    assert float(l1(*pixels)) == pytest.approx(np.abs(expected).mean(), abs=1e-6)
    assert float(l2(*pixels)) == pytest.approx((expected**2).mean(), abs=1e-6)


def test_cosines() -> None:
    one = torch.tensor([[1.0, 0.0], [2.0, 2.0], [0.3, -0.7]])
    other = torch.tensor([[0.0, 5.0], [1.0, 0.0], [0.3, -0.7]])
    assert cosine(one, other).tolist() == pytest.approx([0.0, 0.5**0.5, 1.0], abs=1e-12)
    assert cosine(one, -one).tolist() == pytest.approx([-1.0] * 3)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", [CLIP, DINO], ids=["clip", "dino"])
def test_preparation_as_torchvision_does_it(size: tuple[int, int], how: Preprocessing) -> None:
    """Resize(short side, bicubic), CenterCrop, ToTensor, Normalize, written out for Pillow."""
    height, width = size
    image = random_image(*size)
    new_width, new_height = (
        (how.short_side, how.short_side * height // width)
        if width <= height
        else (how.short_side * width // height, how.short_side)
    )
    scaled = PIL.Image.fromarray(image).resize((new_width, new_height), PIL.Image.Resampling.BICUBIC)
    left = int(round((new_width - how.side) / 2.0))  # noqa: RUF046
    top = int(round((new_height - how.side) / 2.0))  # noqa: RUF046
    cut = np.asarray(scaled.crop((left, top, left + how.side, top + how.side)), dtype=np.float64) / 255
    expected = (cut - np.array(how.mean)) / np.array(how.std)
    assert np.abs(preprocess(image, how).numpy() - expected.transpose(2, 0, 1)).max() < 1e-5


def test_the_library_s_processor_differs_only_where_it_cuts_a_pixel_off_the_middle() -> None:
    """CLIPImageProcessor rounds the crop's corner down, torchvision to the nearest even number; where both
    agree, so do the pixels.
    """
    apart = []
    for size in SIZES:
        theirs = torch.tensor(
            CLIPImageProcessorPil()(random_image(*size), return_tensors="np")["pixel_values"][0]
        )
        if float((theirs - preprocess(random_image(*size), CLIP)).abs().max()) > 1e-5:
            apart.append(size)
    rest = [max(int(224 * side / min(size)) for side in size) - 224 for size in SIZES]
    assert apart == [
        size for size, surplus in zip(SIZES, rest, strict=True) if round(surplus / 2) != surplus // 2
    ]
    assert 0 < len(apart) < len(SIZES)


def test_outside_of_a_region_what_is_inside_does_not_count() -> None:
    original = random_image(48, 40)
    region = np.zeros((48, 40), dtype=bool)
    region[10:20, 5:15] = True
    edited = original.copy()
    edited[region] = 255 - edited[region]
    assert outside_l1(edited, original, region) == 0.0
    assert outside_ssim(edited, original, region) == pytest.approx(1.0, abs=1e-12)
    edited[40, 30] = 255 - original[40, 30]
    expected = np.abs(edited[40, 30].astype(float) - original[40, 30]).sum() / 255 / 3 / (48 * 40 - 100)
    assert outside_l1(edited, original, region) == pytest.approx(expected, abs=1e-8)
    assert outside_ssim(edited, original, region) < 1.0


def test_without_a_region_ssim_is_the_library_s() -> None:
    """A region of nothing leaves the mean that scikit-image gives, which also leaves out windows that leave
    the image.
    """
    one, other = random_image(40, 50), random_image(40, 50, seed=1)
    settings = {
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
        "channel_axis": -1,
        "data_range": 255,
    }
    expected = structural_similarity(one.astype(float), other.astype(float), **settings)
    assert outside_ssim(one, other, np.zeros((40, 50), dtype=bool)) == pytest.approx(expected, abs=1e-12)


def test_windows_outside_a_region() -> None:
    region = np.zeros((30, 30), dtype=bool)
    region[15, 20] = True
    whole = whole_windows(region)
    expected = [
        [
            5 <= row < 25 and 5 <= column < 25 and max(abs(row - 15), abs(column - 20)) > 5
            for column in range(30)
        ]
        for row in range(30)
    ]
    assert whole.tolist() == expected
    assert not whole_windows(np.zeros((10, 50), dtype=bool)).any()


def test_nothing_lies_outside_of_everything() -> None:
    everything = np.ones((20, 20), dtype=bool)
    assert outside_l1(random_image(20, 20), random_image(20, 20), everything) is None
    assert outside_ssim(random_image(20, 20), random_image(20, 20), everything) is None


def test_a_changed_region_has_its_margin() -> None:
    original = np.zeros((9, 9, 3), np.uint8)
    target = original.copy()
    target[4, 4, 1] = 1
    assert np.argwhere(changed_region(original, target, 0)).tolist() == [[4, 4]]
    assert changed_region(original, target, 2).sum() == 25
    assert not changed_region(original, original, 2).any()
