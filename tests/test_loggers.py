"""Every logger writes real files that can be read back, without an account."""

from pathlib import Path

import pytest
from commands import LEAN, run
from omegaconf import OmegaConf
from run_folders import losses
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb_file import WandbFile, wandb_records

from src import checkpoint

PREVIEWED = [override for override in LEAN if override != "~callbacks.previews"]
SHORT = ("trainer.max_steps=2", "data.batch_size=2", "sampler.steps=1")
SECRETS = {
    "OPENAI_API_KEY": "sk-proj-neverToBeSeenAnywhere",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
}


def trained(folder: Path, logger: str) -> Path:
    done = run(*PREVIEWED, f"logger={logger}", *SHORT, f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_several_loggers_hold_the_same_and_metrics_csv_is_there_anyway(tmp_path: Path) -> None:
    events = EventAccumulator(str(trained(tmp_path / "run", "[tensorboard,wandb]") / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2]
    assert {event.step for event in events.Images("previews")} <= {1, 2}
    told = OmegaConf.load(tmp_path / "run/tensorboard/hparams.yaml")
    assert (told.trainer.max_steps, told.model.backbone._target_) == (2, "src.backbones.tiny.TinyBackbone")
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert len(losses(tmp_path / "run")) == 2
    assert WandbFile(tmp_path / "run").history["train/loss"] == pytest.approx(losses(tmp_path / "run")[-1])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two jobs, tracked, of somebody whose keys are in the environment."""
    folder = tmp_path_factory.mktemp("sweep") / "two-integrations"
    with pytest.MonkeyPatch.context() as patched:
        for variable, value in SECRETS.items():
            patched.setenv(variable, value)
        done = run(
            "-m",
            *PREVIEWED,
            "logger=wandb",
            *SHORT,
            "model/integration=addition,attention",
            f"hydra.sweep.dir={folder}",
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_wandb_offline_run_file_holds_loss_and_previews(sweep: Path) -> None:
    (file,) = (sweep / "0" / "wandb").glob("offline-run-*/run-*.wandb")
    items = [item for record in wandb_records(file) for item in record.history.item]
    names = [item.key or ".".join(item.nested_key) for item in items]
    assert names.count("train/loss") == 2
    assert any(key.startswith("previews") for key in names)


def test_jobs_of_a_sweep_share_a_group_and_are_named_by_what_differs(sweep: Path) -> None:
    for job, value in enumerate(("addition", "attention")):
        found = WandbFile(sweep / str(job))
        assert (found.run.run_group, found.run.job_type, found.run.display_name) == (
            "two-integrations",
            "train",
            f"integration={value}",
        )
        assert found.config["axes"] == {"integration": value}
        assert found.config["model"]["integration"]["_target_"]


def test_a_training_logs_its_editor_by_content(sweep: Path) -> None:
    names = []
    for job in ("0", "1"):
        (editor,) = WandbFile(sweep / job).artifacts
        assert (editor.type, editor.use_after_commit) == ("model", False)
        assert editor.name == f"editor-{checkpoint.content_hash(sweep / job / 'editor')[:12]}"
        assert [entry.path for entry in editor.manifest.contents] == ["config.yaml", "model.safetensors"]
        assert all(
            entry.ref.startswith("file://") and not entry.local_path for entry in editor.manifest.contents
        )
        names.append(editor.name)
    assert len(set(names)) == 2


def test_no_secret_is_in_what_wandb_would_upload(sweep: Path) -> None:
    files = [path for path in sweep.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert not [path for path in files for secret in SECRETS.values() if secret.encode() in path.read_bytes()]
