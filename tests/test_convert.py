"""Published weights to an editor and back, bit for bit, on a small model of the release's layout."""

import json
import pickle
import shutil
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from backbones.pipelines import release_tensors, write_pipeline, write_release
from commands import run
from safetensors.torch import load_file, save_file

from src import checkpoint


@pytest.fixture(scope="module")
def release(tmp_path_factory) -> Path:
    return write_release(tmp_path_factory.mktemp("release") / "stage2")


def convert(*arguments: str) -> CompletedProcess[str]:
    return run(*arguments, module="src.convert")


def test_there_and_back_bit_for_bit(release: Path, tmp_path: Path) -> None:
    there = convert(f"source={release}", f"output={tmp_path / 'ours'}")
    assert there.returncode == 0, there.stderr
    editor = checkpoint.load_editor(tmp_path / "ours")
    assert torch.equal(editor.integration.stem.q.weight, release_tensors()["ca.attention.self.query.weight"])
    back = convert(f"source={tmp_path / 'ours'}", f"output={tmp_path / 'theirs'}", "reverse=true")
    assert back.returncode == 0, back.stderr
    file = "unet/diffusion_pytorch_model.safetensors"
    before, after = load_file(release / file), load_file(tmp_path / "theirs" / file)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert sorted(path.name for path in (tmp_path / "theirs").iterdir()) == sorted(
        path.name for path in release.iterdir()
    )


class Payload:
    def __reduce__(self):
        return (print, ("unpickled",))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", "text_linear.bias is missing"),
        ("extra", "surplus is not in the release"),
        ("misshapen", "text_linear.weight has shape (2, 3), the release (16, 24)"),
        ("pickle", "is a pickle"),
        ("nothing", "no U-Net weights in"),
    ],
)
def test_a_damaged_release_is_named_in_one_line(
    release: Path, tmp_path: Path, damage: str, message: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(release, folder)
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    if damage == "missing":
        del tensors["text_linear.bias"]
    elif damage == "extra":
        tensors["surplus"] = torch.zeros(1)
    elif damage == "misshapen":
        tensors["text_linear.weight"] = torch.zeros(2, 3)
    file.unlink()
    if damage == "pickle":
        file.with_suffix(".bin").write_bytes(pickle.dumps(Payload()))
    elif damage != "nothing":
        save_file(tensors, file, metadata={"format": "pt"})
    done = convert(f"source={folder}", f"output={tmp_path / 'ours'}")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert message.lower() in line.lower()
    assert "unpickled" not in done.stdout
    assert not (tmp_path / "ours").exists()


def test_an_editor_of_another_wiring_is_refused(tmp_path: Path) -> None:
    from conftest import config
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from src.pipeline import write_pipeline as write_ours

    stock = write_pipeline(tmp_path / "stock")
    cfg = config("model/backbone=inspix2pix", "model/process=ddpm", f"model.backbone.pretrained={stock}")
    write_ours(
        instantiate(cfg.model),
        OmegaConf.to_yaml(cfg.model, resolve=True),
        (32, 32),
        "a card",
        tmp_path / "ours",
    )
    done = convert(f"source={tmp_path / 'ours'}", f"output={tmp_path / 'theirs'}", "reverse=true")
    assert done.returncode == 1
    assert "only integration=released" in done.stderr
    assert json.loads((tmp_path / "ours/reward_adapter/config.json").read_text())
