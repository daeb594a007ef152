"""Pixels are what LittleCMS makes of a file's profile, in every kind of file."""

import io
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from colour_profiles import cmyk_profile, grey_profile, rgb_profile
from PIL import ImageCms

from src.colours import meaning_of
from src.images import decode_image, image_size, load_image, load_mask
from src.judges.encoding import encode_for_judge
from src.synthetic.photos import WHEEL, read_photograph, wheel_folder

P3, WIDE, EXCHANGED = (rgb_profile(name) for name in ("display_p3", "wide", "exchanged"))
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LINEAR = grey_profile(1.0)
CMYK = cmyk_profile()
RAMP = np.linspace(0, 255, 24 * 16 * 3).reshape(24, 16, 3)
PHOTO = PIL.Image.fromarray(((RAMP * (1, 3, 7) + (0, 40, 90)) % 256).astype(np.uint8))
GREY = PHOTO.convert("L")
TURNED = PIL.Image.Exif()
TURNED[0x0112] = 6


def written(image: PIL.Image.Image, **how: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, **how)
    return file


def shown(image: PIL.Image.Image, profile: bytes, mode: str = "RGB") -> np.ndarray:
    """What a viewer shows of the stored numbers."""
    source, mine = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    made = ImageCms.profileToProfile(image.convert(mode), source, mine, outputMode="RGB")
    return np.asarray(made).astype(int)


def reopened(file: io.BytesIO) -> PIL.Image.Image:
    file.seek(0)
    return PIL.Image.open(file)


