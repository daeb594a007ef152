"""What SLURM tells the processes of a job, and what its programs answer."""

import os
import subprocess

LONGEST_ANSWER = 60.0
"""Seconds after which a program of SLURM is given up; a busy controller takes its time."""


def job_number() -> str | None:
    """The job that this process belongs to; None outside of SLURM."""
    return os.environ.get("SLURM_JOB_ID")


def is_in_step() -> bool:
    """Whether srun started this process. A batch script also has SLURM_NTASKS, but is one process whatever
    that says.
    """
    return "SLURM_STEP_NUM_TASKS" in os.environ


def processes() -> int:
    """How many processes srun started together; 1 without srun."""
    return int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))


def requeue(job: str) -> None:
    """End a job and let it begin again later, with the same command.

    Raises:
        ValueError: SLURM refused.
    """
    _ask("scontrol", "requeue", job)


def known_states() -> dict[str, str]:
    """The states of this user's jobs, by number: those in the queue and those that ended minutes ago.

    Raises:
        ValueError: no answer.
    """
    lines = _ask(
        *("squeue", "--noheader", f"--user={os.getuid()}", "--states=all", "--format=%i|%T")
    ).splitlines()
    return {number.strip(): state.strip() for number, _, state in (line.partition("|") for line in lines)}


def accounted_state(job: str) -> str | None:
    """The last state of a job in the accounting; None where SLURM keeps none, or doesn't know the job."""
    try:
        lines = _ask(
            *("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", "--format=State")
        ).splitlines()
    except ValueError:
        return None
    return lines[0].split()[0] if lines and lines[0].strip() else None


def _ask(*command: str) -> str:
    """What a program prints."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            stdin=subprocess.DEVNULL,
            timeout=LONGEST_ANSWER,
        )
    except subprocess.CalledProcessError as error:
        said = " ".join(str(error.stderr).split()) or f"exit code {error.returncode}"
        raise ValueError(f"{' '.join(command[:2])}: {said}") from error
    except (subprocess.TimeoutExpired, OSError) as error:
        raise ValueError(f"{' '.join(command[:2])}: {error}") from error
    return done.stdout
