"""Both written forms of the dataset load with `datasets`; the contact sheet is an image."""

import random
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from hydra import compose, initialize_config_dir
from killing import Command, after, being_written, finished, lines_in
from omegaconf import DictConfig
from PIL import Image

from src import contact_sheet, write_dataset
from src.synthetic.world import World

CONF = str(Path(__file__).parents[2] / "conf")


def config(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose(name, list(overrides))


@pytest.mark.parametrize("form", ["parquet", "imagefolder"])
def test_a_written_dataset_loads_with_every_column(tmp_path: Path, form: str) -> None:
    target = tmp_path / "data"
    write_dataset.main(
        config("write_dataset", f"format={form}", f"output={target}", "count=5", "start=3", "world.size=32")
    )
    cache = str(tmp_path / "cache")
    if form == "parquet":
        loaded = load_dataset("parquet", data_files=str(target / "*.parquet"), split="train", cache_dir=cache)
    else:
        loaded = load_dataset("imagefolder", data_dir=str(target), split="train", cache_dir=cache)
    assert set(loaded.column_names) == {
        *write_dataset.IMAGE_COLUMNS,
        *write_dataset.TEXT_COLUMNS,
        *write_dataset.SCORE_COLUMNS,
    }
    rows = {row["id"]: row for row in loaded}
    assert len(rows) == 5
    world = World(32)
    for index in range(3, 8):
        triplet, reward = world.rewarded_triplet("train", 0, index)
        row = rows[triplet.case.id]
        np.testing.assert_array_equal(np.asarray(row["original_image"]), triplet.case.original)
        np.testing.assert_array_equal(np.asarray(row["edited_image"]), triplet.edited)
        assert row["edit_prompt"] == triplet.case.instruction
        assert [row[column] for column in write_dataset.SCORE_COLUMNS] == [
            verdict.score for verdict in reward.verdicts
        ]
        assert row["feedback_quality"] == reward.quality.feedback


@pytest.mark.parametrize("wrong", [["format=csv"], ["count=0"], ["split=test"], ["start=-1"]])
def test_wrong_requests_write_nothing(tmp_path: Path, wrong: list[str]) -> None:
    target = tmp_path / "data"
    with pytest.raises(ValueError, match=r"format|count|split|start"):
        write_dataset.main(config("write_dataset", f"output={target}", *wrong))
    assert not target.exists()


def test_an_output_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="holds something"):
        write_dataset.main(config("write_dataset", f"output={tmp_path}", "count=1"))
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_the_contact_sheet_is_a_image(tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    contact_sheet.main(config("contact_sheet", f"output={target}", "size=32", "columns=2"))
    with Image.open(target) as sheet:
        assert min(sheet.size) > 600
    with pytest.raises(ValueError, match="columns"):
        contact_sheet.main(config("contact_sheet", f"output={target}", "columns=99"))


def test_the_sheet_of_edits_is_a_image(tmp_path: Path) -> None:
    edits, target = tmp_path / "edits.npz", tmp_path / "sheet.png"
    images = np.zeros((3, 32, 32, 3), dtype=np.uint8)
    np.savez(
        edits, ids=np.array([World(32).case_id("validation", 0, index) for index in range(3)]), edits=images
    )
    contact_sheet.main(config("contact_sheet", f"output={target}", f"edits={edits}"))
    with Image.open(target) as sheet:
        assert min(sheet.size) > 600
    np.savez(edits, images=images)
    with pytest.raises(ValueError, match="ids"):
        contact_sheet.main(config("contact_sheet", f"output={target}", f"edits={edits}"))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("form", ["parquet", "imagefolder", "pix2pix_tree"])
def test_killed_and_repeated_it_ends_with_the_same_files(tmp_path: Path, form: str) -> None:
    whole, target, log = tmp_path / "whole", tmp_path / "data", tmp_path / "log"
    request = (f"format={form}", "count=60", "rows_per_file=10", "start=3")
    finished("src.write_dataset", *request, f"output={whole}", log=log)
    moments = {
        "parquet": (lambda: len(list(target.glob("*.parquet"))) >= 2, being_written(target, "train-*")),
        "pix2pix_tree": (lambda: (target / "0000012").exists(), lambda: (target / "0000040").exists()),
        "imagefolder": (
            lines_in(target / "train/.metadata.jsonl.unfinished", 10),
            being_written(target / "train/original_image"),
        ),
    }
    for moment in moments[form]:
        assert Command("src.write_dataset", *request, f"output={target}", log=log).killed_when(moment)
    before = {
        name: (target / name).stat().st_mtime_ns
        for name in files_of(target)
        if name.endswith((".parquet", ".png"))
    }
    if form == "imagefolder":
        with (target / "train/.metadata.jsonl.unfinished").open("a") as torn:
            torn.write('{"edit_prompt": "remo')
    finished("src.write_dataset", *request, f"output={target}", log=log)
    assert files_of(target) == files_of(whole)
    kept = [
        name
        for name, time in before.items()
        if (target / name).exists() and (target / name).stat().st_mtime_ns == time
    ]
    assert (
        len(kept) >= {"parquet": 2, "imagefolder": 18, "pix2pix_tree": 0}[form]
    )  # a tree begins again at the last hundred
    text = log.read_text()
    assert "write " in text
    assert "triplets/s" in text


def test_another_request_is_refused_by_name_and_the_same_changes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "data"
    write_dataset.main(config("write_dataset", f"output={target}", "count=3"))
    before = files_of(target)
    assert before.keys() == {"request.json", "train-00000-of-00001.parquet"}
    write_dataset.main(config("write_dataset", f"output={target}", "count=3"))
    with pytest.raises(
        ValueError,
        match=r"another command \(count: 3 there, 4 asked for; world.size: 32 there, 48 asked for\)",
    ):
        write_dataset.main(config("write_dataset", f"output={target}", "count=4", "world.size=48"))
    assert files_of(target) == before


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", "imagefolder", "pix2pix_tree"])
def test_killed_at_random_moments(tmp_path: Path, form: str) -> None:
    whole, target, log, chance = tmp_path / "whole", tmp_path / "data", tmp_path / "log", random.Random(1)
    request = (f"format={form}", "count=300", "rows_per_file=10")
    finished("src.write_dataset", *request, f"output={whole}", log=log)
    hits = 0
    for _ in range(15):
        hits += Command("src.write_dataset", *request, f"output={target}", log=log).killed_when(
            after(chance.uniform(0.2, 1.5))
        )
    finished("src.write_dataset", *request, f"output={target}", log=log)
    assert hits >= 3
    assert files_of(target) == files_of(whole)