KINDS: dict[str, tuple[Callable[[], io.BytesIO], bytes, str]] = {
    "png p3": (lambda: written(PHOTO, format="PNG", icc_profile=P3), P3, "RGB"),
    "jpeg wide": (lambda: written(PHOTO, format="JPEG", quality=95, icc_profile=WIDE), WIDE, "RGB"),
    "tiff exchanged": (lambda: written(PHOTO, format="TIFF", icc_profile=EXCHANGED), EXCHANGED, "RGB"),
    "webp p3": (lambda: written(PHOTO, format="WEBP", lossless=True, icc_profile=P3), P3, "RGB"),
    "palette": (lambda: written(PHOTO.quantize(16), format="PNG", icc_profile=WIDE), WIDE, "RGB"),
    "grey of rgb": (lambda: written(GREY, format="JPEG", icc_profile=WIDE), WIDE, "RGB"),
    "grey": (lambda: written(GREY, format="PNG", icc_profile=LINEAR), LINEAR, "L"),
    "cmyk jpeg": (lambda: written(PHOTO.convert("CMYK"), format="JPEG", icc_profile=CMYK), CMYK, "CMYK"),
    "cmyk tiff": (lambda: written(PHOTO.convert("CMYK"), format="TIFF", icc_profile=CMYK), CMYK, "CMYK"),
    "animated webp": (
        lambda: written(
            PHOTO,
            format="WEBP",
            lossless=True,
            icc_profile=P3,
            save_all=True,
            append_images=[PHOTO.rotate(180)],
        ),
        P3,
        "RGB",
    ),
    "animated png": (
        lambda: written(
            PHOTO, format="PNG", icc_profile=WIDE, save_all=True, append_images=[PHOTO.rotate(180)]
        ),
        WIDE,
        "RGB",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_that_littlecms_shows(kind: str) -> None:
    make, profile, mode = KINDS[kind]
    file = make()
    expected = shown(reopened(file), profile, mode)
    assert np.abs(expected - np.asarray(reopened(file).convert("RGB"))).max() > 5, (
        "the profile says something"
    )
    assert np.abs(decode_image(file, "x").astype(int) - expected).max() <= 1
    sent = encode_for_judge(decode_image(file, "x"), file.getvalue(), 10**6)
    assert np.abs(decode_image(io.BytesIO(sent.content), "x").astype(int) - expected).max() <= 1
    assert sent.content != file.getvalue()


def test_orientation_and_transparency_go_with_a_profile() -> None:
    turned = written(PHOTO, format="PNG", icc_profile=P3, exif=TURNED)
    np.testing.assert_array_equal(decode_image(turned, "x"), np.rot90(shown(PHOTO, P3), -1))
    opacity = PIL.Image.fromarray(np.asarray(GREY) // 2 + 100)
    clear = PHOTO.copy()
    clear.putalpha(opacity)
    share = np.asarray(opacity).astype(float)[..., None] / 255
    expected = shown(PHOTO, P3) * share + 255 * (1 - share)
    for form in ("PNG", "WEBP"):
        file = written(clear, format=form, lossless=True, exact=True, icc_profile=P3)
        assert np.abs(decode_image(file, "x") - expected).max() <= 1


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.6])
def test_sixteen_bits_of_grey_go_through_their_profile(gamma: float) -> None:
    values = np.arange(0, 65536, 257, dtype=np.uint16)[None]
    file = written(PIL.Image.fromarray(values), format="PNG", icc_profile=grey_profile(gamma))
    eight = PIL.Image.fromarray((values // 257).astype(np.uint8))
    np.testing.assert_array_equal(decode_image(file, "x"), shown(eight, grey_profile(gamma), "L"))


def test_a_tiff_that_counts_from_white() -> None:
    values = np.array([[0, 257, 65535]], dtype=np.uint16)
    file = written(PIL.Image.fromarray(values), format="TIFF", tiffinfo={262: 0})
    assert decode_image(file, "x")[0, :, 0].tolist() == [255, 254, 0]


def test_srgb_leaves_the_numbers_and_the_file_as_they_are() -> None:
    file = written(PHOTO, format="PNG", icc_profile=SRGB)
    np.testing.assert_array_equal(decode_image(file, "x"), np.asarray(PHOTO))
    assert encode_for_judge(np.asarray(PHOTO), file.getvalue(), 10**6).content == file.getvalue()


@pytest.mark.parametrize(
    ("profile", "reason"),
    [(b"junk" * 50, "cannot open"), (P3[:400], "cannot"), (CMYK, "it is for CMYK and the image is RGB")],
)
def test_a_useless_profile_is_left_out_with_one_warning(
    profile: bytes, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(PHOTO, format="PNG", icc_profile=profile)
    for name in ("a.png", "b.png"):
        np.testing.assert_array_equal(decode_image(file, name), np.asarray(PHOTO))
    told = capsys.readouterr().err
    assert told.startswith("warning: the colour profile of a.png is ignored (")
    assert reason in told
    assert told.count("\n") == 1
    sent = encode_for_judge(np.asarray(PHOTO), file.getvalue(), 10**6).content
    assert sent != file.getvalue(), "others may read the profile"


def empty_png(width: int, height: int, padding: int = 0) -> bytes:
    """A black image of 1 bit, some kB, with as many bytes of text as wanted."""

    def chunk(name: bytes, content: bytes) -> bytes:
        body = name + content
        return len(content).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    packer = zlib.compressobj(9)
    lines = [packer.compress(bytes(1 + -(-width // 8))) for _ in range(height)]
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    text = chunk(b"juNk", bytes(padding))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + text
        + chunk(b"IDAT", b"".join(lines) + packer.flush())
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (empty_png(13300, 13300), "13300x13300 pixels, more than 100,000,000"),
        (empty_png(8000, 8000), "8000x8000 pixels out of .* bytes, which no photograph is"),
        (empty_png(11000, 11000, 2_000_000), "11000x11000 pixels, more than"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "EPS is a program"),
    ],
)
def test_what_no_photograph_is_is_refused_before_it_is_decoded(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "bomb.png").write_bytes(content)
    for read in (load_image, load_mask, lambda path: image_size(path, str(path))):
        with pytest.raises(ValueError, match=rf"bomb.png is not a readable image \({reason}"):
            read(tmp_path / "bomb.png")


def test_masks_of_sixteen_bits(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.array([[0, 300, 65535]], dtype=np.uint16)).save(tmp_path / "mask.png")
    assert load_mask(tmp_path / "mask.png").grey.tolist() == [[0, 1, 255]]


def test_photographs_of_the_synthetic_world_are_read_like_all_others(tmp_path: Path) -> None:
    """Of those in scikit-image's wheel only the rocket has a profile unlike sRGB."""
    names = [
        name for share in WHEEL.values() for name in share if name not in ("retina.jpg", "clock_motion.png")
    ]
    for name in names:
        with PIL.Image.open(wheel_folder() / name) as opened:
            stored = np.asarray(opened.convert("RGB"))
            is_other = name == "rocket.jpg"
            expected = shown(opened, opened.info["icc_profile"]) if is_other else stored
        np.testing.assert_array_equal(read_photograph(wheel_folder() / name).pixels, expected)
    (tmp_path / "own.png").write_bytes(written(PHOTO, format="PNG", icc_profile=P3, exif=TURNED).getvalue())
    pixels = read_photograph(tmp_path / "own.png").pixels
    np.testing.assert_array_equal(pixels, np.rot90(shown(PHOTO, P3), -1))


def test_a_profile_is_read_once() -> None:
    assert meaning_of(P3) is meaning_of(P3)
