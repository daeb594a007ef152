"""+experiment=reward_flux2_klein with a small pipeline and tree: trains LoRA and reward modules, resumes,
edits a photograph, evaluates.
"""

import csv
import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from backbones.transformers import write_klein
from commands import run
from data.written import reward, write_image, write_tree
from PIL import Image

from src.reward_file import append_rewards


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A pipeline, a tree and its rewards."""
    folder = tmp_path_factory.mktemp("flux2")
    write_klein(folder / "pipeline")
    write_tree(folder / "tree", prompts=4)
    append_rewards(
        folder / "rewards.jsonl",
        [reward(f"{prompt:07d}/{seed}", score=float(prompt)) for prompt in range(4) for seed in (7, 31)],
    )
    return folder


def train(folder: Path, target: Path, *overrides: str, module: str = "src.train") -> CompletedProcess:
    return run(
        "+experiment=reward_flux2_klein",
        f"model.backbone.pretrained={folder / 'pipeline'}",
        "model.backbone.text_length=64",
        "model.backbone.weights_dtype=float32",
        "reward_modules.width=16",
        "reward_modules.inner=16",
        "reward_modules.rank=4",
        f"data.dataset.folder={folder / 'tree'}",
        "data.dataset.extension=png",
        "data.transform.size=16",
        "data.num_workers=0",
        "+rewards@data.rewards=reward_file",
        f"data.rewards.path={folder / 'rewards.jsonl'}",
        "trainer=cpu",
        "trainer.precision=32-true",
        "trainer.max_steps=3",
        "trainer.accumulate_grad_batches=2",
        "trainer.log_every_n_steps=1",
        "callbacks.checkpoint.every_n_train_steps=1",
        "callbacks.previews.count=1",
        "sampler.steps=2",
        f"hydra.run.dir={target}",
        *overrides,
        module=module,
    )


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    """Stopped after two steps and resumed."""
    for steps in (2, 3):
        done = train(folder, folder / "run", f"trainer.max_steps={steps}")
        assert done.returncode == 0, done.stderr[-2000:]
    assert "continuing" in done.stderr
    return folder / "run"


def test_trains_what_it_says(trained: Path) -> None:
    record = json.loads((trained / "run.json").read_text())
    assert (record["status"], record["steps"]) == ("finished", 3)
    saved = torch.load(trained / "checkpoints/last.ckpt", weights_only=True)
    kinds = {name.split(".")[0] for name in saved["ema"]}
    assert kinds == {"backbone", "reward_encoder", "integration"}
    assert all(".lora_" in name for name in saved["ema"] if name.startswith("backbone."))


def test_is_evaluated(trained: Path) -> None:
    done = run(
        f"checkpoint={trained / 'editor'}",
        *("limit=2", "any_size=true", "sampler.steps=1", "batch_size=2", "world.size=32"),
        f"ledger={trained / 'ledger.sqlite'}",
        module="src.evaluate",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(trained.rglob("report.md"))


def test_learns_from_precomputed_conditions(folder: Path, trained: Path, tmp_path: Path) -> None:
    """Texts are kept with their padding, which this transformer reads: the first step's loss is the same."""
    losses = {}
    once = ("data.augmentations=1", "trainer.max_steps=1")
    assert train(folder, tmp_path / "live", *once).returncode == 0
    cache = tmp_path / "cache"
    done = train(folder, tmp_path / "none", *once, f"output={cache}", module="src.precompute")
    assert done.returncode == 0, done.stderr[-2000:]
    done = train(folder, tmp_path / "cached", *once, f"data.precomputed={cache}")
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("live", "cached"):
        with (tmp_path / name / "metrics.csv").open() as file:
            losses[name] = next(iter(csv.DictReader(file)))["train/loss"]
    assert losses["live"] == losses["cached"]


def test_edits_a_photograph(trained: Path, tmp_path: Path) -> None:
    photo = write_image(tmp_path / "photo.png", torch.randint(0, 256, (50, 70, 3), dtype=torch.uint8).numpy())
    done = run(
        f"checkpoint={trained / 'editor'}",
        f"image={photo}",
        "instruction=make it night",
        "resize=keep",
        f"output={tmp_path / 'out'}",
        module="src.edit",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "guidance 4 text" in done.stderr
    assert Image.open(tmp_path / "out/photo.png").size == (68, 48)
