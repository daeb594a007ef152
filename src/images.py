"""Image files in and out: PNG with metadata, contact sheets with titles and captions.

Every image is an `Image` (RGB, uint8, rows from the top); nothing here knows models or judges.
"""

import math
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import final

import numpy as np
import PIL.Image
from jaxtyping import UInt8
from PIL import ExifTags, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from src.colours import in_srgb
from src.files import replacing
from src.fonts import font_for
from src.records import Image

INK, PALE, PAPER, FRAME = (24, 24, 27), (106, 106, 115), (255, 255, 255), (222, 222, 226)
MARGIN, GAP, TITLE_WIDTH = 16, 10, 190

WHITE_IS = 262
"""TIFF's tag PhotometricInterpretation."""

QUARTER_TURNS = (5, 6, 7, 8)
"""EXIF orientations in which height and width change places."""

HUGE = 40_000_000
"""Larger JPEGs are decoded at a half, a quarter or an eighth of their size, at least twice the size asked
for: otherwise 100 million pixels take half a gigabyte."""

MOST_PIXELS = 100_000_000
"""Images of other formats with more are refused before they are decoded."""

THINNEST = 200
"""Most pixels for a byte of an image beyond HUGE. Photographs have 2 to 20, an empty image that was made to
fill the memory has thousands."""

BROKEN = (
    *(
        OSError,
        SyntaxError,
        ValueError,
        TypeError,
        LookupError,
        RuntimeError,
        EOFError,
        struct.error,
        zlib.error,
    ),
    PIL.Image.DecompressionBombError,
)
"""The exceptions that Pillow raised for randomly corrupted files: OSError for a truncated file, SyntaxError
for a PNG, RuntimeError for an AVIF ...
"""

# Pillow warns above 90 million pixels, a size of today's photographs, and refuses 180 million; our own limits
# are in `_check_before_decoding`
warnings.filterwarnings("ignore", category=PIL.Image.DecompressionBombWarning)

NewImage = UInt8[np.ndarray, "new_h new_w 3"]
"""An Image of another size than the one it was made from."""

AnyImage = UInt8[np.ndarray, "_ _ 3"]
"""An Image among others of other sizes."""


@final
@dataclass(frozen=True)
class Frame:
    """How an image is cropped and resized.

    Attributes:
        size: height and width of the result.
        part: left, top, right and bottom of the part that is kept, in pixels of the original.
    """

    size: tuple[int, int]
    part: tuple[float | int, float | int, float | int, float | int]


Framing = Callable[[int, int], Frame]
"""Maps the height and width of an image to its frame."""


def native(height: int, width: int) -> Frame:
    """The whole image at its own size."""
    return Frame((height, width), (0, 0, width, height))


def by_short_side(height: int, width: int, pixels: int) -> Frame:
    """Scale the shorter side to `pixels`, keeping the aspect ratio.

    Raises:
        ValueError: less than one pixel.
    """
    if pixels < 1:
        raise ValueError(f"the short side must have at least 1 pixel, got {pixels}")
    scale = pixels / min(height, width)
    return Frame((max(1, round(height * scale)), max(1, round(width * scale))), (0, 0, width, height))


