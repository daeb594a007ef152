"""Tables: a hub id, parquet files, a `save_to_disk` folder, an imagefolder, WebDataset, lists of files, or
folders of pairs (table_files.py).

Columns are found by the names that datasets of edits use (columns.py). Images stay encoded until a row is
asked for; a column may also name their files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import datasets
import pyarrow
from datasets import Dataset, DatasetDict, Features, SplitDict, SplitInfo, config
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
from src.data.table_files import SAVED, WEB_DATASET, TableFiles, folder_of, name_of_member, table_files
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
        where = "the table" if source is None else source
        self.other_splits = other_splits(table)
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
                "data.dataset.columns.id=false ignores ids"
            )

    def __len__(self) -> int:
        return len(self.table)

    def row(self, index: int) -> DatasetRow:
        check_index(index, len(self))
        id = None if self.ids is None else self.ids[index]
        where = f"row {index}" if id is None else f"row {index} ({id})"
        row = row_of_columns(self.table[index], self.columns, id, where, self.reach)
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
        return {**self.other_splits, **({CHAT_SAMPLES: number} if number else {})}

    def _reward(self, index: int, id: str) -> Reward | None:
        return reward_of_columns(lambda name: self.values[name][index], id)


def open_table(path: str, split: str = "train", name: str | None = None, cache: str | None = None) -> Dataset:
    """Load a path.

    Args:
        path: see table_files.py.
        split: its name; files that name none are "train".
        name: of the configuration, for hub ids that have several.
        cache: a folder for what `datasets` converts and downloads; None for its own default.

    Raises:
        FileNotFoundError: nothing at this path or hub id.
        ValueError: no table, or one that can't be read, or without this split.
    """
    files = table_files(path, split)
    try:
        return _load(files, path, split, name, cache)
    except (ConnectionError, DatasetNotFoundError) as error:
        raise hub_dataset_missing(path) from error
    except FileNotFoundError:
        raise
    except (DatasetsError, pyarrow.ArrowException, ValueError, KeyError, OSError) as error:
        if str(error).startswith(path):
            raise  # a reader of ours, which names file and line
        raise unreadable(path, "loaded", split, error) from error


def _load(files: TableFiles, path: str, split: str, name: str | None, cache: str | None) -> Dataset:
    if files.columns is not None:
        if split != "train" and not files.is_split:
            raise ValueError("it has no splits; say data.dataset.table.split=train")
        return _beside(files.other_splits, Dataset.from_dict(dict(files.columns())))
    if files.builder == SAVED:
        saved = datasets.load_from_disk(path)
        return _saved_split(saved, split) if isinstance(saved, DatasetDict) else _beside({}, saved)
    table = datasets.load_dataset(files.builder, name, **files.arguments, split=split, cache_dir=cache)
    assert isinstance(table, Dataset)
    return of_web_dataset(table) if files.builder == WEB_DATASET else table


def _saved_split(saved: DatasetDict, split: str) -> Dataset:
    """A split. Raises ValueError naming those that there are."""
    if split not in saved:
        raise ValueError(f"it has {', '.join(map(str, saved))}")
    return _beside({str(name): len(saved[name]) for name in saved if name != split}, saved[split])


def _beside(splits: Mapping[str, int], table: Dataset) -> Dataset:
    """Tell a table of the splits that lie beside it."""
    table.info.splits = SplitDict({name: SplitInfo(name, num_examples=splits[name]) for name in splits})
    return table


def other_splits(table: Dataset) -> dict[str, int]:
    """Rows of a table's other splits, which are left out, in words -> number."""
    taken = {part.partition("[")[0] for part in str(table.split).split("+")}  # train[:10%]+test
    splits = table.info.splits or {}
    return {
        f"rows of split {name}, left out": splits[name].num_examples for name in splits if name not in taken
    }


