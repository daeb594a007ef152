"""Artifacts of an offline run, read back from its file: the same content is the same artifact, wherever it
lies.
"""

import os
from pathlib import Path

import pytest
import wandb
from commands import run
from conftest import SMALL, config, small_editor
from omegaconf import OmegaConf
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger
from wandb_file import WandbFile

from src import checkpoint
from src.callbacks.provenance import Provenance
from src.records import Reward, Verdict
from src.reward_file import append_rewards
from src.tracking.wandb_run import WandbRun, editor_artifact, rewards_artifact


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> WandbFile:
    """A training that began with an editor and read a reward file, and left the same editor elsewhere; its
    files uploaded.
    """
    folder = tmp_path_factory.mktemp("run")
    for place in ("start", "run/editor"):
        checkpoint.export(
            folder / place,
            OmegaConf.to_yaml(config(*SMALL).model, resolve=True),
            (32, 32),
            small_editor().state_dict(),
        )
    append_rewards(
        folder / "mine.jsonl", [Reward("a", "oracle", "k", Verdict(1.0), Verdict(2.0), Verdict(3.0))]
    )
    run = WandbRun(artifacts="upload", save_dir=str(folder), offline=True, project="test")
    trainer = Trainer(
        logger=[CSVLogger(folder), run],
        accelerator="cpu",
        devices=1,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    provenance = Provenance(folder / "run", {"seed": 7}, folder / "start", folder / "mine.jsonl")
    provenance.on_fit_start(trainer, LightningModule())
    provenance.on_fit_end(trainer, LightningModule())
    run.finalize("success")
    return WandbFile(folder)


def test_inputs_and_outputs_with_equal_content_are_equal(found: WandbFile) -> None:
    assert found.config["seed"] == 7
    (used,), (made,) = found.of_type("model", used=True), found.of_type("model")
    assert (used.name, used.digest) == (made.name, made.digest)
    (rewards,) = found.of_type("rewards", used=True)
    assert [(entry.path, entry.size > 0) for entry in rewards.manifest.contents] == [("rewards.jsonl", True)]


def test_uploaded_files_are_named_and_an_editor_is_not_copied(found: WandbFile) -> None:
    (made,) = found.of_type("model")
    assert all(not entry.ref and "/run/editor/" in entry.local_path for entry in made.manifest.contents)


def test_names_follow_the_content(tmp_path: Path) -> None:
    one, other = tmp_path / "one.jsonl", tmp_path / "elsewhere" / "rewards.jsonl"
    other.parent.mkdir()
    one.write_text("a\n")
    other.write_text("a\n")
    assert rewards_artifact(one).name == rewards_artifact(other).name
    other.write_text("b\n")
    assert rewards_artifact(one).name != rewards_artifact(other).name
    assert list(editor_artifact(one, "0123456789abcdef").files) == ["one.jsonl"]
    with pytest.raises(FileNotFoundError):
        rewards_artifact(tmp_path / "none.jsonl")


def test_an_unknown_way_to_keep_artifacts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"logger\.wandb\.artifacts=copy: choose from none, ref"):
        WandbRun(artifacts="copy", save_dir=str(tmp_path))


def test_offline_needs_no_account_where_wandb_was_used_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    wandb.setup()
    run = WandbRun(save_dir=str(tmp_path), offline=True, project="test")
    run.log_metrics({"loss": 1.0}, 0)
    run.finalize("success")
    assert WandbFile(tmp_path).history["loss"] == 1.0


def test_a_run_file_is_whole_although_a_parent_process_used_wandb(tmp_path: Path) -> None:
    run_of_parent = WandbRun(save_dir=str(tmp_path / "parent"), offline=True)
    run_of_parent.log_metrics({"loss": 1.0})
    run_of_parent.finalize("success")
    assert os.environ["WANDB_SERVICE"]  # the service process of wandb, which children use, too
    request = ("count=3", "check_images=false", "logger=wandb", f"output={tmp_path / 'child'}")
    done = run(*request, module="src.inspect_rewards")
    assert done.returncode == 0, done.stderr[-2000:]
    assert WandbFile(tmp_path / "child").history["rewards/triplets"] == 3


@pytest.mark.parametrize(("status", "code"), [("success", 0), ("failed", 1)])
def test_a_finished_run_says_how_it_ended(tmp_path: Path, status: str, code: int) -> None:
    run = WandbRun(save_dir=str(tmp_path), offline=True)
    run.log_metrics({"loss": 1.0})
    run.finalize(status)
    assert WandbFile(tmp_path).exit_code == code
