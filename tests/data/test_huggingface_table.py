"""Every form that `datasets` loads gives the same rows, with columns found by name."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import config
from data.written import pixels
from datasets import Dataset, DatasetDict, Features, Value
from datasets import Image as ImageColumn
from PIL import Image

from src import write_dataset
from src.data.check import check_rows
from src.data.columns import FEEDBACK, SCORES, SPELLINGS, find_columns
from src.data.huggingface_table import HuggingFaceTable, open_table
from src.data.rewards import WithRewards
from src.synthetic.world import World

COUNT = 12


@pytest.fixture(scope="module")
def world() -> World:
    return World(32)


@pytest.fixture(scope="module", params=["parquet", "imagefolder", "saved", "saved splits", "glob"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The first triplets of the world, on disk."""
    folder = tmp_path_factory.mktemp("table")
    form = "imagefolder" if request.param == "imagefolder" else "parquet"
    data = folder / "data"
    write_dataset.main(
        config(
            f"format={form}",
            f"output={data}",
            f"count={COUNT}",
            "rows_per_file=5",
            "world.size=32",
            name="write_dataset",
        )
    )
    if request.param == "glob":
        return str(data / "train-*.parquet")
    if request.param.startswith("saved"):
        loaded = open_table(str(data), cache=str(folder / "cache"))
        saved = DatasetDict(train=loaded) if request.param == "saved splits" else loaded
        saved.save_to_disk(str(folder / "saved"))
        return str(folder / "saved")
    return str(data)


def test_every_form_holds_the_same_rows_in_the_same_order(path: str, world: World, tmp_path: Path) -> None:
    table = HuggingFaceTable(open_table(path, cache=str(tmp_path)), source=path)
    assert len(table) == COUNT
    for index in range(COUNT):
        (triplet, reward), (exact, given) = table[index], world.rewarded_triplet("train", 0, index)
        assert reward is not None
        assert triplet.case.id == reward.id == exact.case.id
        assert triplet.case.instruction == exact.case.instruction
        assert reward.verdicts == given.verdicts
        np.testing.assert_array_equal(triplet.case.original, exact.case.original)
        np.testing.assert_array_equal(triplet.edited, exact.edited)
    assert HuggingFaceTable(open_table(path, cache=str(tmp_path)), rewards=False, source=path)[0][1] is None


def encoded(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, format="PNG")
    return content.getvalue()


def table_of(
    original: str = "input_image",
    instruction: str = "edit_prompt",
    edited: str = "edited_image",
    **more: list,
) -> Dataset:
    images = {
        name: [{"bytes": encoded(pixels(seed + row)), "path": None} for row in range(3)]
        for name, seed in ((original, 0), (edited, 50))
    }
    kinds: dict[str, Any] = {original: ImageColumn(), edited: ImageColumn(), instruction: Value("string")}
    table = Dataset.from_dict(
        {**images, instruction: ["make it night", "add a cat", "remove it"]}, features=Features(kinds)
    )
    for name, values in more.items():
        table = table.add_column(name, values)
    return table


@pytest.mark.parametrize(
    "names",
    [
        ("original_image", "edit_prompt", "edited_image"),
        ("input_image", "edit_prompt", "edited_image"),
        ("source_img", "instruction", "target_img"),
        ("input_image", "edit", "output_image"),
        ("input", "instruction", "output"),
    ],
)
def test_known_spellings_are_found(names: tuple[str, str, str]) -> None:
    triplet, reward = HuggingFaceTable(table_of(*names))[1]
    assert reward is None
    assert triplet.case.instruction == "add a cat"
    np.testing.assert_array_equal(triplet.case.original, pixels(1))
    np.testing.assert_array_equal(triplet.edited, pixels(51))
    assert len(triplet.case.id) == 64


def test_ids_of_a_column_are_used_and_checked() -> None:
    assert HuggingFaceTable(table_of(id=[3, 4, 5])).id_of(1) == "4"
    with pytest.raises(ValueError, match="rows 0 and 2 of the table have the same id '3'"):
        HuggingFaceTable(table_of(id=[3, 4, 3]))
    assert len(HuggingFaceTable(table_of(id=[3, 4, 3]), columns={"id": False}).id_of(2)) == 64


