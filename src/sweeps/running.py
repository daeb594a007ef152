"""Runs the jobs of a sweep, several at a time: starts, follows and records them, and names those that fail. A
failing job doesn't stop the others.
"""

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Protocol, final, runtime_checkable

from src.sweeps.processes import Outcome, Share, Step, StepProcess
from src.sweeps.record import Job, Sweep

PAUSE = 0.1
"""Seconds between polls of the running jobs."""

WAITS = (15.0, 60.0, 120.0, 300.0)
"""Seconds before a start that was refused is tried again. While jobs run, the last holds for all further
tries, as the end of one may be what is waited for; without any, the sweep gives up.
"""


@final
class JobsFailed(Exception):  # noqa: N818  # the jobs did, the sweep went to its end
    """Some jobs failed; the message names them."""


@final
class StartRefusedError(Exception):
    """A job could not be started; the others are not concerned.

    Args:
        message: why.
        is_lasting: asking again is in vain.
    """

    def __init__(self, message: str, is_lasting: bool) -> None:
        super().__init__(message)
        self.is_lasting = is_lasting


@runtime_checkable
class RunningJob(Protocol):
    """A job whose steps are running."""

    outlives_sweep: bool
    """Whether it goes on without the sweep, and the same command follows it."""

    def poll(self) -> Sequence[Outcome] | None:
        """Outcomes of its steps, up to the first that failed; None while it runs."""
        ...

    def ask_to_stop(self) -> None:
        """Ask it to end."""
        ...

    def stop(self) -> Sequence[Outcome]:
        """End it; the outcomes of its steps."""
        ...


StartJob = Callable[[Job, Sequence[Step], Share], RunningJob]
"""Starts a job's steps, one after the other, on a share of the machine."""


@runtime_checkable
class Work(Protocol):
    """What the jobs of a sweep are."""

    def steps(self, job: Job) -> Sequence[Step]:
        """The steps of a job that are left; none when it is done."""
        ...

    def note(self, job: Job, outcome: Outcome) -> None:
        """Record the outcome of a step."""
        ...

    def same(self, job: Job) -> tuple[Path, Job] | None:
        """An equal, finished job, and its folder."""
        ...

    def check(self, job: Job) -> None:
        """Raise ValueError if no further job may begin."""
        ...


@final
class LocalJob:
    """A job's steps as processes on this machine, one after the other."""

    outlives_sweep = False

    def __init__(self, steps: Sequence[Step], share: Share) -> None:
        self.waiting = list(steps)
        self.share = share
        self.outcomes: list[Outcome] = []
        self.current = StepProcess(self.waiting.pop(0), share)

    def poll(self) -> Sequence[Outcome] | None:
        """Start the next step when one is done."""
        outcome = self.current.poll()
        if outcome is None:
            return None
        self.outcomes.append(outcome)
        if outcome.error is not None or not self.waiting:
            return self.outcomes
        self.current = StepProcess(self.waiting.pop(0), self.share)
        return None

    def ask_to_stop(self) -> None:
        """Ask the current step to end."""
        self.current.ask_to_stop()

    def stop(self) -> Sequence[Outcome]:
        """End the current step."""
        return [*self.outcomes, self.current.stop()]


def start_locally(job: Job, steps: Sequence[Step], share: Share) -> RunningJob:
    """Start a job on this machine."""
    return LocalJob(steps, share)


