"""Kill -9 at any moment of a training, start again: the same weights, averages, optimiser state and metrics
as without, bit for bit.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import TRAINING
from killing import Command, after, being_written, finished, lines_in
from run_folders import assert_same, losses

from src import checkpoint
from src.callbacks.metrics_file import read_metrics


def training(folder: Path, *overrides: str) -> Command:
    return Command(
        "src.train", *TRAINING, *overrides, f"hydra.run.dir={folder}", log=folder.with_suffix(".log")
    )


def trained(folder: Path, *overrides: str) -> Path:
    finished("src.train", *TRAINING, *overrides, f"hydra.run.dir={folder}", log=folder.with_suffix(".log"))
    return folder


def killed_again_and_again(folder: Path, seed: int, *overrides: str, kills: int = 6, steps: int = 12) -> int:
    """Start a training and kill it, at a random step, moment or half-written checkpoint; then let it end. How
    many kills hit.
    """
    chance, hits = random.Random(seed), 0
    for _ in range(kills):
        process = training(folder, *overrides)
        moment = (
            lines_in(folder / "metrics.csv", chance.randint(1, steps + 1)),
            being_written(folder / "checkpoints", "last.ckpt", chance.choice((0, 1, 1_000_000))),
            after(chance.uniform(0.3, 2.5)),
        )[chance.randrange(3)]
        hits += process.killed_when(moment)
    trained(folder, *overrides)
    return hits


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve steps without a kill."""
    return trained(tmp_path_factory.mktemp("whole") / "run")


def test_killed_between_two_checkpoints_and_during_one(tmp_path: Path, whole: Path) -> None:
    folder = tmp_path / "run"
    assert training(folder).killed_when(lines_in(folder / "metrics.csv", 6))
    assert len(read_metrics(folder / "metrics.csv")) >= 5
    assert checkpoint.read(folder / "checkpoints/last.ckpt")["global_step"] == 3
    assert training(folder).killed_when(being_written(folder / "checkpoints", "last.ckpt"))
    assert list((folder / "checkpoints").glob(".*.partial"))
    assert checkpoint.read(folder / "checkpoints/last.ckpt")["global_step"] == 3
    assert "continuing" in finished("src.train", *TRAINING, f"hydra.run.dir={folder}", log=tmp_path / "log")
    assert_same(whole, folder)
    record = json.loads((folder / "run.json").read_text())
    assert (record["status"], record["resumed_at_steps"], record["steps"]) == ("finished", [3], 12)


def test_a_finished_training_that_is_started_again_changes_nothing(whole: Path) -> None:
    before = {
        name: (whole / name).read_bytes()
        for name in ("metrics.csv", "checkpoints/last.ckpt", "editor/model.safetensors")
    }
    seconds = json.loads((whole / "run.json").read_text())["seconds"]
    trained(whole)
    assert all((whole / name).read_bytes() == content for name, content in before.items())
    record = json.loads((whole / "run.json").read_text())
    assert (record["status"], record["steps"]) == ("finished", 12)
    assert record["seconds"] > seconds / 2


def test_accumulation_goes_on_at_a_step_and_not_within_one(tmp_path: Path) -> None:
    accumulated = (
        "trainer.accumulate_grad_batches=2",
        "trainer.max_steps=4",
        "callbacks.checkpoint.every_n_train_steps=2",
        "data.batch_size=1",
    )
    whole, folder = trained(tmp_path / "whole", *accumulated), tmp_path / "run"
    assert training(folder, *accumulated).killed_when(lines_in(folder / "metrics.csv", 4))
    assert training(folder, *accumulated).killed_when(lines_in(folder / "metrics.csv", 4))
    trained(folder, *accumulated)
    assert_same(whole, folder)


def test_workers_give_the_same_training(tmp_path: Path, whole: Path) -> None:
    folder = tmp_path / "run"
    assert training(folder, "data.num_workers=2").killed_when(lines_in(folder / "metrics.csv", 9))
    trained(folder, "data.num_workers=2")
    assert_same(whole, folder)


def test_other_settings_in_the_same_folder_are_refused_by_name(tmp_path: Path, whole: Path) -> None:
    process = Command(
        "src.train",
        *TRAINING,
        "algorithm.optimizer.lr=1",
        "seed=1",
        f"hydra.run.dir={whole}",
        log=tmp_path / "log",
    )
    assert process.ended() == 1
    message = (tmp_path / "log").read_text()
    assert "algorithm.optimizer.lr is 0.005 in the checkpoint and 1 here" in message
    assert "resume=null to start over" in message


