"""src.edit: sizes, metadata, a strip, and everything wrong said before a model is loaded."""

import math
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from conftest import SMALL, config, small_editor
from omegaconf import OmegaConf
from safetensors.torch import save_file

from src import checkpoint, edit
from src.backbones.tiny import TinyBackbone
from src.images import load_image, save_png


@pytest.fixture(scope="module")
def editor_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "editor"
    checkpoint.export(
        folder, OmegaConf.to_yaml(config(*SMALL).model, resolve=True), (32, 32), small_editor().state_dict()
    )
    return folder


def edit_with(checkpoint_path: Path, image: Path, output: Path, *overrides: str) -> None:
    asked = [
        f"checkpoint={checkpoint_path}",
        f"image={image}",
        f"output={output}",
        "instruction='make it night'",
        "sampler.steps=1",
    ]
    edit.main(config(*asked, *overrides, name="edit"))


def photo(path: Path, height: int = 90, width: int = 150) -> Path:
    save_png(np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8), path)
    return path


def test_one_photograph(editor_folder: Path, tmp_path: Path) -> None:
    edit_with(editor_folder, photo(tmp_path / "a.png"), tmp_path / "out", "seed=3")
    assert load_image(tmp_path / "out" / "a.png").shape == (32, 52, 3)
    with PIL.Image.open(tmp_path / "out" / "a.png") as edited:
        told = {name: edited.info[name] for name in ("instruction", "seed", "target_scores")}
    assert told == {"instruction": "make it night", "seed": "3", "target_scores": "5/5/5"}
    assert (tmp_path / "out" / "a_strip.png").exists()


def broken_for_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """An autoencoder that overflows for every image but the first of a batch."""
    decode = TinyBackbone.decode

    def decoded(self: TinyBackbone, latent: torch.Tensor, original_latent: torch.Tensor) -> torch.Tensor:
        latent = torch.where(torch.arange(len(latent)).reshape(-1, 1, 1, 1) > 0, latent + math.inf, latent)
        return decode(self, latent, original_latent)

    monkeypatch.setattr(TinyBackbone, "decode", decoded)


def test_an_edit_that_is_not_finite_becomes_no_picture(
    editor_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_for_the_second(monkeypatch)
    for name in ("a.png", "b.png"):
        photo(tmp_path / "in" / name)
    message = r"the edit of .*b\.png is not finite \(NaN\), so there is none: the weights"
    with pytest.raises(ValueError, match=message):
        edit_with(editor_folder, tmp_path / "in", tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["a.png"]
    edit_with(editor_folder, tmp_path / "in", tmp_path / "skipping", "on_error=skip")
    assert [file.name for file in (tmp_path / "skipping").glob("*.png")] == ["a.png"]
    assert "is not finite" in (tmp_path / "skipping/skipped.jsonl").read_text()


def test_broken_weights_make_no_picture(tmp_path: Path) -> None:
    weights = small_editor().state_dict()
    checkpoint.export(
        tmp_path / "editor", OmegaConf.to_yaml(config(*SMALL).model, resolve=True), (32, 32), weights
    )
    weights = {name: value.contiguous() for name, value in weights.items()}
    weights["backbone.unet.conv_in.weight"][:] = math.nan
    save_file(weights, tmp_path / "editor/model.safetensors")
    with pytest.raises(ValueError, match=r"the weights in .*editor are not finite"):
        edit_with(tmp_path / "editor", photo(tmp_path / "a.png"), tmp_path / "out")
    assert not list(tmp_path.glob("out/*.png"))


def test_a_folder(editor_folder: Path, tmp_path: Path) -> None:
    photo(tmp_path / "in" / "a.png")
    photo(tmp_path / "in" / "b.png", 64, 40)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    edit_with(editor_folder, tmp_path / "in", tmp_path / "out", "resize=keep")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
    assert load_image(tmp_path / "out" / "b.png").shape == (64, 40, 3)


def test_what_is_wrong_is_said_before_the_model_is_loaded(
    editor_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(checkpoint, "load_editor", loaded)
    (tmp_path / "broken.png").write_text("hello")
    (tmp_path / "empty").mkdir()
    photo(tmp_path / "twins" / "a.png")
    photo(tmp_path / "twins" / "a.png").rename(tmp_path / "twins" / "a.webp")
    photo(tmp_path / "twins" / "a.png")
    good = photo(tmp_path / "good.png")
    out = tmp_path / "out"
    for image, overrides, message in [
        (tmp_path / "gone.png", [], r"no image .*gone\.png"),
        (tmp_path / "broken.png", [], r"broken\.png is not a readable image"),
        (tmp_path / "empty", [], "no images in"),
        (tmp_path / "twins", [], "both be edited into"),
        (good, [f"output={tmp_path}"], "would overwrite"),
        (good, ["resize=small"], "resize=small"),
        (good, ["instruction=null"], r"instruction=\.\.\. is missing"),
        (good, ["checkpoint=gone.ckpt"], "no checkpoint at"),
    ]:
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            edit_with(editor_folder, image, out, *overrides)
    assert not out.exists()


def test_an_image_too_small_for_the_latent(editor_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="larger short side"):
        edit_with(editor_folder, photo(tmp_path / "thin.png", 1, 50), tmp_path / "out", "resize=keep")