@final
class Runner:
    """Runs the remaining jobs of a sweep.

    Args:
        sweep: its record, written at every change.
        folder: of the sweep.
        parts: shares of the machine; one job runs on each.
        start: starts a job.
        work: what the jobs are.
        seconds: estimated duration of a job; None if nothing is known.
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
        self.refusals: list[str] = []  # in a row
        self.next_start = 0.0

    def run(self, jobs: Sequence[Job]) -> None:
        """Run the jobs that are not finished.

        Raises:
            JobsFailed: some jobs failed; the others are done.
            ValueError: no further job may begin (`check`), or none is let in; those that had started are
                done.
        """
        left = [job for job in jobs if job.status != "finished"]
        refused: ValueError | None = None
        earlier = signal.signal(signal.SIGTERM, _interrupt)
        interrupted = False
        try:
            while left or self.running:
                while left and self.free and time.monotonic() >= self.next_start:
                    job = self._next(left)
                    if job is None:
                        break
                    try:
                        self.work.check(job)
                        self._begin(job, len(left) - 1)
                    except StartRefusedError as error:
                        refused = self._put_off(job, error)
                    except ValueError as error:
                        refused = error
                    else:
                        left.remove(job)
                    if refused is not None:
                        left.clear()
                if self.running or left:
                    time.sleep(PAUSE)
                self._look(left)
        except KeyboardInterrupt:
            interrupted = True
            raise
        finally:
            self._stop(interrupted)
            signal.signal(signal.SIGTERM, earlier)
        if refused is not None:
            raise refused
        failed = [job for job in jobs if job.status == "failed"]
        if failed:
            reasons = "; ".join(f"job {job.number} ({job.described()}): {job.error}" for job in failed)
            raise JobsFailed(
                f"{len(failed)} of the sweep's {len(jobs)} jobs failed: {reasons}; the same command runs "
                "them again"
            )

    def _next(self, left: Sequence[Job]) -> Job | None:
        """The next job that equals none of the running ones."""
        busy = {job.hash for job, *_ in self.running.values()}
        return next((job for job in left if job.hash not in busy), None)

    def _begin(self, job: Job, left: int) -> None:
        self._share(job)
        steps = self.work.steps(job)
        if not steps:
            job.status, job.error = "finished", None
            self.sweep.write(self.folder)
            print(
                f"job {job.number} ({job.described()}): "
                f"{f'the same as {job.shared}' if job.shared else 'nothing left to do'}",
                flush=True,
            )
            return
        running = self.start(job, steps, self.free[0])
        self.running[job.number] = (job, running, self.free.pop(0), time.monotonic())
        job.status, job.error = "running", None
        self.refusals.clear()
        self.sweep.write(self.folder)
        what = " and ".join(
            {"train": "training", "evaluate": "evaluation", "run": "run"}[step.kind] for step in steps
        )
        print(
            f"job {job.number} ({job.described()}): {what} started, {_count(left)} left{self._eta(left)}",
            flush=True,
        )

    def _put_off(self, job: Job, error: StartRefusedError) -> ValueError | None:
        """Let a job wait that was refused; the error for the whole sweep where waiting is in vain."""
        what = f"job {job.number} ({job.described()}) was not let in: {error}"
        if error.is_lasting or (not self.running and len(self.refusals) >= len(WAITS)):
            return ValueError(f"{what}; it and the jobs after it wait for the same command")
        wait = WAITS[min(len(self.refusals), len(WAITS) - 1)]
        if str(error) not in self.refusals:
            print(f"{what}; tried again in {duration_text(wait)} or when another ends", flush=True)
        self.refusals.append(str(error))
        self.next_start = time.monotonic() + wait
        return None

    def _share(self, job: Job) -> None:
        """Link the job's folder to that of an equal, finished job, unless it has begun itself."""
        place = self.folder / str(job.number)
        if place.exists():
            return
        place.unlink(missing_ok=True)  # a dangling link
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
            self.next_start = 0.0
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
                    f"job {number} ({job.described()}): finished in {duration_text(took)}, "
                    f"{_count(len(left))} left{self._eta(len(left))}",
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
        """Remaining time, from the jobs done so far."""
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

    def _stop(self, interrupted: bool) -> None:
        """End the jobs that still run; there are none unless the loop ended early. An error of the sweep's
        own ends no job that outlives it.
        """
        left = list(self.running.values())
        ending = [(job, running) for job, running, *_ in left if interrupted or not running.outlives_sweep]
        for _, running in ending:
            running.ask_to_stop()
        for job, running in ending:
            self._note(job, running.stop())
            job.submission = None
            job.status = "interrupted" if self.work.steps(job) else "finished"
            print(f"job {job.number} ({job.described()}): stopped", flush=True)
        self.running.clear()
        if ending:
            self.sweep.write(self.folder)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Treat SIGTERM as Ctrl-C."""
    raise KeyboardInterrupt


def duration_text(seconds: float) -> str:
    """A duration as text: 42 s, 5 min 10 s, 3 h 20 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _count(jobs: int) -> str:
    return "none" if jobs == 0 else f"{jobs} job{'s' if jobs > 1 else ''}"
