"""Images: files that say how they were made, sizes, and sheets that hold every image they were given."""

import io
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

from src.images import (
    by_long_side_64,
    by_short_side,
    centre_crop,
    contact_sheet,
    decode_image,
    image_size,
    load_image,
    read_png_text,
    resize_short_side,
    save_png,
    scale_to_fit,
)


def small_image(height: int = 32, width: int = 32, value: int = 7) -> np.ndarray:
    image = np.full((height, width, 3), value, np.uint8)
    image[0, 0] = (255, 0, 0)
    return image


def test_png_round_trip_with_metadata(tmp_path: Path) -> None:
    save_png(small_image(), tmp_path / "deep" / "a.png", {"instruction": "füge einen Hut hinzu", "seed": "3"})
    assert (load_image(tmp_path / "deep" / "a.png") == small_image()).all()
    with PIL.Image.open(tmp_path / "deep" / "a.png") as opened:
        assert opened.info["instruction"] == "füge einen Hut hinzu"
    assert read_png_text(tmp_path / "deep" / "a.png") == {"instruction": "füge einen Hut hinzu", "seed": "3"}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.png"]


def test_exif_orientation_is_obeyed(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(small_image(20, 40)).save(tmp_path / "turned.png", exif=exif)
    assert load_image(tmp_path / "turned.png").shape == (40, 20, 3)


def test_grey_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    PIL.Image.new("L", (5, 4), 9).save(tmp_path / "grey.png")
    PIL.Image.new("RGBA", (5, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert load_image(tmp_path / "grey.png").tolist() == np.full((4, 5, 3), 9).tolist()
    assert load_image(tmp_path / "clear.png").min() == 255


def test_broken_and_missing_images_are_named(tmp_path: Path) -> None:
    save_png(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8), tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    (tmp_path / "text.png").write_text("hello")
    for name in ("cut.png", "text.png"):
        with pytest.raises(ValueError, match=name):
            load_image(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        load_image(tmp_path / "gone.png")


def test_resize_keeps_the_aspect_ratio_and_crop_the_middle() -> None:
    assert (
        resize_short_side(small_image(100, 150), 32).shape
        == (*by_short_side(100, 150, 32).size, 3)
        == (32, 48, 3)
    )
    assert by_short_side(150, 100, 32).size == (48, 32)
    assert by_short_side(1, 300, 2).size == (2, 600)
    ramp = np.repeat(np.arange(9, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(4, axis=0)
    assert centre_crop(ramp, 2, 3)[0, :, 0].tolist() == [3, 4, 5]
    with pytest.raises(ValueError, match="cannot crop"):
        centre_crop(ramp, 5, 3)


def test_enlarging_by_a_whole_number_repeats_pixels() -> None:
    enlarged = scale_to_fit(small_image(32, 32), 128)
    assert enlarged.shape == (128, 128, 3)
    assert (enlarged[::4, ::4] == small_image(32, 32)).all()
    assert scale_to_fit(small_image(50, 100), 128).shape == (64, 128, 3)


def test_a_sheet_holds_its_images() -> None:
    values = [[11, 12], [13, 14], [15, 16]]
    rows = [[small_image(value=value) for value in row] for row in values]
    sheet = contact_sheet(
        rows,
        ["original", "edit"],
        ["remove\nRemove the circle", "", "x " * 200],
        [["", "F 1.0"]] * 3,
        cell=64,
    )
    bare = contact_sheet(rows, ["original", "edit"], ["", "", ""], cell=64)
    for value in range(11, 17):
        assert ((sheet == value).all(2)).sum() >= 64 * 64 - 4
        assert ((bare == value).all(2)).sum() >= 64 * 64 - 4
    assert bare.shape[0] < sheet.shape[0]
    assert bare.shape[1] < sheet.shape[1]


def test_a_sheet_with_a_hole_and_images_of_several_sizes() -> None:
    sheet = contact_sheet([[small_image(20, 40), None]], ["a", "b"], ["row"], cell=80)
    assert ((sheet == 7).all(2)).sum() >= 80 * 40 - 40


def test_long_column_titles_are_wrapped() -> None:
    short, long = (
        contact_sheet([[small_image(40, 40)] * 2], ["a", title], ["row"], cell=120)
        for title in ("b", "5/5/5 best of 8 by noisy_oracle")
    )
    assert long.shape == (short.shape[0] + 17, *short.shape[1:])


def test_titles_and_captions_must_fit() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([], ["a"], [])
    with pytest.raises(ValueError, match="row titles"):
        contact_sheet([[small_image()]], ["a"], [])
    with pytest.raises(ValueError, match="column titles"):
        contact_sheet([[small_image()]], ["a", "b"], ["r"])
    with pytest.raises(ValueError, match="caption"):
        contact_sheet([[small_image()]], ["a"], ["r"], [["x", "y"]])


def test_sixteen_bits_become_eight_and_32_bits_are_refused(tmp_path) -> None:
    levels = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    PIL.Image.fromarray(levels).save(tmp_path / "deep.png")
    assert load_image(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 1, 128, 255]
    PIL.Image.fromarray(np.zeros((2, 2), dtype=np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(ValueError, match=r"float.tiff has 32-bit grey values"):
        load_image(tmp_path / "float.tiff")


def test_a_header_tells_the_size_that_decoding_gives(tmp_path) -> None:
    exif = PIL.Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        for form in ("jpg", "png", "tiff", "webp"):
            turned = tmp_path / f"turned.{form}"
            PIL.Image.new("RGB", (40, 20)).save(turned, exif=exif)
            assert (
                image_size(turned, "x")
                == load_image(turned).shape[:2]
                == ((20, 40) if orientation < 5 else (40, 20))
            )
    with pytest.raises(
        ValueError, match=r"^in memory is not a readable image \(not an image in a known format\)"
    ):
        decode_image(io.BytesIO(b"nothing"), "in memory")


def test_long_side_64_is_the_fit_of_the_releases(tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (130, 201, 3)).astype(np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png", partial(by_long_side_64, pixels=128))
    assert image.shape == (128, 192, 3)
    expected = np.array(
        PIL.ImageOps.fit(PIL.Image.fromarray(pixels), (192, 128), PIL.Image.Resampling.LANCZOS)
    ).astype(int)
    assert np.abs(image - expected).max() <= 1
