"""The answers of a study as files for others, and its progress on the terminal."""

import csv
import json
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path

from rich.table import Table

from src.files import write_atomically
from src.studies.ratings import Ratings, export_rows
from src.tabulation.csv import no_formula

FORMATS = (".jsonl", ".csv")


def check_formats(paths: Sequence[Path]) -> None:
    """Raise ValueError for a file that would be neither JSON lines nor CSV."""
    for path in paths:
        if path.suffix not in FORMATS:
            raise ValueError(f"export={path}: the extension selects the format, one of {', '.join(FORMATS)}")


def write_export(path: Path, ratings: Ratings) -> int:
    """Write the answers that count, one row or line each; return their number. Raises NotWrittenError."""
    rows = export_rows(ratings)
    text = (
        as_csv(rows)
        if path.suffix == ".csv"
        else "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    )
    write_atomically(path, text)
    return len(rows)


def as_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as CSV; no cell, instruction or rater's name among them, is a formula."""
    fields = list(dict.fromkeys(name for row in rows for name in row))
    text = StringIO()
    writer = csv.DictWriter(text, fields, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: no_formula(cell) for name, cell in row.items()} for row in rows)
    return text.getvalue()


def progress_table(ratings: Ratings) -> Table:
    """How far each rater is."""
    table = Table(title=f"Answers in {ratings.folder}")
    for name in ("rater", "answered", "of", "last"):
        table.add_column(name, justify="left" if name in ("rater", "last") else "right")
    for rater, asked in ratings.asked.items():
        own = {
            rating.answer.position: rating.answer for rating in ratings.all if rating.answer.rater == rater
        }
        table.add_row(rater, str(len(own)), str(asked), max(answer.at for answer in own.values()))
    return table
