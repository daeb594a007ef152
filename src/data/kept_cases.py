"""The cases of a benchmark that an evaluation kept in its run folder, see evaluation/case_list.py."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from src.json_files import read_json_lines

FOLDER = "cases"
LIST = "cases.jsonl"


@final
@dataclass(frozen=True)
class KeptCase:
    """One case of a benchmark.

    Attributes:
        id, edit_type, photograph, instruction: as in Case.
        original: file name of the image.
        target: file name of the ground truth; None if it is unknown.
    """

    id: str
    edit_type: str
    photograph: str
    instruction: str
    original: str
    target: str | None


def kept_cases(folder: Path) -> list[KeptCase]:
    """The cases in the benchmark's folder of a run, in the benchmark's order.

    Raises:
        FileNotFoundError: none are kept there.
        ValueError: a broken list.
    """
    path = folder / FOLDER / LIST
    if not path.exists():
        raise FileNotFoundError(
            f"no {path}, which the page takes instructions and originals from; run python -m src.evaluate "
            "steps=[report] again"
        )
    try:
        return [KeptCase(**entry) for entry in read_json_lines(path)]
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is broken ({error}); delete it and run python -m src.evaluate steps=[report] again"
        ) from error