def by_long_side_64(height: int, width: int, pixels: int) -> Frame:
    """The resizing of the releases of InsPix2Pix and of the multi-reward paper: the long side about `pixels`,
    both sides multiples of 64.

    The short side is rounded up, so the long one may exceed `pixels`; the image is then cropped slightly at
    both ends.
    """
    scale = pixels / max(height, width)
    scale = math.ceil(min(height, width) * scale / 64) * 64 / min(height, width)
    # 49 * (64 / 49) is less than 64 in floats, where the releases fail
    new_height, new_width = (max(64, int(side * scale) // 64 * 64) for side in (height, width))
    kept_height, kept_width = (
        min(height, width * new_height / new_width),
        min(width, height * new_width / new_height),
    )
    left, top = (width - kept_width) / 2, (height - kept_height) / 2
    return Frame((new_height, new_width), (left, top, left + kept_width, top + kept_height))


def by_area(height: int, width: int, pixels: int) -> Frame:
    """The whole image, shrunk to this area if it is larger, as FLUX.2 does."""
    scale = min(1.0, math.sqrt(pixels / (height * width)))
    return Frame((max(1, int(height * scale)), max(1, int(width * scale))), (0, 0, width, height))


def square(height: int, width: int, pixels: int) -> Frame:
    """The whole image squeezed to a square, as in the release of SmartEdit."""
    return Frame((pixels, pixels), (0, 0, width, height))


def framing_for(resize: str | int, trained: int) -> Framing:
    """The framing that `resize` names.

    Raises:
        ValueError: neither "trained", "keep", a number of pixels, "long_side_64:<pixels>",
            "square:<pixels>" or "area:<pixels>".
    """
    if resize == "keep":
        return native
    if resize == "trained":
        return partial(by_short_side, pixels=trained)
    name, _, pixels = str(resize).rpartition(":")
    framings: Mapping[str, Callable[..., Frame]] = {
        "": by_short_side,
        "long_side_64": by_long_side_64,
        "square": square,
        "area": by_area,
    }
    if pixels.isdecimal() and int(pixels) >= 1 and name in framings:
        return partial(framings[name], pixels=int(pixels))
    raise ValueError(
        f"resize={resize}: say trained, keep, the short side in pixels, long_side_64:512, square:256 or "
        "area:1048576"
    )


def encode_png(image: Image) -> bytes:
    """Encode an image as PNG."""
    content = BytesIO()
    PIL.Image.fromarray(image).save(content, format="PNG")
    return content.getvalue()


def save_png(image: Image, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a PNG with text metadata, atomically.

    Raises:
        NotWrittenError: the file cannot be written.
    """
    text = PngInfo()
    for name, value in (metadata or {}).items():
        text.add_itxt(name, value)
    # not durable: there are thousands of images, and each can be made again (`is_written` finds those that a
    # loss of power left empty)
    with replacing(path, durable=False) as partial:
        PIL.Image.fromarray(image).save(partial, format="PNG", pnginfo=text)


def load_image(path: Path, framing: Framing = native) -> Image:
    """Load an image as RGB, upright by its EXIF orientation, in the colours of sRGB by its profile, resized
    by `framing`.

    Transparency is blended with white, 16 bits become 8, and of an animation or multi-page file the first
    image is taken.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is not an image, is broken, has too many pixels (MOST_PIXELS, or a JPEG's 180
            million; THINNEST), or has values without a known white point (32-bit grey).
    """
    return decode_image(require_file(path), str(path), framing)


def decode_image(source: Path | BytesIO, where: str, framing: Framing = native) -> Image:
    """`load_image` for an image in memory; `where` names it in errors. Raises ValueError as `load_image`."""
    with open_image(source, where) as opened:
        return decode_opened(opened, where, framing)


def decode_opened(opened: PIL.Image.Image, where: str, framing: Framing = native) -> Image:
    """`load_image` for one that Pillow has opened, which changes by it. Raises ValueError for 32-bit grey,
    and whatever Pillow raises.
    """
    frame = framing(*upright_size(opened))
    if opened.width * opened.height > HUGE:
        opened.draft(opened.mode, (2 * max(frame.size), 2 * max(frame.size)))  # JPEG only
    ImageOps.exif_transpose(opened, in_place=True)
    shown = in_srgb(black_is_zero(opened), where)
    return _flat(_framed(_resizable(shown, where), frame))


@final
@dataclass(frozen=True)
class Mask:
    """What a mask says at each pixel.

    Attributes:
        grey: brightness as stored, of transparent pixels too.
        opacity: None for an image without transparency.
    """

    grey: UInt8[np.ndarray, "h w"]
    opacity: UInt8[np.ndarray, "h w"] | None


def load_mask(path: Path) -> Mask:
    """Load a mask, upright, 16 bits as 8; its numbers are no colours, so no profile is applied. Raises as
    `load_image`.
    """
    with open_image(require_file(path), str(path)) as opened:
        ImageOps.exif_transpose(opened, in_place=True)
        stored = black_is_zero(opened)
        clear = stored.has_transparency_data
        opacity = np.array(stored.convert("RGBA").getchannel("A")) if clear else None
        grey = _flat(stored)[..., 0] if stored.mode.startswith("I;16") else np.array(stored.convert("L"))
    return Mask(grey, opacity)


def black_is_zero(opened: PIL.Image.Image) -> PIL.Image.Image:
    """Exchange black and white of a TIFF of 16 bits that counts from white, which Pillow does for 8 alone."""
    counts_from_white = opened.format == "TIFF" and opened.mode.startswith("I;16")
    if not counts_from_white or getattr(opened, "tag_v2", {}).get(WHITE_IS) != 0:
        return opened
    turned = PIL.Image.fromarray(65535 - np.asarray(opened))
    turned.info.update(opened.info)
    return turned


def _framed(image: PIL.Image.Image, frame: Frame) -> PIL.Image.Image:
    """Crop and resize. Pillow weights colours by their opacity."""
    height, width = frame.size
    left, top, right, bottom = frame.part
    if image.size == (width, height) == (right - left, bottom - top):
        return image
    # crops are centred, so left + right is the width that `frame` was made for, before any draft
    across, down = image.width / (left + right), image.height / (top + bottom)
    part = left * across, top * down, right * across, bottom * down
    return image.resize((width, height), PIL.Image.Resampling.LANCZOS, box=part)


def _resizable(image: PIL.Image.Image, where: str) -> PIL.Image.Image:
    """Convert an image to a mode whose values can be averaged, which palettes, single bits and transparent
    colours can't.

    Raises:
        ValueError: 32-bit grey.
    """
    if image.mode in ("I", "F"):
        raise ValueError(
            f"{where} has 32-bit grey values (mode {image.mode!r}), whose white is unknown; "
            "save it with 8 or 16 bits"
        )
    if image.mode in ("P", "PA") or (image.mode in ("L", "RGB") and image.has_transparency_data):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image.convert("L") if image.mode == "1" else image


def _flat(image: PIL.Image.Image) -> Image:
    """Convert to RGB: transparency on white, 16 bits to 8."""
    if image.mode.startswith("I;16"):
        # Pillow would clip 16 bits at 255, which makes the image white
        grey = np.rint(np.asarray(image).astype(np.float64) / 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        white = PIL.Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = PIL.Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image.convert("RGB"))


def image_size(source: Path | BytesIO, where: str) -> tuple[int, int]:
    """Height and width of an upright image, from its header alone. Raises ValueError as `load_image`.

    The orientation of a PNG is read only if it precedes the pixels, where all programs we know put it.
    """
    with open_image(source, where) as opened:
        return upright_size(opened)


def upright_size(opened: PIL.Image.Image) -> tuple[int, int]:
    """Height and width after `exif_transpose`."""
    width, height = opened.size
    if opened.format == "TIFF" or (opened.format == "PNG" and "exif" not in opened.info):
        # a TIFF opens with its sides already swapped; a PNG would be decoded to look for its orientation
        return height, width
    return (
        (width, height)
        if opened.getexif().get(ExifTags.Base.Orientation, 1) in QUARTER_TURNS
        else (height, width)
    )


def read_png_text(path: Path) -> dict[str, str]:
    """The text metadata written by `save_png`, read without decoding. Raises as `load_image`."""
    with open_image(require_file(path), str(path)) as opened:
        return {str(name): str(value) for name, value in opened.info.items() if isinstance(value, str)}


def require_file(path: Path) -> Path:
    """Return the path; raises FileNotFoundError unless it is a file."""
    if not path.is_file():
        raise FileNotFoundError(f"no image {path}; give an existing file")
    return path


@contextmanager
def open_image(source: Path | BytesIO, where: str) -> Iterator[PIL.Image.Image]:
    """Open an image with Pillow; errors of broken images become a ValueError of one line, and so do images
    that would fill the memory.
    """
    with whole_image(where), PIL.Image.open(source) as opened:
        _check_before_decoding(opened, _file_size(source))
        yield opened


@contextmanager
def whole_image(where: str) -> Iterator[None]:
    """Within it, what Pillow raises for a broken image becomes a ValueError of one line."""
    try:
        yield
    except BROKEN as error:
        # Pillow's message would name the buffer
        reason = (
            "not an image in a known format"
            if isinstance(error, UnidentifiedImageError)
            else str(error).rstrip(".")
        )
        raise ValueError(f"{where} is not a readable image ({reason}); replace it or leave it out") from error


def _check_before_decoding(opened: PIL.Image.Image, file_size: int) -> None:
    """Raise ValueError for an image that no photograph is: too many pixels, at all or for its file; or one
    that is a program for a printer.
    """
    pixels = opened.width * opened.height
    size = f"{opened.width}x{opened.height} pixels"
    if opened.format == "EPS":
        raise ValueError("EPS is a program, which is not run; save it as PNG")
    if pixels > MOST_PIXELS and opened.format not in ("JPEG", "MPO"):
        raise ValueError(f"{size}, more than {MOST_PIXELS:,}; scale it down, or save it as JPEG")
    if pixels > HUGE and pixels > THINNEST * file_size:
        raise ValueError(f"{size} out of {file_size:,} bytes, which no photograph is; scale it down")


def _file_size(source: Path | BytesIO) -> int:
    return source.stat().st_size if isinstance(source, Path) else source.getbuffer().nbytes


def resize_short_side(image: Image, short_side: int) -> NewImage:
    """Scale the shorter side of an image to `short_side` pixels. Raises ValueError as `by_short_side`."""
    height, width = image.shape[:2]
    return np.array(_framed(PIL.Image.fromarray(image), by_short_side(height, width, short_side)))


def resize_to(image: Image, height: int, width: int) -> NewImage:
    """Scale an image to a size, whatever its aspect ratio."""
    return np.array(
        _framed(PIL.Image.fromarray(image), Frame((height, width), native(*image.shape[:2]).part))
    )


def centre_crop(image: Image, height: int, width: int) -> NewImage:
    """Crop the middle of the image.

    Raises:
        ValueError: the crop is larger than the image.
    """
    full_height, full_width = image.shape[:2]
    if height > full_height or width > full_width:
        raise ValueError(f"cannot crop {width}x{height} out of {full_width}x{full_height}")
    top, left = (full_height - height) // 2, (full_width - width) // 2
    return image[top : top + height, left : left + width].copy()


def contact_sheet(
    rows: Sequence[Sequence[AnyImage | None]],
    column_titles: Sequence[str],
    row_titles: Sequence[str],
    captions: Sequence[Sequence[str]] | None = None,
    cell: int = 128,
) -> NewImage:
    """Draw a table of images, each scaled to fit a square cell, with titles above and at the left and small
    captions below.

    Args:
        rows: images row by row; None leaves a cell empty.
        column_titles: one per column, wrapped at the width of its cell.
        row_titles: one per row, wrapped; a first line followed by a line break is set in bold.
        captions: one per image, a single short line; None for no captions at all.
        cell: side of a cell in pixels.

    Raises:
        ValueError: no rows, or numbers of titles or captions that do not fit the images.
    """
    _check_table(rows, column_titles, row_titles, captions)
    title_width = TITLE_WIDTH if any(row_titles) else 0
    caption_height = 20 if captions is not None else 0
    headings = [_wrapped(title, 13, cell + GAP, bold=True) for title in column_titles]
    heading = 13 + 17 * max(1, *(len(lines) for lines in headings))
    width = 2 * MARGIN + title_width + len(column_titles) * (cell + GAP) - GAP
    height = 2 * MARGIN + heading + len(rows) * (cell + caption_height + GAP) - GAP
    sheet = PIL.Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)

    for column, lines in enumerate(headings):
        centre = MARGIN + title_width + column * (cell + GAP) + cell / 2
        for above, line in enumerate(reversed(lines)):
            draw.text(
                (centre, MARGIN + heading - 12 - 17 * above),
                line,
                font=_font(line, 13, bold=True),
                fill=INK,
                anchor="ms",
            )
    for row, images in enumerate(rows):
        top = MARGIN + heading + row * (cell + caption_height + GAP)
        _draw_row_title(draw, row_titles[row], MARGIN, top, title_width - MARGIN, cell + caption_height)
        for column, image in enumerate(images):
            left = MARGIN + title_width + column * (cell + GAP)
            if image is None:
                draw.rectangle((left, top, left + cell - 1, top + cell - 1), outline=FRAME)
            else:
                scaled = scale_to_fit(image, cell)
                sheet.paste(
                    PIL.Image.fromarray(scaled),
                    (left + (cell - scaled.shape[1]) // 2, top + (cell - scaled.shape[0]) // 2),
                )
            if captions is not None:
                draw.text(
                    (left + cell / 2, top + cell + 14),
                    captions[row][column],
                    font=_font(captions[row][column], 11),
                    fill=PALE,
                    anchor="ms",
                )
    return np.array(sheet)


def scale_to_fit(image: Image, side: int) -> NewImage:
    """Scale the image so that its longer side has `side` pixels.

    Enlarging by a whole number repeats pixels, which shows exactly what a model produced; otherwise pixels
    are resampled smoothly.
    """
    height, width = image.shape[:2]
    longest = max(height, width)
    if side % longest == 0:
        return image.repeat(side // longest, axis=0).repeat(side // longest, axis=1)
    size = (max(1, round(width * side / longest)), max(1, round(height * side / longest)))
    return np.array(PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.LANCZOS))


def _check_table(
    rows: Sequence[Sequence[AnyImage | None]],
    column_titles: Sequence[str],
    row_titles: Sequence[str],
    captions: Sequence[Sequence[str]] | None,
) -> None:
    if not rows or not column_titles:
        raise ValueError("a contact sheet needs at least one row and one column")
    if len(row_titles) != len(rows):
        raise ValueError(
            f"a contact sheet of {len(rows)} rows needs as many row titles, got {len(row_titles)}"
        )
    for row, images in enumerate(rows):
        if len(images) != len(column_titles):
            raise ValueError(
                f"row {row} of a contact sheet has {len(images)} images for {len(column_titles)} column "
                "titles"
            )
    if captions is not None and [len(row) for row in captions] != [len(row) for row in rows]:
        raise ValueError("a contact sheet needs one caption per image")


def _draw_row_title(
    draw: ImageDraw.ImageDraw, title: str, left: int, top: int, width: int, height: int
) -> None:
    """Draw a bold first line and wrapped text, centred vertically on the row; text beyond the row's height
    ends in an ellipsis.
    """
    head, _, body = title.rpartition("\n")
    lines = [(line, True) for line in _wrapped(head, 13, width, bold=True)] + [
        (line, False) for line in _wrapped(body, 12, width)
    ]
    room = max(1, height // 17)
    if len(lines) > room:
        lines = [*lines[: room - 1], ("…", False)]
    start = top + (height - 17 * len(lines)) / 2
    for index, (line, bold) in enumerate(lines):
        draw.text(
            (left, start + 17 * index + 12),
            line,
            font=_font(line, 13 if bold else 12, bold),
            fill=INK,
            anchor="ls",
        )


def _wrapped(text: str, size: int, width: int, bold: bool = False) -> list[str]:
    """The text in lines no wider than `width` pixels, broken between words; a single longer word keeps its
    line, unless it is of a script without spaces, which is broken between letters.
    """
    font = _font(text, size, bold)
    lines: list[str] = []
    for word in text.split():
        is_long = font.getlength(word) > width and not word.isascii()
        for number, part in enumerate(word if is_long else [word]):
            glue = "" if number else " "
            longer = f"{lines[-1]}{glue}{part}" if lines else part
            if lines and font.getlength(longer) <= width:
                lines[-1] = longer
            else:
                lines.append(part)
    return lines


def _font(text: str, size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    return _opened(font_for(text, bold), size)


@cache
def _opened(font: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(font), size)
