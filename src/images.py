"""Images for people: PNG files that say how they were made, and contact sheets with titles and captions.

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

import numpy as np
import PIL.Image
from jaxtyping import UInt8
from PIL import ExifTags, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from src.files import replacing
from src.records import Image

INK, PALE, PAPER, FRAME = (24, 24, 27), (106, 106, 115), (255, 255, 255), (222, 222, 226)
MARGIN, GAP, TITLE_WIDTH = 16, 10, 190

QUARTER_TURNS = (5, 6, 7, 8)
"""EXIF orientations in which height and width change places."""

HUGE = 40_000_000
"""JPEGs of more pixels are decoded at a half, a quarter or an eighth of their size, at least twice the size
asked for: else 100 million pixels take half a gigabyte."""

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
"""What Pillow was seen to raise for bytes changed at random: OSError for a cut-off file, SyntaxError for a
PNG, RuntimeError for an AVIF ...
"""

# Pillow warns of 90 million pixels, which are today's photographs, and refuses 180 million
warnings.filterwarnings("ignore", category=PIL.Image.DecompressionBombWarning)

NewImage = UInt8[np.ndarray, "new_h new_w 3"]
"""An Image of another size than the one it was made from."""

AnyImage = UInt8[np.ndarray, "_ _ 3"]
"""An Image among others of other sizes."""


@dataclass(frozen=True)
class Frame:
    """How a image is brought to another size.

    Attributes:
        size: height and width of the result.
        part: left, top, right and bottom of what is kept of the image, in its pixels.
    """

    size: tuple[int, int]
    part: tuple[float | int, float | int, float | int, float | int]


Framing = Callable[[int, int], Frame]
"""Height and width of a image -> its frame."""


def native(height: int, width: int) -> Frame:
    """The image as it is."""
    return Frame((height, width), (0, 0, width, height))


def by_short_side(height: int, width: int, pixels: int) -> Frame:
    """The shorter side at so many pixels, aspect ratio kept to the pixel.

    Raises:
        ValueError: less than one pixel.
    """
    if pixels < 1:
        raise ValueError(f"the short side must have at least 1 pixel, got {pixels}")
    scale = pixels / min(height, width)
    return Frame((max(1, round(height * scale)), max(1, round(width * scale))), (0, 0, width, height))


def by_long_side_64(height: int, width: int, pixels: int) -> Frame:
    """As the releases of InsPix2Pix and of the multi-reward paper size images: the long side about
    `pixels`, both sides multiples of 64.

    The short side is rounded up, so the long one may exceed what was asked for; then the middle is kept, a
    sliver less.
    """
    scale = pixels / max(height, width)
    scale = math.ceil(min(height, width) * scale / 64) * 64 / min(height, width)
    # 49 * (64 / 49) is less than 64: the releases make nothing of such a image
    new_height, new_width = (max(64, int(side * scale) // 64 * 64) for side in (height, width))
    kept_height, kept_width = (
        min(height, width * new_height / new_width),
        min(width, height * new_width / new_height),
    )
    left, top = (width - kept_width) / 2, (height - kept_height) / 2
    return Frame((new_height, new_width), (left, top, left + kept_width, top + kept_height))


def square(height: int, width: int, pixels: int) -> Frame:
    """All of the image, squeezed to a square of so many pixels, as the release of SmartEdit does it."""
    return Frame((pixels, pixels), (0, 0, width, height))


def framing_for(resize: str | int, trained: int) -> Framing:
    """What brings a image to the size that `resize` asks for.

    Raises:
        ValueError: neither "trained", "keep", a number of pixels, "long_side_64:<pixels>", nor
            "square:<pixels>".
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
    }
    if pixels.isdecimal() and int(pixels) >= 1 and name in framings:
        return partial(framings[name], pixels=int(pixels))
    raise ValueError(
        f"resize={resize}: say trained, keep, the short side in pixels, long_side_64:512, or square:256"
    )


