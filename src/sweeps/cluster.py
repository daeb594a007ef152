"""Runs the jobs of a sweep through a scheduler (SLURM, with submitit). Each job is one submission with all
its steps; the sweep follows and records it.

A killed sweep leaves its submissions to the scheduler. The same command follows those that still exist and
submits no second one. A submission that reaches its time limit, or is preempted, writes a checkpoint and
waits in the queue again; the sweep goes on following it.
"""

import io
import logging
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, final

from src import slurm
from src.sweeps.processes import Outcome, Share, Step, StepProcess
from src.sweeps.record import Job
from src.sweeps.running import PAUSE, RunningJob, StartJob, StartRefusedError

FOLDER = "scheduler"
"""In the sweep's folder: scripts, logs and results of submissions."""

SETTINGS = "hydra.launcher.submission"

PART_FOR_CHECKPOINT = 0.8
"""Of the time between SLURM's warning and its time limit; the rest is for `scontrol requeue`."""

SECONDS_BETWEEN_LOOKS = 15.0
"""Between questions to the controller, which many users share."""

SECONDS_FOR_RESULT = 30.0
"""Within which the result of a submission that has ended must show up: shared disks are slow."""

ENDED = {
    "BOOT_FAIL": "its machine did not start",
    "CANCELLED": "by scancel",
    "COMPLETED": "without a result",
    "DEADLINE": "at its deadline",
    "FAILED": "without a result",
    "LAUNCH_FAILED": "it could not be started",
    "NODE_FAIL": "its machine failed",
    "OUT_OF_MEMORY": f"raise {SETTINGS}.mem_gb, or have less in memory at once",
    "PREEMPTED": "by a job that goes first, and was not queued again",
    "RECONFIG_FAIL": "its machine could not be set up",
    "TIMEOUT": f"raise {SETTINGS}.timeout_min, or slurm_signal_delay_s where checkpoints take long",
}
"""States of SLURM that nothing follows, each with what it means for a job without a result. In any other
state a job is on its way: also in REQUEUED, SUSPENDED, or one of a newer SLURM.
"""

NEVER = -float("inf")

NOT_IN_QUEUE = "in no queue any more, without a result"
"""Of a job that the controller has forgotten, where no accounting is kept."""

REFUSALS = (
    (r"policy", "slurm_qos", False),
    (r"generic resource|gres\b", "gpus_per_node", True),
    (r"account", "slurm_account", True),
    (r"inactive or drain|not available now", "slurm_partition", False),
    (r"partition", "slurm_partition", True),
    (r"qos", "slurm_qos", True),
    (r"time limit", "timeout_min", True),
    (r"memory", "mem_gb", True),
    (r"node configuration|processors|CPU count", "cpus_per_task", True),
    (r"Invalid|unrecognized", "", True),
)
"""Words of sbatch, the setting that they are about, and whether asking again is in vain; first match."""


@final
class RunSteps:
    """Runs the steps of a job until all are done or one fails; this is what a submission executes.

    Args:
        patience: seconds that a step has to write its checkpoint at the time limit.
        done: outcomes of earlier starts of the submission.
        seconds: spent by its earlier starts on the step that comes next.
    """

    def __init__(self, patience: float, done: Sequence[Outcome] = (), seconds: float = 0.0) -> None:
        self.patience, self.done, self.seconds = patience, list(done), seconds
        self.process: StepProcess | None = None
        self.is_told_to_end = False

    def __call__(self, steps: Sequence[Step]) -> list[Outcome]:
        """The outcomes.

        Raises:
            SystemExit: a step was ended by the scheduler. There is no result then: the scheduler knows
                whether the job was cancelled or comes back.
        """
        signal.signal(signal.SIGTERM, self._note_end)
        for step in steps[len(self.done) :]:
            outcome = self._outcome(step)
            if outcome.error is not None and self.is_told_to_end:
                sys.exit(f"ended by the scheduler: {outcome.error}")
            self._keep(outcome)
            if outcome.error is not None:
                break
        return self.done

    def checkpoint(self, steps: Sequence[Step]) -> Any:
        """Called by submitit at the time limit and at a preemption: what to submit in place of this. The step
        must have ended before the job is queued again, as SLURM then signals all its processes, and a second
        signal ends a training at once.
        """
        if self.process is not None:
            self.process.ask_to_stop()
            outcome = self.process.stop(self.patience)
            if outcome.error is None:
                self._keep(outcome)
            else:
                self.seconds += outcome.seconds
        again = RunSteps(self.patience, self.done, self.seconds)
        return import_module("submitit").helpers.DelayedSubmission(again, steps)

    def _outcome(self, step: Step) -> Outcome:
        self.process = process = StepProcess(step, Share())
        try:
            while (outcome := process.poll()) is None:
                time.sleep(PAUSE)
            return outcome
        finally:
            process.ask_to_stop()
            process.stop()

    def _keep(self, outcome: Outcome) -> None:
        self.done.append(replace(outcome, seconds=self.seconds + outcome.seconds))
        self.process, self.seconds = None, 0.0

    def _note_end(self, number: int, frame: FrameType | None) -> None:
        """SLURM signals the step as well."""
        self.is_told_to_end = True


