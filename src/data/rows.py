"""Rows of a dataset on disk: triplets whose images have not been decoded. All datasets of files are row
sources.

A source knows where things are (row), the transform what happens to a pair of images (transforms.py), the
loader which rows make up which batch (datamodule.py). None knows the others.
"""

import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from src.data.problems import Problem
from src.images import Framing, decode_image, image_size, native, require_file
from src.records import Case, Image, Reward, Triplet


@final
@dataclass(frozen=True)
class EncodedImage:
    """An encoded image, in a file or in memory as a table holds it.

    Attributes:
        where: the file's path, or the image's name in errors.
        content: the encoded image; None if it is in the file `where`.
    """

    where: str
    content: bytes | None = field(default=None, repr=False)

    def decode(self, framing: Framing = native) -> Image:
        """Decode to RGB, upright, at the size that `framing` makes of the image's own. Raises as
        `load_image`.
        """
        return decode_image(self._source(), self.where, framing)

    def size(self) -> tuple[int, int]:
        """Read height and width, upright, from the header. Raises as `decode`."""
        return image_size(self._source(), self.where)

    def read(self) -> bytes:
        """Read the encoded image. Raises FileNotFoundError."""
        return require_file(Path(self.where)).read_bytes() if self.content is None else self.content

    def digest(self) -> str:
        """Return the sha256 of the encoded image. Raises FileNotFoundError."""
        return hashlib.sha256(self.read()).hexdigest()

    def _source(self) -> Path | io.BytesIO:
        return require_file(Path(self.where)) if self.content is None else io.BytesIO(self.content)


@final
@dataclass(frozen=True)
class DatasetRow:
    """A triplet whose images have not been decoded, with its reward if it has one.

    Attributes:
        id: of the triplet.
        original, edited: at their native sizes.
        instruction: what to do.
        reward: None if unrated.
        edit_type: "" where the dataset has none.
        photograph: names the original (see Case).
        answer: of a chat sample (see Triplet), whose edited image is the original; else None.

    Raises:
        ValueError: instruction or answer is not a text, or empty.
    """

    id: str
    original: EncodedImage
    edited: EncodedImage
    instruction: str
    reward: Reward | None = None
    edit_type: str = ""
    photograph: str = ""
    answer: str | None = None

    def __post_init__(self) -> None:
        for what, text in {
            "instruction": self.instruction,
            "answer": "none" if self.answer is None else self.answer,
        }.items():
            if not isinstance(text, str) or not text.strip():
                raise ValueError(f"row {self.id!r} has the {what} {text!r}: a non-empty text is needed")


CHAT_SAMPLES = "chat samples, without an edit"
"""Their name in `RowSource.counts`."""


class RowSource(ABC):
    """A map-style dataset of rows: index -> triplet and reward, the same at every call, at native size."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of rows."""

    @abstractmethod
    def row(self, index: int) -> DatasetRow:
        """Return one row; no image is decoded.

        Raises:
            ValueError, FileNotFoundError: the row can't be used.
        """

    @abstractmethod
    def id_of(self, index: int) -> str:
        """Return the id alone, as cheaply as possible. Raises as `row`."""

    @abstractmethod
    def reward_of(self, index: int) -> Reward | None:
        """Return the reward alone, without touching images. Raises ValueError for a malformed one."""

    @abstractmethod
    def files(self, index: int) -> Sequence[Path]:
        """List the files that a row needs; none for a table that holds the images."""

    @abstractmethod
    def counts(self) -> Mapping[str, int]:
        """Count, for the check's report, how these rows came about, as words -> number."""

    def __getitem__(self, index: int) -> tuple[Triplet, Reward | None]:
        """Decode one triplet; with its reward. Raises as `row`."""
        row = self.row(index)
        return decode_row(row), row.reward


class RowStream(ABC):
    """A dataset of unknown length that is read from beginning to end."""

    @abstractmethod
    def in_order(self) -> Iterator[DatasetRow | Problem]:
        """Iterate over every row that is rated, in the order of the files; a Problem for one that can't be
        used.

        Raises:
            ValueError: a reward is missing or failed, and such rows are to be an error.
        """


def decode_row(row: DatasetRow) -> Triplet:
    """Decode a row at native size. Raises FileNotFoundError or ValueError for an image that can't be read."""
    original = row.original.decode()
    case = Case(row.id, original, row.instruction, row.edit_type, row.photograph)
    return Triplet(case, row.edited.decode() if row.answer is None else original, answer=row.answer)


def some_rows(rows: RowSource, count: int) -> list[DatasetRow]:
    """At most `count` rows that can be read, spread evenly."""
    found = []
    for place in range(min(count, len(rows))):
        try:
            found.append(rows.row(place * len(rows) // min(count, len(rows))))
        except (ValueError, FileNotFoundError):
            continue  # the check before training lists them
    return found


def content_id(
    original: EncodedImage, instruction: str, edited: EncodedImage, answer: str | None = None
) -> str:
    """Return the id of a triplet that brings none: sha256 of original, instruction and edited image (or
    answer), each preceded by its length.

    Raises:
        FileNotFoundError: an image is missing.
    """
    digest = hashlib.sha256()
    for part in (original.read(), instruction.encode(), edited.read() if answer is None else answer.encode()):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def check_index(index: int, length: int) -> None:
    """Raise IndexError, which also ends a loop over a dataset, unless 0 <= index < length."""
    if not 0 <= index < length:
        raise IndexError(f"row {index} of {length}")


def first_duplicate(ids: Sequence[str]) -> tuple[int, int] | None:
    """Find the indices of the first two equal ids."""
    seen: dict[str, int] = {}
    for index, id in enumerate(ids):
        if id in seen:
            return seen[id], index
        seen[id] = index
    return None
