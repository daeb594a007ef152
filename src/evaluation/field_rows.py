"""Rows of the field's benchmarks: tables of the hub or of a folder, with every fault of all rows in one
error.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.data.rows import EncodedImage
from src.data.table_picture import TablePicture, with_encoded_pictures
from src.evaluation.case_images import abbreviate


def check_names(setting: str, value: str, allowed: Sequence[str]) -> None:
    """Raise ValueError unless a setting of a benchmark is one of those that there are."""
    if value not in allowed:
        raise ValueError(f"benchmark.{setting}={value}: choose from {', '.join(allowed)}")


def check_problems(where: str, problems: Mapping[str, Sequence[str]]) -> None:
    """Raise ValueError naming what is wrong with rows, all of it at once.

    Args:
        where: the rows lie.
        problems: what is wrong -> the rows of which it is.
    """
    wrong = "; ".join(f"{len(rows)} {what} ({abbreviate(rows)})" for what, rows in problems.items() if rows)
    if wrong:
        raise ValueError(f"{where} can't be used: {wrong}; correct them, no case is left out")


def field_table(folder: str, split: str, columns: Sequence[str], pictures: Sequence[str]) -> Any:
    """A `datasets` table whose picture columns stay encoded.

    Raises:
        FileNotFoundError: nothing there, here or on the hub.
        ValueError: no table, or one that lacks a column.
    """
    from src.data.huggingface_table import open_table

    try:
        table = open_table(folder, split)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"no rows at {folder}: benchmark.folder is a folder of parquet files, a saved table, or a hub id "
            "owner/name that the hub gives out (connect, or log in: hf auth login)"
        ) from error
    missing = [column for column in (*columns, *pictures) if column not in table.column_names]
    if missing:
        raise ValueError(
            f"{folder} has no column {', '.join(missing)}, it has {', '.join(table.column_names)}: "
            "benchmark.folder is another dataset"
        )
    return with_encoded_pictures(table, pictures)


def columns_of(table: Any, columns: Sequence[str]) -> list[dict[str, Any]]:
    """These columns of all rows; pictures are not read."""
    values = table.select_columns(list(columns)).to_dict()
    return [
        dict(zip(columns, row, strict=True)) for row in zip(*(values[name] for name in columns), strict=True)
    ]


def pictures_of(table: Any, column: str, rows: Sequence[int], where: str) -> dict[int, EncodedImage]:
    """The pictures of rows by their number, equal ones once.

    Raises:
        ValueError: rows without a picture, all named.
        FileNotFoundError: a picture's file is gone.
    """
    from src.data.huggingface_table import reach_of

    found, known, empty = dict[int, EncodedImage](), dict[str, EncodedImage](), []
    reach = reach_of(where, False)
    for row in rows:
        try:
            stored = TablePicture(table, row, column, reach=reach).stored()
        except ValueError:
            empty.append(f"row {row}")
            continue
        found[row] = known.setdefault(stored.digest(), stored)
    check_problems(where, {f"rows hold no picture in {column}": empty})
    return found


def downloaded(folder: str, patterns: Sequence[str]) -> Path:
    """A folder here, or that of a dataset on the hub, whose files of these patterns are downloaded.

    Raises:
        FileNotFoundError: neither.
    """
    place = Path(folder)
    if place.is_dir():
        return place
    hint = f"no folder {folder}: benchmark.folder is the unpacked release, or its hub id owner/name"
    if place.is_absolute() or folder.startswith(".") or folder.count("/") != 1:
        raise FileNotFoundError(hint)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(folder, repo_type="dataset", allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise FileNotFoundError(f"{hint}; the hub gave nothing ({reason})") from error


def is_inside(name: Any) -> bool:
    """Whether a name is that of a file below a folder."""
    return (
        isinstance(name, str) and bool(name) and not Path(name).is_absolute() and ".." not in Path(name).parts
    )


def require_files(where: str, files: Sequence[Path]) -> None:
    """Raise FileNotFoundError naming the files that are not there."""
    missing = [str(file) for file in dict.fromkeys(files) if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{where} names {len(missing)} files that are missing ({abbreviate(missing)}); no case is left "
            "out"
        )
