"""src.edit: sizes, metadata, a strip, and everything wrong said before a model is loaded."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from conftest import SMALL, config, small_editor
from omegaconf import OmegaConf

from src import checkpoint, edit
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