@final
class Queue:
    """The states of all submissions, asked for together.

    Args:
        every: seconds between questions.
    """

    def __init__(self, every: float) -> None:
        self.every = every
        self.asked = NEVER
        self.states: dict[str, str] | None = None
        self.ended: dict[str, str] = {}

    def ended_as(self, job: str, since: float = NEVER) -> str | None:
        """How a job that was submitted at a time ended; None while it is on its way, or nobody answers."""
        self._look()
        if self.states is None or self.asked < since:
            return None
        if job in self.states and self.states[job] not in ENDED:
            return None
        if job not in self.ended:
            state = self.states.get(job) or slurm.accounted_state(job)
            self.ended[job] = f"{state}: {ENDED[state]}" if state in ENDED else NOT_IN_QUEUE
        return self.ended[job]

    def _look(self) -> None:
        if time.monotonic() - self.asked < self.every:
            return
        self.ended.clear()
        try:
            self.states = slurm.known_states()
        except ValueError as error:
            if self.states is not None or self.asked == NEVER:
                print(f"warning: {error}; until it answers, all jobs count as on their way", file=sys.stderr)
            self.states = None
        self.asked = time.monotonic()


@final
class SubmittedJob:
    """A submission that the sweep follows.

    Args:
        submission: submitit's job.
        kind: its first step.
        ended_as: how it ended; None while it is on its way.
        grace: seconds within which its result must show up then.
    """

    outlives_sweep = True

    def __init__(self, submission: Any, kind: Step, ended_as: Callable[[], str | None], grace: float) -> None:
        self.submission, self.step = submission, kind
        self.ended_as, self.grace = ended_as, grace
        self.begun = time.monotonic()
        self.ended: float | None = None

    @property
    def id(self) -> str:
        """The scheduler's number of the submission."""
        return str(self.submission.job_id)

    def poll(self) -> Sequence[Outcome] | None:
        """Outcomes of its steps; None while it waits or runs."""
        how = self.ended_as()
        if self.submission.paths.result_pickle.exists() and self.submission.done():
            error = self.submission.exception()
            return self.submission.result() if error is None else [self._failed(own_words(error))]
        if how is None:
            self.ended = None
            return None
        self.ended = self.ended or time.monotonic()
        if time.monotonic() - self.ended < self.grace:
            list(self.submission.paths.folder.iterdir())  # a shared disk then looks again
            return None
        return [self._failed(f"{how}, see {self.submission.paths.stderr}")]

    def ask_to_stop(self) -> None:
        """Cancel it."""
        self.submission.cancel(check=False)

    def stop(self) -> Sequence[Outcome]:
        """Nothing to report: it was cancelled, and its results lie in its folder."""
        return []

    def _failed(self, reason: str) -> Outcome:
        return Outcome(self.step.kind, time.monotonic() - self.begun, f"submission {self.id}: {reason}")


def submission_starter(folder: Path, cluster: str, settings: Mapping[str, Any], name: str) -> StartJob:
    """A function that starts jobs through a scheduler.

    Args:
        folder: the sweep's, on a disk that all machines share.
        cluster: "slurm"; or "local", processes that submitit starts on this machine, to try it out.
        settings: of submitit's executor: timeout_min, gpus_per_node, slurm_partition, ...
        name: of the sweep; jobs are called by it and their number.

    Raises:
        ValueError: submitit is not installed, or knows no such cluster or setting; or a job would be several
            processes.
    """
    executor, patience = _executor(folder / FOLDER, cluster, settings)
    queue = Queue(SECONDS_BETWEEN_LOOKS)
    called = re.sub(r"[^\w.+-]+", "-", str(settings.get("name", name)))

    def follow(submission: Any, step: Step, since: float) -> SubmittedJob:
        if cluster == "slurm":
            ended_as = partial(queue.ended_as, str(submission.job_id), since)
            return SubmittedJob(submission, step, ended_as, SECONDS_FOR_RESULT)
        return SubmittedJob(submission, step, lambda: submission.state if submission.done() else None, 0.0)

    def start(job: Job, steps: Sequence[Step], share: Share) -> RunningJob:
        if job.submission is not None:
            earlier = executor._executor.job_class(folder / FOLDER, job.submission)
            running = follow(earlier, steps[0], NEVER)
            if earlier.paths.result_pickle.exists() or running.ended_as() is None:
                return running
        executor.update_parameters(name=f"{called}-{job.number}")
        submission = _submitted(executor, RunSteps(patience), list(steps), settings)
        job.submission = str(submission.job_id)
        return follow(submission, steps[0], time.monotonic())

    return start


