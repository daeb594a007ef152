"""Jobs that can't be started, and errors of the sweep itself, end no other job."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from src.sweeps import running
from src.sweeps.processes import Outcome, Share, Step
from src.sweeps.record import Job, Sweep, read_sweep
from src.sweeps.running import Runner, RunningJob, StartRefusedError

STEP = Step("train", (), Path("log.txt"), {})


class Work:
    """Jobs of one step."""

    def __init__(self) -> None:
        self.done: set[int] = set()

    def steps(self, job: Job) -> Sequence[Step]:
        return [] if job.number in self.done else [STEP]

    def note(self, job: Job, outcome: Outcome) -> None: ...

    def same(self, job: Job) -> None: ...

    def check(self, job: Job) -> None: ...


class Submitted:
    """Ends well at its third look."""

    outlives_sweep = True

    def __init__(self, work: Work, job: Job) -> None:
        self.work, self.job, self.looks, self.is_cancelled = work, job, 0, False

    def poll(self) -> Sequence[Outcome] | None:
        self.looks += 1
        if self.looks < 3:
            return None
        self.work.done.add(self.job.number)
        return [Outcome("train", 1.0, None)]

    def ask_to_stop(self) -> None:
        self.is_cancelled = True

    def stop(self) -> Sequence[Outcome]:
        return []


class Scheduler:
    """Takes jobs, but for those that it refuses so and so often."""

    def __init__(self, refusals: dict[int, list[Exception]]) -> None:
        self.refusals = refusals
        self.work = Work()
        self.taken: list[Submitted] = []

    def start(self, job: Job, steps: Sequence[Step], share: Share) -> RunningJob:
        if self.refusals.get(job.number):
            raise self.refusals[job.number].pop(0)
        job.submission = str(job.number)
        self.taken.append(Submitted(self.work, job))
        return self.taken[-1]

    def run(self, folder: Path) -> list[Job]:
        jobs = [Job(number, [], [], {}, str(number), "") for number in range(3)]
        sweep = Sweep("mine", "src.train", "python", jobs)
        Runner(sweep, folder, [Share()] * 2, self.start, self.work).run(jobs)
        return jobs


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "PAUSE", 0.001)
    monkeypatch.setattr(running, "WAITS", (0.0, 0.001))


def busy(count: int) -> list[Exception]:
    return [StartRefusedError("Socket timed out", False) for _ in range(count)]


def status(folder: Path) -> list[str]:
    sweep = read_sweep(folder)
    assert sweep is not None
    return [job.status for job in sweep.jobs]


def test_a_refused_job_waits_while_the_others_go_on_and_is_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scheduler = Scheduler({1: busy(2)})
    jobs = scheduler.run(tmp_path)
    assert [job.status for job in jobs] == ["finished"] * 3
    assert not any(job.is_cancelled for job in scheduler.taken)
    assert (
        capsys.readouterr().out.count("job 1 (as it is) was not let in: Socket timed out; tried again") == 1
    )


def test_what_is_refused_for_good_lets_the_others_end(tmp_path: Path) -> None:
    scheduler = Scheduler({1: [StartRefusedError("Invalid partition", True)]})
    with pytest.raises(ValueError, match=r"job 1 \(as it is\) was not let in: Invalid partition; it and the"):
        scheduler.run(tmp_path)
    assert status(tmp_path) == ["finished", "waiting", "waiting"]
    assert not any(job.is_cancelled for job in scheduler.taken)


def test_a_sweep_that_nobody_lets_in_ends(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"job 0 .* was not let in: Socket timed out"):
        Scheduler({0: busy(99)}).run(tmp_path)


def test_an_error_of_the_sweep_ends_no_submission_and_a_user_ends_all(tmp_path: Path) -> None:
    for error, cancelled in ((OSError("disk"), False), (KeyboardInterrupt(), True)):
        scheduler = Scheduler({1: [error]})  # pyright: ignore[reportArgumentType]
        with pytest.raises(type(error)):
            scheduler.run(tmp_path)
        assert [job.is_cancelled for job in scheduler.taken] == [cancelled]
        sweep = read_sweep(tmp_path)
        assert sweep is not None
        assert sweep.jobs[0].submission == (None if cancelled else "0"), "the same command follows it"
