"""Where the rows of a benchmark lie: a folder, a file, a table, or a dataset of the hub."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from src.data.table_picture import with_encoded_pictures
from src.json_files import json_lines, parse_json

ROWS = (".jsonl", ".json", ".csv", ".tsv")


def read_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """The rows of a .jsonl, .json (a list, or an object as one row), .csv or .tsv file, also .gz, each with
    its place for messages.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of these kinds, or not readable as one.
    """
    suffix = "".join(path.suffixes[-2:]).removesuffix(".gz")
    suffix = suffix[suffix.rfind(".") :]
    if suffix not in ROWS:
        raise ValueError(f"{path}: rows come as {', '.join(ROWS)}, each also with .gz")
    text = read_packed_text(path)
    if suffix == ".jsonl":
        yield from ((f"{path}:{number}", value) for number, value in json_lines(text, str(path)))
    elif suffix == ".json":
        found = parse_json(text, str(path))
        rows = found if isinstance(found, list) else [found]
        yield from ((f"{path}, entry {number}", value) for number, value in enumerate(rows, 1))
    else:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if suffix == ".tsv" else ",")
        for number, row in enumerate(reader, 2):
            if None in row or None in row.values():
                raise ValueError(f"{path}:{number} has not as many cells as the header has names")
            yield f"{path}:{number}", row


def read_packed_text(path: Path) -> str:
    """The text of a file, unpacked if its name ends in .gz. Raises FileNotFoundError or ValueError."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        return content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} can't be read ({error}): it may be cut off, or is not text; copy it again"
        ) from error


def as_mapping(row: Any, where: str) -> Mapping[str, Any]:
    """A row that is an object. Raises ValueError."""
    if not isinstance(row, dict):
        raise ValueError(f"{where} holds {str(row)[:60]!r}, and an object with names is needed")
    return row


def local_place(path: str, patterns: Sequence[str], what: str) -> Path:
    """A file or folder here, or a dataset of the hub, whose files of these patterns are downloaded.

    Raises:
        FileNotFoundError: neither.
    """
    place = Path(path)
    if place.exists():
        return place
    hint = f"no folder or file {path}: judge_benchmark.path is {what}, or a hub id owner/name"
    if place.is_absolute() or path.startswith(".") or path.count("/") != 1:
        raise FileNotFoundError(hint)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(path, repo_type="dataset", allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise FileNotFoundError(f"{hint}; the hub gave nothing ({reason})") from error


def is_table(path: str) -> bool:
    """Whether `datasets` has to open it: a saved or parquet folder, parquet files, or a hub id."""
    place = Path(path)
    if place.is_dir():
        names = ("state.json", "dataset_dict.json", "metadata.jsonl", "metadata.csv")
        return any((place / name).exists() for name in names) or any(place.rglob("*.parquet"))
    return path.endswith(".parquet") or not place.exists()


def open_rows(path: str, split: str, name: str | None, pictures: Sequence[str], needed: Sequence[str]) -> Any:
    """A `datasets` table whose picture columns stay encoded.

    Raises:
        FileNotFoundError, ValueError: as `open_table`, or a column is missing.
    """
    from src.data.huggingface_table import open_table

    try:
        table = open_table(path, split, name)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"no rows at {path}: no such folder or file here, and on the hub there is no such dataset, or "
            "it is private, or the hub gave no answer as there is no network; correct judge_benchmark.path, "
            "connect, or log in (hf auth login)"
        ) from error
    missing = [column for column in (*needed, *pictures) if column not in table.column_names]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}, it has {', '.join(table.column_names)}")
    return with_encoded_pictures(table, pictures)
