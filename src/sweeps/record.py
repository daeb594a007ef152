"""`sweep.json`: a sweep and the progress of its jobs. Rewritten at every change, so that it is true even
after a kill.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

from src.files import write_atomically
from src.sweeps.settings import common_settings

FILE = "sweep.json"
FORMAT = 1

Status = Literal["waiting", "running", "trained", "finished", "failed", "interrupted"]
"""Of a job: not begun; running; trained but not evaluated; done; ended with an error; stopped or killed."""


@final
@dataclass
class Job:
    """One job of a sweep.

    Attributes:
        number: its folder is `<sweep>/<number>`; never changes.
        overrides: for the entry point, without the sweep's own.
        axes: the overrides in which the jobs of the sweep differ.
        settings: what its result depends on, flat.
        hash: fingerprint of the settings.
        code: hash of the code that it runs on, a key of `Sweep.code`.
        status: its progress.
        shared: the folder of an equal job, relative to the sweep's folder; this job's folder is then a link
            to it.
        evaluated: the overrides with which it was evaluated; None if it wasn't.
        seconds: spent by its steps, "train" and "evaluate", over all starts.
        error: why it failed.
        submission: the scheduler's number, while it waits or runs there.
        trust: the user's own packages that its editor is built of.
    """

    number: int
    overrides: list[str]
    axes: list[str]
    settings: dict[str, Any]
    hash: str
    code: str
    status: Status = "waiting"
    shared: str | None = None
    evaluated: list[str] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    submission: str | None = None
    trust: list[str] = field(default_factory=list)

    def described(self) -> str:
        """What sets it apart from the other jobs."""
        return " ".join(self.axes) or "as it is"


@final
@dataclass
class Sweep:
    """A sweep.

    Attributes:
        name: of its config in conf/sweep, or of its axes.
        entry_point: the module that its jobs run, "src.train".
        command: the last command, as typed into a shell.
        jobs: by number.
        code: by hash, the commit and the fingerprints of the files that jobs ran on.
        notes: exceptions that the user allowed.
        table: the table of its results, relative to the sweep's folder; None if there is none.
    """

    name: str
    entry_point: str
    command: str
    jobs: list[Job] = field(default_factory=list)
    code: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    table: str | None = None

    def write(self, folder: Path) -> None:
        """Write `sweep.json`."""
        shared = common_settings([job.settings for job in self.jobs])
        tree = {
            "format": FORMAT,
            "name": self.name,
            "entry_point": self.entry_point,
            "command": self.command,
            "status": self.status,
            "table": self.table,
            "notes": self.notes,
            "jobs": [_job_tree(job, shared) for job in self.jobs],
            "settings": shared,
            "code": {
                version: files
                for version, files in self.code.items()
                if any(job.code == version for job in self.jobs)
            },
        }
        write_atomically(folder / FILE, json.dumps(tree, indent=1, default=str) + "\n")

    @property
    def status(self) -> str:
        """finished; running; or partial, if jobs were left and none was running when this was written."""
        states = {job.status for job in self.jobs}
        return "finished" if states <= {"finished"} else "running" if "running" in states else "partial"


def _job_tree(job: Job, shared: Mapping[str, Any]) -> dict[str, Any]:
    tree = {name: value for name, value in vars(job).items() if name != "settings"}
    return {**tree, "settings": {name: value for name, value in job.settings.items() if name not in shared}}


def read_sweep(folder: Path) -> Sweep | None:
    """The sweep of a folder; None if there is none.

    Raises:
        ValueError: a file that can't be read.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        tree = json.loads(file.read_text(encoding="utf-8"))
        if tree["format"] != FORMAT:
            raise ValueError(f"format {tree['format']}, this program knows {FORMAT}")
        shared = tree["settings"]
        jobs = [Job(**{**job, "settings": {**shared, **job["settings"]}}) for job in tree["jobs"]]
        return Sweep(
            tree["name"],
            tree["entry_point"],
            tree["command"],
            jobs,
            tree["code"],
            tree["notes"],
            tree["table"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} can't be read ({error}); put the file right, or take another folder with "
            "hydra.sweep.dir="
        ) from error
