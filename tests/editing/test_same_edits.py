"""src.edit and src.evaluate make the same edit of the same image, instruction, reward and seed."""

import csv
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL, config, small_editor
from omegaconf import OmegaConf

from src import checkpoint, edit, evaluate
from src.images import load_image, save_png

SHARED = ["seed=3", "sampler.steps=2", "batch_size=2"]
INSTRUCTION = "make it night"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An editor, photographs of two sizes, and the edits that src.evaluate makes of a list of them."""
    folder = tmp_path_factory.mktemp("same")
    checkpoint.export(
        folder / "editor",
        OmegaConf.to_yaml(config(*SMALL).model, resolve=True),
        (32, 32),
        small_editor().state_dict(),
    )
    chance = np.random.default_rng(0)
    for name, width in (("a", 40), ("b", 52), ("c", 40)):
        save_png(chance.integers(0, 256, (40, width, 3)).astype(np.uint8), folder / f"{name}.png")
    write_list(folder / "cases.csv", "id", [["a.png", ""], ["b.png", ""], ["c.png", ""], ["a.png", "again"]])
    evaluate.main(
        config(
            f"checkpoint={folder}/editor",
            "benchmark=custom",
            f"benchmark.source={folder}/cases.csv",
            f"output={folder}",
            "steps=[generate]",
            *SHARED,
            name="evaluate",
        )
    )
    return folder


def write_list(path: Path, name_column: str, rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["image", name_column, "instruction"], *([*row, INSTRUCTION] for row in rows)]
        )


def edit_with(folder: Path, output: Path, *overrides: str) -> None:
    edit.main(config(f"checkpoint={folder}/editor", f"output={output}", *SHARED, *overrides, name="edit"))


def assert_same_pixels(folder: Path, case: str, edited: Path) -> None:
    evaluated = folder / f"evaluation/custom/5-5-5/edits/{case}.png"
    assert np.array_equal(load_image(evaluated), load_image(edited))


def test_one_image(folder: Path, tmp_path: Path) -> None:
    edit_with(folder, tmp_path, f"image={folder}/b.png", f"instruction='{INSTRUCTION}'")
    assert_same_pixels(folder, "b-1", tmp_path / "b.png")
    edit_with(
        folder, tmp_path, f"image={folder}/b.png", f"instruction='{INSTRUCTION}'", "seed=4", "overwrite=true"
    )
    with pytest.raises(AssertionError):
        assert_same_pixels(folder, "b-1", tmp_path / "b.png")


def test_a_list_whose_outputs_have_the_names_of_cases(folder: Path, tmp_path: Path) -> None:
    rows = [["a.png", ""], ["b.png", ""], ["c.png", ""], ["a.png", "again"]]
    write_list(folder / "edits.csv", "output", rows)
    edit_with(folder, tmp_path, f"list={folder}/edits.csv")
    for case, edited in (("a-1", "a"), ("b-1", "b"), ("c-1", "c"), ("again", "again")):
        assert_same_pixels(folder, case, tmp_path / f"{edited}.png")
