"""Rows in JSON, with common names of fields."""

import json
from pathlib import Path

import numpy as np
import pytest
from data.written import pixels, write_list

from src.data.columns import FEEDBACK, SCORES
from src.data.json_list import JsonList


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_rows_are_read_with_paths_from_the_files_folder(tmp_path: Path, name: str) -> None:
    rows = JsonList(write_list(tmp_path, name=name, task=["kubric"] * 6))
    assert len(rows) == 6
    triplet, reward = rows[4]
    assert reward is None
    np.testing.assert_array_equal(triplet.case.original, pixels(4))
    np.testing.assert_array_equal(triplet.edited, pixels(504))
    assert (triplet.case.instruction, triplet.case.edit_type) == ("make it night 4", "kubric")


def test_ids_are_given_or_depend_on_the_whole_content(tmp_path: Path) -> None:
    file = write_list(tmp_path, id=list("abcdef"))
    assert JsonList(file).id_of(2) == "c"
    hashed = JsonList(file, columns={"id": False})
    ids = [hashed.id_of(index) for index in range(6)]
    assert len(set(ids)) == 6
    assert all(len(id) == 64 for id in ids)
    moved = write_list(tmp_path / "elsewhere")
    assert [JsonList(moved).id_of(index) for index in range(6)] == ids
    entries = json.loads(file.read_text())
    entries[0]["instruction"] += "!"
    file.write_text(json.dumps(entries))
    assert JsonList(file, columns={"id": False}).id_of(0) != ids[0]


def test_fields_of_other_names_can_be_given(tmp_path: Path) -> None:
    file = write_list(tmp_path, text=["make it day"] * 6)
    assert JsonList(file, columns={"instruction": "text"}).row(0).instruction == "make it day"
    assert JsonList(file, folder=tmp_path).row(0).instruction == "make it night 0"


def test_rewards_in_the_rows_are_read(tmp_path: Path) -> None:
    scores: dict[str, list] = {name: [index / 2 for index in range(6)] for name in SCORES} | {
        name: ["None"] * 6 for name in FEEDBACK
    }
    file = write_list(tmp_path, **scores)
    reward = JsonList(file)[3][1]
    assert reward is not None
    assert [verdict.score for verdict in reward.verdicts] == [1.5, 1.5, 1.5]
    assert JsonList(file, rewards=False)[3][1] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda entries: [{**entry, "source": "x"} for entry in entries],
            "input and source: choose the original with data.dataset.columns.original=NAME",
        ),
        (
            lambda entries: [{"input": "x", "output": "y", "words": "z"}],
            r"no column for the instruction .* data.dataset.columns.instruction=NAME",
        ),
        (
            lambda entries: [{**entry, "id": "same"} for entry in entries],
            "rows 0 and 1 have the same id 'same'",
        ),
        (lambda entries: [{**entry, "reward_quality": 5} for entry in entries], "not reward_following"),
        (
            lambda entries: [
                {**entries[0], **dict.fromkeys(SCORES, score), **dict.fromkeys(FEEDBACK, "None")}
                for score in (5, None, 0)
            ],
            r"rows 0 and 2 are the same triplet with different rewards \('images/0.png'\); keep one",
        ),
        (lambda entries: ["text"], "row 0 is 'text'"),
        (lambda entries: [], "no array of rows"),
        (lambda entries: {"a": 1}, "no array of rows"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, change, message: str) -> None:
    file = write_list(tmp_path)
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(ValueError, match=message):
        JsonList(file)


def test_broken_lines_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"input": 1}\n{')
    with pytest.raises(ValueError, match=r"rows.jsonl:2 is not JSON"):
        JsonList(tmp_path / "rows.jsonl")
    with pytest.raises(FileNotFoundError, match=r"gone\.json"):
        JsonList(tmp_path / "gone.json")
    with pytest.raises(ValueError, match="no entry 'orignal'"):
        JsonList(write_list(tmp_path), columns={"orignal": "input"})
