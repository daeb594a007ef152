"""Streams: complete and without repeats for any number of lanes, and unchanged by a kill."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, config
from data.written import reward
from killing import Command, finished, lines_in
from pytorch_lightning import Trainer
from run_folders import assert_same

from src import write_dataset
from src.batch import EditBatch
from src.data.problems import read_problems
from src.data.rewards import Rewards
from src.data.rows import DatasetRow
from src.data.stream import StreamedRows, open_stream
from src.data.stream_datamodule import LaneBatches, StreamedEditData, reader_turn
from src.data.transforms import RandomCrop
from src.reward_file import append_rewards
from src.synthetic.world import World

COUNT, SHARDS = 23, 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 triplets in six files, the last of three rows."""
    folder = tmp_path_factory.mktemp("stream") / "data"
    write_dataset.main(
        config(
            "format=parquet",
            f"output={folder}",
            f"count={COUNT}",
            "rows_per_file=4",
            "world.size=48",
            name="write_dataset",
        )
    )
    return folder


@pytest.fixture(scope="module")
def rows(folder: Path) -> StreamedRows:
    return StreamedRows(open_stream(str(folder)))


def ids(rows: StreamedRows, lane: int = 0, lanes: int = 1, seed: int = 0, epoch: int = 0) -> list[str]:
    return [row.id for row in rows.lane(lane, lanes, seed, epoch) if isinstance(row, DatasetRow)]


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 6, 7])
def test_lanes_share_every_pass_without_repeats(rows: StreamedRows, lanes: int) -> None:
    whole = sorted(World(48).case_id("train", 0, index) for index in range(COUNT))
    for epoch in range(2):
        parts = [ids(rows, lane, lanes, epoch=epoch) for lane in range(lanes)]
        assert sorted(id for part in parts for id in part) == whole
        assert all(parts)


def test_shards_come_in_another_order_in_each_pass_and_for_each_seed(rows: StreamedRows) -> None:
    orders = [ids(rows, epoch=epoch, seed=seed) for epoch, seed in ((0, 0), (1, 0), (0, 1))]
    assert ids(rows) == orders[0]
    assert len({tuple(order) for order in orders}) == 3


def test_rows_carry_their_own_images_and_rewards(rows: StreamedRows) -> None:
    world = World(48)
    exact = {
        triplet.case.id: (triplet, given)
        for triplet, given in (world.rewarded_triplet("train", 0, index) for index in range(COUNT))
    }
    for row in rows.lane(0, 1, 0, 0):
        assert isinstance(row, DatasetRow)
        triplet, given = exact[row.id]
        assert row.reward is not None
        assert row.reward.verdicts == given.verdicts
        np.testing.assert_array_equal(row.edited.decode(), triplet.edited)
        np.testing.assert_array_equal(row.original.decode(), triplet.case.original)


def test_a_resumed_loader_begins_with_the_lane_whose_turn_it_is() -> None:
    for readers in (1, 2, 3):
        for start in range(10):
            served = [sum(k % readers == lane for k in range(start)) for lane in range(readers)]
            turns = [reader_turn(start, readers, worker) for worker in range(readers)]
            assert [lane for lane, _ in turns] == [(start + worker) % readers for worker in range(readers)]
            assert all(before == served[lane] for lane, before in turns)


def batches(rows: StreamedRows, count: int, start: int = 0, **settings) -> list[EditBatch]:
    given = {"batch_size": 3, "rank": 0, "world_size": 2, "readers": 1, "seed": 5, "listed": None} | settings
    return list(islice(LaneBatches(rows, RandomCrop(32, 0.5), start=start, **given), count))


@pytest.mark.parametrize("start", [1, 4, 7, 11])
def test_batches_after_a_resume_are_unchanged(rows: StreamedRows, start: int) -> None:
    whole, rest = batches(rows, 13), batches(rows, 13 - start, start)
    assert [batch.ids for batch in rest] == [batch.ids for batch in whole[start:]]
    assert all(torch.equal(one.edited, other.edited) for one, other in zip(rest, whole[start:], strict=True))


def test_workers_serve_what_their_lanes_hold(folder: Path) -> None:
    def served(readers: int, step: int, count: int) -> list[EditBatch]:
        data = StreamedEditData(open_stream(str(folder)), 3, readers, 5, RandomCrop(32, 0.5))
        data.trainer = Trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        progress = data.trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress
        progress.optimizer.step.total.completed = step
        assert data.trainer.global_step == step
        return list(islice(data.train_dataloader(), count))

    whole = served(2, 0, 9)
    assert [batch.ids for batch in served(2, 3, 6)] == [batch.ids for batch in whole[3:]]
    assert [batch.ids for batch in served(0, 0, 4)] == [batch.ids for batch in served(1, 0, 4)]


