"""What a sweep says before it begins."""

from pathlib import Path

import pytest

from src.sweeps.plan import SweepPlan, estimate_cost, plan_sweep, plan_text
from src.sweeps.probe import Probe
from src.sweeps.record import Job, Sweep
from src.sweeps.running import duration_text
from src.sweeps.work import Jobs


def job(number: int, status: str = "waiting", hash: str = "") -> Job:
    return Job(
        number, [], [f"seed={number}"], {"trainer.max_steps": 100}, hash or str(number), "code", status
    )  # pyright: ignore


def jobs_of(folder: Path, *members: Job) -> Jobs:
    return Jobs(
        Sweep("seed", "src.train", "", list(members)), folder, lambda _: False, None, "same", lambda: "commit"
    )


def test_the_plan_says_what_becomes_of_each_job(tmp_path: Path) -> None:
    mine = [
        job(0, "finished"),
        job(1, "trained"),
        job(2, "interrupted"),
        job(3, hash="same"),
        job(4, hash="same"),
        job(5, "failed"),
    ]
    jobs = jobs_of(tmp_path, *mine)
    lines = plan_text(plan_sweep(mine, jobs), mine, jobs).splitlines()
    assert lines[0].endswith("6 jobs, 3 to run, 1 to evaluate, 1 done, 1 shared")
    said = [line.partition(": ")[2] for line in lines[1:]]
    assert said == [
        "done",
        "trained, to be evaluated",
        "to go on with",
        "to run",
        "shared with job 3",
        "to run again, it failed",
    ]


def test_time_and_disk_come_from_a_probe(tmp_path: Path) -> None:
    mine = [job(0), job(1), job(2)]
    expected = estimate_cost(
        SweepPlan(run=mine), jobs_of(tmp_path, *mine), 2, lambda overrides: Probe(10.0, 0.5, 1000)
    )
    assert expected.seconds == 60.0
    assert expected.words[0].startswith(
        "time: about 2 min 0 s, 1 min 0 s for each of 3 (from 8 steps of job 0: 0.5 s each"
    )
    assert expected.words[1].startswith("disk: about")
    with pytest.raises(ValueError, match=r"need about 3e\+06 GB and .* GB are free .*: make room"):
        estimate_cost(
            SweepPlan(run=mine), jobs_of(tmp_path, *mine), 2, lambda overrides: Probe(10.0, 0.5, 10**15)
        )


def test_time_comes_from_finished_jobs_where_there_are_any(tmp_path: Path) -> None:
    ended = job(0, "finished")
    ended.seconds = {"train": 90.0, "evaluate": 10.0}
    expected = estimate_cost(SweepPlan(run=[job(1)]), jobs_of(tmp_path, ended, job(1)), 1, None)
    assert expected.words[0] == "time: about 1 min 40 s, 1 min 40 s for each of 1 (as the 1 finished so far)"


def test_durations_are_for_people() -> None:
    assert [duration_text(seconds) for seconds in (3.4, 59.6, 3600.0, 7300.0)] == [
        "3 s",
        "1 min 0 s",
        "1 h 0 min",
        "2 h 1 min",
    ]
