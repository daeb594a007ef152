"""Jobs through a scheduler: submitit's executor that starts processes here, with real scripts and results;
and programs that answer as SLURM's do. SLURM itself is in test_slurm.py.
"""

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from sweeps.submissions import STOPPABLE, ended, job, python, steps, written

from src.sweeps.cluster import (
    ENDED,
    NOT_IN_QUEUE,
    Queue,
    RunSteps,
    SubmittedJob,
    own_words,
    refusal,
    submission_starter,
)
from src.sweeps.processes import Outcome, Share
from src.sweeps.running import StartRefusedError


def test_a_submission_runs_all_steps_and_is_followed_by_a_sweep_that_comes_back(tmp_path: Path) -> None:
    start = submission_starter(tmp_path, "local", {"timeout_min": 2}, "mine")
    mine = job()
    outcomes = ended(start(mine, steps(tmp_path), Share()))
    assert [(outcome.kind, outcome.error) for outcome in outcomes] == [
        ("train", None),
        ("evaluate", "not this one"),
    ]
    assert mine.submission is not None
    assert json.dumps(mine.submission)
    again = submission_starter(tmp_path, "local", {"timeout_min": 2}, "mine")(mine, steps(tmp_path), Share())
    assert ended(again) == outcomes
    assert (tmp_path / "train").read_text() == "x", "what was submitted is not submitted twice"


def test_at_its_time_limit_a_step_saves_and_the_submission_goes_on_with_it(tmp_path: Path) -> None:
    place = tmp_path / "evaluate"
    two = [steps(tmp_path)[0], python(tmp_path, "evaluate", STOPPABLE, str(place))]
    running = submission_starter(tmp_path, "local", {"timeout_min": 2}, "mine")(job(), two, Share())
    os.kill(int(written(place)[0]), signal.SIGUSR2)  # as SLURM does
    outcomes = ended(running)
    assert [(outcome.kind, outcome.error) for outcome in outcomes] == [("train", None), ("evaluate", None)]
    first, saved, second = written(place)
    assert (first != second, saved) == (True, "saved"), "it was stopped before it began again"
    assert (tmp_path / "train").read_text() == "x", "what was done is not done twice"


@pytest.fixture
def handlers() -> Iterator[None]:
    earlier = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, earlier)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("told", [True, False])
def test_a_step_that_the_scheduler_ended_is_no_result(tmp_path: Path, told: bool) -> None:
    tell = "import os, signal; os.kill(os.getppid(), signal.SIGTERM); " if told else ""
    failing = python(tmp_path, "train", f"{tell}import sys; sys.exit('error: stopped at step 3')")
    run = RunSteps(10.0)
    if told:
        with pytest.raises(SystemExit, match="ended by the scheduler: stopped at step 3"):
            run([failing])
    else:
        assert [outcome.error for outcome in run([failing])] == ["stopped at step 3"]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    for cluster, settings in (
        ("nowhere", {}),
        ("local", {"no_such_setting": 1}),
        ("local", {"timeout_min": "long"}),
    ):
        with pytest.raises(ValueError, match=f"hydra.launcher.cluster={cluster} can't be used"):
            submission_starter(tmp_path, cluster, settings, "mine")


