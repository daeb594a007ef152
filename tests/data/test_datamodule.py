"""From files to batches: the same for any workers, and never from a missing image."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, config
from data.written import write_list, write_tree
from hydra.utils import instantiate
from killing import Command, finished, lines_in
from pytorch_lightning import Callback, Trainer, seed_everything
from run_folders import assert_same

from src import checkpoint, write_dataset
from src.batch import EditBatch
from src.data.collate import collate
from src.data.datamodule import EditData
from src.data.examples import first_rows
from src.data.json_list import JsonList
from src.data.order import GlobalBatchOrder, SampleIndex
from src.data.pix2pix_tree import Pix2PixTree
from src.data.problems import read_problems
from src.data.transformed_dataset import TransformedDataset
from src.data.transforms import CentreCrop, RandomCrop
from src.launch import CONF

COUNT = 12


def trainer(**arguments) -> Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "barebones": False,
    }
    return Trainer(accelerator="cpu", devices=1, **quiet, **arguments)


def batches(data: EditData, count: int) -> list[EditBatch]:
    data.trainer = trainer()
    return list(islice(data.train_dataloader(), count))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree")


def tree(folder: Path, **settings) -> EditData:
    given = {"batch_size": 4, "num_workers": 0, "seed": 3, "transform": RandomCrop(16, 0.5)} | settings
    return EditData(Pix2PixTree(folder, split="all", extension="png"), **given)


def test_workers_and_batch_sizes_change_nothing(folder: Path) -> None:
    alone = batches(tree(folder), 12)
    for many in (batches(tree(folder, num_workers=2), 12), batches(tree(folder, batch_size=8), 6)):
        for name in ("original", "edited"):
            ours, theirs = (torch.cat([getattr(batch, name) for batch in made]) for made in (alone, many))
            assert torch.equal(ours, theirs)
    assert alone[0].original.shape == (4, 3, 16, 16)


def test_every_pass_and_every_seed_has_its_own_crops(folder: Path) -> None:
    served = TransformedDataset(tree(folder).dataset, RandomCrop(16, 0.0), 0, frozenset(), None)
    crops = [served[SampleIndex(5, epoch)][0].edited.tobytes() for epoch in range(20)]
    assert len(set(crops)) > 3
    other = TransformedDataset(served.dataset, RandomCrop(16, 0.0), 1, frozenset(), None)
    assert [other[SampleIndex(5, epoch)][0].edited.tobytes() for epoch in range(20)] != crops


def test_a_broken_row_is_replaced_by_a_whole_one(folder: Path, tmp_path: Path) -> None:
    (folder / "0000003" / "7_1.png").write_bytes(b"broken")
    listed = tmp_path / "listed.jsonl"
    data = tree(folder, on_error="skip", check=0)
    assert data.check(listed) is not None
    made = batches(data, 10)
    assert all(batch.edited.shape == (4, 3, 16, 16) for batch in made)
    ids = [id for batch in made for id in batch.ids]
    assert "0000003/7" not in ids
    assert len(set(ids)) == 39  # one of them twice
    (problem,) = read_problems(listed)
    assert (problem.index, problem.kind, problem.found) == (6, "unreadable", "while")
    assert "7_1.png" in problem.reason
    known = tree(folder, on_error="skip", check="all")
    known.check(listed)
    assert [batch.ids for batch in batches(known, 10)] == [batch.ids for batch in made]
    assert all(
        torch.equal(one.original, other.original) for one, other in zip(batches(known, 10), made, strict=True)
    )


def test_a_broken_row_ends_the_training_unless_skipped(folder: Path, tmp_path: Path) -> None:
    (folder / "0000003" / "7_1.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"7_1.png is not a readable image .* data.on_error=skip"):
        tree(folder).check(tmp_path / "listed")
    data = tree(folder, check=0)
    data.check(tmp_path / "listed")
    with pytest.raises(ValueError, match=r"7_1.png is not a readable image"):
        batches(data, 10)


def test_images_of_several_sizes_need_a_transform(tmp_path: Path) -> None:
    tall, wide = (JsonList(write_list(tmp_path / name))[0] for name in ("a", "b"))
    case = tall[0].case
    other = (type(tall[0])(type(case)("y", case.original[:8], "x", "", ""), wide[0].edited), None)
    with pytest.raises(ValueError, match=r"has 32x24 and 'y' 32x8 pixels: give the data a transform"):
        collate([tall, other])


def test_previews_follow_the_data(folder: Path, tmp_path: Path) -> None:
    """Rows that are held out, cases of the world, or the first rows; the middle of each."""
    shown = {
        "held out": EditData(Pix2PixTree(folder, extension="png"), 4, 0, 0, RandomCrop(16)).examples(3),
        "all": tree(folder).examples(3),
        "list": EditData(JsonList(write_list(tmp_path)), 4, 0, 0, RandomCrop(16)).examples(3),
        "world": instantiate(config().data).examples(7),
    }
    assert [example.case.id for example in shown["held out"]] == ["0000018/7", "0000018/31"]
    assert shown["all"][0].case.id == "0000000/7"
    assert shown["list"][2].case.instruction == "make it night 2"
    assert {example.title for example in shown["world"]} == {"exact"}
    assert {example.case.id.split("-")[1] for example in shown["world"]} == {"validation"}
    assert all(example.answer.shape == (16, 16, 3) for example in (*shown["held out"], *shown["list"]))


def test_previews_show_the_first_usable_rows(folder: Path) -> None:
    (folder / "0000000" / "7_0.png").unlink()
    rows = Pix2PixTree(folder, split="all", extension="png")
    shown = first_rows(rows, CentreCrop(16), 3)
    assert [example.case.id for example in shown] == ["0000000/31", "0000001/7", "0000001/31"]
    assert all(example.case.original.shape == example.answer.shape == (16, 16, 3) for example in shown)
    assert shown[0].title == "edited image"
    for index in range(20):
        (folder / f"{index:07d}" / "prompt.json").unlink()
    with pytest.raises(ValueError, match="none of 40 rows can be shown"):
        first_rows(rows, CentreCrop(16))


# --- every yaml, and the synthetic world through each of them
# -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world_on_disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    for form in ("parquet", "imagefolder", "pix2pix_tree"):
        write_dataset.main(
            config(f"format={form}", f"output={folder / form}", f"count={COUNT}", name="write_dataset")
        )
    return folder


def places(name: str, folder: Path) -> dict[str, list[str]]:
    """The settings that each yaml of conf/data requires, once for each way to use it."""
    rewards = [
        "+rewards@data.rewards=reward_file",
        f"data.rewards.path={folder / 'pix2pix_tree/rewards.jsonl'}",
    ]
    tables = {
        form: [f"data.dataset.table.path={folder / form}", f"data.dataset.table.cache={folder / 'cache'}"]
        for form in ("parquet", "imagefolder")
    }
    listed = folder / "imagefolder/train/metadata.jsonl"
    fields = [
        "data.dataset.columns.original=original_image_file_name",
        "data.dataset.columns.edited=edited_image_file_name",
    ]
    columns = "{original: original_image_file_name, edited: edited_image_file_name}"
    rows = f"{{_target_: src.data.json_list.JsonList, file: {listed}, columns: {columns}}}"
    one_part = [f"+data.dataset.parts.world={rows}", "+data.dataset.shares.world=1"]
    return {
        "table": tables,
        "pix2pix_tree": {
            "tree": [
                f"data.dataset.folder={folder / 'pix2pix_tree'}",
                "data.dataset.extension=png",
                "data.dataset.split=all",
                *rewards,
            ]
        },
        "json_list": {"json": [f"data.dataset.file={listed}", *fields]},
        "mixture": {
            "of one": [
                *(f"~data.dataset.{of}.{part}" for of in ("parts", "shares") for part in ("edits", "chat")),
                *one_part,
            ]
        },
    }.get(name, {})


def on_disk(text: str) -> bool:
    """Whether a yaml describes rows of files in a fixed place each; streams have an order of their own
    (test_stream.py).
    """
    return "EditData\n" in text and "Streamed" not in text and "???" in text


ON_DISK = sorted(path.stem for path in (CONF / "data").glob("*.yaml") if on_disk(path.read_text()))


class Losses(Callback):
    """Remembers the loss of every step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.values.append(float(outputs["loss"]))


