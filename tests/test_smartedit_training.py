"""SmartEdit from its first stage to an edit, by the real commands on small random models: stage 1, stage 2,
export, conditions computed once, reward stage, edit; two processes train as one; a kill changes nothing.
"""

import json
import shutil
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import pytest
import torch
from backbones.pipelines import write_pipeline
from backbones.smartedit.folders import write_llava
from commands import only_error, run
from data.written import pixels, reward, write_image, write_tree
from killing import Command, finished, lines_in
from PIL import Image
from run_folders import assert_same, losses
from safetensors.torch import load_file

from src.reward_file import append_rewards

SMALL_READER = (
    "model.backbone.reader.query_transformer.layers=2",
    "model.backbone.reader.query_transformer.heads=2",
    "model.backbone.reader.query_transformer.feedforward=32",
    "model.backbone.reader.interaction.heads=2",
    "model.backbone.reader.interaction.feedforward=32",
    "model.backbone.reader.language.llava.dtype=float32",
    "+model.backbone.reader.language.conversation.max_length=120",
    "+model.backbone.reader.language.conversation.before='USER:'",
)


def done(module: str, *arguments: str) -> None:
    with NamedTemporaryFile() as log:
        finished(f"src.{module}", *arguments, log=Path(log.name))


def data(folder: Path) -> list[str]:
    return [
        f"data.dataset.folder={folder / 'tree'}",
        "data.dataset.extension=png",
        "data.transform.size=16",
        "data.batch_size=2",
        "data.num_workers=0",
    ]


def steps(count: int = 4, *, trainer: str = "cpu") -> list[str]:
    return [
        f"trainer={trainer}",
        "trainer.precision=32-true",
        f"trainer.max_steps={count}",
        "trainer.accumulate_grad_batches=1",
        "trainer.log_every_n_steps=1",
        "sampler.steps=2",
    ]


def mixture(folder: Path) -> list[str]:
    """As many conversations as edits, so that batches of two have two edits, one or none."""
    rows = [
        {"image": f"tree/{prompt:07d}/7_0.png", "question": "what is it", "answer": f"a field {prompt}"}
        for prompt in range(12)
    ]
    (folder / "chat.json").write_text(json.dumps(rows))
    parts = [f"edits.folder={folder / 'tree'}", "edits.extension=png", f"chat.file={folder / 'chat.json'}"]
    shares = ["data.dataset.shares.edits=1", "data.dataset.shares.chat=1"]
    return ["data=mixture", *(f"data.dataset.parts.{part}" for part in parts), *shares, *data(folder)[2:]]


def new_reader(folder: Path, rows: list[str] | None = None) -> list[str]:
    """What the first two stages are made of."""
    return [
        f"model.backbone.base.pretrained={folder / 'pipeline'}",
        f"model.backbone.reader.language.llava.path={folder / 'llava'}",
        *SMALL_READER,
        *(rows or data(folder)),
    ]


def second_stage(folder: Path, *overrides: str, rows: list[str] | None = None) -> list[str]:
    weights = f"model.backbone.reader.weights={folder / 'stage1/editor'}"
    return [
        "+experiment=smartedit_stage2",
        *new_reader(folder, rows),
        weights,
        *steps(),
        "algorithm.optimizer.lr=1e-3",
        *overrides,
    ]


