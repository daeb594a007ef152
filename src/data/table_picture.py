"""Pictures in the cells of a table, read when needed: published sets of compared edits have gigabytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from src.data.reach import Reach
from src.data.rows import EncodedImage
from src.records import Image


@final
@dataclass(frozen=True, eq=False)
class TablePicture:
    """A picture in a cell of a `datasets` table, read when needed: the sets have gigabytes of them.

    Attributes:
        table: its image columns not decoded.
        row, column: the cell; `item` of a list in it, None for the cell itself.
        reach: where a file that the cell names may lie; None: anywhere, as `datasets` put it there.
    """

    table: Any
    row: int
    column: str
    item: int | None = None
    reach: Reach | None = None

    def stored(self) -> EncodedImage:
        """The encoded picture. Raises ValueError for an empty cell."""
        cell = self.table[self.row][self.column]
        value = cell if self.item is None else cell[self.item]
        where = f"row {self.row}, column {self.column!r}"
        if isinstance(value, dict) and value.get("bytes") is not None:
            return EncodedImage(where, value["bytes"])
        named = value.get("path") if isinstance(value, dict) else value
        if isinstance(named, str) and named:
            return EncodedImage(named if self.reach is None else str(self.reach.file(named, where)))
        raise ValueError(f"{where} holds no picture: {str(value)[:60]}")

    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.stored().size()

    def decode(self) -> Image:
        """The picture."""
        return self.stored().decode()


def with_encoded_pictures(table: Any, columns: Sequence[str]) -> Any:
    """The table with the image columns among these, and those of lists of images, left encoded."""
    import datasets

    for column in columns:
        feature = table.features[column]
        if isinstance(feature, datasets.Image):
            table = table.cast_column(column, datasets.Image(decode=False))
        elif isinstance(getattr(feature, "feature", None), datasets.Image):
            table = table.cast_column(column, datasets.List(datasets.Image(decode=False)))
    return table
