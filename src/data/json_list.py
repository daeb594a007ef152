"""A JSON array, or JSON lines, of rows that name their images, such as AURORA-Bench's test.json.

[{"input": "images/1.png", "output": "images/1-edited.png", "instruction": "make it night"}, ...]
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from src.data.columns import REQUIRED, find_columns, has_rewards, is_missing, reward_of_columns, same_columns
from src.data.reach import Reach
from src.data.rows import (
    CHAT_SAMPLES,
    DatasetRow,
    EncodedImage,
    RowSource,
    check_index,
    content_id,
    first_duplicate,
)
from src.json_files import json_lines, parse_json, read_text
from src.records import Reward

TABLES = (".csv", ".tsv", ".parquet", ".tar")
"""Suffixes of files that `data=table` reads."""


@final
class JsonList(RowSource):
    """Rows of one file; ids come from an id field, or else are content hashes.

    Args:
        file: .json (an array of objects) or .jsonl (an object a line).
        folder: where relative paths start; None for the folder of the file.
        columns: names of the fields where they can't be guessed, see columns.py.
        rewards: whether to read reward fields, if there are any.
        outside: whether rows may name images outside of the folder.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a table, not JSON of this form, a required field is missing, an id occurs twice, or rows
            of the same images and instruction have different rewards.
    """

    def __init__(
        self,
        file: str | Path,
        folder: str | Path | None = None,
        columns: Mapping[str, str | bool | None] | None = None,
        rewards: bool = True,
        outside: bool = False,
    ) -> None:
        self.file = Path(file)
        if self.file.suffix.lower() in TABLES:
            raise ValueError(f"{file} is no JSON: say data=table data.dataset.table.path={file}")
        self.folder = self.file.parent if folder is None else Path(folder)
        self.reach = Reach(self.folder, outside)
        self.entries = read_entries(self.file)
        names = list(dict.fromkeys(name for entry in self.entries for name in entry))
        self.columns = find_columns(names, columns or {}, str(self.file))
        self.rated = rewards and has_rewards(names, str(self.file))
        if "id" in self.columns:
            twice = first_duplicate([self.id_of(index) for index in range(len(self))])
            if twice is not None:
                raise ValueError(
                    f"{self.file}: rows {twice[0]} and {twice[1]} have the same id "
                    f"{self.id_of(twice[0])!r}; data.dataset.columns.id=false ignores ids"
                )
        if self.rated:
            self._check_agreement()

    def __len__(self) -> int:
        return len(self.entries)

    def row(self, index: int) -> DatasetRow:
        check_index(index, len(self))
        original, edited = self._images(index)
        edit_type = self.entries[index].get(self.columns.get("edit_type", ""))
        return DatasetRow(
            self.id_of(index),
            original,
            edited,
            self._field(index, "instruction"),
            self.reward_of(index),
            "" if is_missing(edit_type) else str(edit_type),
            photograph=original.where,
            answer=self._answer(index),
        )

    def id_of(self, index: int) -> str:
        if "id" in self.columns:
            return str(self._field(index, "id"))
        original, edited = self._images(index)
        answer = self._answer(index)
        return content_id(
            original, str(self._field(index, "instruction")), edited, None if answer is None else str(answer)
        )

    def reward_of(self, index: int) -> Reward | None:
        return reward_of_columns(self.entries[index].get, self.id_of(index)) if self.rated else None

    def files(self, index: int) -> Sequence[Path]:
        images = ("original", "edited") if self._answer(index) is None else ("original",)
        return [
            self.reach.file(str(self._field(index, what)), f"{self.file}: row {index}") for what in images
        ]

    def counts(self) -> Mapping[str, int]:
        if "answer" not in self.columns:
            return {}
        number = sum(self._answer(index) is not None for index in range(len(self)))
        return {CHAT_SAMPLES: number} if number else {}

    def _answer(self, index: int) -> Any:
        """Answer of a chat sample; None for a row with an edited image."""
        entry = self.entries[index]
        answer = entry.get(self.columns.get("answer", ""))
        has_edit = not is_missing(entry.get(self.columns.get("edited", "")))
        return None if has_edit or is_missing(answer) else answer

    def _images(self, index: int) -> tuple[EncodedImage, EncodedImage]:
        """Original and edited; twice the original for a chat sample."""
        files = self.files(index)
        return EncodedImage(str(files[0])), EncodedImage(str(files[-1]))

    def _field(self, index: int, what: str) -> Any:
        name = self.columns.get(what, what)
        if is_missing(self.entries[index].get(name)):
            raise ValueError(
                f"{self.file}: row {index} has no {name!r}"
                + (f", which is the {what}" if what in REQUIRED else "")
            )
        return self.entries[index][name]

    def _check_agreement(self) -> None:
        """Raise ValueError if the same triplet stands in two rows with different rewards."""
        names = [self.columns[what] for what in (*REQUIRED, "answer") if what in self.columns]
        seen: dict[str, int] = {}
        for index, entry in enumerate(self.entries):
            first = seen.setdefault(repr([entry.get(name) for name in names]), index)
            if not same_columns(self.entries[first].get, entry.get):
                raise ValueError(
                    f"{self.file}: rows {first} and {index} are the same triplet with different rewards "
                    f"({str(entry.get(names[0]))!r}); keep one"
                )


def read_entries(path: Path) -> list[dict[str, Any]]:
    """Read the objects of a .json or .jsonl file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, not objects, or none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; give a .json file with an array of rows, or a .jsonl file")
    text = read_text(path)
    if path.suffix == ".jsonl":
        entries = [value for _, value in json_lines(text, str(path))]
    else:
        entries = parse_json(text, str(path))
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path} holds no array of rows: {text[:60]!r}")
    wrong = next((number for number, entry in enumerate(entries) if not isinstance(entry, dict)), None)
    if wrong is not None:
        raise ValueError(
            f"{path}: row {wrong} is {str(entries[wrong])[:60]!r}, an object with named fields is needed"
        )
    return entries
