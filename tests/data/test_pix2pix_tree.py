"""The original tree: explicit pairs, the original's splits, both spellings of prompt.json."""

import json
from pathlib import Path

import numpy as np
import pytest
from data.written import pixels, write_tree

from src.data.pix2pix_tree import Pix2PixTree


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree")


def test_every_seed_is_a_row_and_its_pair_is_its_own(folder: Path) -> None:
    tree = Pix2PixTree(folder, split="all", extension="png")
    assert len(tree) == 40
    for index in (0, 1, 39):
        prompt, seed = divmod(index, 2)[0], (7, 31)[index % 2]
        triplet, reward = tree[index]
        assert reward is None
        assert triplet.case.id == tree.id_of(index) == f"{prompt:07d}/{seed}"
        assert triplet.case.instruction == f"make it night {prompt}"
        np.testing.assert_array_equal(triplet.case.original, pixels(1000 * prompt + seed))
        np.testing.assert_array_equal(triplet.edited, pixels(1000 * prompt + seed + 500))


def test_splits_are_the_originals_and_complete(folder: Path) -> None:
    splits = {
        name: Pix2PixTree(folder, split=name, extension="png")
        for name in ("train", "validation", "test", "all")
    }
    assert [len(split) for split in splits.values()] == [36, 2, 2, 40]
    whole = [splits["all"].id_of(index) for index in range(40)]
    assert whole == [
        tree.id_of(index) for name, tree in splits.items() if name != "all" for index in range(len(tree))
    ]


def test_both_spellings_of_prompt_json_are_read(tmp_path: Path) -> None:
    tree = Pix2PixTree(write_tree(tmp_path, 1, caption="caption", extension="jpg"), split="all")
    assert tree.row(0).instruction == "make it night 0"
    assert tree[0][0].edited.shape == (24, 32, 3)


def test_a_loop_over_it_ends(folder: Path) -> None:
    assert len(list(Pix2PixTree(folder, split="test", extension="png"))) == 2  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "a list is needed"),
        ("[[1]]", r"entry 0 is \[1\]"),
        ('[["a", [1, 1]]]', "each prompt and seed once"),
        ('[["a", [1]], ["a", [2]]]', "entry 1"),
        ("[", "is not JSON"),
        ("[]", "lists 0 prompts"),
    ],
)
def test_other_seed_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "seeds.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        Pix2PixTree(tmp_path)


def test_no_tree_and_unknown_splits_are_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"seeds.json is missing"):
        Pix2PixTree(tmp_path)
    with pytest.raises(ValueError, match="train, validation, test, all"):
        Pix2PixTree(folder, split="val")


@pytest.mark.parametrize("edit", [["make it night", "make it day"], None, " "])
def test_anything_but_one_instruction_is_refused_with_its_file(folder: Path, edit: object) -> None:
    (folder / "0000000" / "prompt.json").write_text(json.dumps({"edit": edit}))
    with pytest.raises(ValueError, match="0000000"):
        Pix2PixTree(folder, extension="png").row(0)


def test_a_missing_image_is_named(folder: Path) -> None:
    (folder / "0000000" / "7_1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"7_1\.png"):
        Pix2PixTree(folder, extension="png")[0]
