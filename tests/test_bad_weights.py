"""Pipelines, checkpoints, releases and caches that are broken, of another model, or malicious: one line that
names the file, and nothing is run.
"""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import datasets
import huggingface_hub
import pytest
import torch
from backbones.pipelines import release_tensors, write_pipeline
from commands import only_error
from data.written import pixels, reward, write_image, write_tree
from diffusers import AutoencoderKL
from killing import Command, finished
from malicious import Payload, write_malicious
from safetensors.torch import load_file, save_file

from src.reward_file import append_rewards

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT_ENCODER = "text_encoder/model.safetensors"


def test_the_payload_is_a_real_one(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "owned")))
    assert (tmp_path / "owned").exists()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline, a photograph, rated rows, a short training on them, its export and its LoRA sister, and a
    cache.
    """
    folder = tmp_path_factory.mktemp("weights")
    write_pipeline(folder / "pipeline")
    write_tree(folder / "tree", prompts=12)
    append_rewards(
        folder / "rewards.jsonl",
        [reward(f"{prompt:07d}/{seed}", score=float(prompt % 6)) for prompt in range(12) for seed in (7, 31)],
    )
    write_image(folder / "photo.png", pixels(3, 40, 56))
    log = folder / "log.txt"
    finished("src.train", *training(folder, folder / "run"), log=log)
    finished("src.train", *training(folder, folder / "lora"), "+model/lora=attention", log=log)
    finished("src.export", f"checkpoint={folder / 'run/editor'}", f"output={folder / 'export'}", log=log)
    finished(
        "src.precompute",
        *rows(folder),
        f"output={folder / 'cache'}",
        "data.augmentations=2",
        "device=cpu",
        "rows_per_shard=5",
        log=log,
    )
    return folder


def rows(folder: Path, pipeline: Path | None = None) -> list[str]:
    return [
        "+experiment=reward_inspix2pix",
        f"model.backbone.pretrained={pipeline or folder / 'pipeline'}",
        f"data.dataset.folder={folder / 'tree'}",
        "data.dataset.extension=png",
        "data.transform.size=16",
        "data.batch_size=2",
        "data.num_workers=0",
        "+rewards@data.rewards=reward_file",
        f"data.rewards.path={folder / 'rewards.jsonl'}",
    ]


def training(folder: Path, run: Path, pipeline: Path | None = None) -> list[str]:
    steps = [
        "trainer=cpu",
        "trainer.precision=32-true",
        "trainer.max_steps=2",
        "trainer.accumulate_grad_batches=1",
    ]
    return [*rows(folder, pipeline), *steps, "~callbacks.previews", f"hydra.run.dir={run}"]


# --- pipeline folders
# ------------------------------------------------------------------------------------------------------------


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:3000])


def reconfigured(file: Path, **settings: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def without(file: Path, name: str) -> None:
    tensors = load_file(file)
    del tensors[name]
    save_file(tensors, file, metadata={"format": "pt"})


def other_autoencoder(pipeline: Path) -> None:
    shutil.rmtree(pipeline / "vae")
    down, up = ("DownEncoderBlock2D",) * 3, ("UpDecoderBlock2D",) * 3
    wide = AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=down,
        up_block_types=up,
        latent_channels=16,
        norm_num_groups=4,
        sample_size=32,
    )
    wide.save_pretrained(pipeline / "vae")


def emptied(folder: Path, *kept: str) -> None:
    for file in folder.iterdir():
        if file.name not in kept:
            file.unlink()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no unet": (lambda pipeline: shutil.rmtree(pipeline / "unet"), "it has no folder unet/"),
    "no weights": (
        lambda pipeline: (pipeline / UNET).unlink(),
        "unet has no weights: diffusion_pytorch_model.safetensors is missing",
    ),
    "cut unet": (lambda pipeline: cut(pipeline / UNET), f"{UNET} can't be read, it may be truncated"),
    "cut autoencoder": (lambda pipeline: cut(pipeline / VAE), f"{VAE} can't be read, it may be truncated"),
    "cut text encoder": (
        lambda pipeline: cut(pipeline / TEXT_ENCODER),
        f"{TEXT_ENCODER} can't be read, it may be truncated",
    ),
    "a tensor too few": (
        lambda pipeline: without(pipeline / UNET, "conv_in.bias"),
        "unet disagree in 1 tensors: conv_in.bias is missing",
    ),
    "wider config": (
        lambda pipeline: reconfigured(pipeline / "unet/config.json", block_out_channels=[24, 32]),
        "unet disagree: conv_in.bias has shape (16), by config.json it is (24)",
    ),
    "other input": (
        lambda pipeline: reconfigured(pipeline / "unet/config.json", in_channels=4),
        "by config.json it is (16, 4, 3, 3)",
    ),
    "deeper text encoder": (
        lambda pipeline: reconfigured(pipeline / "text_encoder/config.json", num_hidden_layers=2),
        "disagree in 16 tensors",
    ),
    "other text width": (
        lambda pipeline: reconfigured(pipeline / "text_encoder/config.json", hidden_size=32),
        "text of width 24, its text encoder",
    ),
    "no config": (
        lambda pipeline: (pipeline / "vae/config.json").unlink(),
        "is not a whole pipeline: vae/config.json is missing",
    ),
    "broken config": (
        lambda pipeline: (pipeline / "unet/config.json").write_text("{in"),
        "unet/config.json is not JSON",
    ),
    "no tokenizer": (lambda pipeline: shutil.rmtree(pipeline / "tokenizer"), "it has no folder tokenizer/"),
    "empty tokenizer": (
        lambda pipeline: emptied(pipeline / "tokenizer"),
        "tokenizer/tokenizer_config.json is missing",
    ),
    "no words": (
        lambda pipeline: emptied(pipeline / "tokenizer", "tokenizer_config.json"),
        "tokenizer/ has none of tokenizer.json, vocab.json",
    ),
    "fewer tokens": (
        lambda pipeline: reconfigured(pipeline / "text_encoder/config.json", vocab_size=100),
        "has 514 tokens and windows of 77",
    ),
    "other latent": (other_autoencoder, "makes latents of 16 channels, its U-Net works on 4"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_pipeline_is_named_in_one_line(
    folder: Path, tmp_path: Path, damage: str, quickly_refused
) -> None:
    break_it, message = DAMAGES[damage]
    shutil.copytree(folder / "pipeline", tmp_path / "pipeline")
    break_it(tmp_path / "pipeline")
    said = quickly_refused(*training(folder, tmp_path / "run", tmp_path / "pipeline"))
    assert message in said
    assert str(tmp_path / "pipeline") in said
    assert not (tmp_path / "run/checkpoints").exists()


@pytest.mark.parametrize("part", [UNET, VAE, TEXT_ENCODER])
@pytest.mark.parametrize("bare", [True, False], ids=["pickle", "torch"])
def test_malicious_pickles_in_a_pipeline_are_never_run(
    folder: Path, tmp_path: Path, part: str, bare: bool
) -> None:
    shutil.copytree(folder / "pipeline", tmp_path / "pipeline")
    (tmp_path / "pipeline" / part).unlink()
    pickled = (tmp_path / "pipeline" / part).with_name(
        "pytorch_model.bin" if part == TEXT_ENCODER else "diffusion_pytorch_model.bin"
    )
    write_malicious(pickled, tmp_path / "owned", bare)
    log = tmp_path / "log.txt"
    code = Command("src.train", *training(folder, tmp_path / "run", tmp_path / "pipeline"), log=log).ended()
    assert f"{pickled} is refused: it is a pickle of more than tensors" in only_error(log.read_text(), code)
    assert not (tmp_path / "owned").exists()


def test_honest_pickles_are_read_as_weights_only(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "pipeline", tmp_path / "pipeline")
    for part, name in (
        (UNET, "diffusion_pytorch_model.bin"),
        (VAE, "diffusion_pytorch_model.bin"),
        (TEXT_ENCODER, "pytorch_model.bin"),
    ):
        file = tmp_path / "pipeline" / part
        torch.save(load_file(file), file.with_name(name))
        file.unlink()
    finished(
        "src.train", *training(folder, tmp_path / "run", tmp_path / "pipeline"), log=tmp_path / "log.txt"
    )
    one, other = (load_file(run / "editor/model.safetensors") for run in (folder / "run", tmp_path / "run"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_weights_that_nothing_reads_are_warned_of(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "pipeline", tmp_path / "release")
    save_file(
        load_file(tmp_path / "release" / UNET) | release_tensors(),
        tmp_path / "release" / UNET,
        metadata={"format": "pt"},
    )
    said = finished(
        "src.train", *training(folder, tmp_path / "run", tmp_path / "release"), log=tmp_path / "log.txt"
    )
    assert (
        f"warning: {tmp_path / 'release/unet'} holds 34 tensors that a stock UNet2DConditionModel has "
        "no place for" in said
    )


def test_a_hub_id_without_a_network_is_one_line(
    folder: Path, tmp_path: Path, monkeypatch, quickly_refused
) -> None:
    """Told to stay offline, as HF_HUB_OFFLINE=1 does: otherwise this would ask the hub, and ask again for
    half a minute where there is no network.
    """
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    places = {
        "src.train": f"hydra.run.dir={tmp_path / 'run'}",
        "src.precompute": f"output={tmp_path / 'cache'}",
    }
    for module, place in places.items():
        said = quickly_refused(
            *rows(folder), "trainer=cpu", "model.backbone.pretrained=nobody/nothing", place, module=module
        )
        assert (
            "nobody/nothing can't be had: no such folder, nothing in this machine's cache, "
            "and no answer from the hub" in said
        )
    photo = (f"image={folder / 'photo.png'}", "instruction=make it night", f"output={tmp_path / 'edits'}")
    said = quickly_refused("checkpoint=nobody/nothing", *photo, module="src.edit")
    assert "no such model; connect, or copy the pipeline here and give checkpoint=FOLDER" in said
    for data in (
        "data=table data.dataset.table.path=nobody/nothing",
        "data=stream data.stream.path=nobody/nothing",
    ):
        said = quickly_refused(*data.split(), "~callbacks.previews", places["src.train"])
        assert "no dataset nobody/nothing: no such folder here, and on the hub there is none" in said


# --- editors
# ------------------------------------------------------------------------------------------------------------


def uses(folder: Path, out: Path, checkpoint: Path) -> dict[str, list[str]]:
    """Every command that takes an editor; the training comes last, as it makes its folder before it looks."""
    return {
        "src.edit": [
            f"checkpoint={checkpoint}",
            f"image={folder / 'photo.png'}",
            "instruction=make it night",
            "sampler.steps=1",
            f"output={out}",
        ],
        "src.export": [f"checkpoint={checkpoint}", f"output={out}"],
        "src.convert": [f"source={checkpoint}", f"output={out}", "reverse=true"],
        "src.train": [*training(folder, out), f"start={checkpoint}"],
    }


EDITORS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a run": ("run", lambda _: None, "it is a run, give"),
    "cut": (
        "run/editor",
        lambda editor: cut(editor / "model.safetensors"),
        "model.safetensors can't be read, it may be truncated",
    ),
    "export, cut unet": (
        "export",
        lambda editor: cut(editor / UNET),
        f"{UNET} can't be read, it may be truncated",
    ),
    "export, cut reward": (
        "export",
        lambda editor: cut(editor / "reward_adapter/model.safetensors"),
        "reward_adapter/model.safetensors can't",
    ),
    "export, no reward": (
        "export",
        lambda editor: (editor / "reward_adapter/model.safetensors").unlink(),
        "reward_adapter/model.safetensors is",
    ),
    "export, no unet": ("export", lambda editor: (editor / UNET).unlink(), f"{UNET} is missing"),
    "export, broken yaml": (
        "export",
        lambda editor: (editor / "editor.yaml").write_text("a: [b"),
        "editor.yaml is not YAML",
    ),
    "export, other yaml": (
        "export",
        lambda editor: (editor / "editor.yaml").write_text("a: b"),
        "editor_config and picture_size are needed",
    ),
}


TRIED_EVERYWHERE = ("a run", "cut", "export, no unet")
"""Damages that every command meets in the fast suite; all read editors by the same code, so the others are
met by one.
"""


@pytest.mark.parametrize("damage", EDITORS)
@pytest.mark.parametrize("everywhere", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["", "all"])
def test_a_damaged_editor_is_named_in_one_line(
    folder: Path, tmp_path: Path, damage: str, everywhere: bool, quickly_refused
) -> None:
    source, break_it, message = EDITORS[damage]
    shutil.copytree(folder / source, tmp_path / "editor")
    break_it(tmp_path / "editor")
    commands = uses(folder, tmp_path / "out", tmp_path / "editor")
    for module in commands if everywhere or damage in TRIED_EVERYWHERE else ["src.edit"]:
        arguments = commands[module]
        said = quickly_refused(*arguments, module=module)
        assert message in said, module
        assert str(tmp_path / "editor") in said, module


@pytest.mark.parametrize("bare", [True, False], ids=["pickle", "torch"])
def test_malicious_checkpoints_are_never_run(
    folder: Path, tmp_path: Path, bare: bool, quickly_refused
) -> None:
    file = tmp_path / "last.ckpt"
    write_malicious(file, tmp_path / "owned", bare)
    commands = uses(folder, tmp_path / "out", file)
    for module, arguments in [
        *commands.items(),
        ("src.train", [*training(folder, tmp_path / "out"), f"resume={file}"]),
    ]:
        assert (
            f"{file} can't be read as a checkpoint: it is a pickle of more than tensors"
            in quickly_refused(*arguments, module=module)
        )
    assert not (tmp_path / "owned").exists()


def test_lora_of_another_model_is_refused(folder: Path, tmp_path: Path, quickly_refused) -> None:
    wide = write_pipeline(tmp_path / "wide", block_out_channels=(32, 32))
    said = quickly_refused(
        *training(folder, tmp_path / "run", wide), "+model/lora=attention", f"start={folder / 'lora/editor'}"
    )
    assert "are of another configuration (64 differences)" in said
    assert "to_q.lora_A.default.weight has shape (16, 16), this editor (16, 32)" in said
    assert "take the backbone, LoRA and reward modules that they were trained with" in said
    shutil.copytree(folder / "pipeline", tmp_path / "gone")
    moved = [*training(folder, tmp_path / "other", tmp_path / "gone"), "+model/lora=attention"]
    finished("src.train", *moved, log=tmp_path / "log.txt")
    shutil.rmtree(tmp_path / "gone")
    said = quickly_refused(
        *uses(folder, tmp_path / "out", tmp_path / "other/editor")["src.edit"], module="src.edit"
    )
    assert f"no pipeline folder {tmp_path / 'gone'}" in said


# --- the release
# ------------------------------------------------------------------------------------------------------------

RELEASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (lambda release: shutil.rmtree(release), "no folder source="),
    "cut": (lambda release: cut(release / UNET), f"{UNET} can't be read, it may be truncated"),
    "cut autoencoder": (lambda release: cut(release / VAE), f"{VAE} can't be read, it may be truncated"),
    "wider config": (
        lambda release: reconfigured(release / "unet/config.json", block_out_channels=[24, 32]),
        "has shape (16), by config.json it is (24)",
    ),
    "malicious": (
        lambda release: write_malicious(
            unlinked(release / UNET).with_suffix(".bin"), release / "owned", False
        ),
        "is refused: it is a pickle",
    ),
    "a list": (
        lambda release: torch.save([1, 2], unlinked(release / UNET).with_suffix(".bin")),
        "holds no named tensors, but a list",
    ),
    "broken index": (
        lambda release: Path(f"{unlinked(release / UNET)}.index.json").write_text("{"),
        "doesn't say which file holds which tensor",
    ),
    "a file of the index gone": (
        lambda release: Path(f"{unlinked(release / UNET)}.index.json").write_text(
            '{"weight_map": {"a": "x.safetensors"}}'
        ),
        "x.safetensors is missing",
    ),
}


def unlinked(file: Path) -> Path:
    file.unlink()
    return file


@pytest.mark.parametrize("damage", RELEASES)
def test_a_damaged_release_is_named_in_one_line(
    folder: Path, tmp_path: Path, damage: str, quickly_refused
) -> None:
    break_it, message = RELEASES[damage]
    shutil.copytree(folder / "pipeline", tmp_path / "release")
    save_file(
        load_file(tmp_path / "release" / UNET) | release_tensors(),
        tmp_path / "release" / UNET,
        metadata={"format": "pt"},
    )
    break_it(tmp_path / "release")
    said = quickly_refused(
        f"source={tmp_path / 'release'}", f"output={tmp_path / 'ours'}", module="src.convert"
    )
    assert message in said
    assert str(tmp_path / "release") in said
    assert not (tmp_path / "release/owned").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name != "release"] == []


# --- caches
# ------------------------------------------------------------------------------------------------------------

CACHES: dict[str, tuple[Callable[[Path], object], str]] = {
    "shard gone": (
        lambda cache: (cache / "latents-00002.safetensors").unlink(),
        "not finished, latents-00002.safetensors is missing",
    ),
    "cut shard": (
        lambda cache: cut(cache / "latents-00002.safetensors"),
        "latents-00002.safetensors can't be read, it may be truncated",
    ),
    "flipped bits": (
        lambda cache: flipped(cache / "latents-00000.safetensors"),
        "latents-00000.safetensors is corrupt, an entry has the checksum",
    ),
    "broken request": (lambda cache: (cache / "request.json").write_text("{"), "request.json is broken"),
    "broken rows": (lambda cache: cut_text(cache / "rows.jsonl"), "rows.jsonl is broken"),
    "broken texts": (lambda cache: cut_text(cache / "texts.json"), "texts.json is broken"),
    "texts gone": (lambda cache: (cache / "texts.json").unlink(), "not finished, texts.json is missing"),
}


def flipped(file: Path) -> None:
    """One bit of every 64th byte of the tensors."""
    content = bytearray(file.read_bytes())
    for place in range(8 + int.from_bytes(content[:8], "little"), len(content), 64):
        content[place] ^= 1
    file.write_bytes(content)


def cut_text(file: Path) -> None:
    file.write_text(file.read_text()[:70])


@pytest.mark.parametrize("damage", CACHES)
def test_a_damaged_cache_is_named_in_one_line(
    folder: Path, tmp_path: Path, damage: str, quickly_refused
) -> None:
    break_it, message = CACHES[damage]
    shutil.copytree(folder / "cache", tmp_path / "cache")
    break_it(tmp_path / "cache")
    said = quickly_refused(
        *training(folder, tmp_path / "run"), f"data.precomputed={tmp_path / 'cache'}", "trainer.max_steps=10"
    )
    assert message in said
    assert str(tmp_path / "cache") in said
    if damage.startswith("broken"):  # the command that wrote it doesn't pass it by
        again = [
            *rows(folder),
            f"output={tmp_path / 'cache'}",
            "data.augmentations=2",
            "device=cpu",
            "rows_per_shard=5",
        ]
        assert message in quickly_refused(*again, module="src.precompute")
