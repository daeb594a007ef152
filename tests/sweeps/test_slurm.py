"""Sweeps and trainings in a real SLURM of one machine, where it is installed (slurm_node.py)."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import LEAN
from killing import lines_in
from slurm_node import asked, begin_now, slurm_node, until, why_not
from sweeps.submissions import STOPPABLE, ended, job, python, steps, written

from src.sweeps import cluster
from src.sweeps.cluster import submission_starter
from src.sweeps.processes import Outcome, Share
from src.sweeps.running import RunningJob, StartJob, StartRefusedError

pytestmark = [pytest.mark.slow, pytest.mark.skipif(why_not() is not None, reason=str(why_not()))]

NO_GPU = {"timeout_min": 5, "gpus_per_node": None, "cpus_per_task": 1}


@pytest.fixture(scope="module", autouse=True)
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with slurm_node(tmp_path_factory.mktemp("slurm")):
        yield


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "SECONDS_BETWEEN_LOOKS", 0.5)
    monkeypatch.setattr(cluster, "SECONDS_FOR_RESULT", 5.0)


def starter(folder: Path, **settings: object) -> StartJob:
    return submission_starter(folder, "slurm", {**NO_GPU, **settings}, "mine")


def stoppable(folder: Path, **settings: object) -> tuple[RunningJob, str, Path]:
    """A submission that goes on where it was stopped; its number, and its file once it runs."""
    mine, place = job(), folder / "place"
    running = starter(folder, **settings)(mine, [python(folder, "train", STOPPABLE, str(place))], Share())
    assert mine.submission is not None
    written(place)
    return running, mine.submission, place


def errors(outcomes: list[Outcome]) -> list[str | None]:
    return [outcome.error for outcome in outcomes]


def test_submissions_finish_and_fail(tmp_path: Path) -> None:
    start = starter(tmp_path)
    both = start(job(), steps(tmp_path), Share())
    good = start(job(1), steps(tmp_path)[:1], Share())
    assert sorted(asked("squeue", "--noheader", "--format=%j").split()) == ["mine-0", "mine-1"]
    assert errors(ended(both)) == [None, "not this one"]
    assert errors(ended(good)) == [None]


def test_cancelled_jobs_fail_with_that_word(tmp_path: Path) -> None:
    """One that runs, and one that waits; nothing but the queue tells of the second."""
    running, number, place = stoppable(tmp_path)
    waiting = job(1)
    later = starter(tmp_path, slurm_additional_parameters={"begin": "now+1hour"})
    second = later(waiting, steps(tmp_path), Share())
    assert second.poll() is None
    asked("scancel", number, str(waiting.submission))
    for one, id in ((running, number), (second, waiting.submission)):
        (error,) = errors(ended(one))
        assert (error or "").startswith(f"submission {id}: CANCELLED")
    assert written(place)[1:] == ["saved"]


def goes_on(stop: Callable[[str], object], folder: Path, **settings: object) -> None:
    running, number, place = stoppable(folder, **settings)
    stop(number)
    until(lambda: "saved" in place.read_text())
    begin_now(number)
    assert errors(ended(running)) == [None]
    first, saved, second = written(place)
    assert (saved, first != second) == ("saved", True)


def test_at_its_time_limit_a_job_saves_and_goes_on(tmp_path: Path) -> None:
    # two minutes, as SLURM may send the warning of the second start a minute early
    goes_on(lambda number: None, tmp_path, timeout_min=2, slurm_signal_delay_s=30)


def test_a_job_that_is_queued_again_is_followed(tmp_path: Path) -> None:
    goes_on(lambda number: asked("scontrol", "requeue", number), tmp_path)


def test_a_preempted_job_is_followed(tmp_path: Path) -> None:
    script = ["--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 5"]
    goes_on(lambda number: asked("sbatch", *script), tmp_path)


def test_a_time_limit_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    settings = {"timeout_min": 1, "slurm_signal_delay_s": 5, "slurm_max_num_timeout": 0}
    (error,) = errors(ended(starter(tmp_path, **settings)(job(), [python(tmp_path, "train", deaf)], Share())))
    assert re.search(r"TIMEOUT: .*hydra.launcher.submission.(slurm_max_num_timeout|timeout_min)", error or "")


@pytest.mark.parametrize(
    ("settings", "named", "is_lasting"),
    [
        ({"gpus_per_node": 1}, "gpus_per_node=1", True),
        ({"slurm_partition": "nowhere"}, "slurm_partition=nowhere", True),
        ({"slurm_partition": "closed"}, "slurm_partition=closed", False),
        ({"mem_gb": 999}, "mem_gb=999", True),
    ],
)
def test_a_refusal_names_its_setting(
    tmp_path: Path, settings: dict[str, object], named: str, is_lasting: bool
) -> None:
    asked("scontrol", "update", "PartitionName=closed", "State=DRAIN")
    with pytest.raises(StartRefusedError, match=rf"hydra.launcher.submission.{named}\)") as refused:
        starter(tmp_path, **settings)(job(), steps(tmp_path), Share())
    assert refused.value.is_lasting == is_lasting
    assert list((tmp_path / "scheduler").iterdir()) == []


def test_a_sweep_is_followed_after_the_death_of_its_submitter(tmp_path: Path) -> None:
    """And after one of its trainings was stopped by SLURM in between."""
    folder = tmp_path / "sweep"
    command = [
        *(sys.executable, "-m", "src.train", "-m", *LEAN, "trainer.max_steps=200", "data.batch_size=2"),
        *("seed=0,1", f"hydra.sweep.dir={folder}", "hydra/launcher=slurm"),
        *("hydra.launcher.submission.gpus_per_node=null", "hydra.launcher.submission.cpus_per_task=1"),
    ]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lines_in(folder / "0/metrics.csv", 5), 300)
    until(lambda: len(submitted(folder)) == 2)
    first.kill()
    first.wait()
    number = min(submitted(folder), key=int)
    asked("scancel", "--signal=USR2", number)
    begin_now(number)
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert (again.returncode, again.stderr) == (0, ""), again.stderr[-3000:]
    assert len(submitted(folder)) == 2, "nothing is submitted twice"
    assert [one["status"] for one in record(folder / "sweep.json")["jobs"]] == ["finished"] * 2
    assert [len(record(folder / f"{cell}/run.json")["resumed_at_steps"]) for cell in (0, 1)] == [1, 0]


def submitted(folder: Path) -> list[str]:
    """The numbers of a sweep's submissions."""
    return [file.name.partition("_")[0] for file in (folder / "scheduler").glob("*_submitted.pkl")]


