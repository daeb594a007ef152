"""Runs the jobs of a sweep through a scheduler (SLURM, with submitit). Each job is one submission with all
its steps; the sweep follows and records it.

A killed sweep leaves its submissions to the scheduler. The same command follows those that still exist and
submits no second one.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, final

from src.sweeps.processes import Outcome, Share, Step
from src.sweeps.record import Job
from src.sweeps.running import PAUSE, LocalJob, RunningJob

FOLDER = "scheduler"
"""In the sweep's folder: scripts, logs and results of submissions."""


def run_steps(steps: Sequence[Step]) -> list[Outcome]:
    """Run the steps of a job until all are done or one fails; this is what a submission executes."""
    running = LocalJob(steps, Share())
    try:
        while (outcomes := running.poll()) is None:
            time.sleep(PAUSE)
        return list(outcomes)
    finally:
        running.ask_to_stop()


@final
class SubmittedJob:
    """A submission that the sweep follows."""

    def __init__(self, submission: Any, kind: Step) -> None:
        self.submission = submission
        self.step = kind
        self.begun = time.monotonic()

    @property
    def id(self) -> str:
        """The scheduler's number of the submission."""
        return str(self.submission.job_id)

    def poll(self) -> Sequence[Outcome] | None:
        """Outcomes of its steps; None while it waits or runs."""
        if not self.submission.done():
            return None
        error = self.submission.exception()
        if error is None:
            return self.submission.result()
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        return [Outcome(self.step.kind, time.monotonic() - self.begun, f"submission {self.id}: {reason}")]

    def ask_to_stop(self) -> None:
        """Cancel it."""
        self.submission.cancel(check=False)

    def stop(self) -> Sequence[Outcome]:
        """Nothing to report: it was cancelled, and its results lie in its folder."""
        return []


def submission_starter(
    folder: Path, cluster: str, settings: Mapping[str, Any]
) -> Callable[[Job, Sequence[Step], Share], RunningJob]:
    """A function that starts jobs through a scheduler.

    Args:
        folder: the sweep's, on a disk that all machines share.
        cluster: "slurm"; or "local", processes that submitit starts on this machine, to try it out.
        settings: of submitit's executor: timeout_min, gpus_per_node, slurm_partition, ...

    Raises:
        ValueError: submitit is not installed, or knows no such cluster or setting.
    """
    try:
        submitit = import_module("submitit")
    except ModuleNotFoundError as error:
        raise ValueError(
            "hydra/launcher=slurm needs submitit: pip install -c constraints.txt -e '.[slurm]'"
        ) from error
    try:
        executor = submitit.AutoExecutor(folder=folder / FOLDER, cluster=cluster)
        executor.update_parameters(**settings)
    except (RuntimeError, NameError, TypeError, ValueError) as error:
        raise ValueError(
            f"hydra.launcher.cluster={cluster} can't be used ({' '.join(str(error).split())})"
        ) from error

    def start(job: Job, steps: Sequence[Step], share: Share) -> RunningJob:
        if job.submission is not None:
            earlier = executor._executor.job_class(folder / FOLDER, job.submission)
            if not earlier.done() or earlier.paths.result_pickle.exists():
                return SubmittedJob(earlier, steps[0])
        running = SubmittedJob(executor.submit(run_steps, list(steps)), steps[0])
        job.submission = running.id
        return running

    return start
