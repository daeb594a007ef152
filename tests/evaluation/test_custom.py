"""Custom benchmarks: lists and folders as people have them, and errors that name the line of a bad row."""

import json
from pathlib import Path

import numpy as np
import pytest
from data.written import pixels, write_image
from PIL import Image

from src.evaluation.custom import Custom


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("a.png", "sub/b.png", "answer.png")):
        write_image(tmp_path / name, pixels(number))
    Image.fromarray(np.arange(24 * 32).reshape(24, 32) < 40).save(tmp_path / "mask.png")
    return tmp_path


def test_images_and_instructions_are_enough(folder: Path) -> None:
    (folder / "mine.csv").write_text(
        "image,instruction\na.png,make it night\nsub/b.png,remove the dog\na.png,make it day\n"
    )
    benchmark = Custom(folder / "mine.csv")
    cases = benchmark.cases()
    assert [(case.id, case.instruction, case.photograph, case.edit_type) for case in cases] == [
        ("a-1", "make it night", "a.png", "all"),
        ("b-1", "remove the dog", "sub/b.png", "all"),
        ("a-2", "make it day", "a.png", "all"),
    ]
    np.testing.assert_array_equal(cases[1].original, pixels(1))
    assert (
        benchmark.ground_truth(cases[0]),
        benchmark.captions(cases[0]),
        benchmark.edit_region(cases[0]),
    ) == (None, {}, None)
    assert [reference.name for reference in benchmark.references()] == ["copy input"]


def test_all_that_can_be_known(folder: Path) -> None:
    row = {"file_name": "a.png", "captions": {"local": "night"}, "caption_global": "a dog"}
    row |= {
        "instruction": "make it night",
        "id": "x/1",
        "type": "global",
        "photograph": "p",
        "target": "answer.png",
        "mask": "mask.png",
    }
    (folder / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    benchmark = Custom(folder, title="mine")
    (case,) = benchmark.cases()
    assert (benchmark.name, case.id, case.edit_type, case.photograph) == ("mine", "x/1", "global", "p")
    np.testing.assert_array_equal(benchmark.ground_truth(case), pixels(2))
    assert benchmark.captions(case) == {"local": "night", "global": "a dog"}
    region = benchmark.edit_region(case)
    assert region is not None
    assert (region.shape, int(region.sum())) == ((24, 32), 40)
    assert [reference.name for reference in benchmark.references()] == ["copy input", "exact target"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image\na.png\n", ":1: column 'instruction' is missing"),
        ("image,instruction,taget\na.png,x,y\n", ":1: column 'taget' is unknown"),
        ("image,instruction\na.png,\n", ":2: the row has no instruction"),
        ("image,instruction\ngone.png,x\na.png,x\n", r":2: 1 images are missing \(.*gone\.png\)"),
        ("image,instruction,target\na.png,x,gone.png\n", r":2: 1 images are missing \(.*gone\.png\)"),
        ("image,instruction,id\na.png,x,1\na.png,y,1\n", ":3: the id '1' is that of another row, too"),
        ("image,instruction,id\na.png,x,../1\n", r":2: id is '\.\./1'"),
        ("image,instruction,captions\na.png,x,a dog\n", ":2: captions is 'a dog'"),
        ("", "has no rows"),
    ],
)
def test_rows_that_cannot_be_used(folder: Path, text: str, message: str) -> None:
    (folder / "mine.csv").write_text(text)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        Custom(folder / "mine.csv").cases()


def test_what_is_no_list(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no metadata\.jsonl or metadata\.csv in"):
        Custom(folder).cases()
    with pytest.raises(FileNotFoundError, match="no list"):
        Custom(folder / "gone.csv").cases()
    with pytest.raises(ValueError, match="letters without slashes"):
        Custom(folder, title="a/b")
