"""Rows that can't be used: what is wrong with each, and the file that lists them."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, final

from src.files import write_atomically
from src.json_files import read_json_lines

BROKEN_ROWS = "broken_rows.jsonl"
"""In the run folder: the rows that can't be used, and why."""


@final
@dataclass(frozen=True)
class Problem:
    """A row that can't be used.

    Attributes:
        index: in the dataset as it is trained on; None for a row that was already dropped because its reward
            can't be used.
        id: of the triplet, or "row <index>" where it is unknown.
        kind: "missing" file, "unreadable" image, "sizes" that don't match, "row" (instruction, columns) or
            "reward".
        reason: in words.
        found: "before" or "while" training.
    """

    index: int | None
    id: str
    kind: str
    reason: str
    found: Literal["before", "while"] = "before"


def write_problems(path: Path, problems: Sequence[Problem]) -> None:
    """Replace the list of an earlier check, but keep rows that training ran into. Nothing to list, no file.

    Raises:
        NotWrittenError: the file can't be written.
    """
    listed = {(problem.index, problem.id) for problem in problems}
    kept = [
        problem
        for problem in read_problems(path)
        if problem.found == "while" and (problem.index, problem.id) not in listed
    ]
    if problems or kept or path.exists():
        write_atomically(path, "".join(_problem_line(problem) for problem in [*problems, *kept]))


def append_problem(path: Path, problem: Problem) -> None:
    """Add a row that training ran into, in a single write: several workers may do so at once."""
    with path.open("ab", buffering=0) as file:
        file.write(_problem_line(problem).encode())


def read_problems(path: Path) -> list[Problem]:
    """Read what `write_problems` and `append_problem` wrote, each row once even if several processes listed
    it. No file, no problems.
    """
    if not path.exists():
        return []
    problems = [Problem(**entry) for entry in read_json_lines(path)]
    return list({(problem.index, problem.id): problem for problem in problems}.values())


def _problem_line(problem: Problem) -> str:
    return json.dumps(asdict(problem), ensure_ascii=False) + "\n"
