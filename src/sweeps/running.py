"""The jobs of a sweep, so many at a time: started, followed, recorded, named when they fail. A failing job
doesn't stop the others.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Protocol, runtime_checkable

from src.sweeps.processes import Outcome, Share, Step, StepProcess
from src.sweeps.record import Job, Sweep

PAUSE = 0.1
"""Seconds between two looks at the running jobs."""


class JobsFailed(Exception):  # noqa: N818  # the jobs did, the sweep went to its end
    """Some jobs failed; the message names them."""


@runtime_checkable
class RunningJob(Protocol):
    """A job on its way through its steps."""

    def poll(self) -> Sequence[Outcome] | None:
        """How its steps ended, up to the first that failed; None while it runs."""
        ...

    def ask_to_stop(self) -> None:
        """Have it end soon."""
        ...

    def stop(self) -> Sequence[Outcome]:
        """End it; how its steps ended."""
        ...


StartJob = Callable[[Job, Sequence[Step], Share], RunningJob]
"""Begins a job's steps, one after the other, on a part of the machine."""


@runtime_checkable
class Work(Protocol):
    """What the jobs of a sweep are."""

    def steps(self, job: Job) -> Sequence[Step]:
        """The steps that are left of it; none when it is done."""
        ...

    def note(self, job: Job, outcome: Outcome) -> None:
        """Keep what a step did for its job."""
        ...

    def same(self, job: Job) -> tuple[Path, Job] | None:
        """A finished job elsewhere that is the same, and its folder."""
        ...

    def check(self, job: Job) -> None:
        """Raise ValueError if no job may begin any more."""
        ...


class LocalJob:
    """The steps of a job as processes of this machine, one after the other."""

    def __init__(self, steps: Sequence[Step], share: Share) -> None:
        self.waiting = list(steps)
        self.share = share
        self.outcomes: list[Outcome] = []
        self.current = StepProcess(self.waiting.pop(0), share)

    def poll(self) -> Sequence[Outcome] | None:
        """As the protocol has it; begins the next step when one is done."""
        outcome = self.current.poll()
        if outcome is None:
            return None
        self.outcomes.append(outcome)
        if outcome.error is not None or not self.waiting:
            return self.outcomes
        self.current = StepProcess(self.waiting.pop(0), self.share)
        return None

    def ask_to_stop(self) -> None:
        """As the protocol has it."""
        self.current.ask_to_stop()

    def stop(self) -> Sequence[Outcome]:
        """As the protocol has it."""
        return [*self.outcomes, self.current.stop()]


def start_locally(job: Job, steps: Sequence[Step], share: Share) -> RunningJob:
    """Begin a job on this machine."""
    return LocalJob(steps, share)