def reward_stage(folder: Path, *overrides: str) -> list[str]:
    rewards = ["+rewards@data.rewards=reward_file", f"data.rewards.path={folder / 'rewards.jsonl'}"]
    smartedit = [
        f"model.backbone.base.pretrained={folder / 'smartedit'}",
        "model.backbone.reader.dtype=float32",
    ]
    return ["+experiment=reward_smartedit", *smartedit, *data(folder), *rewards, *overrides]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Both first stages, their export as folder/smartedit, and its conditions of the data in folder/cache."""
    folder = tmp_path_factory.mktemp("smartedit")
    write_pipeline(folder / "pipeline")
    write_llava(folder / "llava")
    write_tree(folder / "tree", prompts=12)
    append_rewards(
        folder / "rewards.jsonl",
        [reward(f"{prompt:07d}/{seed}", score=float(prompt % 6)) for prompt in range(12) for seed in (7, 31)],
    )
    done(
        "train",
        "+experiment=smartedit_stage1",
        *new_reader(folder),
        *steps(),
        f"hydra.run.dir={folder / 'stage1'}",
    )
    done("train", *second_stage(folder, f"hydra.run.dir={folder / 'stage2'}"))
    done("export", f"checkpoint={folder / 'stage2/editor'}", f"output={folder / 'smartedit'}")
    done(
        "precompute",
        *reward_stage(folder),
        f"output={folder / 'cache'}",
        "data.augmentations=2",
        "rows_per_shard=5",
        "batch_size=4",
        "device=cpu",
    )
    return folder


def kinds(names: set[str]) -> set[str]:
    """Parts that tensors belong to."""
    parts = (
        "base.unet",
        "reader.language.new_tokens",
        "reader.language.new_head",
        "reader.query_transformer",
        "reader.interaction",
    )
    return {
        next(
            (part for part in parts if name.startswith(f"backbone.{part}")),
            "lora" if "lora_" in name else name,
        )
        for name in names
    }


def test_each_stage_keeps_exactly_what_it_trains(folder: Path) -> None:
    first, second = (load_file(folder / stage / "editor/model.safetensors") for stage in ("stage1", "stage2"))
    new = {"reader.language.new_tokens", "reader.language.new_head", "reader.query_transformer"}
    assert kinds({name for name in first if "frequencies" not in name}) == new
    assert kinds(set(second)) == new | {"reader.interaction", "base.unet", "lora"}
    assert not torch.equal(
        first["backbone.reader.query_transformer.queries"],
        second["backbone.reader.query_transformer.queries"],
    )
    for stage in ("stage1", "stage2"):
        header = (folder / stage / "metrics.csv").read_text().splitlines()[0]
        assert "train/loss" in header
        assert "train/language_loss" in header


def test_the_export_is_what_was_trained(folder: Path) -> None:
    trained, exported = (
        load_file(folder / "stage2/editor/model.safetensors"),
        load_file(folder / "smartedit/reader/model.safetensors"),
    )
    for name, value in exported.items():
        assert torch.equal(value, trained[f"backbone.reader.{name}"]), name
    unet = load_file(folder / "smartedit/unet/diffusion_pytorch_model.safetensors")
    assert torch.equal(unet["conv_in.weight"], trained["backbone.base.unet.conv_in.weight"])
    merged, before = (
        load_file(folder / part / "model.safetensors") for part in ("smartedit/language_model", "llava")
    )
    changed = {name for name, value in before.items() if not torch.equal(value, merged[name])}
    assert changed
    assert all(name.split(".")[-2] in ("q_proj", "v_proj") and "language_model" in name for name in changed)


def test_an_export_keeps_the_language_model_s_number_format(folder: Path, tmp_path: Path) -> None:
    """So a 7B one isn't loaded at twice its size."""
    done("export", f"checkpoint={folder / 'smartedit'}", f"output={tmp_path / 'again'}")
    assert "dtype: float32" in (tmp_path / "again/editor.yaml").read_text()
    short = tmp_path / "short"
    shutil.copytree(folder / "smartedit", short)
    (short / "editor.yaml").write_text(
        (short / "editor.yaml").read_text().replace("dtype: float32", "dtype: bfloat16")
    )
    done("export", f"checkpoint={short}", f"output={tmp_path / 'still_short'}")
    assert "dtype: bfloat16" in (tmp_path / "still_short/editor.yaml").read_text()
    weights = load_file(tmp_path / "still_short/language_model/model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}


def test_both_edit_alike(folder: Path, tmp_path: Path) -> None:
    """The training's own editor, LoRA beside the weights, and the exported folder; one photograph of any
    shape.
    """
    write_image(tmp_path / "photo.png", pixels(0, 40, 28))
    for name, source in (("one", "stage2/editor"), ("other", "smartedit")):
        asked = [
            f"checkpoint={folder / source}",
            f"image={tmp_path / 'photo.png'}",
            "instruction=make it night",
            f"output={tmp_path / name}",
        ]
        done("edit", *asked, "sampler.steps=2", "resize=keep")
    one, other = (
        np.asarray(Image.open(tmp_path / f"{name}/photo.png")).astype(int) for name in ("one", "other")
    )
    assert one.shape == (40, 28, 3)
    assert np.abs(one - other).max() <= 1


def test_conditions_computed_once_train_as_live_ones(folder: Path, tmp_path: Path) -> None:
    """The same losses to 1e-5, without the language model being there."""
    live = steps(3)
    done("train", *reward_stage(folder, *live, "data.augmentations=2", f"hydra.run.dir={tmp_path / 'live'}"))
    away = folder / "smartedit/language_model/model.safetensors"
    cached = reward_stage(
        folder,
        *live,
        f"data.precomputed={folder / 'cache'}",
        f"hydra.run.dir={tmp_path / 'cached'}",
        "~callbacks.previews",
    )
    done("train", *cached)
    assert losses(tmp_path / "cached") == pytest.approx(losses(tmp_path / "live"), rel=1e-5)
    assert away.is_file()
    request = json.loads((folder / "cache/request.json").read_text())
    assert request["reading"] is True


def test_anything_trained_upstream_refuses_the_cache(folder: Path, tmp_path: Path) -> None:
    trained = run(
        *reward_stage(folder, *steps(), "model.backbone.trained=all", f"data.precomputed={folder / 'cache'}"),
        f"hydra.run.dir={tmp_path}",
    )
    assert "trains the reader of image and instruction" in only_error(trained.stderr, trained.returncode)
    precomputing = run(
        *second_stage(folder)[:-5],
        f"output={tmp_path / 'no'}",
        "data.augmentations=1",
        module="src.precompute",
    )
    assert "trains the reader of image and instruction" in only_error(
        precomputing.stderr, precomputing.returncode
    )


@pytest.mark.parametrize("integration", ["none", "attention", "addition"])
def test_every_integration_trains_and_edits(folder: Path, tmp_path: Path, integration: str) -> None:
    cached = [
        f"data.precomputed={folder / 'cache'}",
        f"hydra.run.dir={tmp_path / 'run'}",
        f"model/integration={integration}",
    ]
    done("train", *reward_stage(folder, *steps(1), *cached))
    names = kinds(set(load_file(tmp_path / "run/editor/model.safetensors")))
    assert not any("reader" in name for name in names)
    assert any("integration" in name for name in names) == (integration != "none")


def test_killed_and_started_again_it_is_the_same_training(folder: Path, tmp_path: Path) -> None:
    """Stage 2, in which everything is trained at once, on edits and conversations."""
    rows = mixture(folder)
    every = ["callbacks.checkpoint.every_n_train_steps=1", "trainer.max_steps=6", "~callbacks.previews"]
    done("train", *second_stage(folder, *every, f"hydra.run.dir={tmp_path / 'whole'}", rows=rows))
    command = Command(
        "src.train",
        *second_stage(folder, *every, f"hydra.run.dir={tmp_path / 'killed'}", rows=rows),
        log=tmp_path / "log.txt",
    )
    assert command.killed_when(lines_in(tmp_path / "killed/metrics.csv", 3))
    done("train", *second_stage(folder, *every, f"hydra.run.dir={tmp_path / 'killed'}", rows=rows))
    assert_same(tmp_path / "whole", tmp_path / "killed")


def test_two_processes_train_it_equally(folder: Path, tmp_path: Path) -> None:
    """Also where one of them has no edit in its batch."""
    ddp = [
        *second_stage(folder, rows=mixture(folder)),
        *steps(4, trainer="ddp_cpu"),
        "~callbacks.previews",
        f"hydra.run.dir={tmp_path / 'run'}",
    ]
    ended = run(*ddp)  # Lightning starts the second process by the first one's command
    assert ended.returncode == 0, ended.stderr[-2000:]
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["world_size"] == 2
    assert record["ranks_equal"] is True
