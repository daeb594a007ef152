"""A picture of Pillow or NumPy is read as a file of it is."""

import io
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from src.images import by_short_side, load_image
from src.pictures import picture_size, read_picture

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 40, 4)).astype(np.uint8)
COLOURED = PIL.Image.fromarray(PIXELS)
DEEP = PIL.Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)


def turned(orientation: int) -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("form", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_as_a_file_is(tmp_path: Path, form: str, orientation: int) -> None:
    file = tmp_path / f"turned.{form}"
    COLOURED.convert("RGB").save(file, exif=turned(orientation))
    framing = partial(by_short_side, pixels=16)
    with PIL.Image.open(file) as opened:
        for picture in (opened, opened.copy(), file, str(file)):  # not yet decoded, and decoded
            assert np.array_equal(read_picture(picture), load_image(file))
            assert np.array_equal(read_picture(picture, framing=framing), load_image(file, framing))
            assert picture_size(picture) == load_image(file).shape[:2]
        assert opened.getexif().get(0x0112, 1) == orientation or form == "tiff"  # Pillow turns a TIFF itself


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "white is 0"])
def test_rgb_as_a_file_is(tmp_path: Path, mode: str) -> None:
    deep = mode in ("I;16", "white is 0")
    file = tmp_path / ("picture.tiff" if deep or mode == "CMYK" else "picture.png")
    image = (
        DEEP if deep else COLOURED.convert("RGB").convert(mode) if mode == "CMYK" else COLOURED.convert(mode)
    )
    image.save(file, **({"tiffinfo": {262: 0}} if mode == "white is 0" else {}))
    with PIL.Image.open(file) as opened:
        assert np.array_equal(read_picture(opened), load_image(file))
    if image.mode in ("L", "RGB", "RGBA"):
        assert np.array_equal(read_picture(np.array(image)), load_image(file))


def test_what_is_no_picture_is_refused_in_one_line(tmp_path: Path) -> None:
    for wrong, said in (
        (np.zeros((3, 4)), "it is an array of float64 of shape"),
        (np.zeros((3, 4, 2), np.uint8), r"of shape \(3, 4, 2\): give uint8"),
        (7, "it is a int: give a path, a Pillow image or a uint8 array"),
        (PIL.Image.new("F", (3, 4)), "32-bit grey"),
    ):
        with pytest.raises(ValueError, match=said):
            read_picture(wrong, "it")  # pyright: ignore[reportArgumentType]
    with pytest.raises(FileNotFoundError, match="no image"):
        read_picture(tmp_path / "none.png")
    whole = io.BytesIO()
    COLOURED.save(whole, format="PNG")
    with pytest.raises(ValueError, match="it is not a readable image"):
        read_picture(PIL.Image.open(io.BytesIO(whole.getvalue()[:900])), "it")
