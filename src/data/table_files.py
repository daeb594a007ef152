"""What kind of table lies at a path, and how `datasets` loads it.

| path | read as |
|---|---|
| folder with state.json or dataset_dict.json | what `save_to_disk` wrote |
| folder with *.parquet; .parquet files | parquet |
| folder with metadata.jsonl or metadata.csv that has a file_name | imagefolder |
| folder with edit_sessions.json or edit_turns.json | MagicBrush, unpacked (magicbrush_turns.py) |
| folder with *.tar; .tar files | WebDataset: KEY.original.jpg, KEY.edited.jpg, KEY.txt or KEY.json |
| folder with a list; .csv, .tsv, .json, .jsonl file | rows that name their images, relative to the list |
| folder with control/ and target/ | pairs with instructions in text files (pair_folders.py) |
| owner/name | a dataset on the hub |

A folder with several lists has the splits that they are named by: train.csv, test.csv.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from datasets.data_files import DataFilesDict, get_data_patterns

from src.data.columns import EITHER, SCORES
from src.data.json_list import read_entries
from src.data.lists import AnyColumns, csv_rows
from src.data.magicbrush_turns import SESSIONS, TURNS, turn_columns
from src.data.pair_folders import find_pair_folders, has_texts, pair_columns
from src.image_files import is_hidden
from src.json_files import parse_json, read_text

SAVED, WEB_DATASET = "saved", "webdataset"
"""In place of a builder: a folder that `save_to_disk` wrote. And the builder of .tar files."""

BUILDERS = {".parquet": "parquet", ".tar": WEB_DATASET}
LISTS = (".csv", ".tsv", ".json", ".jsonl")
SPLITS = ("train", "validation", "valid", "val", "dev", "test")
KINDS = (
    "save_to_disk folder (state.json), parquet files, imagefolder (metadata.jsonl), WebDataset (.tar), a "
    "list (.csv, .tsv, .json, .jsonl), MagicBrush (edit_sessions.json), folders control/ and target/ of pairs"
)

Columns = Mapping[str, Sequence[Any]]


@final
@dataclass(frozen=True)
class TableFiles:
    """How a table is loaded.

    Attributes:
        builder: the first argument of `load_dataset`, a builder or hub id; SAVED for `load_from_disk`.
        arguments: its others.
        columns: reads a table of a kind that `datasets` doesn't know; None for the others.
        is_split: whether what `columns` reads is named by its split.
        other_splits: number of rows by split, of those that lie beside this one.
    """

    builder: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    columns: Callable[[], Columns] | None = None
    is_split: bool = False
    other_splits: Mapping[str, int] = field(default_factory=dict)


def table_files(path: str, split: str = "train") -> TableFiles:
    """How to load what lies at a path.

    Raises:
        FileNotFoundError: nothing is there, and it is no hub id.
        ValueError: none of the kinds of tables above, or several lists.
    """
    place = Path(path)
    if place.is_dir():
        return _of_folder(place, split)
    if place.suffix.lower() in (*BUILDERS, *LISTS):
        files = [place] if place.exists() else sorted(place.parent.glob(place.name))
        if not files:
            raise FileNotFoundError(f"no file {path}; give existing {place.suffix} files")
        return _of_files(files, path)
    if place.exists():
        raise ValueError(f"{path} is no table; what can be read is a {KINDS}")
    if place.is_absolute() or path.startswith(".") or path.count("/") != 1:
        raise FileNotFoundError(f"no folder or file {path}; give an existing one, or a hub id owner/name")
    return TableFiles(path)


def folder_of(path: str) -> Path | None:
    """The folder in which the rows of a local table may name files; None for a hub id."""
    place = Path(path)
    is_file = place.suffix.lower() in (*BUILDERS, *LISTS)
    return place if place.is_dir() else place.parent if is_file else None


def _of_folder(folder: Path, split: str) -> TableFiles:
    if (folder / "state.json").exists() or (folder / "dataset_dict.json").exists():
        return TableFiles(SAVED)
    if any(folder.rglob("*.parquet")):
        return TableFiles("parquet", {"data_dir": str(folder)})
    if any(names_files(path) for path in folder.rglob("metadata.*")):
        return TableFiles("imagefolder", {"data_dir": str(folder)})
    if (folder / SESSIONS).is_file() or (folder / TURNS).is_file():
        return TableFiles("", columns=lambda: turn_columns(folder))
    if (folder / "seeds.json").is_file():
        raise ValueError(
            f"{folder} is an InstructPix2Pix tree (seeds.json): say data=pix2pix_tree "
            f"data.dataset.folder={folder}"
        )
    if any(folder.rglob("*.tar")):
        return TableFiles(WEB_DATASET, {"data_files": _files_by_split(folder, ".tar")})
    pairs = find_pair_folders(folder)
    lists = sorted(path for path in folder.iterdir() if path.suffix.lower() in LISTS and not is_hidden(path))
    if pairs is not None and (has_texts(pairs) or not lists):
        return TableFiles("", columns=lambda: pair_columns(folder, pairs))
    if lists:
        return _of_lists(lists, split)
    raise ValueError(f"{folder} is none of these: {KINDS}")


def _of_lists(lists: Sequence[Path], split: str) -> TableFiles:
    """The list that a split is named by, or the only one. Raises ValueError if it isn't clear."""
    chosen = lists if len(lists) == 1 else [path for path in lists if path.stem == split]
    if len(chosen) != 1:
        raise ValueError(
            f"{lists[0].parent} holds {', '.join(path.name for path in lists)}: give one of them as "
            "data.dataset.table.path, or name it by its data.dataset.table.split"
        )
    files = _of_files(chosen, str(chosen[0]))
    others = [path for path in lists if path != chosen[0] and path.stem in SPLITS]
    return TableFiles(
        files.builder,
        files.arguments,
        files.columns,
        chosen[0].stem == split,
        {path.stem: len(read_list(path)) for path in others},
    )


