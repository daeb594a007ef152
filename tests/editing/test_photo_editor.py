"""Editing from Python: the edits of src.edit, one or many, and one clear line where it can't be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from conftest import SMALL, config, small_editor
from omegaconf import OmegaConf

from src import checkpoint, edit, load_editor
from src.editing.photo_editor import PhotoEditor
from src.images import load_image
from src.records import TargetReward

NIGHT = "make it night"
PIXELS = np.random.default_rng(0).integers(0, 256, (52, 40, 3)).astype(np.uint8)
SIDEWAYS = 6
"""The EXIF orientation of a camera held upright."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An editor with rewards, and a photograph that has to be turned."""
    folder = tmp_path_factory.mktemp("python")
    model = OmegaConf.to_yaml(config(*SMALL).model, resolve=True)
    editor = small_editor()
    for parameter in editor.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # the reward's last layer begins at zero
    checkpoint.export(folder / "editor", model, (32, 32), editor.state_dict())
    exif = PIL.Image.Exif()
    exif[0x0112] = SIDEWAYS
    PIL.Image.fromarray(PIXELS).save(folder / "photo.png", exif=exif)
    return folder


@pytest.fixture(scope="module")
def edit_photo(folder: Path) -> PhotoEditor:
    return load_editor(folder / "editor")


@pytest.mark.parametrize("resize", ["trained", "keep", "48"])
def test_the_edit_of_the_command(folder: Path, tmp_path: Path, edit_photo: PhotoEditor, resize: str) -> None:
    edit.main(
        config(
            f"checkpoint={folder}/editor",
            f"image={folder}/photo.png",
            f"instruction='{NIGHT}'",
            f"output={tmp_path}",
            f"resize={resize}",
            "seed=3",
            "sampler.steps=3",
            "target_reward.scores=[5,0,4]",
            name="edit",
        )
    )
    written = load_image(tmp_path / "photo.png")
    for picture, name in ((folder / "photo.png", None), (PIL.Image.open(folder / "photo.png"), "photo")):
        made = edit_photo(
            picture, NIGHT, (5, 0, 4), seed=3, steps=3, resize=resize, original_size=False, name=name
        )
        assert np.array_equal(np.array(made), written)
    shown = edit_photo(folder / "photo.png", NIGHT, (5, 0, 4), seed=3, steps=3, resize=resize)
    assert (shown.size, shown.mode) == ((52, 40), "RGB")  # width and height, upright


def test_lists_are_many_edits(folder: Path, edit_photo: PhotoEditor) -> None:
    pictures = [PIXELS, PIXELS[:40, :32], str(folder / "photo.png"), PIL.Image.fromarray(PIXELS)]
    many = edit_photo(pictures, NIGHT, seed=[0, 1, 2, 0], name=["a", "b", "c", "a"], batch_size=3)
    assert [made.size for made in many] == [(40, 52), (32, 40), (52, 40), (40, 52)]
    for place, (seed, name) in enumerate([(0, "a"), (1, "b"), (2, "c")]):
        one = edit_photo(pictures[place], NIGHT, seed=seed, name=name)
        assert np.abs(np.array(one).astype(int) - np.array(many[place])).max() <= 1
    rewards = edit_photo(PIXELS, NIGHT, [(5, 5, 5), (0, 0, 0), TargetReward((0, 0, 0))])
    assert not np.array_equal(rewards[0], rewards[1])
    assert np.array_equal(rewards[1], rewards[2])
    assert isinstance(edit_photo([PIXELS], NIGHT), list)


def test_what_an_edit_depends_on(edit_photo: PhotoEditor) -> None:
    plain = np.array(edit_photo(PIXELS, NIGHT))
    same = edit_photo(PIXELS, NIGHT, (5, 5, 5), feedback=("None", "None", "None"), seed=0, name="picture")
    assert np.array_equal(plain, same)
    assert edit_photo.takes_rewards
    for other in (
        {"seed": 1},
        {"reward": (5, 5, 0)},
        {"feedback": {"quality": "it is blurred"}},
        {"steps": 3},
        {"guidance": 2.0},
        {"guidance": {"reward": 3.0}},
        {"name": "other"},
    ):
        assert not np.array_equal(plain, edit_photo(PIXELS, NIGHT, **other)), other


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda edit: edit(PIXELS, " "), "the instruction for the picture is ' ': a text is needed"),
        (lambda edit: edit(PIXELS, NIGHT, 5), "reward=5: three scores from 0 to 5"),
        (lambda edit: edit(PIXELS, NIGHT, (5, 5)), "following, preserving, quality is needed"),
        (lambda edit: edit(PIXELS, NIGHT, (5, 5, 9)), r"a score must lie in \[0, 5\], got 9"),
        (lambda edit: edit(PIXELS, NIGHT, feedback="lost"), "feedback='lost': three texts are needed"),
        (lambda edit: edit(PIXELS, NIGHT, feedback={"dog": "lost"}), "feedback on 'dog': choose from foll"),
        (lambda edit: edit(PIXELS, NIGHT, seed=1.5), "seed=1.5: a whole number"),
        (lambda edit: edit(PIXELS, NIGHT, steps=0), "at least one step, got 0"),
        (lambda edit: edit(PIXELS, NIGHT, steps="3"), "steps='3': a whole number"),
        (lambda edit: edit(PIXELS, NIGHT, guidance={"txt": 2}), "guidance of 'txt': choose from text, im"),
        (lambda edit: edit(PIXELS, NIGHT, guidance="strong"), "guidance of text is 'strong': a number"),
        (lambda edit: edit(PIXELS, NIGHT, resize="huge"), "resize=huge: say trained, keep"),
        (lambda edit: edit(PIXELS, NIGHT, resize=4096), "more than most_pixels=4194304"),
        (lambda edit: edit([], NIGHT), "0 of picture: give one for all"),
        (lambda edit: edit([PIXELS] * 2, [NIGHT] * 3), "2 of picture, 3 of instruction: give one for all"),
        (lambda edit: edit([PIXELS, 7], NIGHT), "picture 1 is a int: give a path"),
        (lambda edit: edit(PIXELS, NIGHT, batch_size=0), "batch_size must be at least 1"),
        (
            lambda _: load_editor("editor", sampler="papr"),
            "sampler=papr: there is no papr; did you mean paper",
        ),
        (lambda _: load_editor("editor", settings=["sampler.step=3"]), "did you mean sampler.steps"),
        (lambda _: load_editor("editor", device="tpu"), "no device 'tpu'"),
        (lambda _: load_editor("nowhere"), "no checkpoint at nowhere"),
    ],
)
def test_one_clear_line(edit_photo: PhotoEditor, call: Callable[[Any], object], said: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=said) as raised:
        call(edit_photo)
    assert "\n" not in str(raised.value)
