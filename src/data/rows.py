"""Rows of a dataset on disk: what is known of a triplet before its images are decoded. All datasets of
files are sources of rows.

A source says where things are (row), the transform what becomes of a pair of images (transforms.py), the
loader which rows make up which batch (datamodule.py). None knows the others.
"""

import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from src.images import Framing, decode_image, image_size, native, require_file
from src.records import Case, Image, Reward, Triplet


@final
@dataclass(frozen=True)
class StoredImage:
    """A image as it is stored: in a file, or in memory as a table holds it.

    Attributes:
        where: the file's path, or what an error calls the image.
        content: the encoded image, or None if it is in the file `where`.
    """

    where: str
    content: bytes | None = field(default=None, repr=False)

    def decode(self, framing: Framing = native) -> Image:
        """RGB, upright, at the size that `framing` makes of its own. Raises FileNotFoundError or ValueError
        as `load_image` does.
        """
        return decode_image(self._source(), self.where, framing)

    def size(self) -> tuple[int, int]:
        """Height and width, upright, from the header. Raises as `decode`."""
        return image_size(self._source(), self.where)

    def read(self) -> bytes:
        """The encoded image. Raises FileNotFoundError."""
        return require_file(Path(self.where)).read_bytes() if self.content is None else self.content

    def digest(self) -> str:
        """sha256 of the encoded image. Raises FileNotFoundError."""
        return hashlib.sha256(self.read()).hexdigest()

    def _source(self) -> Path | io.BytesIO:
        return require_file(Path(self.where)) if self.content is None else io.BytesIO(self.content)


@dataclass(frozen=True)
class DatasetRow:
    """A triplet whose images have not been decoded, and its reward if somebody rated it.

    Attributes:
        id: of the triplet.
        original, edited: at their native sizes.
        instruction: what to do.
        reward: None if nobody rated it.
        edit_type: "" where the dataset has none.
        photograph: names the original (see Case).
        answer: None; or of a conversation (see Triplet), whose edited image is the original.

    Raises:
        ValueError: instruction or answer is not a text, or an empty one.
    """

    id: str
    original: StoredImage
    edited: StoredImage
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
                raise ValueError(f"row {self.id!r} has the {what} {text!r}: one text, not empty, is needed")


CHAT_SAMPLES = "conversations, without an edit"
"""What `RowSource.counts` calls them."""


class RowSource(ABC):
    """A map-style dataset of rows; index -> triplet and reward, the same at every call, at native size."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of rows."""

    @abstractmethod
    def row(self, index: int) -> DatasetRow:
        """One row; no image is decoded.

        Raises:
            ValueError, FileNotFoundError: what is wrong with it.
        """

    @abstractmethod
    def id_of(self, index: int) -> str:
        """The id alone, as cheaply as can be. Raises as `row`."""

    @abstractmethod
    def reward_of(self, index: int) -> Reward | None:
        """The reward alone, without touching images. Raises ValueError for one that is none."""

    @abstractmethod
    def files(self, index: int) -> Sequence[Path]:
        """Files that a row needs; none for a table with the images inside."""

    @abstractmethod
    def counts(self) -> Mapping[str, int]:
        """What the report should say of how these rows came about, in words -> number."""

    def __getitem__(self, index: int) -> tuple[Triplet, Reward | None]:
        """One triplet, decoded, with its reward. Raises as `row`."""
        row = self.row(index)
        return decode_row(row), row.reward


def decode_row(row: DatasetRow) -> Triplet:
    """The triplet of a row, at native size. Raises FileNotFoundError or ValueError for a image that can't
    be read.
    """
    original = row.original.decode()
    case = Case(row.id, original, row.instruction, row.edit_type, row.photograph)
    return Triplet(case, row.edited.decode() if row.answer is None else original, answer=row.answer)


def content_id(
    original: StoredImage, instruction: str, edited: StoredImage, answer: str | None = None
) -> str:
    """The id of a triplet that has no other: sha256 of original, instruction and edited, or answer, each
    preceded by its length.

    Raises:
        FileNotFoundError: a image is missing.
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
    """Indices of the first two equal ids, or None."""
    seen: dict[str, int] = {}
    for index, id in enumerate(ids):
        if id in seen:
            return seen[id], index
        seen[id] = index
    return None
