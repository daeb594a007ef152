"""Two processes on files: no triplet twice, the same weights, the same after kill -9; started by Lightning,
by torchrun, and as two machines.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import pytest
from backbones.pipelines import write_pipeline
from conftest import config
from killing import lines_in
from lightning_fabric.plugins.environments import SLURMEnvironment
from run_folders import assert_same

from src import launch, write_dataset
from src.training_run import cluster_environment

COUNT, BATCH, STEPS = 24, 2, 8
PASS = COUNT // (2 * BATCH)
"""Steps in which two ranks see every triplet once."""

PYTHON = [sys.executable, "-m", "src.train"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline, and 24 triplets of the world in three forms; parquet in four files, two for each rank."""
    folder = tmp_path_factory.mktemp("ranks")
    write_pipeline(folder / "pipeline")
    for form in ("parquet", "imagefolder", "pix2pix_tree"):
        written = [
            f"format={form}",
            f"output={folder / form}",
            f"count={COUNT}",
            "rows_per_file=6",
            "world.size=32",
        ]
        write_dataset.main(config(*written, name="write_dataset"))
    return folder


def forms(folder: Path) -> dict[str, list[str]]:
    """Overrides that name the data."""
    table = [
        "data=table",
        f"data.dataset.table.path={folder / 'parquet'}",
        f"data.dataset.table.cache={folder / 'tables'}",
        "data.num_workers=0",
    ]
    fields = [
        "data.dataset.columns.original=original_image_file_name",
        "data.dataset.columns.edited=edited_image_file_name",
    ]
    return {
        "table": table,
        "json_list": [
            "data=json_list",
            f"data.dataset.file={folder / 'imagefolder/train/metadata.jsonl'}",
            *fields,
            "data.num_workers=1",
        ],
        "stream": ["data=stream", f"data.stream.path={folder / 'parquet'}", "data.readers=0"],
        "precomputed": [*table, f"data.precomputed={folder / 'cache'}"],
    }


def model(folder: Path) -> list[str]:
    return [
        "model/backbone=inspix2pix",
        "model/process=ddpm",
        f"model.backbone.pretrained={folder / 'pipeline'}",
        "data.transform.size=16",
    ]


def training(folder: Path, run: Path, form: str = "table") -> list[str]:
    (run / "samples").mkdir(parents=True, exist_ok=True)
    seen = [
        "+callbacks.samples._target_=sample_log.SampleLog",
        f"+callbacks.samples.folder={run / 'samples'}",
    ]
    steps = [
        f"trainer.max_steps={STEPS}",
        "trainer.log_every_n_steps=1",
        "callbacks.checkpoint.every_n_train_steps=2",
        f"data.batch_size={BATCH}",
    ]
    ranks = ["trainer=ddp_cpu", "trainer.precision=32-true", "~callbacks.previews", f"hydra.run.dir={run}"]
    return [*forms(folder)[form], *model(folder), *seen, *steps, *ranks]


def ended(command: list[str], environment: Mapping[str, str] = ENVIRONMENT) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def sample_ids(run: Path) -> list[dict[int, list[str]]]:
    """For each rank, step -> ids; a step that was repeated after a kill must have seen the same again."""
    ranks = []
    for rank in (0, 1):
        steps: dict[int, list[str]] = {}
        for world_size, step, *ids in (
            line.split() for line in (run / f"samples/{rank}.txt").read_text().splitlines()
        ):
            assert world_size == "2"
            assert steps.setdefault(int(step), ids) == ids
        ranks.append(steps)
    return ranks


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """Two ranks on a table, as Lightning starts them."""
    ended([*PYTHON, *training(folder, folder / "whole")])
    return folder / "whole"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["table", "json_list", "stream", "precomputed"])
def test_no_triplet_twice_and_the_same_after_a_kill(
    folder: Path, tmp_path: Path, form: str, whole: Path
) -> None:
    if form == "precomputed":
        places = [*forms(folder)["table"], *model(folder), f"output={folder / 'cache'}"]
        ended(
            [
                sys.executable,
                "-m",
                "src.precompute",
                *places,
                "data.augmentations=2",
                "device=cpu",
                "rows_per_shard=7",
            ]
        )
    if form != "table":
        whole = tmp_path / "whole"
        ended([*PYTHON, *training(folder, whole, form)])
    seen = sample_ids(whole)
    first_pass = [id for rank in seen for step in range(PASS) for id in rank[step]]
    assert len(set(first_pass)) == len(first_pass) == COUNT
    record = json.loads((whole / "run.json").read_text())
    assert (record["world_size"], record["ranks_equal"], record["steps"]) == (2, True, STEPS)

    run = tmp_path / "run"
    process = subprocess.Popen(
        [*PYTHON, *training(folder, run, form)],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not lines_in(run / "metrics.csv", 6)():
        assert process.poll() is None
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)  # both ranks
    process.wait()
    assert "continuing" in ended([*PYTHON, *training(folder, run, form)])
    assert_same(whole, run)
    assert sample_ids(run) == seen


