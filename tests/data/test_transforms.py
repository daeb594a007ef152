"""A transform treats both images alike, depends on the seed alone, and keeps the aspect ratio."""

import numpy as np
import pytest
from data.written import pixels, reward
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from src.data.mirroring import may_be_mirrored
from src.data.transforms import CentreCrop, RandomCrop, check_aspect_ratios, scaled_size
from src.records import Case, Image, Triplet


def pair(original: Image, edited: Image | None = None, instruction: str = "make it night") -> Triplet:
    return Triplet(Case("x", original, instruction, "", ""), original if edited is None else edited)


@given(
    height=st.integers(8, 60),
    width=st.integers(8, 60),
    size=st.sampled_from([8, 16]),
    seed=st.integers(0, 99),
    flip=st.sampled_from([0.0, 0.5]),
)
def test_both_images_get_the_same_square(height: int, width: int, size: int, seed: int, flip: float) -> None:
    crop = RandomCrop(size, flip)
    made = crop(pair(pixels(1, height, width)), None, seed)
    assert made.edited.shape == (*crop.image_size, 3)
    np.testing.assert_array_equal(made.case.original, made.edited)
    again = crop(pair(pixels(1, height, width)), None, seed)
    np.testing.assert_array_equal(again.edited, made.edited)


def test_the_crop_moves_along_the_long_side_and_reaches_its_ends() -> None:
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None], 16, 0).repeat(3, 2)
    lefts = {int(RandomCrop(16)(pair(ramp), None, seed).edited[0, 0, 0]) for seed in range(400)}
    assert lefts == set(range(49))
    assert int(CentreCrop(16)(pair(ramp), None, 0).edited[0, 0, 0]) == 24


def test_nothing_is_resampled_at_the_right_size() -> None:
    image = pixels(3, 32, 32)
    np.testing.assert_array_equal(RandomCrop(32)(pair(image), None, 5).edited, image)


def test_the_aspect_ratio_is_kept() -> None:
    """A circle stays one; the release's resize to a square would make it an ellipse."""
    y, x = np.mgrid[:200, :400]
    disc = np.repeat((((y - 100) ** 2 + (x - 200) ** 2) < 50**2)[..., None], 3, 2).astype(np.uint8) * 255
    made = CentreCrop(100)(pair(disc), None, 0).edited[..., 0] > 127
    assert abs(made.any(0).sum() - made.any(1).sum()) <= 1
    assert 49 <= made.any(0).sum() <= 51


@pytest.mark.parametrize(
    "text",
    [
        *("make the sign say OPEN", "change the sign to read 'STOP'", "spell hello with balloons"),
        *('change the label to "milk"', "add the title of the film", "make it look like the Eiffel tower"),
        *("give him a jersey with 23 on it", "make the cat face east", "turn it to the north-western wall"),
        *(
            "drehe das Pferd nach links",
            "tourne la voiture",
            "gira el coche",
            "gira a sinistra",
            "vend bilen",
        ),
        *(
            "把左边的狗去掉",
            "поверни машину",
            "زر را اضافه کن",
            "add a café",
            "make it NIGHT",
            "add the letter b",
        ),
        *("replace `a` with the sun", "“make it night”", "use the driver's left", "oil painting", "42", "?"),
    ],
)
def test_what_may_speak_of_sides_or_writing_is_not_mirrored(text: str) -> None:
    assert not may_be_mirrored([text])
    assert not may_be_mirrored(["make it night", text])


@pytest.mark.parametrize(
    "text",
    [
        *("make it night", "add a dog", "turn the grass yellow", "None", ""),
        *("Make the dog's fur darker. Keep it, please!", "A dog, and I like it"),
        *(
            "significant parts of the sky are missing",
            "the maple is ready to be moved",
            "a feast for the cat",
        ),
    ],
)
def test_plain_english_free_of_them_is_mirrored(text: str) -> None:
    assert may_be_mirrored([text])


