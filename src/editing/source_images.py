"""The images to edit: sizes are read from their headers, pixels a batch ahead, so that a folder of any length
fits into memory.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import final

from src.data.check import map_in_threads
from src.editing.requests import EditRequest
from src.files import digest
from src.images import Framing, image_size, load_image, require_file
from src.records import Image

Size = tuple[int, int]
"""Height and width."""


@final
@dataclass(frozen=True)
class SourceImage:
    """A request with the size of its image.

    Attributes:
        request: the edit.
        size: at which it is edited, except for a rim that the latent can't hold.
    """

    request: EditRequest
    size: Size


@final
@dataclass(frozen=True)
class UnusableImage:
    """A request whose image can't be edited, and the reason as a sentence."""

    request: EditRequest
    reason: str


@final
@dataclass(frozen=True, eq=False)
class DecodedImage:
    """An image in memory; `digest` is the sha256 of its file."""

    photograph: SourceImage
    image: Image
    digest: str


def measure_sizes(
    requests: Sequence[EditRequest], framing: Framing, most_pixels: int
) -> list[SourceImage | UnusableImage]:
    """The requests in order, with the size of each image from its header.

    Args:
        requests: several may name the same image.
        framing: image size -> size of the edit.
        most_pixels: larger edits are refused, since some fit into no memory: a strip of 7 x 300 pixels scaled
            to a short side of 512 has 11 million.
    """

    @cache
    def edited_size(source: Path) -> Size | str:
        try:
            height, width = framing(*image_size(require_file(source), str(source))).size
        except (ValueError, FileNotFoundError) as error:
            return str(error)
        if height * width > most_pixels:
            return (
                f"{source} would be edited at {width}x{height} pixels, more than most_pixels={most_pixels}; "
                "say resize=... or raise that limit"
            )
        return height, width

    def measure(index: int) -> SourceImage | UnusableImage:
        request = requests[index]
        size = edited_size(request.source)
        return (
            UnusableImage(request, f"{request.where}{size}")
            if isinstance(size, str)
            else SourceImage(request, size)
        )

    return map_in_threads("looking at photographs", range(len(requests)), measure)


def source_digests(sources: Sequence[Path]) -> dict[Path, str]:
    """sha256 of files, each read once."""
    distinct = list(dict.fromkeys(sources))
    return dict(
        zip(
            distinct,
            map_in_threads(
                "comparing photographs", range(len(distinct)), lambda index: digest(distinct[index])
            ),
            strict=True,
        )
    )


def decode_source(photograph: SourceImage, framing: Framing) -> DecodedImage:
    """Read an image.

    Raises:
        FileNotFoundError: it is gone.
        ValueError: a broken image, or one whose size is not that of its header.
    """
    source = photograph.request.source
    image = load_image(source, framing)
    if image.shape[:2] != photograph.size:
        raise ValueError(f"{source} changed since it was measured, or its header is wrong; start again")
    return DecodedImage(photograph, image, digest(source))


def read_ahead(
    batches: Sequence[Sequence[SourceImage]],
    needed: Callable[[SourceImage], bool],
    framing: Framing,
    report: Callable[[UnusableImage], None],
) -> Iterator[list[DecodedImage]]:
    """Decode the batches, each while the one before is edited.

    Args:
        batches: images of one size.
        needed: whether an image's edit is wanted; if none of these can be read, the others of the batch are
            not read either.
        framing: image size -> size of the edit.
        report: called with each image that can't be read; its exceptions propagate.
    """

    def read(photographs: Sequence[SourceImage]) -> list[DecodedImage]:
        whole = []
        for photograph in photographs:
            try:
                whole.append(decode_source(photograph, framing))
            except (ValueError, FileNotFoundError) as error:
                report(UnusableImage(photograph.request, f"{photograph.request.where}{error}"))
        return whole

    def read_batch(batch: Sequence[SourceImage]) -> list[DecodedImage]:
        wanted = read([photograph for photograph in batch if needed(photograph)])
        company = read([photograph for photograph in batch if not needed(photograph)]) if wanted else []
        places = {photograph.request.id: place for place, photograph in enumerate(batch)}
        return sorted([*wanted, *company], key=lambda each: places[each.photograph.request.id])

    with ThreadPoolExecutor(1) as reader:
        ahead = None
        for batch in batches:
            following = reader.submit(read_batch, batch)
            if ahead is not None:
                yield ahead.result()
            ahead = following
        if ahead is not None:
            yield ahead.result()
