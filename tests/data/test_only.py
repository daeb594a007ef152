"""data.only: the selected rows of every kind of dataset, and what is said of ids that aren't there."""

import json
from pathlib import Path

import pytest
from conftest import config
from data.written import write_list, write_tree
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from src.data.all_rows import Shard, all_rows
from src.data.only import kept_ids
from src.data.without_loader import rows_alone, without_loader
from src.formats.reward_dataset import write_part
from src.launch import one_line

KINDS = (
    "json_list",
    "pix2pix_tree",
    "table",
    "table without ids",
    "stream",
    "stream without ids",
    "mixture",
    "synthetic",
)


def dataset(kind: str, folder: Path) -> list[str]:
    """A small dataset of a kind, as a command names it."""
    name = kind.partition(" ")[0]
    if name == "synthetic":
        return [
            "data=synthetic",
            "data.dataset.length=4",
            "data.dataset.cache=null",
            "world.size=32",
            "annotator=unrated",
        ]
    if name == "pix2pix_tree":
        tree = write_tree(folder / "tree", 4)
        return [
            "data=pix2pix_tree",
            f"data.dataset.folder={tree}",
            "data.dataset.split=all",
            "data.dataset.extension=png",
        ]
    listed = write_list(folder / "list", 6, id=[f"row {row}" for row in range(6)])
    if name == "json_list":
        return ["data=json_list", f"data.dataset.file={listed}"]
    if name == "mixture":
        return [
            "data=mixture",
            f"data.dataset.parts.edits.folder={write_tree(folder / 'tree', 4)}",
            "data.dataset.parts.edits.split=all",
            "data.dataset.parts.edits.extension=png",
            f"data.dataset.parts.chat.file={listed}",
            "data.dataset.parts.chat.columns={original: input, instruction: instruction}",
        ]
    rows = json.loads(listed.read_text())
    part = [
        {
            "original_image": {"bytes": (listed.parent / row["input"]).read_bytes(), "path": None},
            "edited_image": {"bytes": (listed.parent / row["output"]).read_bytes(), "path": None},
            "edit_prompt": row["instruction"],
            "id": row["id"],
        }
        for row in rows
    ]
    write_part(part, folder / "parquet", 0, 1)
    setting = "data.dataset.table.path" if name == "table" else "data.stream.path"
    columns = "data.dataset.columns" if name == "table" else "data.columns"
    own = "data.dataset.rewards" if name == "table" else "data.own_rewards"
    without = [f"{columns}.id=false"] if "without" in kind else []
    return [f"data={name}", f"{setting}={folder / 'parquet'}", f"{own}=false", *without]


def ids(overrides: list[str]) -> list[str]:
    return [row.id for row in all_rows(instantiate(rows_alone(config(*overrides).data)), Shard())]


@pytest.mark.parametrize("kind", KINDS)
def test_of_every_kind_the_selected_rows_are_served(kind: str, tmp_path: Path) -> None:
    overrides = dataset(kind, tmp_path)
    whole = ids(overrides)
    chosen = sorted({whole[1], whole[-1]})
    selection = tmp_path / "selection.jsonl"
    lines = [{"id": id, "kept": id in chosen, "reason": "x", "utility": 1.0} for id in dict.fromkeys(whole)]
    selection.write_text("".join(json.dumps(line) + "\n" for line in lines))
    only = [*overrides, f"data.only={selection}"]
    assert ids(only) == [id for id in whole if id in chosen]
    rows = instantiate(without_loader(config(*only).data))
    if kind.startswith("stream"):
        trained = {row.id for row in rows.rows.lane(0, 1, 0, 0)}
    else:
        trained = {rows.dataset[index][0].case.id for index in range(len(rows.dataset))}
    assert trained == set(chosen)
    rows.check(tmp_path / "broken.jsonl")
    selection.write_text(json.dumps({"id": "nowhere"}) + "\n" + json.dumps({"id": chosen[0]}) + "\n")
    with pytest.raises((ValueError, InstantiationException)) as told:
        ids(only)
    assert "1 of the 2 ids" in one_line(told.value)
    assert "'nowhere'" in one_line(told.value)
    assert repr(whole[0]) in one_line(told.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "a", "kept": false}\n', "keeps no row"),
        ('{"id": "a"}\n{"id": "a"}\n', "names 'a' twice"),
        ('{"id": 5}\n', ":1 is \"{'id': 5}\": an object with the id of a row"),
        ('{"id": "a"}\nrow\n', ":2 is not JSON"),
        ('{"id": "a", "kept": "yes"}\n', "kept .true or"),
    ],
)
def test_a_broken_selection_is_told(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "selection.jsonl"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        kept_ids(file)
    with pytest.raises(FileNotFoundError, match="no selection nowhere"):
        kept_ids("nowhere")
