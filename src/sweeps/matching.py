"""Finds the jobs of a command in a sweep's folder, by what their results depend on, and refuses those for
which that has changed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from src.sweeps.code import changed_files
from src.sweeps.record import Job, Sweep
from src.sweeps.settings import changed_settings, fingerprint, first_few

ANY = "any"
"""Value of `hydra.launcher.code` that continues with other code; recorded."""


@final
@dataclass(frozen=True)
class Cell:
    """A job as a command requests it.

    Attributes:
        overrides: for the entry point.
        axes: the overrides in which the jobs differ.
        settings: what the result depends on, flat.
        files: fingerprints of the code it runs on, by file.
        code: hash of these.
        results: the folder whose reports it adds to, where that isn't its own.
        trust: the user's own packages that its editor is built of.
    """

    overrides: tuple[str, ...]
    axes: tuple[str, ...]
    settings: Mapping[str, Any]
    files: Mapping[str, str]
    code: str
    results: Path | None = None
    trust: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """Fingerprint of the settings."""
        return fingerprint(self.settings)


def match_cells(sweep: Sweep, cells: Sequence[Cell], folder: Path, code: str) -> list[Job]:
    """The jobs of the cells, in their order: existing ones of the sweep, and new ones, which are added to it.

    A cell matches a job if their axes have the same values, or if their settings are the same:
    `seed=0,1,2` adds to `seed=0,1`.

    Args:
        sweep: of the folder; modified.
        cells: of the command.
        folder: of the sweep, with the folders of its jobs.
        code: ANY, or "same": jobs of other code are refused.

    Raises:
        ValueError: a begun or finished job has other settings or other code; names them.
    """
    by_axes = {tuple(sorted(job.axes)): job for job in sweep.jobs}
    found: list[Job | None] = [by_axes.get(tuple(sorted(cell.axes))) for cell in cells]
    taken = {id(job) for job in found if job is not None}
    for index, cell in enumerate(cells):
        if found[index] is None:
            found[index] = next(
                (job for job in sweep.jobs if job.hash == cell.hash and id(job) not in taken), None
            )
            taken.add(id(found[index]))
    jobs = []
    for cell, job in zip(cells, found, strict=True):
        if job is not None and has_begun(job, folder):
            check_settings(cell, job, folder)
            check_code(cell, job, folder, sweep, code)
        if job is None:
            number = max((each.number for each in sweep.jobs), default=-1) + 1
            job = Job(number, [], [], {}, "", "")
            sweep.jobs.append(job)
        jobs.append(_taken_over(job, cell, sweep, folder))
    return jobs


def has_begun(job: Job, folder: Path) -> bool:
    """Whether a job has results or a checkpoint that would be used."""
    return (
        job.status in ("trained", "finished")
        or (folder / str(job.number) / "checkpoints" / "last.ckpt").exists()
    )


def check_settings(cell: Cell, job: Job, folder: Path) -> None:
    """Raise ValueError, naming the settings, if those of a job changed."""
    changed = changed_settings(job.settings, cell.settings)
    if changed and job.hash != cell.hash:
        raise ValueError(
            f"job {job.number} ({job.described()}) of {folder} was {_word(job)} with other settings: "
            f"{first_few(changed)}; "
            "give the earlier settings to go on, or take another folder with hydra.sweep.dir="
        )


def check_code(cell: Cell, job: Job, folder: Path, sweep: Sweep, code: str) -> None:
    """Raise ValueError, naming the files, if the code of a job changed; if other code is allowed, note it."""
    if job.code == cell.code:
        return
    known = sweep.code.get(job.code, {})
    changed = first_few(changed_files(known.get("files", {}), cell.files))
    told = (
        f"job {job.number} ({job.described()}) of {folder} was {_word(job)} by other code (commit "
        f"{str(known.get('commit'))[:12]}): {changed}"
    )
    if code != ANY:
        raise ValueError(
            f"{told} changed; go back to that code, say hydra.launcher.code=any to go on all the same "
            "(which is recorded), "
            "or take another folder with hydra.sweep.dir="
        )
    note = f"{told} had changed when the sweep went on"
    if note not in sweep.notes:
        sweep.notes.append(note)


def _word(job: Job) -> str:
    return "finished" if job.status in ("trained", "finished") else "begun"


def _taken_over(job: Job, cell: Cell, sweep: Sweep, folder: Path) -> Job:
    """The job, updated from the cell; a finished one keeps the code that made it."""
    if not has_begun(job, folder) or job.status not in ("trained", "finished"):
        job.code = cell.code
    job.overrides, job.axes, job.settings, job.hash = (
        list(cell.overrides),
        list(cell.axes),
        dict(cell.settings),
        cell.hash,
    )
    job.trust = list(cell.trust)
    return job


def find_same_job(job: Job, sweeps: Mapping[Path, Sweep], code: str) -> tuple[Path, Job] | None:
    """A finished job that equals this one, and its folder; None if there is none.

    Args:
        job: to be matched.
        sweeps: by folder; may hold this job itself.
        code: ANY, or "same": jobs of other code don't match.
    """
    for where, sweep in sweeps.items():
        for other in sweep.jobs:
            same = other.hash == job.hash and (code == ANY or other.code == job.code)
            if same and other is not job and other.status in ("trained", "finished"):
                return (where / str(other.number)).resolve(), other
    return None