def of_web_dataset(table: Any) -> Any:
    """A WebDataset, or a stream of one, with columns named by its files without their endings, and by the
    fields of its JSON. Keys are left out, as each shard may count anew.
    """
    table = table.remove_columns([name for name in ("__key__", "__url__") if name in table.column_names])
    described = table.features.get("json")
    if isinstance(table, Dataset):
        table = table.flatten()
    elif isinstance(described, dict):
        fields = {f"json.{name}": feature for name, feature in described.items()}
        others = {name: feature for name, feature in table.features.items() if name != "json"}
        table = table.map(
            lambda row: {f"json.{name}": (row["json"] or {}).get(name) for name in described},
            remove_columns=["json"],
            features=Features({**others, **fields}),
        )
    names: dict[str, str] = {}
    for member in table.column_names:
        name = name_of_member(member, isinstance(table.features[member], datasets.Image))
        names[member] = member if name in names.values() else name
    return table.rename_columns(names)


def unreadable(path: str, done: str, split: str, error: Exception) -> ValueError:
    """The error for a table that can't be read, with its first cause."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
    return ValueError(f"{path} can't be {done}, split {split!r}: {reason}")


def hub_dataset_missing(name: str) -> FileNotFoundError:
    """Build the error for a hub id that gives no data."""
    return FileNotFoundError(
        f"no dataset {name}: no such folder here, and on the hub there is none, or it is private, or the hub "
        "gave no answer as there is no network; correct data.dataset.table.path, connect, or log in "
        "(hf auth login)"
    )


def reach_of(source: str | None, outside: bool) -> Reach:
    """Where the images that rows name may lie: in the folder of the path given to `open_table`, or where
    `datasets` keeps what it has downloaded or unpacked.
    """
    kept = Path(HF_HUB_CACHE), Path(config.HF_DATASETS_CACHE)
    folder = None if source is None else folder_of(source)
    return Reach(kept[0] if folder is None else folder, outside, kept)


def ids_of(values: Sequence[Any], where: str) -> list[str]:
    """The ids in a column. Raises ValueError for a row without one."""
    without = next((row for row, value in enumerate(values) if is_missing(value)), None)
    if without is not None:
        raise ValueError(f"row {without} of {where} has no id; data.dataset.columns.id=false ignores ids")
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
                f"column {columns[what]!r} holds {feature} and no images: an image, bytes, bytes and path, "
                "or the name of a file are needed"
            )
    return table


def stores_images(feature: Any) -> bool:
    """Whether a column that is not declared as images can hold encoded ones, or their files' names."""
    return (
        (isinstance(feature, dict) and "bytes" in feature)
        or is_text(feature)
        or (isinstance(feature, datasets.Value) and feature.dtype in ("binary", "large_binary", "null"))
    )


def paths_of(table: Dataset, column: str) -> list[str | None] | None:
    """List the files of an image column; None if the images lie in the table, which is then not read."""
    if is_text(table.features[column]):
        return list(table[column])
    first = table[0][column] if len(table) else None
    if not isinstance(first, Mapping) or first.get("bytes") is not None:
        return None
    return [
        None if cell is None or cell.get("bytes") is not None else cell.get("path") for cell in table[column]
    ]


def is_text(feature: Any) -> bool:
    """Whether a column holds texts; those of an image column name files."""
    return isinstance(feature, datasets.Value) and feature.dtype in ("string", "large_string")


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
    if is_missing(instruction):
        raise ValueError(f"{where} has no {columns['instruction']!r}: one text is needed")
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
    return (
        is_missing(cell)
        or cell == ""
        or (isinstance(cell, Mapping) and cell.get("bytes") is None and cell.get("path") is None)
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
    if isinstance(value, str) and value.strip():
        return EncodedImage(str(reach.file(value, where)))
    if isinstance(value, Mapping) and value.get("bytes") is not None:
        return EncodedImage(where, value["bytes"])
    if isinstance(value, Mapping) and value.get("path") is not None:
        return EncodedImage(str(reach.file(value["path"], where)))
    raise ValueError(f"{where} holds no image")


def with_reward(row: DatasetRow, reward: Reward | None) -> DatasetRow:
    """Attach a reward to a row."""
    return replace(row, reward=reward)