def test_more_steps_in_the_same_folder_just_go_on(tmp_path: Path, whole: Path) -> None:
    shutil.copytree(whole, tmp_path / "run")
    trained(tmp_path / "run", "trainer.max_steps=14")
    assert losses(tmp_path / "run")[:12] == losses(whole)
    assert len(losses(tmp_path / "run")) == 14
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert (record["steps"], record["resumed_at_steps"]) == (14, [12])
    assert (
        "algorithm.scheduler.total_steps is 12 in the checkpoint and 14 here"
        in (tmp_path / "run.log").read_text()
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_training_is_kept_to_its_last_step(tmp_path: Path, whole: Path, number: int) -> None:
    folder = tmp_path / "run"
    process = training(folder, "callbacks.checkpoint.every_n_train_steps=100")
    assert process.signalled_when(lines_in(folder / "metrics.csv", 5), number) == 1
    steps = checkpoint.read(folder / "checkpoints/last.ckpt")["global_step"]
    assert 4 <= steps < 12
    record = json.loads((folder / "run.json").read_text())
    assert (record["status"], record["steps"]) == ("interrupted", steps)
    errors = [line for line in process.log.read_text().splitlines() if line.startswith("error: ")]
    assert errors == [
        f"error: stopped at step {steps} of 12; the same command with hydra.run.dir={folder} goes on"
    ]
    trained(folder, "callbacks.checkpoint.every_n_train_steps=100")
    assert_same(whole, folder)


def test_out_of_time_under_srun_it_is_saved_and_queued_again_and_resume_null_starts_anew(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM's own part is played by the variables of srun and a program that notes what it is asked."""
    folder, programs = tmp_path / "run", tmp_path / "bin"
    programs.mkdir()
    noted = f">> {tmp_path}/asked"
    (programs / "scontrol").write_text(
        f'#!/bin/sh\nls {folder}/checkpoints/last.ckpt {noted} && echo "$@" {noted}\n'
    )
    (programs / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    tasks = {"NTASKS": "1", "STEP_NUM_TASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in {**tasks, "JOB_ID": "7", "JOB_NAME": "mine"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    process = training(folder, "callbacks.checkpoint.every_n_train_steps=100")
    assert process.signalled_when(lines_in(folder / "metrics.csv", 5), signal.SIGUSR1) == 1
    steps = checkpoint.read(folder / "checkpoints/last.ckpt")["global_step"]
    assert (tmp_path / "asked").read_text().splitlines() == [
        f"{folder}/checkpoints/last.ckpt",
        "requeue 7",
    ], "in this order"
    assert f"error: stopped at step {steps} of 12; job 7 is queued again; the same" in process.log.read_text()
    assert list(folder.rglob("hpc_ckpt*")) == []
    shutil.copy(folder / "checkpoints/last.ckpt", folder / "hpc_ckpt_1.ckpt")  # of an older version
    trained(folder, "resume=null", "callbacks.checkpoint.every_n_train_steps=3")
    assert json.loads((folder / "run.json").read_text())["resumed_at_steps"] == []
    assert_same(whole, folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_stops_a_training_with_workers_alike(tmp_path: Path, number: int) -> None:
    folder = tmp_path / "run"
    process = training(
        folder, "data.num_workers=1", "trainer.max_steps=500", "callbacks.checkpoint.every_n_train_steps=1000"
    )
    while not lines_in(folder / "metrics.csv", 5)():
        assert process.process.is_alive(), process.log.read_text()[-2000:]
        time.sleep(0.01)
    assert process.process.pid is not None
    os.killpg(process.process.pid, number)
    assert process.ended() == 1
    assert "goes on" in process.log.read_text().splitlines()[-1]
    assert checkpoint.read(folder / "checkpoints/last.ckpt")["global_step"] >= 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [(), ("data.num_workers=2",), ("trainer.accumulate_grad_batches=2",)],
    ids=["plain", "workers", "accumulate"],
)
@pytest.mark.parametrize("every", [1, 5])
def test_killed_at_random_moments(tmp_path: Path, overrides: tuple[str, ...], every: int) -> None:
    settings = (*overrides, f"callbacks.checkpoint.every_n_train_steps={every}")
    whole = trained(tmp_path / "whole", *settings)
    hits = killed_again_and_again(tmp_path / "run", every + len(overrides), *settings, kills=8)
    assert hits >= 3
    assert_same(whole, tmp_path / "run")


@pytest.mark.slow
def test_two_ranks_killed(tmp_path: Path) -> None:
    """Whole commands, as Lightning starts the second rank by repeating the first one's."""
    ranks = ("trainer=ddp_cpu", "data.batch_size=1", "data.num_workers=0")

    def command(folder: Path) -> list[str]:
        return [sys.executable, "-m", "src.train", *TRAINING, *ranks, f"hydra.run.dir={folder}"]

    whole, folder = tmp_path / "whole", tmp_path / "run"
    subprocess.run(command(whole), check=True, capture_output=True, timeout=300)
    for moment in (
        lines_in(folder / "metrics.csv", 6),
        being_written(folder / "checkpoints", "last.ckpt"),
        lines_in(folder / "metrics.csv", 12),
    ):
        process = subprocess.Popen(command(folder), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while not moment() and process.poll() is None:
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    subprocess.run(command(folder), check=True, capture_output=True, timeout=300)
    assert_same(whole, folder)
    record = json.loads((folder / "run.json").read_text())
    assert (record["world_size"], record["ranks_equal"], record["steps"]) == (2, True, 12)