def encode_png(image: Image) -> bytes:
    """A image as the content of a PNG file."""
    content = BytesIO()
    PIL.Image.fromarray(image).save(content, format="PNG")
    return content.getvalue()


def save_png(image: Image, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a PNG with text metadata; a reader never sees half a file, and a kill or a full disk leaves the
    old one.

    Raises:
        NotWrittenError: the file cannot be written.
    """
    text = PngInfo()
    for name, value in (metadata or {}).items():
        text.add_itxt(name, value)
    # there are thousands of images, each of which can be made again; see `missing_edits` for a loss of
    # power
    with replacing(path, durable=False) as partial:
        PIL.Image.fromarray(image).save(partial, format="PNG", pnginfo=text)


def load_image(path: Path, framing: Framing = native) -> Image:
    """A image as RGB, turned upright as its EXIF orientation says, at the size that `framing` makes of its
    own.

    Transparency is laid on white, 16 bits become 8; of an animation or a file of several pages it is the
    first image.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is no image, a broken one, one of more pixels than Pillow opens (180 million),
            or one whose values have no known white (32-bit grey).
    """
    return decode_image(require_file(path), str(path), framing)


def decode_image(source: Path | BytesIO, where: str, framing: Framing = native) -> Image:
    """The same for a image in memory; `where` names it in errors. Raises ValueError as `load_image` does."""
    with open_image(source, where) as opened:
        frame = framing(*_upright_size(opened))
        if opened.width * opened.height > HUGE:
            opened.draft(opened.mode, (2 * max(frame.size), 2 * max(frame.size)))  # only JPEG knows how
        ImageOps.exif_transpose(opened, in_place=True)
    return _flat(_framed(_resizable(opened, where), frame))


def _framed(image: PIL.Image.Image, frame: Frame) -> PIL.Image.Image:
    """The part that is kept, at its new size. Pillow weighs colours by their opacity."""
    height, width = frame.size
    left, top, right, bottom = frame.part
    if image.size == (width, height) == (right - left, bottom - top):
        return image
    # where the middle is kept, as much goes on the left as on the right: left + right is the width that
    # `frame` was made for, before any draft
    across, down = image.width / (left + right), image.height / (top + bottom)
    part = left * across, top * down, right * across, bottom * down
    return image.resize((width, height), PIL.Image.Resampling.LANCZOS, box=part)


def _resizable(image: PIL.Image.Image, where: str) -> PIL.Image.Image:
    """The image in a mode whose values can be averaged, at little cost in memory: palettes, single bits and
    transparent colours can't.

    Raises:
        ValueError: 32-bit grey.
    """
    if image.mode in ("I", "F"):
        raise ValueError(
            f"{where} has 32-bit grey values (mode {image.mode!r}), of which nobody knows which is white; save it with 8 or 16 bits"
        )
    if image.mode in ("P", "PA") or (image.mode in ("L", "RGB") and image.has_transparency_data):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image.convert("L") if image.mode == "1" else image


def _flat(image: PIL.Image.Image) -> Image:
    """RGB, transparency laid on white, 16 bits as 8."""
    if image.mode.startswith("I;16"):
        # Pillow would cut 16 bits off at 255, which leaves a white image
        grey = np.rint(np.asarray(image).astype(np.float64) / 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.has_transparency_data:
        white = PIL.Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = PIL.Image.alpha_composite(white, image.convert("RGBA"))
    return np.array(image.convert("RGB"))


def image_size(source: Path | BytesIO, where: str) -> tuple[int, int]:
    """Height and width of a image turned upright, from its header alone. Raises ValueError as `load_image`
    does.

    The orientation of a PNG is seen only if it stands before the pixels, where all programs we know put it.
    """
    with open_image(source, where) as opened:
        return _upright_size(opened)


def _upright_size(opened: PIL.Image.Image) -> tuple[int, int]:
    """Height and width as they will be after `exif_transpose`."""
    width, height = opened.size
    if opened.format == "TIFF" or (opened.format == "PNG" and "exif" not in opened.info):
        # a TIFF opens with the sides already changed; a PNG would be decoded in search of its orientation
        return height, width
    return (
        (width, height)
        if opened.getexif().get(ExifTags.Base.Orientation, 1) in QUARTER_TURNS
        else (height, width)
    )


def read_png_text(path: Path) -> dict[str, str]:
    """The text metadata of a PNG that `save_png` wrote; nothing is decoded. Raises as `load_image`."""
    with open_image(require_file(path), str(path)) as opened:
        return {str(name): str(value) for name, value in opened.info.items() if isinstance(value, str)}


def require_file(path: Path) -> Path:
    """The path of a file that is there, or FileNotFoundError."""
    if not path.is_file():
        raise FileNotFoundError(f"no picture {path}; give an existing file")
    return path


@contextmanager
def open_image(source: Path | BytesIO, where: str) -> Iterator[PIL.Image.Image]:
    """A image opened by Pillow; whatever Pillow says of a broken one is a ValueError in one line."""
    try:
        with PIL.Image.open(source) as opened:
            yield opened
    except BROKEN as error:
        # a image in memory has no name but ours
        reason = (
            "not a picture in a known format"
            if isinstance(error, UnidentifiedImageError)
            else str(error).rstrip(".")
        )
        raise ValueError(
            f"{where} is not a readable picture ({reason}); replace it or leave it out"
        ) from error


def resize_short_side(image: Image, short_side: int) -> NewImage:
    """A image in memory with its shorter side at `short_side` pixels. Raises ValueError as `by_short_side`."""
    height, width = image.shape[:2]
    return np.array(_framed(PIL.Image.fromarray(image), by_short_side(height, width, short_side)))


def centre_crop(image: Image, height: int, width: int) -> NewImage:
    """The middle of the image.

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
    """A table of images, each scaled to fit a square cell, with titles above, at the left and small
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
    headings = [_wrapped(title, _font(13, bold=True), cell + GAP) for title in column_titles]
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
                font=_font(13, bold=True),
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
                    font=_font(11),
                    fill=PALE,
                    anchor="ms",
                )
    return np.array(sheet)


def scale_to_fit(image: Image, side: int) -> NewImage:
    """The image scaled so that its longer side is `side` pixels.

    Enlarging by a whole number repeats pixels, so that what is seen is exactly what a model made; everything
    else is resampled smoothly.
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
                f"row {row} of a contact sheet has {len(images)} pictures for {len(column_titles)} column titles"
            )
    if captions is not None and [len(row) for row in captions] != [len(row) for row in rows]:
        raise ValueError("a contact sheet needs one caption per picture")


def _draw_row_title(
    draw: ImageDraw.ImageDraw, title: str, left: int, top: int, width: int, height: int
) -> None:
    """Draw a bold first line and wrapped text, centred vertically on the row; text beyond the row's height
    ends in an ellipsis.
    """
    head, _, body = title.rpartition("\n")
    lines = [(line, True) for line in _wrapped(head, _font(13, bold=True), width)] + [
        (line, False) for line in _wrapped(body, _font(12), width)
    ]
    room = max(1, height // 17)
    if len(lines) > room:
        lines = [*lines[: room - 1], ("…", False)]
    start = top + (height - 17 * len(lines)) / 2
    for index, (line, bold) in enumerate(lines):
        draw.text(
            (left, start + 17 * index + 12),
            line,
            font=_font(13 if bold else 12, bold=bold),
            fill=INK,
            anchor="ls",
        )


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """The text in lines no wider than `width` pixels, broken between words; a single longer word keeps its
    line.
    """
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


@cache
def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as it lies in matplotlib's wheel, so that a sheet looks the same on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    import matplotlib  # slow, and only sheets have text

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