def _executor(folder: Path, cluster: str, settings: Mapping[str, Any]) -> tuple[Any, float]:
    """The executor of submitit, and the seconds that a step has for its checkpoint at the time limit."""
    try:
        submitit = import_module("submitit")
    except ModuleNotFoundError as error:
        raise ValueError(
            "hydra/launcher=slurm needs submitit: pip install -c constraints.txt -e '.[slurm]'"
        ) from error
    logging.getLogger("submitit").setLevel(logging.CRITICAL)  # the sweep says what there is to say
    defaults = {"slurm_max_num_timeout": 3, "slurm_signal_delay_s": 90, "slurm_additional_parameters": {}}
    given = {**defaults, **settings}
    given["slurm_additional_parameters"] = {"requeue": True, **given["slurm_additional_parameters"]}
    limits = {"slurm_max_num_timeout": given.pop("slurm_max_num_timeout")}
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster, **limits)
        executor.update_parameters(**given)
    except (RuntimeError, NameError, TypeError, ValueError, AssertionError) as error:
        raise ValueError(
            f"hydra.launcher.cluster={cluster} can't be used ({' '.join(str(error).split())})"
        ) from error
    if cluster == "slurm" and "slurm_wckey" not in given:
        executor._executor.update_parameters(wckey=None)  # submitit's own, which no cluster knows
    if (tasks := executor._executor._num_tasks()) != 1:
        raise ValueError(
            f"{SETTINGS}.nodes={given.get('nodes', 1)}, tasks_per_node={given.get('tasks_per_node', 1)} "
            f"would run each job {tasks} times: set both to 1, a job starts its processes itself "
            "(trainer=ddp trainer.devices=N)"
        )
    return executor, PART_FOR_CHECKPOINT * float(given["slurm_signal_delay_s"])


def _submitted(executor: Any, run: RunSteps, steps: Sequence[Step], settings: Mapping[str, Any]) -> Any:
    """A new submission.

    Raises:
        StartRefusedError: the scheduler took none.
    """
    errors = import_module("submitit.core.utils")
    try:
        with redirect_stderr(io.StringIO()):  # submitit prints what it raises
            return executor.submit(run, steps)
    except (errors.FailedJobError, errors.FailedSubmissionError, FileNotFoundError) as error:
        _remove_unsubmitted(Path(executor.folder))
        raise refusal(str(error), settings) from error


def _remove_unsubmitted(folder: Path) -> None:
    """Remove what submitit wrote for a submission that got no number."""
    for file in (*folder.glob("*.pkl"), *folder.glob(".submission_file_*.sh")):
        is_ours = file.suffix == ".sh" or re.fullmatch(r"[0-9a-f]{32}", file.stem)
        if is_ours and not file.is_symlink():
            file.unlink()


def refusal(said: str, settings: Mapping[str, Any]) -> StartRefusedError:
    """The error for what sbatch said, with the setting that it is about."""
    text = " ".join(said.split()) or "sbatch failed and gave no reason"
    for words, setting, is_lasting in REFUSALS:
        if re.search(words, text, re.IGNORECASE):
            about = (
                f" ({SETTINGS}.{setting}={_shown(settings.get(setting))})" if setting else f" ({SETTINGS})"
            )
            return StartRefusedError(f"{text}{about}", is_lasting)
    return StartRefusedError(text, False)


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)


def own_words(error: BaseException) -> str:
    """The last line of an exception in a submission, which submitit puts between two rulers."""
    parts = re.split(r"^-{10,}$", str(error), flags=re.MULTILINE)
    lines = parts[1 if len(parts) > 2 else 0].strip().splitlines() or [type(error).__name__]
    words = re.sub(r"^([\w.]+\.)(\w+: )", r"\2", lines[-1]).removeprefix("UncompletedJobError: ")
    if "timed-out too many times" in words:
        return f"TIMEOUT: {words} The same command goes on, {SETTINGS}.slurm_max_num_timeout allows more"
    return words
