"""Sweeps as users run them: one folder and one process per job, each trained once, a failing job named and
the rest finished, and resumed.
"""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
from commands import LEAN, run
from killing import Command, finished
from warm import interpreter

from src import checkpoint, launch, resolvers
from src.sweeps import titles
from src.sweeps.record import read_sweep

FAST = (*LEAN, "trainer.max_steps=2", "data.batch_size=2")
WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
EVALUATED = 'hydra.launcher.evaluate=["limit=4","sampler.steps=1","benchmark.ideals=null"]'


def jobs(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: int(path.name))


def trained(job: Path) -> bool:
    record = json.loads((job / "run.json").read_text())
    return record["status"] == "finished" and record["ranks_equal"]


def statuses(folder: Path) -> list[str]:
    sweep = read_sweep(folder)
    assert sweep is not None
    return [job.status for job in sweep.jobs]


def here(monkeypatch: pytest.MonkeyPatch, *arguments: str, module: str = "src.train") -> int:
    """The exit code of a command whose sweep runs in this process; its jobs have processes of their own."""
    loaded = importlib.import_module(module)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    monkeypatch.setattr(sys, "executable", interpreter())
    try:
        launch.entry_point(loaded.main, module.removeprefix("src."), loaded.SWEEPS)
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def test_a_job_is_named_by_what_its_sweep_varies(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [
        "-m",
        "+experiment=x",
        "overwrite=true",
        "~callbacks.scores",
        "model/integration=none,both",
        "a.seed=1,2",
        "b.seed=3",
    ]
    overrides = [
        "+experiment=x",
        "overwrite=True",
        "~callbacks.scores=null",
        "model/integration=both",
        "a.seed=2",
        "b.seed=3",
    ]
    axes = titles.varied_overrides(overrides, command)
    assert axes == ["model/integration=both", "a.seed=2"]
    assert titles.title(axes) == "integration=both, seed=2"
    monkeypatch.setenv(titles.AXES, json.dumps(axes))
    monkeypatch.setenv(titles.SWEEP, "mine")
    assert (resolvers.run_title(), resolvers.sweep_name(), titles.sweep_axes()) == (
        titles.title(axes),
        "mine",
        {"integration": "both", "seed": "2"},
    )
    assert titles.title([]) is None
    assert titles.short_names(["a.seed=1", "b.seed=2", "checkpoint=/runs/x/1/editor"]) == [
        ("a_seed", "1"),
        ("b_seed", "2"),
        ("checkpoint", "1/editor"),
    ]


@pytest.fixture(scope="module")
def two_cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No reward and the whole model, in two processes each, evaluated; by the command that users type."""
    folder = tmp_path_factory.mktemp("runs") / "integrations"
    done = run(
        "-m", *FAST, "trainer=ddp_cpu", "model/integration=none,both", f"hydra.sweep.dir={folder}", EVALUATED
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


TWO_CELLS = ("-m", *FAST, "trainer=ddp_cpu", "model/integration=none,both", EVALUATED)


def test_every_job_is_trained_once_in_a_folder_and_ranks_of_its_own_and_evaluated(two_cells: Path) -> None:
    assert [path.name for path in jobs(two_cells)] == ["0", "1"]
    for job, value in zip(jobs(two_cells), ("none", "both"), strict=True):
        assert trained(job)
        assert json.loads((job / "run.json").read_text())["world_size"] == 2
        assert len(list(job.rglob("last.ckpt"))) == 1
        assert f"model/integration={value}" in (job / ".hydra/overrides.yaml").read_text()
        assert len((job / "metrics.csv").read_text().splitlines()) == 3
        report = json.loads((job / "evaluation/synthetic_edit/oracle/report.json").read_text())
        assert [row["n"] for row in report["rows"] if row["name"] == "5/5/5"] == [4]
    sizes = [
        sum(tensor.numel() for tensor in checkpoint.read(job / "editor")["ema"].values())
        for job in jobs(two_cells)
    ]
    assert sizes[0] < sizes[1]
    assert statuses(two_cells) == ["finished", "finished"]
    assert "5/5/5" in (two_cells / "table.md").read_text()


def test_repeated_it_trains_nothing(
    two_cells: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {
        path: path.stat().st_mtime_ns
        for path in two_cells.rglob("*")
        if path.is_file() and path.parent.name.isdigit()
    }
    assert here(monkeypatch, *TWO_CELLS, f"hydra.sweep.dir={two_cells}") == 0
    assert "2 jobs, 2 done" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_sweep_trains_none_of_the_cells_that_this_one_has(
    two_cells: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No reward encoder is no integration, and its default is `both`."""
    second = two_cells.parent / "encoders"
    arguments = (
        *TWO_CELLS[:-2],
        "model/reward_encoder=none,score_text",
        EVALUATED,
        f"hydra.sweep.dir={second}",
    )
    assert here(monkeypatch, *arguments) == 0, capsys.readouterr().err
    assert [(second / str(job)).readlink() for job in range(2)] == [
        Path("../integrations/0"),
        Path("../integrations/1"),
    ]
    assert statuses(second) == ["finished", "finished"]
    assert not list(second.glob("*.txt"))
    assert "2 shared" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["trainer.max_steps=3"], "trainer.max_steps was 2 and is 3"),
        (
            ["model/reward_encoder=score,text"],
            "belongs to the sweep integration of src.train (2 jobs, finished)",
        ),
        (["model/nothing=1,2"], "model/nothing"),
        (["start=nowhere/editor"], "no checkpoint at start=nowhere/editor"),
        (['hydra.launcher.evaluate=["benchmark=nothing"]'], "benchmark=nothing: there is no nothing"),
        pytest.param(["trainer=gpu"], "PyTorch finds no GPU on this machine", marks=WITHOUT_GPU),
    ],
)
def test_bad_sweeps_end_in_one_line_before_any_job(
    two_cells: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changed: list[str],
    message: str,
) -> None:
    record = (two_cells / "sweep.json").read_bytes()
    assert here(monkeypatch, *TWO_CELLS[:-1], *changed, f"hydra.sweep.dir={two_cells}") == 1
    told = capsys.readouterr()
    assert [line for line in told.err.splitlines() if line.startswith("error: ")] == [
        told.err.strip().splitlines()[-1]
    ]
    assert message in told.err
    assert "started" not in told.out
    assert (two_cells / "sweep.json").read_bytes() == record