def _of_files(files: Sequence[Path], path: str) -> TableFiles:
    """Files of one suffix that `path` names, perhaps by a pattern."""
    suffix = files[0].suffix.lower()
    if suffix in BUILDERS:
        return TableFiles(BUILDERS[suffix], {"data_files": path})
    if len(files) > 1:
        raise ValueError(f"{path} are {len(files)} lists: give one of them")
    return TableFiles("", columns=lambda: list_columns(files[0]))


def _files_by_split(folder: Path, suffix: str) -> dict[str, list[str]]:
    """The files of a folder with a suffix, by the split that their names say."""
    found = DataFilesDict.from_patterns(
        get_data_patterns(str(folder)), base_path=str(folder), allowed_extensions=[suffix]
    )
    return {str(split): list(files) for split, files in found.items() if files}


def names_files(metadata: Path) -> bool:
    """Whether a metadata.jsonl or metadata.csv is an imagefolder's, which names files in `file_name`, or in
    `edited_file_name` and the like.

    Raises:
        ValueError: `file_name` comes after the like, which `datasets` mixes up.
    """
    if metadata.name not in ("metadata.jsonl", "metadata.csv"):
        return False
    text = read_text(metadata)
    if metadata.suffix == ".csv":
        names: Sequence[str] = re.split(r"[,;\t]", text.partition("\n")[0].strip())
    else:
        first = parse_json(text.partition("\n")[0] or "null", f"{metadata}:1")
        names = list(first) if isinstance(first, dict) else []
    files = [name for name in (each.strip('"') for each in names) if re.search(r"(^|_)file_names?$", name)]
    if "file_name" in files[1:]:
        raise ValueError(
            f"{metadata} names {files[0]} before file_name: let file_name be the first in each row"
        )
    return bool(files)


def list_columns(file: Path) -> dict[str, list[Any]]:
    """The rows of a list as columns; a field that a row lacks is null. Raises as `read_list`."""
    entries = read_list(file)
    return {
        name: [entry.get(name) for entry in entries]
        for name in dict.fromkeys(name for entry in entries for name in entry)
    }


def read_list(file: Path) -> Sequence[Mapping[str, Any]]:
    """The rows of a .csv, .tsv, .json or .jsonl file. Of a table, scores are numbers and all else texts as
    they stand ("None" and "007", too), and an empty cell is null.

    Raises:
        FileNotFoundError, ValueError: as `read_entries` and `csv_rows`.
    """
    if file.suffix.lower() not in (".csv", ".tsv"):
        return read_entries(file)
    text = read_text(file)
    first = text.partition("\n")[0]
    separator = "\t" if "\t" in first else ";" if "," not in first else ","
    rows = [
        {name: _cell(name, cell, f"{file}:{line}") for name, cell in fields.items()}
        for line, fields in csv_rows(text, file, AnyColumns(), separator)
    ]
    if not rows:
        raise ValueError(f"{file} has no rows: a line of names and a line per row are needed")
    return rows


def _cell(name: str, cell: object, where: str) -> object:
    if cell == "":
        return None
    if name not in SCORES:
        return cell
    try:
        return float(str(cell))
    except ValueError as error:
        raise ValueError(f"{where}: {name} is {cell!r}, a number is needed") from error


def name_of_member(member: str, is_image: bool) -> str:
    """A column's name for the files of a WebDataset with one ending, or for a field of its JSON:
    "original.jpg" is original, "jpg" image, "txt" caption, "json.edit" edit.
    """
    name, dot, ending = member.rpartition(".")
    if not dot:
        return EITHER if is_image else "caption" if ending in ("txt", "text") else ending
    return ending if name == "json" else name
