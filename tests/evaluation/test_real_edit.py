"""Real-Edit as it was released, and everything that can be wrong with a copy of it in one sentence."""

import json
from pathlib import Path

import pytest
from data.written import pixels, write_image
from evaluation.folders import LINES, write_real_edit

from src.evaluation.real_edit import RealEdit

SIZES = {"10.png": (20, 30), "2.png": (30, 20)}


def test_cases_by_number_with_the_instruction_after_the_first_colon(tmp_path: Path) -> None:
    folder = write_real_edit(tmp_path, SIZES)
    for given in (
        RealEdit(folder),
        RealEdit(folder / "Real-Edit"),
        RealEdit(folder / "Real-Edit", folder / "real_edit_instruct.json"),
    ):
        cases = given.cases()
        assert [case.id for case in cases] == ["2-1-local", "2-6-global", "10-1-local", "10-6-global"]
        assert [case.instruction for case in cases[:2]] == ["Replace the hat: make it red.", "Make it night."]
        assert [(case.edit_type, case.photograph, case.size) for case in cases[1:3]] == [
            ("global", "2.png", (30, 20)),
            ("local", "10.png", (20, 30)),
        ]
    (reference,) = given.references()
    assert (
        given.name,
        reference.name,
        given.ground_truth(cases[0]),
        given.captions(cases[0]),
        given.edit_region(cases[0]),
    ) == (*("real_edit", "copy input", None, {}, None),)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["Replace the hat."],
            r"2 lines are not .* \(2\.png: 'Replace the hat\.', 10\.png: 'Replace the hat\.'\)",
        ),
        (["1. Lokal: Replace the hat."], "2 lines are not .* of a type among local, remove"),
        (["1. Local: "], "2 lines are not"),
        ([7], "2 lines are not"),
        ([], r"2 photographs have no instructions \(10\.png, 2\.png\)"),
        (["1. Local: a", "1. Local: b"], r"2 ids occur twice \(2-1-local, 10-1-local\)"),
    ],
)
def test_lines_that_are_no_instructions_are_named(tmp_path: Path, lines: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RealEdit(write_real_edit(tmp_path, SIZES, lines)).cases()


def test_photographs_that_are_missing_extra_or_double_are_named_together(tmp_path: Path) -> None:
    folder = write_real_edit(tmp_path, SIZES)
    (folder / "Real-Edit/2.png").unlink()
    write_image(folder / "Real-Edit/3.png", pixels(3))
    text = (folder / "real_edit_instruct.json").read_text()
    (folder / "real_edit_instruct.json").write_text(text.replace("}", f', "10.png": {json.dumps(LINES)}}}'))
    with pytest.raises(ValueError, match="don't fit") as raised:
        RealEdit(folder).cases()
    for part in (
        "1 photographs are missing (2.png)",
        "1 photographs have no instructions (3.png)",
        "1 photographs are listed twice (10.png)",
    ):
        assert part in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_no_copy_of_the_release(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"benchmark\.folder is a folder with Real-Edit/"):
        RealEdit(tmp_path / "gone").cases()
    with pytest.raises(FileNotFoundError, match=r"no real_edit_instruct\.json in"):
        RealEdit(tmp_path).cases()
    for text in ("[", "[1, 2]", '{"2.png": "1. Local: a"}'):
        (tmp_path / "real_edit_instruct.json").write_text(text)
        with pytest.raises(ValueError, match=r"real_edit_instruct\.json is not"):
            RealEdit(tmp_path).cases()