class Programs:
    """SLURM's programs, which say what they are told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.say("srun")

    def say(self, program: str, text: str = "", error: str = "", code: int = 0) -> None:
        file = self.folder / program
        (self.folder / f"{program}.text").write_text(text)
        file.write_text(
            f"#!/bin/sh\necho \"$@\" >> {file}.calls\ncat {file}.text\necho '{error}' >&2\nexit {code}\n"
        )
        file.chmod(0o755)

    def calls(self, program: str) -> list[str]:
        return (self.folder / f"{program}.calls").read_text().splitlines()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return Programs(folder)


@pytest.mark.parametrize("settings", [{"tasks_per_node": 2}, {"nodes": 2}, {"nodes": 2, "tasks_per_node": 4}])
def test_a_job_of_several_processes_is_refused_before_anything_is_submitted(
    tmp_path: Path, programs: Programs, settings: dict[str, int]
) -> None:
    nodes, tasks = settings.get("nodes", 1), settings.get("tasks_per_node", 1)
    named = rf"submission.nodes={nodes}, tasks_per_node={tasks} would run each job {nodes * tasks} times"
    with pytest.raises(ValueError, match=named):
        submission_starter(tmp_path, "slurm", settings, "mine")
    assert not (programs.folder / "sbatch.calls").exists()


def test_a_submission_is_called_by_its_sweep_and_can_be_queued_again(
    tmp_path: Path, programs: Programs
) -> None:
    programs.say("sbatch", "Submitted batch job 12\n")
    mine = job(3)
    more = {"slurm_signal_delay_s": 60, "slurm_additional_parameters": {"begin": "now+1hour"}}
    settings = {"timeout_min": 7, "gpus_per_node": None, **more}
    submission_starter(tmp_path, "slurm", settings, "model/integration=none, both")(
        mine, steps(tmp_path), Share()
    )
    assert mine.submission == "12"
    script = (tmp_path / "scheduler/12_submission.sh").read_text()
    lines = {line for line in script.splitlines() if line.startswith("#SBATCH")}
    assert {
        "#SBATCH --job-name=model-integration-none-both-3",
        "#SBATCH --requeue",
        "#SBATCH --begin=now+1hour",
        "#SBATCH --signal=USR2@60",
        "#SBATCH --time=7",
    } <= lines
    assert "wckey" not in script


def test_a_refused_submission_names_its_setting_and_leaves_nothing(
    tmp_path: Path, programs: Programs, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "sbatch: error: Batch job submission failed: Invalid generic resource (gres) specification"
    programs.say("sbatch", error=said, code=1)
    start = submission_starter(tmp_path, "slurm", {"gpus_per_node": 1}, "mine")
    mine = job()
    with pytest.raises(StartRefusedError) as refused:
        start(mine, steps(tmp_path), Share())
    assert str(refused.value) == f"{said} (hydra.launcher.submission.gpus_per_node=1)"
    assert (refused.value.is_lasting, mine.submission) == (True, None)
    assert list((tmp_path / "scheduler").iterdir()) == []
    assert capsys.readouterr() == ("", "")


FAILED = "sbatch: error: Batch job submission failed: "


@pytest.mark.parametrize(
    ("said", "setting", "is_lasting"),
    [
        (FAILED + "Required partition not available (inactive or drain)", "slurm_partition=gpu", False),
        ("sbatch: error: invalid partition specified: gpu", "slurm_partition=gpu", True),
        (FAILED + "Invalid account or account/partition combination specified", "slurm_account=null", True),
        (
            FAILED + "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
            "slurm_qos=null",
            False,
        ),
        (FAILED + "Invalid qos specification", "slurm_qos=null", True),
        (FAILED + "Requested time limit is invalid (missing or exceeds some limit)", "timeout_min=5", True),
        (FAILED + "Requested node configuration is not available", "cpus_per_task=null", True),
        (FAILED + "Memory required by task is not available", "mem_gb=null", True),
        (FAILED + "Socket timed out on send/recv operation", "", False),
        (FAILED + "Unable to contact slurm controller (connect failure)", "", False),
        ("", "", False),
    ],
)
def test_what_sbatch_says_names_a_setting(said: str, setting: str, is_lasting: bool) -> None:
    error = refusal(said, {"slurm_partition": "gpu", "timeout_min": 5})
    named = f" (hydra.launcher.submission.{setting})" if setting else ""
    assert str(error) == (said or "sbatch failed and gave no reason") + named
    assert error.is_lasting == is_lasting


@pytest.mark.parametrize(
    "state", [*ENDED, "PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED", "NEW"]
)
def test_the_queue_says_how_a_job_ended(programs: Programs, state: str) -> None:
    programs.say("squeue", f"11|RUNNING\n12|{state}\n")
    assert Queue(60.0).ended_as("12") == (f"{state}: {ENDED[state]}" if state in ENDED else None)
    assert programs.calls("squeue") == [f"--noheader --user={os.getuid()} --states=all --format=%i|%T"], (
        "all jobs in one question"
    )


@pytest.mark.parametrize(
    ("accounting", "how"),
    [
        (None, NOT_IN_QUEUE),
        ("Slurm accounting storage is disabled", NOT_IN_QUEUE),
        ("CANCELLED by 1000", f"CANCELLED: {ENDED['CANCELLED']}"),
        ("TIMEOUT", f"TIMEOUT: {ENDED['TIMEOUT']}"),
        ("RUNNING", NOT_IN_QUEUE),  # the accounting missed its end
        ("", NOT_IN_QUEUE),
    ],
)
def test_a_job_in_no_queue_has_ended(programs: Programs, accounting: str | None, how: str) -> None:
    programs.say("squeue", "11|RUNNING\n")
    if accounting is not None:
        disabled = accounting.startswith("Slurm")
        programs.say("sacct", "" if disabled else f"{accounting}\n", accounting, int(disabled))
    assert Queue(60.0).ended_as("12") == how


def test_without_an_answer_all_jobs_are_on_their_way_and_that_is_told_once(
    programs: Programs, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = Queue(every=0.0)
    programs.say("squeue", error="slurm_load_jobs error: Socket timed out", code=1)
    assert (queue.ended_as("12"), queue.ended_as("12")) == (None, None)
    assert capsys.readouterr().err == (
        "warning: squeue --noheader: slurm_load_jobs error: Socket timed out; until it answers, all jobs "
        "count as on their way\n"
    )
    programs.say("squeue", "12|TIMEOUT\n")
    assert queue.ended_as("12", time.monotonic() + 1) is None, "an older answer can't know a newer job"
    assert (queue.ended_as("12") or "").startswith("TIMEOUT")


class Submission:
    """submitit's job, without a scheduler."""

    def __init__(self, folder: Path) -> None:
        self.job_id = "12"
        result = folder / "12_0_result.pkl"
        self.paths = SimpleNamespace(folder=folder, result_pickle=result, stderr=folder / "12_0_log.err")

    def done(self) -> bool:
        return True

    def exception(self) -> None:
        return None

    def result(self) -> Sequence[Outcome]:
        return [Outcome("train", 1.0, None)]


