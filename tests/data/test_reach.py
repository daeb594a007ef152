"""Rows name files of their dataset's folder and no others, unless data.outside=true."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import config
from data.written import pixels, write_image, write_list, write_tree
from datasets import Dataset, Features, Value
from hydra.utils import instantiate

from src.data.check import check_rows
from src.data.huggingface_table import HuggingFaceTable, open_table
from src.data.json_list import JsonList
from src.data.pix2pix_tree import Pix2PixTree
from src.data.problems import Problem
from src.data.rows import RowSource
from src.data.stream import StreamedRows, open_stream
from src.data.without_loader import rows_request
from src.evaluation.custom import Custom
from src.evaluation.magicbrush import MagicBrush, unpack_split
from src.sweeps.trainings import training_settings

OUTSIDE = r"outside of the dataset's folder .*; say data.outside=true if its rows may name any file$"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return write_image(tmp_path / "home/secret.png", pixels(9))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def linked(folder: Path, secret: Path) -> str:
    (folder / "link.png").symlink_to(secret)
    return "link.png"


def linked_folder(folder: Path, secret: Path) -> str:
    (folder / "pictures").symlink_to(secret.parent)
    return "pictures/secret.png"


WAYS: dict[str, Callable[[Path, Path], str]] = {
    "absolute": lambda folder, secret: str(secret),
    "above": lambda folder, secret: "../home/secret.png",
    "hidden": lambda folder, secret: "images/../../home/secret.png",
    "link": linked,
    "linked folder": linked_folder,
}


def rows_of(kind: str, folder: Path, name: str, outside: bool) -> RowSource:
    """A dataset of three rows, the last of which names this file."""
    if kind == "list":
        file = write_list(folder, 3)
        rows = json.loads(file.read_text())
        rows[2]["output"] = name
        file.write_text(json.dumps(rows))
        return JsonList(file, outside=outside)
    images = [write_image(folder / f"images/{number}.png", pixels(number)) for number in range(2)]
    cells = [{"bytes": image.read_bytes(), "path": None} for image in images] + [
        {"bytes": None, "path": name}
    ]
    cell = {"bytes": Value("binary"), "path": Value("string")}
    features = Features({"input": cell, "output": cell, "instruction": Value("string")})
    values = {"input": [cells[0]] * 3, "output": cells, "instruction": ["make it night"] * 3}
    Dataset.from_dict(values, features=features).to_parquet(folder / "rows.parquet")
    table = open_table(str(folder / "rows.parquet"), cache=str(folder.parent / "cache"))
    return HuggingFaceTable(table, source=str(folder / "rows.parquet"), outside=outside)


@pytest.mark.parametrize("kind", ["list", "table"])
@pytest.mark.parametrize("way", WAYS)
def test_other_files_are_named_and_not_read(way: str, kind: str, folder: Path, secret: Path) -> None:
    name = WAYS[way](folder, secret)
    closed = rows_of(kind, folder, name, outside=False)
    with pytest.raises(ValueError, match=OUTSIDE) as raised:
        closed.row(2)
    assert name in str(raised.value)
    (problem,) = check_rows(closed, "all").problems
    assert (problem.index, problem.kind) == (2, "row")
    opened = rows_of(kind, folder, name, outside=True)
    assert check_rows(opened, "all").problems == []
    assert opened[2][0].edited.tobytes() == pixels(9).tobytes()


@pytest.mark.parametrize("kind", ["list", "table"])
def test_files_of_the_folder_may_be_named_in_any_way(kind: str, folder: Path) -> None:
    (folder / "link.png").symlink_to(folder / "images/0.png")
    (folder.parent / "elsewhere").symlink_to(folder)
    for name in ("images/1.png", str(folder / "images/1.png"), "images/../images/1.png", "link.png"):
        assert (
            check_rows(rows_of(kind, folder.parent / "elsewhere", name, outside=False), "all").problems == []
        )


def test_names_that_no_file_can_have(folder: Path) -> None:
    (problem,) = check_rows(rows_of("list", folder, "a\0b", outside=False), 0).problems
    assert "row 2 names a file that can't be ('a\\x00b'" in problem.reason


def test_prompts_of_a_tree(folder: Path, secret: Path) -> None:
    write_tree(folder / "tree", 2)
    write_tree(folder / "other", 1)
    listed = json.loads((folder / "tree/seeds.json").read_text())
    listed[1][0] = "../other/0000000"
    (folder / "tree/seeds.json").write_text(json.dumps(listed))
    with pytest.raises(ValueError, match=OUTSIDE):
        Pix2PixTree(folder / "tree", "all", "png").row(2)
    assert Pix2PixTree(folder / "tree", "all", "png", outside=True)[2][0].edited.shape == (24, 32, 3)


def test_a_stream_lists_them(folder: Path, secret: Path) -> None:
    rows_of("table", folder, str(secret), outside=False)
    file = str(folder / "rows.parquet")
    *_, last = StreamedRows(open_stream(file), source=file).in_order()
    assert isinstance(last, Problem)
    assert "outside of the dataset's folder" in last.reason
    assert not isinstance(
        list(StreamedRows(open_stream(file), source=file, outside=True).in_order())[2], Problem
    )


@pytest.mark.parametrize(
    "chosen",
    [
        ("data=json_list", "data.dataset.file=x"),
        ("data=pix2pix_tree", "data.dataset.folder=x"),
        ("data=table", "data.dataset.table.path=x"),
        ("data=mixture", "data.dataset.parts.edits.folder=x", "data.dataset.parts.chat.file=x"),
        ("data=stream", "data.stream.path=x"),
    ],
)
def test_one_setting_says_it_and_nothing_depends_on_it(chosen: tuple[str, ...]) -> None:
    """So caches, checkpoints and annotations of before go on."""
    closed, opened = (config(*chosen, f"data.outside={value}") for value in ("false", "true"))
    assert closed.data.outside is False
    assert "outside" not in str(training_settings(opened))
    assert training_settings(closed) == training_settings(opened)
    assert rows_request(closed.data) == rows_request(opened.data)


def test_the_setting_reaches_the_dataset(folder: Path, secret: Path) -> None:
    rows_of("list", folder, str(secret), outside=False)
    chosen = ("data=json_list", f"data.dataset.file={folder / 'rows.json'}")
    with pytest.raises(ValueError, match=OUTSIDE):
        instantiate(config(*chosen).data.dataset).row(2)
    assert instantiate(config(*chosen, "data.outside=true").data.dataset).row(2).edited.where == str(secret)


def test_folders_of_benchmarks(folder: Path, secret: Path) -> None:
    write_image(folder / "a.png", pixels(1))
    (folder / "metadata.jsonl").write_text(
        json.dumps({"file_name": "a.png", "instruction": "x", "target": str(secret)}) + "\n"
    )
    with pytest.raises(
        ValueError, match=r"metadata.jsonl:1: target names .*; give benchmark.source=.*jsonl$"
    ):
        Custom(folder).cases()
    assert len(Custom(folder / "metadata.jsonl").cases()) == 1, "a list that the user names is the user's"
    turn = {"input": "../../../../home/secret.png", "output": "1-output1.png", "mask": "", "instruction": "x"}
    (folder / "edit_sessions.json").write_text(json.dumps({"1": [turn]}))
    with pytest.raises(ValueError, match=r"turn 0 names .*outside of .*images/1; copy it there$"):
        MagicBrush(folder).cases()


def test_a_session_of_the_hub_is_no_path(folder: Path) -> None:
    columns = {name: [pixels(1).tobytes()] for name in ("source_img", "mask_img", "target_img")}
    table = Dataset.from_dict({"img_id": ["../../up"], "turn_index": [1], "instruction": ["x"], **columns})
    table.cast(
        Features(
            {name: Value("binary") if name in columns else table.features[name] for name in table.features}
        )
    ).to_parquet(folder / "x.parquet")
    with pytest.raises(ValueError, match=r"img_id '\.\./\.\./up'"):
        unpack_split(str(folder / "x.parquet"), "train", folder / "unpacked")
