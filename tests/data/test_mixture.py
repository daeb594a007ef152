"""Datasets mixed by shares, and chat samples: rows with an answer and without an edited image."""

import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from data.written import pixels, write_list
from datasets import Dataset, Features, Value
from datasets import Image as ImageColumn
from PIL import Image

from src.data.all_rows import Shard, all_rows
from src.data.check import check_rows
from src.data.collate import collate
from src.data.examples import first_rows
from src.data.huggingface_table import HuggingFaceTable
from src.data.json_list import JsonList
from src.data.mixture import Mixture
from src.data.problems import Problem
from src.data.rewards import WithRewards
from src.data.rows import CHAT_SAMPLES
from src.data.transforms import RandomCrop


def chat(folder: Path, count: int = 3) -> JsonList:
    """Questions about the images of `write_list`."""
    rows = [
        {
            "image": f"images/{index}.png",
            "question": f"what is it {index}",
            "answer": f"the left field {index}",
        }
        for index in range(count)
    ]
    (folder / "chat.json").write_text(json.dumps(rows))
    return JsonList(folder / "chat.json", columns={"original": "image", "instruction": "question"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixture")
    write_list(folder)
    return folder


def test_a_chat_sample_is_a_row_with_an_answer(folder: Path) -> None:
    rows = chat(folder)
    assert len({rows.id_of(index) for index in range(3)}) == 3
    assert rows.files(1) == [folder / "images/1.png"]
    assert rows.counts() == {CHAT_SAMPLES: 3}
    triplet, reward = rows[1]
    assert (triplet.case.instruction, triplet.answer, reward) == ("what is it 1", "the left field 1", None)
    np.testing.assert_array_equal(triplet.edited, pixels(1))
    flipping = RandomCrop(16, flip=1.0)
    for seed in range(4):  # never mirrored, as its answer speaks of sides
        np.testing.assert_array_equal(
            flipping(triplet, None, seed).edited, RandomCrop(16)(triplet, None, seed).edited
        )
    assert flipping(triplet, None, 0).answer == triplet.answer
    assert check_rows(WithRewards(rows), "all").problems == []
    with pytest.raises(ValueError, match="none of 3 rows can be shown"):
        first_rows(rows, None)
    assert all(
        isinstance(found, Problem) and "chat sample" in found.reason for found in all_rows(rows, Shard())
    )


def test_edits_and_chat_samples_in_one_list_or_table(folder: Path) -> None:
    listed = [
        {
            "input": "images/0.png",
            "output": "images/0-edited.png",
            "instruction": "make it night",
            "answer": "a remark",
        },
        {"input": "images/1.png", "output": None, "instruction": "what is it", "answer": "a field"},
    ]
    (folder / "both.json").write_text(json.dumps(listed))

    def stored(seed: int) -> dict:
        content = io.BytesIO()
        Image.fromarray(pixels(seed)).save(content, "PNG")
        return {"bytes": content.getvalue(), "path": None}

    columns = {
        "input": [stored(0), stored(1)],
        "output": [stored(500), None],
        "instruction": [each["instruction"] for each in listed],
    }
    kinds = {
        "input": ImageColumn(),
        "output": ImageColumn(),
        "instruction": Value("string"),
        "answer": Value("string"),
    }
    table = Dataset.from_dict(
        columns | {"answer": [each["answer"] for each in listed]}, features=Features(kinds)
    )
    for rows in (JsonList(folder / "both.json"), HuggingFaceTable(table)):
        assert rows.counts() == {CHAT_SAMPLES: 1}
        edit, conversation = (rows[index][0] for index in range(2))
        assert (edit.answer, conversation.answer) == (None, "a field")
        np.testing.assert_array_equal(edit.edited, pixels(500))
        np.testing.assert_array_equal(conversation.edited, pixels(1))
        batch = collate([rows[0], rows[1]])
        assert batch.answers == [None, "a field"]
        assert batch.with_edit().tolist() == [True, False]
        assert collate([rows[0]]).answers is None
    (folder / "neither.json").write_text(json.dumps([{**listed[0]}, {**listed[1], "answer": None}]))
    with pytest.raises(ValueError, match="row 1 has no 'output', which is the edited"):
        JsonList(folder / "neither.json").row(1)


def test_a_mixture_has_its_shares_and_all_rows(folder: Path) -> None:
    edits, questions = JsonList(folder / "rows.json"), chat(folder)
    mixed = Mixture({"edits": edits, "chat": questions}, {"edits": 3, "chat": 1})
    ids = [mixed.id_of(index) for index in range(len(mixed))]
    assert len(ids) == 12  # all three chat samples once, the six edits in turn
    assert Counter(id.split("/")[0] for id in ids) == {"edits": 9, "chat": 3}
    assert set(ids) == {f"edits/{edits.id_of(i)}" for i in range(6)} | {
        f"chat/{questions.id_of(i)}" for i in range(3)
    }
    assert [mixed.row(index).id for index in range(12)] == ids
    assert mixed.row(9).answer == "the left field 0"
    assert mixed.files(9) == [folder / "images/0.png"]
    assert mixed.counts() == {
        "rows of edits (it has 6)": 9,
        "rows of chat (it has 3)": 3,
        CHAT_SAMPLES: 3,
    }
    with pytest.raises(IndexError):
        mixed.row(12)


@pytest.mark.parametrize("shares", [{}, {"edits": 1}, {"edits": 1, "chat": 0}, {"edits": 1, "talk": 1}])
def test_impossible_shares_are_refused(folder: Path, shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="mixture"):
        Mixture({"edits": JsonList(folder / "rows.json"), "chat": chat(folder)}, shares)
