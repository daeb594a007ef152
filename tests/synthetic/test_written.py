"""Both written forms of the dataset load with `datasets`; the contact sheet is a picture."""

from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from hydra import compose, initialize_config_dir
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
    write_dataset.main(config("write_dataset", f"format={form}", f"target={target}", "count=5", "start=3", "world.size=32"))
    cache = str(tmp_path / "cache")
    if form == "parquet":
        loaded = load_dataset("parquet", data_files=str(target / "*.parquet"), split="train", cache_dir=cache)
    else:
        loaded = load_dataset("imagefolder", data_dir=str(target), split="train", cache_dir=cache)
    assert set(loaded.column_names) == {*write_dataset.IMAGE_COLUMNS, *write_dataset.TEXT_COLUMNS, *write_dataset.SCORE_COLUMNS}
    rows = {row["id"]: row for row in loaded}
    assert len(rows) == 5
    world = World(32)
    for index in range(3, 8):
        triplet, reward = world.rewarded_triplet("train", 0, index)
        row = rows[triplet.case.id]
        np.testing.assert_array_equal(np.asarray(row["original_image"]), triplet.case.original)
        np.testing.assert_array_equal(np.asarray(row["edited_image"]), triplet.edited)
        assert row["edit_prompt"] == triplet.case.instruction
        assert [row[column] for column in write_dataset.SCORE_COLUMNS] == [verdict.score for verdict in reward.verdicts]
        assert row["feedback_quality"] == reward.quality.feedback


@pytest.mark.parametrize("wrong", [["format=csv"], ["count=0"], ["split=test"], ["start=-1"]])
def test_wrong_requests_write_nothing(tmp_path: Path, wrong: list[str]) -> None:
    target = tmp_path / "data"
    with pytest.raises(ValueError, match=r"format|count|split|start"):
        write_dataset.main(config("write_dataset", f"target={target}", *wrong))
    assert not target.exists()


def test_a_target_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="holds something"):
        write_dataset.main(config("write_dataset", f"target={tmp_path}", "count=1"))
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_the_contact_sheet_is_a_picture(tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    contact_sheet.main(config("contact_sheet", f"target={target}", "size=32", "columns=2"))
    with Image.open(target) as sheet:
        assert min(sheet.size) > 600
    with pytest.raises(ValueError, match="columns"):
        contact_sheet.main(config("contact_sheet", f"target={target}", "columns=99"))