def test_a_job_that_comes_back_is_followed_and_a_late_result_counts(tmp_path: Path) -> None:
    answers = iter(["PREEMPTED: now", None, "COMPLETED: without a result", "COMPLETED: without a result"])
    running = SubmittedJob(Submission(tmp_path), steps(tmp_path)[0], lambda: next(answers), 60.0)
    assert [running.poll() for _ in range(3)] == [None, None, None]
    (tmp_path / "12_0_result.pkl").touch()
    assert running.poll() == [Outcome("train", 1.0, None)]


def test_a_job_without_a_result_fails_with_its_state(tmp_path: Path) -> None:
    running = SubmittedJob(Submission(tmp_path), steps(tmp_path)[0], lambda: "TIMEOUT: more time", 0.0)
    outcomes = running.poll()
    assert outcomes is not None
    assert outcomes[0].error == f"submission 12: TIMEOUT: more time, see {tmp_path / '12_0_log.err'}"


def test_an_exception_in_a_submission_is_named_by_its_own_last_line() -> None:
    ruler = "----------------------"
    for last, words in (
        ("ValueError: no such step", "ValueError: no such step"),
        (
            "submitit.core.utils.UncompletedJobError: Job not requeued because: x.",
            "Job not requeued because: x.",
        ),
    ):
        text = f"Job failed:\n{ruler}\nTraceback\n  File x\n{last}\n\n{ruler}\nat paths:\n  - /x/12_0_log.out"
        assert own_words(RuntimeError(text)) == words
    too_often = own_words(RuntimeError("Job not requeued because: timed-out too many times."))
    assert "hydra.launcher.submission.slurm_max_num_timeout" in too_often
