"""Tables that `datasets` loads: a hub id, parquet files, a `save_to_disk` folder, an imagefolder with
metadata.jsonl.

Columns are found by the names that datasets of edits use (columns.py). Images stay encoded until a row is
asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import datasets
from datasets import Dataset, DatasetDict, Features, config
from datasets.exceptions import DatasetNotFoundError, DatasetsError
from huggingface_hub.constants import HF_HUB_CACHE

from src.data.columns import FEEDBACK, SCORES, find_columns, has_rewards, is_missing, reward_of_columns
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
from src.records import Reward


@final
class HuggingFaceTable(RowSource):
    """Rows of a loaded table; ids come from an id column, or else are content hashes.

    Args:
        table: see `open_table`.
        columns: names of the columns where they can't be guessed, see columns.py.
        rewards: whether to read reward columns, if there are any.
        source: the path given to `open_table`, in whose folder images that a row names must lie.
        outside: whether rows may name any image.

    Raises:
        ValueError: a required column is missing, images are not stored encoded, or an id occurs twice.
    """

    def __init__(
        self,
        table: Dataset,
        columns: Mapping[str, str | bool | None] | None = None,
        rewards: bool = True,
        source: str | None = None,
        outside: bool = False,
    ) -> None:
        where = "the table"
        self.reach = reach_of(source, outside)
        self.columns = find_columns(table.column_names, columns or {}, where)
        self.rated = rewards and has_rewards(table.column_names, where)
        self.table = without_decoding(
            table.select_columns(needed_columns(self.columns, self.rated)), self.columns
        )
        # kept in memory: the table reads a row whole, images included
        self.ids = ids_of(self.table[self.columns["id"]], where) if "id" in self.columns else None
        self.values: dict[str, list[Any]] = (
            {name: list(self.table[name]) for name in (*SCORES, *FEEDBACK)} if self.rated else {}
        )
        images = [self.columns[what] for what in ("original", "edited") if what in self.columns]
        self.paths = [paths for column in images if (paths := paths_of(self.table, column)) is not None]
        twice = first_duplicate(self.ids) if self.ids is not None else None
        if self.ids is not None and twice is not None:
            raise ValueError(
                f"rows {twice[0]} and {twice[1]} of {where} have the same id {self.ids[twice[0]]!r}; "
                "columns.id=false ignores ids"
            )

    def __len__(self) -> int:
        return len(self.table)

    def row(self, index: int) -> DatasetRow:
        check_index(index, len(self))
        id = None if self.ids is None else self.ids[index]
        row = row_of_columns(self.table[index], self.columns, id, f"row {index}", self.reach)
        return row if not self.rated else with_reward(row, self._reward(index, row.id))

    def id_of(self, index: int) -> str:
        return self.row(index).id if self.ids is None else self.ids[index]

    def reward_of(self, index: int) -> Reward | None:
        return self._reward(index, self.id_of(index)) if self.rated else None

    def files(self, index: int) -> Sequence[Path]:
        return [
            self.reach.file(path, f"row {index}")
            for paths in self.paths
            if (path := paths[index]) is not None
        ]

    def counts(self) -> Mapping[str, int]:
        number = count_chat_samples(self.table, self.columns)
        return {CHAT_SAMPLES: number} if number else {}

    def _reward(self, index: int, id: str) -> Reward | None:
        return reward_of_columns(lambda name: self.values[name][index], id)


def open_table(path: str, split: str = "train", name: str | None = None, cache: str | None = None) -> Dataset:
    """Load a path with `datasets`.

    Args:
        path: a folder written by `save_to_disk`, a folder of parquet files, an imagefolder, a parquet file or
            glob, or else a hub id `owner/name`.
        split: its name; files that name none are "train".
        name: of the configuration, for hub ids that have several.
        cache: a folder for what `datasets` converts and downloads; None for its own default.

    Raises:
        FileNotFoundError: nothing at this path or hub id.
        ValueError: a folder of none of these kinds, or an error of `datasets`.
    """
    kind, arguments = loader_arguments(path)
    try:
        if kind == "saved":
            saved = datasets.load_from_disk(path)
            return saved[split] if isinstance(saved, DatasetDict) else saved
        table = datasets.load_dataset(kind, name, **arguments, split=split, cache_dir=cache)
    except (ConnectionError, DatasetNotFoundError) as error:
        raise hub_dataset_missing(path) from error
    except (DatasetsError, ValueError, KeyError, OSError) as error:
        raise ValueError(
            f"{path} can't be loaded, split {split!r}: {str(error).splitlines()[0][:300]}"
        ) from error
    assert isinstance(table, Dataset)
    return table


def hub_dataset_missing(name: str) -> FileNotFoundError:
    """Build the error for a hub id that gives no data."""
    return FileNotFoundError(
        f"no dataset {name}: no such folder here, and on the hub there is none, or it is private, "
        "or the hub gave "
        "no answer as there is no network; correct path=, connect, or log in (hf auth login)"
    )


def loader_arguments(path: str) -> tuple[str, dict[str, Any]]:
    """Return the arguments of `load_dataset`: a builder or hub id, and where its files are; "saved" for a
    `save_to_disk` folder. Raises as `open_table`.
    """
    folder = Path(path)
    if folder.is_dir():
        if (folder / "state.json").exists() or (folder / "dataset_dict.json").exists():
            return "saved", {}
        if any(folder.rglob("*.parquet")):
            return "parquet", {"data_dir": path}
        if any(folder.rglob("metadata.jsonl")) or any(folder.rglob("metadata.csv")):
            return "imagefolder", {"data_dir": path}
        raise ValueError(
            f"{path} is none of these: save_to_disk folder (state.json), parquet files, imagefolder "
            "(metadata.jsonl)"
        )
    if path.endswith(".parquet"):
        if not folder.exists() and not any(folder.parent.glob(folder.name)):
            raise FileNotFoundError(f"no file {path}; give existing parquet files")
        return "parquet", {"data_files": path}
    if folder.is_absolute() or path.startswith(".") or path.count("/") != 1:
        raise FileNotFoundError(f"no folder or file {path}; give an existing one, or a hub id owner/name")
    return path, {}


def reach_of(source: str | None, outside: bool) -> Reach:
    """Where the images that rows name may lie: in the folder of the path given to `open_table`, or where
    `datasets` keeps what it has downloaded or unpacked.
    """
    kept = Path(HF_HUB_CACHE), Path(config.HF_DATASETS_CACHE)
    if source is None:
        return Reach(kept[0], outside, kept)
    path = Path(source)
    folder = path if path.is_dir() else path.parent if source.endswith(".parquet") else kept[0]
    return Reach(folder, outside, kept)


def ids_of(values: Sequence[Any], where: str) -> list[str]:
    """The ids in a column. Raises ValueError for a row without one."""
    without = next((row for row, value in enumerate(values) if is_missing(value)), None)
    if without is not None:
        raise ValueError(f"row {without} of {where} has no id; columns.id=false ignores ids")
    return [str(value) for value in values]


def needed_columns(columns: Mapping[str, str], rated: bool) -> list[str]:
    """List the columns of a table that are read."""
    return [*dict.fromkeys(columns.values()), *((*SCORES, *FEEDBACK) if rated else ())]


def without_decoding(table: Any, columns: Mapping[str, str]) -> Any:
    """Keep the images of a table, or of a stream, encoded.

    Raises:
        ValueError: an image column that holds something else.
    """
    features: Features | None = table.features
    for what in (name for name in ("original", "edited") if name in columns):
        feature = None if features is None else features[columns[what]]
        if isinstance(feature, datasets.Image):
            table = table.cast_column(columns[what], datasets.Image(decode=False))
        elif feature is not None and not stores_images(feature):
            raise ValueError(
                f"column {columns[what]!r} holds {feature} and no images: an image, bytes, "
                "or bytes and path are "
                "needed"
            )
    return table


def stores_images(feature: Any) -> bool:
    """Whether a column that is not declared as images can hold encoded ones."""
    return (isinstance(feature, dict) and "bytes" in feature) or (
        isinstance(feature, datasets.Value) and feature.dtype in ("binary", "large_binary")
    )


def paths_of(table: Dataset, column: str) -> list[str | None] | None:
    """List the files of an image column; None if the images lie in the table, which is then not read."""
    first = table[0][column] if len(table) else None
    if not isinstance(first, Mapping) or first.get("bytes") is not None:
        return None
    return [
        None if cell is None or cell.get("bytes") is not None else cell.get("path") for cell in table[column]
    ]


def row_of_columns(
    values: Mapping[str, Any], columns: Mapping[str, str], id: str | None, where: str, reach: Reach
) -> DatasetRow:
    """Build a row of a table, without its reward; with id None, its id is a content hash.

    Raises:
        ValueError: the instruction is not a text, or an image is null or lies elsewhere.
        FileNotFoundError: an image that lies beside the table is missing.
    """
    original = stored_image(values[columns["original"]], f"{where}, column {columns['original']!r}", reach)
    answer = values.get(columns.get("answer", ""))
    if "edited" in columns and (is_missing(answer) or not is_empty(values[columns["edited"]])):
        edited, answer = (
            stored_image(values[columns["edited"]], f"{where}, column {columns['edited']!r}", reach),
            None,
        )
    elif is_missing(answer):
        raise ValueError(f"{where} has no {columns['answer']!r}, and the table has no edited images")
    else:
        edited = original
    instruction = values[columns["instruction"]]
    if not isinstance(instruction, str):
        raise ValueError(
            f"{where}, column {columns['instruction']!r} holds {str(instruction)[:80]!r}: one text is needed"
        )
    id = (
        content_id(original, instruction, edited, None if answer is None else str(answer))
        if id is None
        else id
    )
    edit_type = values.get(columns.get("edit_type", ""))
    edit_type = "" if is_missing(edit_type) else str(edit_type)
    return DatasetRow(id, original, edited, instruction, None, edit_type, original.digest()[:16], answer)


def is_empty(cell: Any) -> bool:
    """Whether a cell of an image column is empty."""
    return is_missing(cell) or (
        isinstance(cell, Mapping) and cell.get("bytes") is None and cell.get("path") is None
    )


def count_chat_samples(table: Dataset, columns: Mapping[str, str]) -> int:
    """Count rows with an answer and without an edited image, without decoding any."""
    if "answer" not in columns:
        return 0
    rows: Any = table.select_columns(
        [columns[what] for what in ("answer", "edited") if what in columns]
    ).with_format("arrow")[:]
    found = rows[columns["answer"]].is_valid().to_numpy()
    return int(
        (found & rows[columns["edited"]].is_null().to_numpy()).sum() if "edited" in columns else found.sum()
    )


def stored_image(value: Any, where: str, reach: Reach) -> EncodedImage:
    """Read a cell of an image column. Raises ValueError for one that is empty, or names a file elsewhere."""
    if isinstance(value, bytes):
        return EncodedImage(where, value)
    if isinstance(value, Mapping) and value.get("bytes") is not None:
        return EncodedImage(where, value["bytes"])
    if isinstance(value, Mapping) and value.get("path") is not None:
        return EncodedImage(str(reach.file(value["path"], where)))
    raise ValueError(f"{where} holds no image")


def with_reward(row: DatasetRow, reward: Reward | None) -> DatasetRow:
    """Attach a reward to a row."""
    return replace(row, reward=reward)
