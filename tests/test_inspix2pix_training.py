"""+experiment=reward_inspix2pix with a small pipeline and a small tree: trains, resumes, evaluates its own
previews, exports, edits a photograph.
"""

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from backbones.pipelines import write_pipeline
from commands import run
from data.written import reward, write_image, write_tree
from PIL import Image
from safetensors.torch import load_file

from src.reward_file import append_rewards


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A pipeline, a tree and its rewards."""
    folder = tmp_path_factory.mktemp("inspix2pix")
    write_pipeline(folder / "pipeline")
    write_tree(folder / "tree", prompts=12)
    append_rewards(
        folder / "rewards.jsonl",
        [reward(f"{prompt:07d}/{seed}", score=float(prompt % 6)) for prompt in range(12) for seed in (7, 31)],
    )
    return folder


def train(folder: Path, target: Path, *overrides: str) -> CompletedProcess:
    return run(
        "+experiment=reward_inspix2pix",
        f"model.backbone.pretrained={folder / 'pipeline'}",
        f"data.dataset.folder={folder / 'tree'}",
        "data.dataset.extension=png",
        "data.transform.size=16",
        "data.batch_size=2",
        "data.num_workers=0",
        "+rewards@data.rewards=reward_file",
        f"data.rewards.path={folder / 'rewards.jsonl'}",
        "trainer=cpu",
        "trainer.precision=32-true",
        "trainer.max_steps=4",
        "trainer.accumulate_grad_batches=2",
        "trainer.log_every_n_steps=1",
        "sampler.steps=2",
        f"hydra.run.dir={target}",
        *overrides,
    )


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    done = train(folder, folder / "run")
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "run"


def test_trains_and_says_what_it_did(trained: Path) -> None:
    record = json.loads((trained / "run.json").read_text())
    assert (record["status"], record["steps"]) == ("finished", 4)
    assert len((trained / "metrics.csv").read_text().splitlines()) == 5
    assert (trained / "previews/step_000004.png").exists()


def test_stopped_and_resumed_it_ends_with_the_same_weights(
    folder: Path, trained: Path, tmp_path: Path
) -> None:
    assert (
        train(
            folder, tmp_path / "run", "trainer.max_steps=2", "callbacks.checkpoint.every_n_train_steps=2"
        ).returncode
        == 0
    )
    done = train(folder, tmp_path / "run", "callbacks.checkpoint.every_n_train_steps=2")
    assert done.returncode == 0, done.stderr[-2000:]
    once, twice = (load_file(path / "editor/model.safetensors") for path in (trained, tmp_path / "run"))
    assert once.keys() == twice.keys()
    assert all(torch.equal(once[name], twice[name]) for name in once)


@pytest.mark.parametrize(
    ("overrides", "kept"),
    [(["model.backbone.trained=none"], ()), (["+model/lora=attention"], (".lora_A.", ".lora_B."))],
    ids=["adapter", "lora"],
)
def test_small_trainings_keep_small_checkpoints(
    folder: Path, tmp_path: Path, overrides: list[str], kept: tuple[str, ...]
) -> None:
    """Only what is trained is saved, and an editor made from it edits: the rest is loaded again from the
    pipeline.
    """
    done = train(
        folder,
        tmp_path / "run",
        *overrides,
        "trainer.max_steps=2",
        "callbacks.checkpoint.every_n_train_steps=1",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    saved = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    for state in (
        saved["ema"],
        {name.removeprefix("editor."): value for name, value in saved["state_dict"].items()},
    ):
        unet = [name for name in state if name.startswith("backbone.")]
        assert all(any(part in name for part in kept) for name in unet)
        assert bool(unet) == bool(kept)
    again = train(
        folder,
        tmp_path / "run",
        *overrides,
        "trainer.max_steps=3",
        "callbacks.checkpoint.every_n_train_steps=1",
    )
    assert again.returncode == 0, again.stderr[-2000:]
    assert "continuing" in again.stderr


def test_exports_and_edits_a_photograph(trained: Path, tmp_path: Path) -> None:
    done = run(f"checkpoint={trained / 'editor'}", f"output={tmp_path / 'mine'}", module="src.export")
    assert done.returncode == 0, done.stderr[-2000:]
    card = (tmp_path / "mine/README.md").read_text()
    assert "steps: 4" in card
    assert "Not evaluated yet" in card
    photo = write_image(tmp_path / "photo.png", torch.randint(0, 256, (50, 70, 3), dtype=torch.uint8).numpy())
    sizes = {}
    for name, checkpoint in (("run", trained / "editor"), ("export", tmp_path / "mine")):
        overrides = ["sampler=released", "sampler.steps=2", "sampler.resize=long_side_64:64"]
        out = tmp_path / name
        done = run(
            f"checkpoint={checkpoint}",
            f"image={photo}",
            "instruction=make it night",
            f"output={out}",
            *overrides,
            module="src.edit",
        )
        assert done.returncode == 0, done.stderr[-2000:]
        sizes[name] = Image.open(out / "photo.png").size
    assert sizes == {"run": (64, 64), "export": (64, 64)}
    one, other = (Image.open(tmp_path / name / "photo.png").tobytes() for name in sizes)
    assert one == other