@pytest.mark.slow
def test_torchrun_trains_as_lightnings_own_launcher(folder: Path, tmp_path: Path, whole: Path) -> None:
    ended(
        [
            *TORCHRUN,
            "--nproc-per-node",
            "2",
            f"--master-port={free_port()}",
            "-m",
            "src.train",
            *training(folder, tmp_path / "run"),
        ]
    )
    assert_same(whole, tmp_path / "run")
    assert sample_ids(tmp_path / "run") == sample_ids(whole)


@pytest.mark.slow
def test_two_machines_train_as_one(folder: Path, tmp_path: Path, whole: Path) -> None:
    """Two torchruns that meet at a port, each with one process."""
    meeting = [
        "--nnodes",
        "2",
        "--nproc-per-node",
        "1",
        "--master-addr",
        "127.0.0.1",
        "--master-port",
        str(free_port()),
    ]
    arguments = [*training(folder, tmp_path / "run"), "trainer.num_nodes=2", "trainer.devices=1"]
    commands = [
        [*TORCHRUN, *meeting, "--node-rank", str(node), "-m", "src.train", *arguments] for node in (0, 1)
    ]
    nodes = [
        subprocess.Popen(
            command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for command in commands
    ]
    said = [node.communicate(timeout=900)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said[0][-3000:] + said[1][-3000:]
    first, second = (path / "editor/model.safetensors" for path in (whole, tmp_path / "run"))
    assert first.read_bytes() == second.read_bytes()
    assert sample_ids(tmp_path / "run") == sample_ids(whole)
    assert json.loads((tmp_path / "run/run.json").read_text())["ranks_equal"]


@pytest.mark.slow
def test_torchrun_needs_a_run_folder_that_all_processes_share(folder: Path, tmp_path: Path) -> None:
    arguments = [
        argument
        for argument in training(folder, tmp_path / "run")
        if not argument.startswith("hydra.run.dir")
    ]
    command = [
        *TORCHRUN,
        "--nproc-per-node",
        "2",
        f"--master-port={free_port()}",
        "-m",
        "src.train",
        *arguments,
        f"name={tmp_path.name}",
    ]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) <= 1  # torchrun ends the other rank as soon as one has failed
    assert "give hydra.run.dir=RUN" in done.stderr


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({"SLURM_NTASKS": "2"}, 1),  # a batch script, whatever its allocation
        ({"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}, 2),
        ({"SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "1"}, 1),
        ({"WORLD_SIZE": "3", "TORCHELASTIC_RUN_ID": "x", "SLURM_STEP_NUM_TASKS": "1"}, 3),
        ({}, 1),
    ],
)
def test_processes_are_counted_that_were_started_together(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], count: int
) -> None:
    for name in ("SLURM_NTASKS", "SLURM_STEP_NUM_TASKS", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(launch, "has_fixed_folder", lambda: False)
    with nullcontext() if count == 1 else pytest.raises(ValueError, match=f"{count} processes were started"):
        launch.check_shared_folder()


def test_lightning_learns_of_srun_alone_and_queues_nothing_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cluster_environment() == []
    for name, value in {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "x", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    (found,) = cluster_environment()
    assert type(found).__name__ == "LightningEnvironment"
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    (found,) = cluster_environment()
    assert isinstance(found, SLURMEnvironment)
    assert not found.auto_requeue


@pytest.mark.parametrize("name", ["ddp", "ddp_cpu", "slurm"])
def test_every_trainer_of_several_processes_takes_several_machines(name: str) -> None:
    """What can be checked without SLURM: the tree composes, and what its command overrides is there."""
    cfg = config(
        "+experiment=reward_inspix2pix",
        f"trainer={name}",
        "trainer.num_nodes=2",
        "trainer.devices=4",
        "data.dataset.folder=DIR",
    )
    assert (cfg.trainer.strategy, cfg.trainer.num_nodes, cfg.trainer.devices) == ("ddp", 2, 4)
    assert cfg.trainer.use_distributed_sampler is False
