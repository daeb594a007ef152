"""MagicBrush in its release's layout and as AURORA-Bench has it: turns, sessions, captions, masks, and one
sentence for what is wrong.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data.written import pixels
from datasets import Dataset, Features, Value
from datasets import Image as Stored
from evaluation.folders import write_captions, write_magicbrush

from src.evaluation.magicbrush import MagicBrush, unpack_split
from src.records import Turn

COUNTS = {"70": 1, "9": 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_magicbrush(tmp_path, COUNTS)


def test_every_turn_on_its_own(folder: Path) -> None:
    benchmark = MagicBrush(folder)
    cases = benchmark.cases()
    assert [case.id for case in cases] == ["70/70_1", "9/9_1", "9/9_inde_2", "9/9_inde_3"]
    assert [(case.edit_type, case.photograph, case.instruction) for case in cases[1:3]] == [
        ("turn 1", "9", "do 9 1"),
        ("turn 2", "9", "do 9 2"),
    ]
    # turn 2 of the second session starts from the true image after turn 1
    np.testing.assert_array_equal(cases[2].original, pixels(11, 80, 96))
    np.testing.assert_array_equal(benchmark.ground_truth(cases[2]), pixels(12, 80, 96))
    assert [reference.name for reference in benchmark.references()] == ["copy input", "exact target"]


def test_sessions(folder: Path) -> None:
    benchmark = MagicBrush(folder, multi_turn=True)
    one, three = benchmark.cases()
    assert (one.id, one.instruction, one.turns, one.edit_type) == ("70/70_1", "do 70 1", (), "1 turn")
    assert (three.id, three.instruction, three.edit_type) == (
        "9/9_iter_3",
        "(1) do 9 1 (2) do 9 2 (3) do 9 3",
        "3 turns",
    )
    assert three.turns == (
        Turn("9/9_1", "do 9 1"),
        Turn("9/9_iter_2", "do 9 2"),
        Turn("9/9_iter_3", "do 9 3"),
    )
    np.testing.assert_array_equal(three.original, pixels(10, 40, 48))
    np.testing.assert_array_equal(benchmark.ground_truth(three), pixels(13, 80, 96))


def test_the_flat_list_and_rows_with_whole_paths_are_the_same(folder: Path) -> None:
    expected = [(case.id, case.image) for case in MagicBrush(folder).cases()]
    rows = [row for rows in json.loads((folder / "edit_sessions.json").read_text()).values() for row in rows]
    (folder / "edit_turns.json").write_text(json.dumps(rows))
    (folder / "edit_sessions.json").unlink()
    assert [(case.id, case.image) for case in MagicBrush(folder).cases()] == expected
    for row in rows:
        place = f"images/{row['output'].split('-')[0]}"
        row |= {
            "input": f"{place}/{row['input']}",
            "output": f"{place}/{row['output']}",
            "task": "magicbrush",
        }
    (folder / "test.json").write_text(
        json.dumps([*rows, {"input": "a.jpg", "output": "b.jpg", "instruction": "x", "task": "whatsup"}])
    )
    assert [(case.id, case.image) for case in MagicBrush(folder / "test.json").cases()] == expected


def test_captions_and_regions(folder: Path) -> None:
    write_captions(folder, COUNTS)
    write_captions(folder, COUNTS, "global")
    turns, sessions = MagicBrush(folder), MagicBrush(folder, multi_turn=True)
    assert turns.captions(turns.cases()[2]) == {"local": "a local 9 2", "global": "a global 9 2"}
    assert sessions.captions(sessions.cases()[1]) == {"local": "a local 9 3", "global": "a global 9 3"}
    second, whole = turns.edit_region(turns.cases()[2]), sessions.edit_region(sessions.cases()[1])
    assert second is not None
    assert whole is not None
    assert second.shape == (80, 96)  # as its original, though the mask is half as large
    assert sorted(set(np.nonzero(second)[0])) == [4, 5]
    assert sorted(set(np.nonzero(whole)[0])) == [1, 2, 3]
    (folder / "images/9/9-mask2.png").unlink()
    assert MagicBrush(folder, multi_turn=True).edit_region(sessions.cases()[1]) is None


def unknown_caption(folder: Path) -> None:
    captions = write_captions(folder, COUNTS)
    (folder / "local_descriptions.json").write_text(json.dumps(captions | {"8": {"8-output1.png": "a dog"}}))


def lacking_caption(folder: Path) -> None:
    write_captions(folder, {"70": 1, "9": 2})


def changed(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        sessions = json.loads((folder / "edit_sessions.json").read_text())
        change(sessions)
        (folder / "edit_sessions.json").write_text(json.dumps(sessions))

    return write


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (unknown_caption, r"1 captions are of images that the benchmark doesn't have \(8-output1\.png\)"),
        (lacking_caption, r"1 outputs have no caption \(9-output3\.png\)"),
        (
            lambda folder: (folder / "images/9/9-output2.png").unlink(),
            r"1 of 6 images are missing \(.*9-output2\.png\)",
        ),
        (changed(lambda sessions: sessions["9"].pop(1)), r"out of order \(9 has turn 3 as number 2\)"),
        (changed(lambda sessions: sessions["9"].reverse()), "out of order"),
        (changed(lambda sessions: sessions["9"].append(sessions["9"][2])), "9 has turn 3 as number 4"),
        (
            changed(lambda sessions: sessions["9"][1].update(input="9-input.png")),
            r"turn 2 of 9 starts from 9-input\.png in place of 9-output1\.png",
        ),
        (
            changed(lambda sessions: sessions["9"][1].update(instruction=" ")),
            "turn 2 has ' ' as its instruction",
        ),
        (
            changed(lambda sessions: sessions["9"][1].update(output="9-edited.png")),
            "turn 2 has the output '9-edited.png'",
        ),
        (changed(lambda sessions: sessions.update({"9": ["nothing"]})), "turn 1 is 'nothing'"),
        (changed(lambda sessions: sessions.clear()), "is not of the form"),
        (lambda folder: (folder / "edit_sessions.json").unlink(), r"no edit_sessions\.json in a folder"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as raised:
        MagicBrush(folder).cases()
    assert "\n" not in str(raised.value)


def test_the_splits_on_the_hub_are_read_alike(folder: Path, tmp_path: Path) -> None:
    """From a table of the hub's columns; the network is not asked."""
    images = {"source_img": [], "mask_img": [], "target_img": []}
    for row in (
        row for rows in json.loads((folder / "edit_sessions.json").read_text()).values() for row in rows
    ):
        place = folder / "images" / row["output"].split("-")[0]
        for column, field in (("source_img", "input"), ("mask_img", "mask"), ("target_img", "output")):
            images[column].append({"bytes": (place / row[field]).read_bytes(), "path": None})
    columns = {
        "img_id": ["70", "9", "9", "9"],
        "turn_index": [1, 1, 2, 3],
        "instruction": ["do 70 1", "do 9 1", "do 9 2", "do 9 3"],
    }
    features = Features(
        {
            "img_id": Value("string"),
            "turn_index": Value("int32"),
            "instruction": Value("string"),
            **dict.fromkeys(images, Stored()),
        }
    )
    Dataset.from_dict({**columns, **images}, features=features).to_parquet(tmp_path / "dev.parquet")
    copy = MagicBrush(
        unpack_split(str(tmp_path / "dev.parquet"), "train", tmp_path / "unpacked"), multi_turn=True
    )
    own = MagicBrush(folder, multi_turn=True)
    for one, other in zip(copy.cases(), own.cases(), strict=True):
        assert (one.id, one.turns) == (other.id, other.turns)
        np.testing.assert_array_equal(copy.ground_truth(one), own.ground_truth(other))
        np.testing.assert_array_equal(copy.edit_region(one), own.edit_region(other))
