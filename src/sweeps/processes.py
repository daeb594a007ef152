"""A job's steps as processes of their own: dealt cores or GPUs, ended with the sweep, their errors read from
their logs.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

# Left by a job's DDP or by the scheduler, these would make the next job believe that it is a rank of somebody
# else's run.
RANK_VARIABLES = (
    "LOCAL_RANK",
    "NODE_RANK",
    "RANK",
    "GROUP_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "HYDRA_FULL_ERROR",
)
RANK_PREFIXES = ("MASTER_", "SLURM_", "SUBMITIT_", "TORCHELASTIC_")
PATIENCE = 30.0
"""Seconds for a process to write its checkpoint and end, before it is killed."""
TOLD_TO_DIE = 1
"""PR_SET_PDEATHSIG of Linux."""

Kind = Literal["train", "evaluate", "run"]


@final
@dataclass(frozen=True)
class Step:
    """One command of a job.

    Attributes:
        kind: what it does: train, evaluate the training, or run another entry point.
        command: program and arguments.
        log: takes its output, after what is there.
        environment: beside that of the sweep.
    """

    kind: Kind
    command: tuple[str, ...]
    log: Path
    environment: Mapping[str, str]


@final
@dataclass(frozen=True)
class Share:
    """The part of a machine that one job gets.

    Attributes:
        cores: of the processor; () for all.
        gpus: as CUDA_VISIBLE_DEVICES names them; () for all.
    """

    cores: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()

    def environment(self) -> dict[str, str]:
        """What the libraries of a job are told."""
        told = {"OMP_NUM_THREADS": str(len(self.cores))} if self.cores else {}
        return told | ({"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)} if self.gpus else {})


@final
@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Attributes:
        kind: of the step.
        seconds: it took.
        error: in a few words; None for success.
    """

    kind: Kind
    seconds: float
    error: str | None


def divide_machine(jobs: int, cores: Sequence[int], gpus: Sequence[str], gpus_per_job: int) -> list[Share]:
    """The machine in equal parts, one for each of the jobs that run at a time; one job gets all of it.

    Args:
        jobs: at a time.
        cores: this process may run on.
        gpus: visible; () for none.
        gpus_per_job: of these for each job.

    Raises:
        ValueError: fewer GPUs than that takes, or no job at a time.
    """
    if jobs < 1 or gpus_per_job < 1:
        raise ValueError(f"hydra.launcher.jobs={jobs}, gpus_per_job={gpus_per_job}: at least one of each")
    if jobs == 1:
        return [Share()]
    if gpus:
        if jobs * gpus_per_job > len(gpus):
            raise ValueError(
                f"{jobs} jobs at a time with {gpus_per_job} GPU(s) each need {jobs * gpus_per_job}, {len(gpus)} are there: lower hydra.launcher.jobs"
            )
        return [Share((), tuple(gpus[job * gpus_per_job : (job + 1) * gpus_per_job])) for job in range(jobs)]
    if jobs > len(cores):
        raise ValueError(
            f"hydra.launcher.jobs={jobs} at a time on {len(cores)} core(s) would only wait for each other: lower it to {len(cores)} or less"
        )
    return [Share(tuple(cores[job::jobs])) for job in range(jobs)]


def available_cores() -> list[int]:
    """The cores that this process may run on."""
    return (
        sorted(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else list(range(os.cpu_count() or 1))
    )


class StepProcess:
    """A running step, in a process group of its own."""

    def __init__(self, step: Step, share: Share) -> None:
        self.step = step
        self.begun = time.monotonic()
        step.log.parent.mkdir(parents=True, exist_ok=True)
        self.sink = step.log.open("ab")
        self.log_start = self.sink.tell()
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in RANK_VARIABLES and not name.startswith(RANK_PREFIXES)
        }
        self.process = subprocess.Popen(
            step.command,
            env=environment | dict(step.environment) | share.environment(),
            stdin=subprocess.DEVNULL,
            stdout=self.sink,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=_prepared(share.cores, os.getpid()),
        )

    def poll(self) -> Outcome | None:
        """How it ended; None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        self._end_group(signal.SIGKILL)  # ranks and loaders that outlived it
        self.sink.close()
        return Outcome(
            self.step.kind, time.monotonic() - self.begun, None if code == 0 else self._reason(code)
        )

    def ask_to_stop(self) -> None:
        """Have it end soon: a training writes a checkpoint first."""
        self._end_group(signal.SIGTERM)

    def stop(self) -> Outcome:
        """Wait until it has ended, and make sure."""
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._end_group(signal.SIGKILL)
            self.process.wait()
        outcome = self.poll()
        assert outcome is not None
        return outcome

    def _end_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    def _reason(self, code: int) -> str:
        written = self.step.log.read_bytes()[self.log_start :].decode(errors="replace")
        errors = [line for line in written.splitlines() if line.startswith("error: ")]
        return errors[-1].removeprefix("error: ") if errors else f"exit code {code}, see {self.step.log}"


def _prepared(cores: Sequence[int], parent: int) -> Callable[[], None]:
    """What a new process does before its command: keep to its cores, and end when the sweep does, even if
    that is killed.
    """

    def prepare() -> None:
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(TOLD_TO_DIE, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)  # it was killed in between

    return prepare