def test_the_hash_is_that_of_the_same_rows_in_json(tmp_path: Path) -> None:
    from src.data.rows import EncodedImage, content_id

    row = HuggingFaceTable(table_of()).row(2)
    (tmp_path / "a.png").write_bytes(encoded(pixels(2)))
    (tmp_path / "b.png").write_bytes(encoded(pixels(52)))
    assert row.id == content_id(
        EncodedImage(str(tmp_path / "a.png")), "remove it", EncodedImage(str(tmp_path / "b.png"))
    )


def test_images_as_plain_bytes_are_read() -> None:
    table = Dataset.from_dict(
        {"input": [encoded(pixels(1))], "output": [encoded(pixels(2))], "instruction": ["make it night"]}
    )
    np.testing.assert_array_equal(HuggingFaceTable(table)[0][0].edited, pixels(2))


def test_anything_else_in_an_image_column_is_refused() -> None:
    with pytest.raises(ValueError, match=r"column 'input' holds .* no images"):
        HuggingFaceTable(Dataset.from_dict({"input": [1], "output": [2], "instruction": ["x"]}))


def test_a_list_of_instructions_is_refused_with_its_row() -> None:
    table = Dataset.from_dict(
        {"input": [encoded(pixels(1))], "output": [encoded(pixels(2))], "edit": [["a", "b"]]}
    )
    with pytest.raises(ValueError, match=r"row 0, column 'edit' holds \"\['a', 'b'\]\""):
        HuggingFaceTable(table).row(0)


def test_rewards_in_columns_are_checked_row_by_row() -> None:
    values: dict[str, list] = {name: [0.0, 7.0, None] for name in SCORES} | {
        name: ["None"] * 3 for name in FEEDBACK
    }
    table = HuggingFaceTable(table_of(**values))
    assert table.reward_of(0) is not None
    assert table.reward_of(2) is None
    with pytest.raises(ValueError, match=r"reward_following: a score must lie in \[0, 5\], got 7.0"):
        table.reward_of(1)


def test_ambiguous_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="original_image and input_image: choose"):
        find_columns(["original_image", "input_image", "edit_prompt", "edited_image"], {}, "x")
    given = find_columns(
        ["original_image", "input_image", "edit_prompt", "edited_image"], {"original": "input_image"}, "x"
    )
    assert given == {"original": "input_image", "instruction": "edit_prompt", "edited": "edited_image"}
    assert set(given) <= set(SPELLINGS)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("gone", FileNotFoundError, "no folder or file"),
        ("empty", ValueError, "none of these"),
        ("gone.parquet", FileNotFoundError, "no file"),
        ("broken", ValueError, "can't be loaded"),
    ],
)
def test_paths_without_a_table_are_refused(
    tmp_path: Path, name: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.parquet").write_bytes(b"nothing")
    with pytest.raises(error, match=message):
        open_table(str(tmp_path / name), cache=str(tmp_path / "cache"))


def test_a_missing_split_is_refused(tmp_path: Path) -> None:
    DatasetDict(train=table_of()).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match="split 'test'"):
        open_table(str(tmp_path / "saved"), split="test")


def test_files_beside_a_table_are_looked_for_in_all_rows(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_dataset.main(
        config("format=imagefolder", f"output={folder}", "count=6", "world.size=32", name="write_dataset")
    )
    (folder / "train/edited_image/00000003.png").unlink()  # datasets itself doesn't mind
    table = HuggingFaceTable(open_table(str(folder), cache=str(tmp_path / "cache")), source=str(folder))
    assert [path.name for path in table.files(3)] == ["00000003.png"] * 2
    (problem,) = check_rows(WithRewards(table), 0).problems
    assert (problem.index, problem.kind) == (3, "missing")
    assert HuggingFaceTable(table_of()).files(0) == []
