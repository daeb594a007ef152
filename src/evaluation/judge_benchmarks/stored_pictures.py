"""Pictures of a benchmark: beside its rows, inside a table, or not here at all, which matters only to a judge
that has to look at them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from src.data.rows import EncodedImage
from src.records import Image, StoredImage


@final
@dataclass(frozen=True)
class MissingPicture:
    """A picture that isn't here; answers made elsewhere don't need it.

    Attributes:
        name: what it is.
        remedy: how to have it.
    """

    name: str
    remedy: str

    def size(self) -> tuple[int, int]:
        """Raise FileNotFoundError."""
        raise self._error()

    def decode(self) -> Image:
        """Raise FileNotFoundError."""
        raise self._error()

    def _error(self) -> FileNotFoundError:
        return FileNotFoundError(
            f"a judge needs pictures, and {self.name} is not here: {self.remedy}, or give answers made "
            "elsewhere, scores=FILE or verdicts=FILE"
        )


@final
@dataclass(frozen=True)
class SeveralPictures:
    """The originals of an edit that has more than one: no judge of single edits can be asked about it.

    Attributes:
        names: of the originals.
    """

    names: tuple[str, ...]

    def size(self) -> tuple[int, int]:
        """Raise ValueError."""
        raise self._error()

    def decode(self) -> Image:
        """Raise ValueError."""
        raise self._error()

    def _error(self) -> ValueError:
        return ValueError(
            f"an edit of {len(self.names)} pictures has no one original: {', '.join(self.names)}"
        )


def picture_in(folder: Path | None, name: str, remedy: str) -> StoredImage:
    """A picture by its name below a folder, which is where all of them have to lie."""
    if folder is not None and name:
        path = folder / name
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            return EncodedImage(str(path))
    return MissingPicture(name or "a picture without a name", remedy)
