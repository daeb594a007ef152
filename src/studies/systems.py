"""What is compared: the edits of one row of an evaluation, found from a run folder, from the row's own
folder, or in any folder of <case id>.png.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from src.evaluation.case_images import abbreviate
from src.evaluation.generation_folder import SETTINGS, Generation, generations_in
from src.files import is_written
from src.image_files import images_in
from src.images import Framing
from src.records import Case


@final
@dataclass(frozen=True)
class System:
    """Edits that raters compare with others.

    Attributes:
        name: in tables; raters never see it.
        run: the folder that was given.
        made: the edits.
    """

    name: str
    run: Path
    made: Generation

    def framing(self) -> Framing | None:
        """How photographs were cropped before editing; None if that is unknown."""
        return self.made.framing() if (self.made.folder / SETTINGS).exists() else None


def find_systems(runs: Sequence[str], names: Sequence[str] | None, benchmark: str, row: str) -> list[System]:
    """The systems of a study.

    Args:
        runs: their folders.
        names: one per folder; None names them by what differs.
        benchmark: its name.
        row: the row that represents a run.

    Raises:
        FileNotFoundError: no such folder, or no edits of this benchmark in it.
        ValueError: no such row, names that are not one per folder, or twice the same.
    """
    made = [find_edits(Path(run), benchmark, row) for run in runs]
    called = distinct_names([Path(run) for run in runs], made) if names is None else list(names)
    if len(called) != len(made) or len(set(called)) < len(called) or not all(called):
        raise ValueError(
            f"names={called} for runs={list(runs)}: give each its own name, as in names=[SmartEdit,Ours]"
        )
    return [System(name, Path(run), each) for name, run, each in zip(called, runs, made, strict=True)]


def find_edits(folder: Path, benchmark: str, row: str) -> Generation:
    """The edits that a folder stands for. Raises as `find_systems`."""
    if not folder.is_dir():
        raise FileNotFoundError(f"runs: no folder {folder}")
    for own in (folder, folder.parent):
        if (own / SETTINGS).is_file() and (own == folder or folder.name == "edits"):
            return next(each for each in generations_in(own.parent) if each.folder == own)
    if (folder / "evaluation").is_dir():
        return _row_of_run(folder, benchmark, row)
    if not images_in(folder, below=True):
        raise FileNotFoundError(
            f"runs: {folder} holds neither evaluation/{benchmark} nor images: give a run that "
            "python -m src.evaluate has evaluated, or a folder of <case id>.png"
        )
    return Generation(folder.resolve().name, folder, folder)


def _row_of_run(run: Path, benchmark: str, row: str) -> Generation:
    rows = generations_in(run / "evaluation" / benchmark)
    if not rows:
        there = sorted({path.parents[1].name for path in run.glob(f"evaluation/*/*/{SETTINGS}")})
        raise FileNotFoundError(
            f"runs: {run} has no edits of benchmark={benchmark}; there are edits of "
            f"{', '.join(there) or 'no benchmark'}"
        )
    chosen = [each for each in rows if each.name == row] or (rows if len(rows) == 1 else [])
    if not chosen:
        raise ValueError(
            f"row={row}: {run} has no such row; there are {', '.join(each.name for each in rows)}, and "
            f"runs= takes the folder of one, too ({rows[0].folder})"
        )
    return chosen[0]


def distinct_names(runs: Sequence[Path], made: Sequence[Generation]) -> list[str]:
    """Names by what differs: the rows', else the folders', else both."""
    rows = [each.name for each in made]
    absolute = [run.absolute() for run in runs]
    common = os.path.commonpath([path.parent for path in absolute])
    folders = [str(path.relative_to(common)) for path in absolute]
    both = [f"{folder} {row}" for folder, row in zip(folders, rows, strict=True)]
    return next((names for names in (rows, folders) if len(set(names)) == len(names)), both)


def check_complete_edits(systems: Sequence[System], cases: Sequence[Case]) -> None:
    """Raise FileNotFoundError if a case has no edit: a study shows each system on the same cases."""
    for system in systems:
        missing = [case.id for case in cases if not is_written(system.made.edit_path(case))]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(cases)} cases have no edit in {system.made.edits} "
                f"({abbreviate(missing)}): evaluate all of them, give limit= for the first cases only, or in "
                "runs= the folder of the edits where they have been moved"
            )
