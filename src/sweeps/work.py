"""The jobs of a sweep: the commands they run, which are left, and which another sweep has done already."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from src.files import remove_leftovers
from src.sweeps.code import changed_files, code_fingerprints, code_hash
from src.sweeps.matching import ANY, find_same_job
from src.sweeps.processes import Outcome, Step
from src.sweeps.record import FILE, Job, Sweep, read_sweep
from src.sweeps.settings import first_few
from src.sweeps.sources import Sources
from src.sweeps.titles import AXES, SWEEP


@final
@dataclass(frozen=True)
class Jobs:
    """The jobs of one sweep.

    Attributes:
        sweep: the record.
        folder: of the sweep.
        is_trained: whether a run folder holds a finished training; None for entry points that don't train.
        evaluate: overrides of src.evaluate for each training; None: no evaluation.
        code: ANY, or "same": no job begins on other code than the sweep began with.
        commit: returns the checked-out commit, for the record.
        sources: of further yamls.
        done: numbers of jobs that ended well in this process, for entry points that don't train.
        warned: unreadable files of other sweeps that a warning has named.
    """

    sweep: Sweep
    folder: Path
    is_trained: Callable[[Path], bool] | None
    evaluate: Sequence[str] | None
    code: str
    commit: Callable[[], str]
    sources: Sources = Sources()  # noqa: RUF009  # frozen
    done: set[int] = field(default_factory=set)
    warned: set[Path] = field(default_factory=set)

    def refresh(self) -> None:
        """Update the record from the folders: a killed sweep couldn't write how its jobs ended, and folders
        may have been removed.
        """
        for job in self.sweep.jobs:
            place = self.folder / str(job.number)
            if self.is_trained is None:
                job.status = "interrupted" if job.status == "running" else job.status
                continue
            trained = self.is_trained(place)
            if trained and job.status not in ("trained", "finished"):
                job.status = "trained"
            if not trained and (job.status in ("running", "trained", "finished")):
                job.status = "interrupted" if (place / "checkpoints" / "last.ckpt").exists() else "waiting"
                job.evaluated = None
            if job.status in ("trained", "finished"):
                job.status = (
                    "finished"
                    if self.evaluate is None or job.evaluated == self._evaluation(job)
                    else "trained"
                )

    def steps(self, job: Job) -> list[Step]:
        """The remaining steps of a job, in order."""
        place = self.folder / str(job.number)
        environment = {SWEEP: self.folder.name, AXES: json.dumps(job.axes or job.overrides)}
        if self.is_trained is None:
            if job.status == "finished" or job.number in self.done:
                return []
            return [Step("run", self._command(job, place), place / "log.txt", environment)]
        steps = []
        if not self.is_trained(place):
            steps.append(Step("train", self._command(job, place), place / "log.txt", environment))
        if self.evaluate is not None and (steps or job.evaluated != self._evaluation(job)):
            command = (
                sys.executable,
                "-m",
                "src.evaluate",
                *self.sources.of_evaluations,
                f"checkpoint={place / 'editor'}",
                *self._evaluation(job),
            )
            steps.append(Step("evaluate", command, place / "evaluation.txt", environment))
        return steps

    def note(self, job: Job, outcome: Outcome) -> None:
        """Record that a step is done."""
        if outcome.kind == "run" and outcome.error is None:
            self.done.add(job.number)
        if outcome.kind == "evaluate" and outcome.error is None:
            job.evaluated = self._evaluation(job)

    def same(self, job: Job) -> tuple[Path, Job] | None:
        """An equal, finished training of this sweep or of a neighbouring one."""
        if self.is_trained is None:
            return None
        sweeps = {self.folder: self.sweep}
        for file in sorted(self.folder.resolve().parent.glob(f"*/{FILE}")):
            if file.parent == self.folder.resolve():
                continue
            try:
                other = read_sweep(file.parent)
                sweeps |= {} if other is None else {file.parent: other}
            except ValueError as error:  # another sweep's file; without it there is less to share
                if file not in self.warned:
                    self.warned.add(file)
                    print(
                        f"warning: not looked at for jobs that are the same: {error}",
                        file=sys.stderr,
                        flush=True,
                    )
        found = find_same_job(job, sweeps, self.code)
        if found is None or not self.is_trained(found[0]):
            return None
        other = found[1]
        self.sweep.code.setdefault(
            other.code, next(sweep.code[other.code] for sweep in sweeps.values() if other in sweep.jobs)
        )
        return found

    def check(self, job: Job) -> None:
        """Raise ValueError, naming the files, if the code has changed since this command began."""
        files = code_fingerprints(self.sweep.entry_point, job.settings)
        present = code_hash(files)
        if present == job.code or job.status in ("trained", "finished"):
            return
        changed = first_few(changed_files(self.sweep.code.get(job.code, {}).get("files", {}), files))
        if self.code != ANY:
            raise ValueError(
                f"the code changed while the sweep ran ({changed}), job {job.number} and those after it "
                "were not begun"
            )
        self.sweep.notes.append(f"before job {job.number} began, {changed} changed")
        self.remember(present, files)
        job.code = present

    def remember(self, code: str, files: dict[str, str]) -> None:
        """Add a version of the code to the record."""
        self.sweep.code.setdefault(code, {"commit": self.commit(), "files": dict(files)})

    def prepare(self) -> None:
        """Remove files that a kill left half-written."""
        remove_leftovers(self.folder)

    def _command(self, job: Job, place: Path) -> tuple[str, ...]:
        return (
            sys.executable,
            "-m",
            self.sweep.entry_point,
            *self.sources.of_jobs,
            *job.overrides,
            "hydra.mode=RUN",
            f"hydra.run.dir={place}",
        )

    def _evaluation(self, job: Job) -> list[str]:
        """The overrides of an evaluation, which takes the synthetic world's image size and the trusted
        packages from the training.
        """
        given = list(self.evaluate or ())
        if job.trust and not any(override.startswith("trust=") for override in given):
            given.insert(0, f"trust=[{','.join(job.trust)}]")
        sizes = {value for name, value in job.settings.items() if name.endswith("world.size")}
        if len(sizes) == 1 and not any(override.startswith("world.size=") for override in given):
            given.insert(0, f"world.size={sizes.pop()}")
        return given