def losses(tmp_path: Path, *overrides: str) -> list[float]:
    """Train a small editor for two steps."""
    workers = "data.readers=0" if "data=stream" in overrides else "data.num_workers=0"
    # whatever the data
    same = ["model/tokenizer@model.backbone.tokenizer=words", "model/process=rectified_flow"]
    cfg = config(*SMALL, "data.batch_size=4", workers, *same, *overrides)
    seed_everything(0, verbose=False)
    data = instantiate(cfg.data)
    data.check(tmp_path / "broken_rows.jsonl")
    assert data.image_size == (32, 32)
    seen = Losses()
    trainer(max_steps=2, callbacks=[seen]).fit(
        instantiate(cfg.algorithm)(editor=instantiate(cfg.model)), datamodule=data
    )
    return seen.values


@pytest.fixture(scope="module")
def of_the_world(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return losses(tmp_path_factory.mktemp("losses"), f"data.dataset.length={COUNT}")


@pytest.mark.parametrize("name", ON_DISK)
def test_a_written_world_trains_like_the_rendered_one(
    name: str, world_on_disk: Path, of_the_world: list[float], tmp_path: Path
) -> None:
    ways = places(name, world_on_disk)
    assert ways, f"conf/data/{name}.yaml is not tested: say above where its data is"
    for way in ways.values():
        # same size, no flip: nothing is resampled, so the batches are the same bit for bit
        ours = losses(
            tmp_path,
            f"data={name}",
            *way,
            "data.transform.size=32",
            "data.transform.flip=0.0",
            "data.check=all",
        )
        assert np.abs(np.array(ours) - of_the_world).max() < 1e-6
    assert len(of_the_world) == 2


def test_a_stream_of_the_same_rows_in_the_same_order_trains_like_the_rendered_world(
    world_on_disk: Path, of_the_world: list[float], tmp_path: Path
) -> None:
    """A stream serves the rows of a file as they stand, sets of a known length are shuffled: a file written
    in the order of that shuffle agrees.
    """
    import pyarrow.parquet

    (order,) = islice(iter(GlobalBatchOrder(COUNT, batch_size=COUNT, rank=0, world_size=1, seed=0)), 1)
    assert sorted(order) == list(range(COUNT))
    table = pyarrow.parquet.read_table(world_on_disk / "parquet/train-00000-of-00001.parquet")
    pyarrow.parquet.write_table(table.take(order), tmp_path / "ordered.parquet")
    way = [
        "data=stream",
        f"data.stream.path={tmp_path / 'ordered.parquet'}",
        "data.transform.size=32",
        "data.transform.flip=0.0",
    ]
    assert losses(tmp_path, *way) == pytest.approx(of_the_world, abs=1e-6)
    # in their own order the same rows are other batches
    other = losses(tmp_path, way[0], f"data.stream.path={world_on_disk / 'parquet'}", *way[2:])
    assert np.abs(np.array(other) - of_the_world).max() > 1e-3


def test_killed_and_resumed_with_random_crops_and_a_broken_row(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_dataset.main(
        config("format=pix2pix_tree", f"output={data}", "count=16", "world.size=48", name="write_dataset")
    )
    (data / "0000005" / "0_1.png").write_bytes(b"broken")
    command = [
        *SMALL,
        "data=pix2pix_tree",
        f"data.dataset.folder={data}",
        "data.dataset.extension=png",
        "data.dataset.split=all",
        "+rewards@data.rewards=reward_file",
        f"data.rewards.path={data / 'rewards.jsonl'}",
        "data.transform.size=32",
        "data.on_error=skip",
        "data.check=0",
        "data.batch_size=4",
        "data.num_workers=1",
        "trainer.log_every_n_steps=1",
        "trainer.precision=32-true",
        "trainer.max_steps=9",
        "callbacks.checkpoint.every_n_train_steps=3",
    ]
    whole, folder, log = tmp_path / "whole", tmp_path / "run", tmp_path / "log"
    text = finished("src.train", *command, f"hydra.run.dir={whole}", log=log)
    assert "16 rows; files of all rows looked for, images of 0 rows decoded" in text
    assert list((whole / "previews").glob("*.png"))
    assert Command("src.train", *command, f"hydra.run.dir={folder}", log=log).killed_when(
        lines_in(folder / "metrics.csv", 6)
    )
    assert checkpoint.read(folder / "checkpoints/last.ckpt")["global_step"] == 3
    finished("src.train", *command, f"hydra.run.dir={folder}", log=log)
    assert_same(whole, folder)
    for run in (whole, folder):
        (problem,) = read_problems(run / "broken_rows.jsonl")
        assert problem.index == 5
    # without skipping, the worker's error is one line
    assert (
        Command(
            "src.train",
            *command,
            "data.on_error=fail",
            f"hydra.run.dir={tmp_path / 'third'}",
            log=tmp_path / "failed",
        ).ended()
        == 1
    )
    errors = [line for line in (tmp_path / "failed").read_text().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {data}/0000005/0_1.png is not a readable image")
    assert "Traceback" not in errors[0]