def test_the_user_may_give_the_words_in_any_language() -> None:
    image = pixels(1, 24, 24)
    crop = RandomCrop(24, 1.0, ["links", "左", "rechts"])
    for text, flipped in {
        "drehe es nach Links": 0,
        "把左边的狗去掉": 0,
        "mach es dunkel": 1,
        "lies STOP": 1,
    }.items():
        made = crop(pair(image, instruction=text), None, 0).edited
        np.testing.assert_array_equal(made, image[:, ::-1] if flipped else image)
    assert may_be_mirrored(["anything on the left"], [])


def test_flips_mirror_both_and_spare_texts_that_speak_of_sides() -> None:
    mirrored = RandomCrop(24, flip=1.0)
    original, edited = pixels(1, 24, 24), pixels(2, 24, 24)
    made = mirrored(pair(original, edited), None, 0)
    np.testing.assert_array_equal(made.case.original, original[:, ::-1])
    np.testing.assert_array_equal(made.edited, edited[:, ::-1])
    np.testing.assert_array_equal(mirrored(pair(original, edited), reward("x"), 0).edited, edited[:, ::-1])
    for text in (
        "remove the cup on the left",
        "Right hand up",
        "put it leftmost",
        "add the text 'hello'",
        "rotate it counter-clockwise",
    ):
        np.testing.assert_array_equal(mirrored(pair(original, edited, text), None, 0).edited, edited)
    for text in ("make it brighter", "a wright at work", "change the texture"):
        np.testing.assert_array_equal(mirrored(pair(original, edited, text), None, 0).edited, edited[:, ::-1])


def test_feedback_that_speaks_of_sides_counts_as_well() -> None:
    from src.records import Reward, Verdict

    told = Reward(
        "x", "j", "k", Verdict(1.0, feedback="the dog on the left is missing"), Verdict(5.0), Verdict(5.0)
    )
    image = pixels(1, 24, 24)
    np.testing.assert_array_equal(RandomCrop(24, flip=1.0)(pair(image), told, 0).edited, image)


def test_half_of_the_pairs_are_flipped() -> None:
    image = pixels(1, 24, 24)
    flipped = sum(
        not np.array_equal(RandomCrop(24, 0.5)(pair(image), None, seed).edited, image) for seed in range(400)
    )
    assert 160 < flipped < 240


def test_an_edited_image_of_another_scale_is_brought_to_the_originals() -> None:
    small = pixels(4, 30, 40)
    large = np.array(Pillow.fromarray(small).resize((80, 60), Pillow.Resampling.NEAREST))
    made = CentreCrop(30)(pair(small, large), None, 0)
    assert made.case.original.shape == made.edited.shape == (30, 30, 3)
    assert (
        np.abs(made.case.original.astype(int) - made.edited).mean()
        < np.abs(made.case.original[::-1].astype(int) - made.edited).mean() / 3
    )


def test_other_aspect_ratios_are_refused_with_both_sizes() -> None:
    check_aspect_ratios((512, 512), (512, 520), "x")
    check_aspect_ratios((333, 500), (512, 768), "x")
    with pytest.raises(ValueError, match=r"the original is 512x512, the edited one 640x512"):
        check_aspect_ratios((512, 512), (512, 640), "x")
    with pytest.raises(ValueError, match="don't match"):
        RandomCrop(8)(pair(pixels(1, 20, 30), pixels(1, 30, 20)), None, 0)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 600))
def test_a_scaled_size_holds_the_crop(height: int, width: int, size: int) -> None:
    scaled = scaled_size((height, width), size)
    assert min(scaled) == size
    assert (scaled[0] >= scaled[1]) == (height >= width) or scaled[0] == scaled[1]


@pytest.mark.parametrize("arguments", [{"size": 0}, {"size": 8, "flip": 1.5}, {"size": 8, "flip": -0.1}])
def test_impossible_transforms_are_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match="not possible"):
        RandomCrop(**arguments)
