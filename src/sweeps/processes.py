"""Runs a job's steps as processes: on their share of cores or GPUs, ended with the sweep, errors read from
their logs.
"""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

# Set by a job's DDP or by the scheduler, these would make the next job take itself for a rank of another run.
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
OF_SCHEDULER = (signal.SIGUSR1, signal.SIGUSR2)
"""Warnings that a job's time is up: SLURM sends them to all its processes, and would end those that don't
listen. Who starts the steps hears them and asks a step to stop.
"""
PATIENCE = 30.0
"""Seconds that a process has to write its checkpoint and exit before it is killed."""
ADVICE = re.compile(r"[;,] the same command\b.* goes on$")
"""How a command goes on that was stopped; a sweep's jobs go on with the sweep's."""
TOLD_TO_DIE = 1
"""PR_SET_PDEATHSIG of Linux."""

Kind = Literal["train", "evaluate", "run"]


@final
@dataclass(frozen=True)
class Step:
    """One command of a job.

    Attributes:
        kind: train, evaluate the training, or run another entry point.
        command: program and arguments.
        log: file to which its output is appended.
        environment: variables besides those of the sweep.
    """

    kind: Kind
    command: tuple[str, ...]
    log: Path
    environment: Mapping[str, str]


@final
@dataclass(frozen=True)
class Share:
    """The part of a machine that one job may use.

    Attributes:
        cores: of the processor; () for all.
        gpus: as CUDA_VISIBLE_DEVICES names them; () for all.
    """

    cores: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()

    def environment(self) -> dict[str, str]:
        """Environment variables that limit a job's libraries to the share."""
        variables = {"OMP_NUM_THREADS": str(len(self.cores))} if self.cores else {}
        return variables | ({"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)} if self.gpus else {})


@final
@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Attributes:
        kind: of the step.
        seconds: duration.
        error: short reason; None for success.
    """

    kind: Kind
    seconds: float
    error: str | None


def divide_machine(jobs: int, cores: Sequence[int], gpus: Sequence[str], gpus_per_job: int) -> list[Share]:
    """Divide the machine into equal shares for jobs that run at the same time; a single job gets all of it.

    Args:
        jobs: number that run at a time.
        cores: that this process may use.
        gpus: visible ones; () for none.
        gpus_per_job: GPUs for each job.

    Raises:
        ValueError: too few GPUs or cores, or fewer than one job at a time.
    """
    if jobs < 1 or gpus_per_job < 1:
        raise ValueError(f"hydra.launcher.jobs={jobs}, gpus_per_job={gpus_per_job}: at least one of each")
    if jobs == 1:
        return [Share()]
    if gpus:
        if jobs * gpus_per_job > len(gpus):
            raise ValueError(
                f"{jobs} jobs at a time with {gpus_per_job} GPU(s) each need {jobs * gpus_per_job}, "
                f"{len(gpus)} are there: lower hydra.launcher.jobs"
            )
        return [Share((), tuple(gpus[job * gpus_per_job : (job + 1) * gpus_per_job])) for job in range(jobs)]
    if jobs > len(cores):
        raise ValueError(
            f"hydra.launcher.jobs={jobs} at a time on {len(cores)} core(s) would only wait for each other: "
            f"lower it to {len(cores)} or less"
        )
    return [Share(tuple(cores[job::jobs])) for job in range(jobs)]


def available_cores() -> list[int]:
    """The cores that this process may use."""
    return (
        sorted(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else list(range(os.cpu_count() or 1))
    )


@final
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
        """Its outcome; None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        self._end_group(signal.SIGKILL)  # ranks and loaders that outlived it
        self.sink.close()
        return Outcome(
            self.step.kind, time.monotonic() - self.begun, None if code == 0 else self._reason(code)
        )

    def ask_to_stop(self) -> None:
        """Ask it to end; a training writes a checkpoint first."""
        self._end_group(signal.SIGTERM)

    def stop(self, patience: float = PATIENCE) -> Outcome:
        """Wait until it has ended; kill it if it takes longer than so many seconds."""
        try:
            self.process.wait(patience)
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
        if not errors:
            return f"exit code {code}, see {self.step.log}"
        return ADVICE.sub("", errors[-1].removeprefix("error: "))


def _prepared(cores: Sequence[int], parent: int) -> Callable[[], None]:
    """What a new process does before its command: keep to its cores, leave the scheduler's warnings to the
    process that started it, and die with the sweep, even if that is killed.
    """

    def prepare() -> None:
        for number in OF_SCHEDULER:
            signal.signal(number, signal.SIG_IGN)
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, cores)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(TOLD_TO_DIE, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)  # it was killed in between

    return prepare
