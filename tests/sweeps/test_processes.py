"""Jobs' processes: their share of the machine, their errors, their end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from src.sweeps.processes import Share, Step, StepProcess, divide_machine


def step(folder: Path, program: str) -> Step:
    return Step("run", (sys.executable, "-c", program), folder / "log.txt", {"TOLD": "yes"})


def outcome_of(process: StepProcess):
    while (outcome := process.poll()) is None:
        time.sleep(0.01)
    return outcome


def test_one_job_gets_the_machine_and_several_get_equal_parts() -> None:
    assert divide_machine(1, [0, 1], ["0", "1"], 1) == [Share()]
    assert divide_machine(2, [0, 1, 2, 3], [], 1) == [Share((0, 2)), Share((1, 3))]
    assert divide_machine(2, [0], ["4", "5", "6", "7"], 2) == [Share((), ("4", "5")), Share((), ("6", "7"))]
    assert Share((0, 2)).environment() == {"OMP_NUM_THREADS": "2"}
    assert Share((), ("4", "5")).environment() == {"CUDA_VISIBLE_DEVICES": "4,5"}
    for jobs, cores, gpus in ((3, [0, 1], []), (3, [0, 1, 2], ["0", "1"]), (0, [0], [])):
        with pytest.raises(ValueError, match=r"hydra.launcher.jobs"):
            divide_machine(jobs, cores, gpus, 1)


def test_a_step_runs_on_its_cores_without_the_ranks_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("SLURM_PROCID", "1")
    core = min(os.sched_getaffinity(0))
    program = (
        "import os; print(os.sched_getaffinity(0), "
        "[os.environ.get(n) for n in ('TOLD', 'LOCAL_RANK', 'SLURM_PROCID', 'OMP_NUM_THREADS')])"
    )
    assert outcome_of(StepProcess(step(tmp_path, program), Share((core,)))).error is None
    assert (tmp_path / "log.txt").read_text() == f"{{{core}}} ['yes', None, None, '1']\n"


def test_the_last_error_of_this_start_is_the_reason(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("error: of an earlier start\n")
    outcome = outcome_of(StepProcess(step(tmp_path, "import sys; sys.exit(3)"), Share()))
    assert outcome.error == f"exit code 3, see {tmp_path / 'log.txt'}"
    outcome = outcome_of(StepProcess(step(tmp_path, "import sys; sys.exit('error: this one')"), Share()))
    assert outcome.error == "this one"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "stopped at step 3 of 9; the same command with hydra.run.dir='a b' goes on",
            "stopped at step 3 of 9",
        ),
        (
            "interrupted; what was written so far is kept, the same command goes on",
            "interrupted; what was written so far is kept",
        ),
        (
            "rank 1 is gone: the same command goes on, or not",
            "rank 1 is gone: the same command goes on, or not",
        ),
    ],
)
def test_how_a_stopped_command_goes_on_is_the_sweeps_to_say(tmp_path: Path, said: str, reason: str) -> None:
    program = f"import sys; sys.exit({f'error: {said}'!r})"
    assert outcome_of(StepProcess(step(tmp_path, program), Share())).error == reason


def test_a_step_lives_through_the_schedulers_warnings(tmp_path: Path) -> None:
    numbers = f"({int(signal.SIGUSR1)}, {int(signal.SIGUSR2)})"
    program = f"import os; [os.kill(os.getpid(), number) for number in {numbers}]; print('alive')"
    assert outcome_of(StepProcess(step(tmp_path, program), Share())).error is None
    assert (tmp_path / "log.txt").read_text() == "alive\n"


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no signal for the death of a parent")
def test_a_step_ends_with_a_killed_sweep(tmp_path: Path) -> None:
    sleeping = (
        f"import os, pathlib, time; pathlib.Path({str(tmp_path / 'number')!r}).write_text(str(os.getpid())); "
        "time.sleep(60)"
    )
    program = (
        "import sys, time; from pathlib import Path; from src.sweeps.processes import *; "
        f"StepProcess(Step('run', (sys.executable, '-c', {sleeping!r}), "
        f"Path({str(tmp_path / 'log.txt')!r}), {{}}), Share()); time.sleep(60)"
    )
    sweep = subprocess.Popen([sys.executable, "-c", program])
    limit = time.monotonic() + 60
    while not (tmp_path / "number").exists() or not (tmp_path / "number").read_text():
        assert time.monotonic() < limit
        time.sleep(0.01)
    sweep.send_signal(signal.SIGKILL)
    sweep.wait()
    child = int((tmp_path / "number").read_text())
    while not gone(child):
        assert time.monotonic() < limit
        time.sleep(0.01)
