"""Sweeps as users run them: one folder and one process per job, each trained once, a failing job named and the rest finished."""

import json
from pathlib import Path

import pytest
from test_train import LEAN, run

from src import checkpoint, launch

FAST = (*LEAN, "trainer.max_steps=2", "data.batch_size=2")


def jobs(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: int(path.name))


def finished(job: Path) -> bool:
    record = json.loads((job / "run.json").read_text())
    return record["status"] == "finished" and record["ranks_equal"]


def test_a_job_is_named_by_what_its_sweep_varies(monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["-m", "+experiment=x", "overwrite=true", "~callbacks.scores", "model/integration=none,both", "a.seed=1,2", "b.seed=3"]
    overrides = ["+experiment=x", "overwrite=True", "~callbacks.scores=null", "model/integration=both", "a.seed=2", "b.seed=3"]
    axes = launch.varied(overrides, command)
    assert axes == ["model/integration=both", "a.seed=2"]
    assert launch.titled(axes) == "integration=both, seed=2"
    monkeypatch.setenv(launch.AXES, json.dumps(axes))
    monkeypatch.setenv(launch.SWEEP, "mine")
    assert (launch.run_title(), launch.sweep_name(), launch.sweep_axes()) == (launch.titled(axes), "mine", {"integration": "both", "seed": "2"})
    assert launch.titled([]) is None
    assert launch.short_names(["a.seed=1", "b.seed=2", "checkpoint=/runs/x/1/editor"]) == [
        ("a_seed", "1"),
        ("b_seed", "2"),
        ("checkpoint", "1/editor"),
    ]


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        ("model/integration", "none,attention,addition,both"),
        pytest.param("model/reward_encoder", "none,score,text,score_text", marks=pytest.mark.slow),
    ],
)
def test_a_sweep_trains_every_job_once(tmp_path: Path, axis: str, values: str) -> None:
    done = run("-m", *FAST, f"{axis}={values}", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(jobs(tmp_path)) == 4
    for job, value in zip(jobs(tmp_path), values.split(","), strict=True):
        assert finished(job)
        assert f"{axis}={value}" in (job / ".hydra/overrides.yaml").read_text()
        assert len((job / "metrics.csv").read_text().splitlines()) == 3
    sizes = [sum(tensor.numel() for tensor in checkpoint.read(job / "editor")["ema"].values()) for job in jobs(tmp_path)]
    assert sizes[0] < min(sizes[1:])


def test_ddp_inside_a_sweep(tmp_path: Path) -> None:
    done = run("-m", *FAST, "trainer=ddp_cpu", "model/integration=none,both", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert [path.name for path in jobs(tmp_path)] == ["0", "1"]
    for job in jobs(tmp_path):
        assert finished(job)
        assert json.loads((job / "run.json").read_text())["world_size"] == 2
        assert len(list(job.rglob("last.ckpt"))) == 1


def test_a_failing_job_is_named_and_the_rest_finishes(tmp_path: Path) -> None:
    done = run("-m", *FAST, "model.integration.parts.attention.heads=7,8", "+sweep_marker=1", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "job 0" in errors[0]
    assert "7 heads don't divide" in errors[0]
    assert finished(jobs(tmp_path)[1])


@pytest.mark.slow
def test_sweep_configs_run_from_their_name(tmp_path: Path) -> None:
    done = run(*FAST, "+sweep=table4_reward_signal", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert [finished(job) for job in jobs(tmp_path)] == [True] * 4
