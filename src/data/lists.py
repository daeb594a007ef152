"""Lists written by hand or exported from a spreadsheet: CSV with a line of names, or JSON lines with the same
names. Errors name the line.

image,instruction                          {"image": "photos/a.jpg", "instruction": "make it night"}
photos/a.jpg,make it night
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from src.data.columns import is_missing
from src.json_files import json_lines, read_text

NAMES = {",": "comma", ";": "semicolon", "\t": "tab"}

Fields = Mapping[str, object]
"""A row of a list as written: texts in a CSV file, any JSON value in JSON lines."""


@final
@dataclass(frozen=True)
class ListColumns:
    """The columns that a list may have.

    Attributes:
        needed: names that every row has.
        optional: names that it may have.
    """

    needed: Sequence[str]
    optional: Sequence[str]

    def check(self, names: Sequence[str], where: str) -> None:
        """Raise ValueError unless all needed columns are there, once each, and no unknown ones."""
        missing = [name for name in self.needed if name not in names]
        unknown = [name for name in names if name not in (*self.needed, *self.optional)]
        twice = [name for name in names if names.count(name) > 1]
        for wrong, what in ((missing, "missing"), (unknown, "unknown"), (twice, "there twice")):
            if wrong:
                raise ValueError(
                    f"{where}column {wrong[0]!r} is {what}; a list has {' and '.join(self.needed)}, "
                    f"and may have {', '.join(self.optional)}"
                )


@final
@dataclass(frozen=True)
class AnyColumns:
    """Any columns, once each."""

    def check(self, names: Sequence[str], where: str) -> None:
        """Raise ValueError for a name that stands twice."""
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"{where}column {twice[0]!r} is there twice: keep one")


def read_list_file(path: Path, columns: ListColumns) -> list[tuple[str, Fields]]:
    """Read the rows of a list, each with the prefix of its errors: "edits.csv:3: ".

    Raises:
        FileNotFoundError: no such file.
        ValueError: another kind of file, no rows, or a row that can't be read.
    """
    readers = {".csv": csv_rows, ".jsonl": json_rows}
    if path.suffix.lower() not in readers:
        raise ValueError(f"list={path}: a list is a {' or '.join(readers)} file")
    if not path.is_file():
        raise FileNotFoundError(
            f"no list {path}; give a {' or '.join(readers)} file with the columns "
            f"{', '.join((*columns.needed, *columns.optional))}"
        )
    text = read_text(path)
    rows = [
        (f"{path}:{line}: ", fields) for line, fields in readers[path.suffix.lower()](text, path, columns)
    ]
    if not rows:
        raise ValueError(
            f"{path} has no rows; each needs {' and '.join(f'an {name}' for name in columns.needed)}"
        )
    return rows


def csv_rows(
    text: str, path: Path, columns: ListColumns | AnyColumns, separator: str = ","
) -> Iterator[tuple[int, Fields]]:
    """Parse CSV into rows with their first line; skip empty lines. Raises ValueError naming the line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    names, line = None, 1
    try:
        for cells in reader:
            if cells and names is None:
                names = cells
                columns.check(names, f"{path}:{line}: ")
            elif cells and names is not None:
                if len(cells) != len(names):
                    raise ValueError(
                        f"{path}:{line}: {len(cells)} values for {len(names)} columns; "
                        f"put a value with a {NAMES.get(separator, separator)} in double quotes"
                    )
                yield line, dict(zip(names, cells, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}:{line}: not CSV ({error})") from error


def json_rows(text: str, path: Path, columns: ListColumns) -> Iterator[tuple[int, Fields]]:
    """Parse JSON lines into rows with their line; skip empty lines. Raises ValueError naming the line."""
    for line, fields in json_lines(text, str(path)):
        if not isinstance(fields, dict):
            raise ValueError(
                f"{path}:{line}: an object with named fields is needed, not {str(fields)[:40]!r}"
            )
        columns.check(list(fields), f"{path}:{line}: ")
        yield line, fields


def nonempty_fields(fields: Fields) -> dict[str, object]:
    """Drop the fields that a row leaves empty."""
    return {
        name: value
        for name, value in fields.items()
        if not is_missing(value) and not (isinstance(value, str) and not value.strip())
    }


def text_field(given: Fields, name: str, default: str | None = None) -> str:
    """Read a text of a row. Raises ValueError if it is missing or not a text."""
    value = given.get(name, default)
    if is_missing(value):
        raise ValueError(f"the row has no {name}")
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}, a text is needed")
    if "\0" in value or (not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value)):
        raise ValueError(f"{name} holds a character that is no letter: {value!r}")
    return value