def test_changed_code_is_refused_and_can_be_allowed(
    two_cells: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = two_cells / "sweep.json"
    before = record.read_text()
    tree = json.loads(before)
    for known in tree["code"].values():
        known["files"]["src/editor.py"] = "earlier"
    tree["code"] = {f"{version}0": known for version, known in tree["code"].items()}
    tree["jobs"] = [{**job, "code": f"{job['code']}0"} for job in tree["jobs"]]
    record.write_text(json.dumps(tree))
    try:
        assert here(monkeypatch, *TWO_CELLS, f"hydra.sweep.dir={two_cells}") == 1
        assert "src/editor.py changed; go back" in capsys.readouterr().err
        assert here(monkeypatch, *TWO_CELLS, f"hydra.sweep.dir={two_cells}", "hydra.launcher.code=any") == 0
        assert len(json.loads(record.read_text())["notes"]) == 2
    finally:
        record.write_text(before)


def test_an_evaluation_that_is_missing_is_all_that_runs(
    two_cells: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained_at = (two_cells / "1/run.json").stat().st_mtime_ns
    record = two_cells / "sweep.json"
    tree = json.loads(record.read_text())
    tree["jobs"][1] |= {"status": "trained", "evaluated": None}
    record.write_text(json.dumps(tree))
    assert here(monkeypatch, *TWO_CELLS, f"hydra.sweep.dir={two_cells}") == 0
    told = capsys.readouterr().out
    assert "1 to evaluate, 1 done" in told
    assert "job 1 (model/integration=both): evaluation started" in told
    assert (two_cells / "1/run.json").stat().st_mtime_ns == trained_at
    assert statuses(two_cells) == ["finished", "finished"]


def test_a_failing_job_is_named_and_the_rest_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a sweep beside it whose record is broken only has nothing to share."""
    folder, other = tmp_path / "sweep", tmp_path / "other"
    other.mkdir()
    (other / "sweep.json").write_text("{")
    assert (
        here(
            monkeypatch,
            "-m",
            *FAST,
            "model.integration.parts.attention.heads=7,8",
            "+sweep_marker=1",
            f"hydra.sweep.dir={folder}",
        )
        == 1
    )
    told = capsys.readouterr().err
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "job 0" in errors[0]
    assert "7 heads don't divide" in errors[0]
    assert told.count(f"{other / 'sweep.json'} can't be read") == 1
    assert trained(jobs(folder)[1])
    assert statuses(folder) == ["failed", "finished"]


def test_killed_and_repeated_it_ends_with_every_cell_once(tmp_path: Path) -> None:
    folder, log = tmp_path / "sweep", tmp_path / "log"
    often = (
        "callbacks.checkpoint.every_n_train_steps=1",
        "trainer.max_steps=30",
        "hydra.launcher.probe=false",
    )
    arguments = ("-m", *FAST, *often, "seed=0,1", f"hydra.sweep.dir={folder}")
    second = folder / "1" / "checkpoints" / "last.ckpt"
    assert Command("src.train", *arguments, log=log).killed_when(second.exists, seconds=400)
    assert statuses(folder) == ["finished", "running"]
    finished("src.train", *arguments, log=log)
    assert statuses(folder) == ["finished", "finished"]
    for job in jobs(folder):
        assert trained(job)
        steps = [int(line.split(",")[0]) for line in (job / "metrics.csv").read_text().splitlines()[1:]]
        assert steps == list(range(30))
    assert json.loads((folder / "1/run.json").read_text())["resumed_at_steps"]
    assert not json.loads((folder / "0/run.json").read_text())["resumed_at_steps"]


@pytest.mark.slow
@pytest.mark.parametrize(("sweep", "cells"), [("table4_reward_signal", 4), ("table5_integration", 5)])
def test_the_papers_sweeps_run_from_their_name_in_two_processes_each(
    tmp_path: Path, sweep: str, cells: int
) -> None:
    done = run(
        *FAST, "trainer=ddp_cpu", f"+sweep={sweep}", f"hydra.sweep.dir={tmp_path / 'sweep'}", EVALUATED
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert [trained(job) for job in jobs(tmp_path / "sweep")] == [True] * cells
    assert {json.loads((job / "run.json").read_text())["world_size"] for job in jobs(tmp_path / "sweep")} == {
        2
    }
    assert (tmp_path / "sweep/table.md").read_text().count("| ours") == cells