class Runner:
    """Runs what is left of a sweep.

    Args:
        sweep: written at every change.
        folder: its folder.
        parts: of the machine; as many jobs run at a time.
        start: how a job is begun.
        work: what the jobs are.
        seconds: a first guess at a whole job's, None if nothing is known.
    """

    def __init__(
        self,
        sweep: Sweep,
        folder: Path,
        parts: Sequence[Share],
        start: StartJob,
        work: Work,
        seconds: float | None = None,
    ) -> None:
        self.sweep, self.folder, self.free = sweep, folder, list(parts)
        self.start, self.work = start, work
        self.seconds = seconds
        self.at_a_time = len(parts)
        self.running: dict[int, tuple[Job, RunningJob, Share, float]] = {}

    def run(self, jobs: Sequence[Job]) -> None:
        """Run the jobs that are not finished.

        Raises:
            JobsFailed: some did; the others are done.
            ValueError: no further job may begin (`check`); those that ran are done.
        """
        left = [job for job in jobs if job.status != "finished"]
        refused: ValueError | None = None
        earlier = signal.signal(signal.SIGTERM, _interrupt)
        try:
            while left or self.running:
                while left and self.free and refused is None:
                    job = self._next(left)
                    if job is None:
                        break
                    try:
                        self.work.check(job)
                    except ValueError as error:
                        refused = error
                        left.clear()
                        break
                    left.remove(job)
                    self._begin(job, len(left))
                if self.running:
                    time.sleep(PAUSE)
                self._look(left)
        finally:
            self._stop()
            signal.signal(signal.SIGTERM, earlier)
        if refused is not None:
            raise refused
        failed = [job for job in jobs if job.status == "failed"]
        if failed:
            told = "; ".join(f"job {job.number} ({job.described()}): {job.error}" for job in failed)
            raise JobsFailed(
                f"{len(failed)} of the sweep's {len(jobs)} jobs failed: {told}; the same command runs them again"
            )

    def _next(self, left: Sequence[Job]) -> Job | None:
        """The next job that is not the same as one that runs."""
        busy = {job.hash for job, *_ in self.running.values()}
        return next((job for job in left if job.hash not in busy), None)

    def _begin(self, job: Job, left: int) -> None:
        self._share(job)
        job.error = None
        steps = self.work.steps(job)
        if not steps:
            job.status = "finished"
            self.sweep.write(self.folder)
            print(
                f"job {job.number} ({job.described()}): {f'the same as {job.shared}' if job.shared else 'nothing left to do'}",
                flush=True,
            )
            return
        job.status = "running"
        self.sweep.write(self.folder)
        share = self.free.pop(0)
        self.running[job.number] = (job, self.start(job, steps, share), share, time.monotonic())
        self.sweep.write(self.folder)
        what = " and ".join(
            {"train": "training", "evaluate": "evaluation", "run": "run"}[step.kind] for step in steps
        )
        print(
            f"job {job.number} ({job.described()}): {what} started, {_count(left)} left{self._eta(left)}",
            flush=True,
        )

    def _share(self, job: Job) -> None:
        """Make the job's folder a link to that of a finished job that is the same, unless it has begun by
        itself.
        """
        place = self.folder / str(job.number)
        if place.exists():
            return
        place.unlink(missing_ok=True)  # a link to what is no more
        same = self.work.same(job)
        job.shared, job.evaluated, job.seconds = None, None, {}
        if same is not None:
            where, other = same
            job.shared, job.evaluated, job.code = (
                os.path.relpath(where, self.folder.resolve()),
                other.evaluated,
                other.code,
            )
            place.symlink_to(job.shared, target_is_directory=True)

    def _look(self, left: Sequence[Job]) -> None:
        for number, (job, running, share, begun) in list(self.running.items()):
            outcomes = running.poll()
            if outcomes is None:
                continue
            del self.running[number]
            self.free.append(share)
            job.submission = None
            self._note(job, outcomes)
            job.error = next((outcome.error for outcome in outcomes if outcome.error is not None), None)
            steps_left = () if job.error else self.work.steps(job)
            if job.error is None and steps_left:
                job.error = f"{steps_left[0].kind} ended without a result, see {steps_left[0].log}"
            job.status = "finished" if job.error is None else "failed"
            self.sweep.write(self.folder)
            took = time.monotonic() - begun
            if job.error is None:
                print(
                    f"job {number} ({job.described()}): finished in {duration_text(took)}, {_count(len(left))} left{self._eta(len(left))}",
                    flush=True,
                )
            else:
                print(
                    f"job {number} ({job.described()}): failed after {duration_text(took)}: {job.error}",
                    flush=True,
                )

    def _note(self, job: Job, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            job.seconds[outcome.kind] = round(job.seconds.get(outcome.kind, 0.0) + outcome.seconds, 1)
            self.work.note(job, outcome)

    def _eta(self, left: int) -> str:
        """When all will be done, from the jobs done so far."""
        whole = [
            sum(job.seconds.values())
            for job in self.sweep.jobs
            if job.status == "finished" and job.shared is None and job.seconds
        ]
        seconds = sum(whole) / len(whole) if whole else self.seconds
        if seconds is None:
            return ""
        now = time.monotonic()
        rest = left * seconds + sum(max(0.0, seconds - (now - begun)) for *_, begun in self.running.values())
        return f", about {duration_text(rest / self.at_a_time)} to go" if left or self.running else ""

    def _stop(self) -> None:
        """End what still runs; nothing if the loop came to its end."""
        for _, running, *_ in self.running.values():
            running.ask_to_stop()
        for job, running, *_ in self.running.values():
            self._note(job, running.stop())
            job.submission = None
            job.status = "interrupted" if self.work.steps(job) else "finished"
            print(f"job {job.number} ({job.described()}): stopped", flush=True)
        if self.running:
            self.running.clear()
            self.sweep.write(self.folder)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends a sweep as Ctrl-C does."""
    raise KeyboardInterrupt


def duration_text(seconds: float) -> str:
    """42 s, 5 min 10 s, 3 h 20 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _count(jobs: int) -> str:
    return "none" if jobs == 0 else f"{jobs} job{'s' if jobs > 1 else ''}"
