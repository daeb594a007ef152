"""MagicBrush's list of turns: photographs edited by people in one to three turns, for training and as a
benchmark (evaluation/magicbrush.py).

    FOLDER/edit_sessions.json   {"<img_id>": [{"input", "mask", "output", "instruction"}, ...], ...}
    FOLDER/edit_turns.json      or the same as a flat list
    FOLDER/images/<img_id>/     <img_id>-input.png: before turn 1; <img_id>-output<k>.png: after turn k
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import final

from src.data.json_list import read_entries
from src.data.reach import Reach
from src.json_files import read_json

SESSIONS, TURNS = "edit_sessions.json", "edit_turns.json"
FIELDS = ("input", "output", "instruction")
OUTPUT = re.compile(r"(.+)-output(\d+)\.\w+")


@final
@dataclass(frozen=True)
class SessionTurn:
    """One turn of a session in the release.

    Attributes:
        session: the img_id.
        number: of the turn, from 1.
        before, after: the true images.
        mask: transparent where the turn may edit; None if there is no file.
        instruction: of this turn alone.
    """

    session: str
    number: int
    before: Path
    after: Path
    mask: Path | None
    instruction: str


def listed_rows(folder: Path) -> tuple[Path, list[object]]:
    """The file that lists the turns, and its rows in order. Raises as `read_sessions`."""
    if folder.is_file():
        return folder, [row for row in read_entries(folder) if row.get("task", "magicbrush") == "magicbrush"]
    path = next((folder / name for name in (SESSIONS, TURNS) if (folder / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"no {SESSIONS} in a folder {folder}; benchmark.folder is the unpacked test split of MagicBrush, "
            "or a test.json"
        )
    listed = read_json(path)
    if isinstance(listed, dict) and all(isinstance(rows, list) for rows in listed.values()):
        listed = [row for rows in listed.values() for row in rows]
    if not isinstance(listed, list) or not listed:
        raise ValueError(
            f'{path} is not of the form {{"<img_id>": [{{"input", "mask", "output", "instruction"}}, ...], '
            f"...}}"
        )
    return path, listed


def parse_turn(row: object, folder: Path, where: str) -> SessionTurn:
    """A turn.

    Raises:
        ValueError: a field is missing, or a name is not <img_id>-output<k>.png.
    """
    if not isinstance(row, dict):
        raise ValueError(f"{where} is {str(row)[:60]!r}, an object with {', '.join(FIELDS)} is needed")
    before, after, instruction = (row.get(field) for field in FIELDS)
    for field, value in zip(FIELDS, (before, after, instruction), strict=True):
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{where} has {value!r} as its {field}: a text is needed")
    match = OUTPUT.fullmatch(Path(str(after)).name)
    if match is None:
        raise ValueError(f"{where} has the output {after!r}: the name <img_id>-output<number>.png is needed")
    # AURORA-Bench's rows have whole paths, the release's have names in the folder of their session
    place = folder.parent if folder.is_file() else folder / "images" / match[1]
    reach = Reach(place, remedy="copy it there")
    mask = reach.file(str(row.get("mask", "")), where)
    return SessionTurn(
        match[1],
        int(match[2]),
        reach.file(str(before), where),
        reach.file(str(after), where),
        mask if mask.is_file() else None,
        str(instruction).strip(),
    )


def turn_columns(folder: Path) -> dict[str, list[str]]:
    """The turns as columns, in the order of the file; images by their paths in the folder.

    Raises:
        ValueError: no turns, or one that is malformed or names a file elsewhere.
    """
    path, rows = listed_rows(folder)
    turns = [parse_turn(row, folder, f"{path}: turn {number}") for number, row in enumerate(rows)]
    return {
        "id": [f"{turn.session}-{turn.number}" for turn in turns],
        "original_image": [turn.before.relative_to(folder).as_posix() for turn in turns],
        "edited_image": [turn.after.relative_to(folder).as_posix() for turn in turns],
        "instruction": [turn.instruction for turn in turns],
    }