def record(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


def test_two_ranks_of_srun_are_saved_queued_again_and_go_on(tmp_path: Path) -> None:
    """The documented line of conf/trainer/slurm.yaml, on processors."""
    run, log = tmp_path / "run", tmp_path / "log.txt"
    training = [
        *(sys.executable, "-m", "src.train", *LEAN, "trainer=slurm", "trainer.accelerator=cpu"),
        *("trainer.precision=32-true", "trainer.devices=2", "trainer.max_steps=200", "data.batch_size=2"),
        f"hydra.run.dir={run}",
    ]
    quoted = " ".join(f"'{argument}'" for argument in training)
    script = ["--ntasks-per-node=2", "--signal=USR1@60", "--open-mode=append", f"--output={log}"]
    number = asked("sbatch", "--parsable", "--requeue", *script, f"--wrap=srun {quoted}")
    until(lines_in(run / "metrics.csv", 5), 300)
    asked("scancel", f"--signal={signal.SIGUSR1.name}", number)  # as SLURM does 60 s before the limit
    until(lambda: f"job {number} again" in log.read_text())
    begin_now(number)
    state = ("squeue", "--noheader", f"--jobs={number}", "--states=all", "--format=%T")
    until(lambda: asked(*state) == "COMPLETED", 300)
    told = record(run / "run.json")
    assert (told["status"], told["steps"], told["world_size"], told["ranks_equal"]) == (
        *("finished", 200, 2),
        True,
    )
    assert len(told["resumed_at_steps"]) == 1
    assert list(run.rglob("hpc_ckpt*")) == []