def test_rewards_are_joined_and_rows_without_one_dropped(folder: Path) -> None:
    chosen = [World(48).case_id("train", 0, index) for index in (3, 4, 20)]
    rewards = Rewards("test", {id: reward(id, 2.0) for id in chosen} | {"other": reward("other")}, {})
    joined = StreamedRows(open_stream(str(folder)), rewards=rewards)
    assert sorted(ids(joined)) == sorted(chosen)
    assert all(
        row.reward.following.score == 2.0
        for row in joined.lane(0, 1, 0, 0)
        if isinstance(row, DatasetRow) and row.reward
    )
    strict = StreamedRows(open_stream(str(folder)), rewards=rewards, missing_reward="fail")
    with pytest.raises(ValueError, match=r"has no reward.*data.missing_reward=drop"):
        ids(strict)
    nothing = StreamedRows(open_stream(str(folder)), rewards=Rewards("test", {}, {}))
    with pytest.raises(ValueError, match="no rows with a usable reward"):
        next(nothing.endless(0, 1, 0))
    assert all(
        row.reward is None
        for row in StreamedRows(open_stream(str(folder)), own_rewards=False).lane(0, 1, 0, 0)
        if isinstance(row, DatasetRow)
    )


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """The same with two truncated images in consecutive rows."""
    import pyarrow
    import pyarrow.parquet

    target = tmp_path_factory.mktemp("broken")
    for number, file in enumerate(sorted(folder.glob("*.parquet"))):
        table = pyarrow.parquet.read_table(file)
        listed = table.to_pylist()
        for place in (1, 2) if number == 2 else ():
            listed[place]["edited_image"]["bytes"] = listed[place]["edited_image"]["bytes"][:60]
        pyarrow.parquet.write_table(
            pyarrow.Table.from_pylist(listed, schema=table.schema), target / file.name
        )
    return target


def test_a_broken_row_is_replaced_by_the_next_whole_one_wherever_training_resumes(
    broken: Path, tmp_path: Path
) -> None:
    rows, listed = StreamedRows(open_stream(str(broken))), tmp_path / "listed.jsonl"
    wrong = {World(48).case_id("train", 0, index) for index in (9, 10)}
    settings = {"world_size": 1, "batch_size": 1, "listed": listed}
    whole = batches(rows, COUNT, **settings)
    served = [batch.ids[0] for batch in whole]
    assert wrong.isdisjoint(served)
    order = ids(rows, seed=5)
    assert len(order) == COUNT
    place = min(order.index(id) for id in wrong)
    assert served == [*order[:place], *[order[place + 2]] * 3, *order[place + 3 :]]
    for start in (place, place + 1, place + 2, place + 3):
        rest = batches(rows, COUNT - start, start, **settings)
        assert [batch.ids[0] for batch in rest] == served[start:]
        assert all(
            torch.equal(one.edited, other.edited) for one, other in zip(rest, whole[start:], strict=True)
        )
    assert {problem.id for problem in read_problems(listed)} == wrong
    with pytest.raises(ValueError, match="is not a readable image"):
        batches(rows, COUNT, world_size=1)


def test_the_first_rows_are_checked_before_training(broken: Path, tmp_path: Path) -> None:
    listed = tmp_path / "listed.jsonl"
    with pytest.raises(ValueError, match=r"2 of the first 23 rows can't be used"):
        StreamedEditData(open_stream(str(broken)), 3, 0, 0).check(listed)
    report = StreamedEditData(open_stream(str(broken)), 3, 0, 0, on_error="skip").check(listed)
    assert str(report).startswith("23 rows; the first rows of a stream of 6 shards")
    assert len(read_problems(listed)) == 2


def test_a_saved_folder_needs_no_stream(folder: Path, tmp_path: Path) -> None:
    from src.data.huggingface_table import open_table

    open_table(str(folder), cache=str(tmp_path / "cache")).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match="say data=table"):
        open_stream(str(tmp_path / "saved"))


def test_killed_and_resumed(folder: Path, tmp_path: Path) -> None:
    rewards = tmp_path / "rewards.jsonl"
    append_rewards(
        rewards, [World(48).rewarded_triplet("train", 0, index)[1] for index in range(0, COUNT, 2)]
    )
    command = [
        *SMALL,
        "data=stream",
        f"data.stream.path={folder}",
        "+rewards@data.rewards=reward_file",
        f"data.rewards.path={rewards}",
        "data.transform.size=32",
        "data.readers=2",
        "data.batch_size=2",
        "~callbacks.previews",
        "trainer.log_every_n_steps=1",
        "trainer.precision=32-true",
        "trainer.max_steps=9",
        "callbacks.checkpoint.every_n_train_steps=3",
    ]
    whole, run, log = tmp_path / "whole", tmp_path / "run", tmp_path / "log"
    finished("src.train", *command, f"hydra.run.dir={whole}", log=log)
    assert Command("src.train", *command, f"hydra.run.dir={run}", log=log).killed_when(
        lines_in(run / "metrics.csv", 6)
    )
    finished("src.train", *command, f"hydra.run.dir={run}", log=log)
    assert_same(whole, run)
