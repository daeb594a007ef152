"""Jobs through submitit's executor that starts processes here: real scripts, real results."""

import json
import sys
import time
from pathlib import Path

import pytest

from src.sweeps.cluster import submission_starter
from src.sweeps.processes import Outcome, Share, Step
from src.sweeps.record import Job
from src.sweeps.running import RunningJob


def ended(running: RunningJob) -> list[Outcome]:
    limit = time.monotonic() + 120
    while (outcomes := running.poll()) is None:
        assert time.monotonic() < limit
        time.sleep(0.05)
    return list(outcomes)


def steps(folder: Path) -> list[Step]:
    """Two that count how often they ran; the second fails."""
    counting = (
        "import os, sys; open(sys.argv[1], 'a').write('x'); sys.exit('error: not this one' if sys.argv[2] "
        "== '1' else 0)"
    )
    return [
        Step(kind, (sys.executable, "-c", counting, str(folder / kind), fails), folder / f"{kind}.log", {})
        for kind, fails in (("train", "0"), ("evaluate", "1"))
    ]


def test_a_submission_runs_all_steps_and_is_followed_by_a_sweep_that_comes_back(tmp_path: Path) -> None:
    start = submission_starter(tmp_path, "local", {"timeout_min": 2})
    job = Job(0, [], [], {}, "", "")
    outcomes = ended(start(job, steps(tmp_path), Share()))
    assert [(outcome.kind, outcome.error) for outcome in outcomes] == [
        ("train", None),
        ("evaluate", "not this one"),
    ]
    assert job.submission is not None
    assert json.dumps(job.submission)
    again = ended(submission_starter(tmp_path, "local", {"timeout_min": 2})(job, steps(tmp_path), Share()))
    assert again == outcomes
    assert (tmp_path / "train").read_text() == "x", "what was submitted is not submitted twice"


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    for cluster, settings in (("nowhere", {}), ("local", {"no_such_setting": 1})):
        with pytest.raises(ValueError, match=f"hydra.launcher.cluster={cluster} can't be used"):
            submission_starter(tmp_path, cluster, settings)
