"""Sets that outgrow one disk: `datasets` streaming, split over ranks and workers without repeats, resumed
exactly.

Every (rank, worker) is a lane with its own shards, or its own rows where there are fewer shards than lanes;
the order of the shards is drawn anew for each pass and nothing else is shuffled, as a buffer of rows can't be
rebuilt on resume. What a lane serves is a function of (seed, batches that were consumed, number of lanes).
Going on after a kill reads past the rows that were consumed without decoding them.

A row whose images can't be used is replaced by the next one of its lane, whole.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, final

import datasets
from datasets import IterableDataset
from datasets.distributed import split_dataset_by_node
from datasets.exceptions import DatasetNotFoundError, DatasetsError
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import IterableDataset as TorchIterable

from src.batch import EditBatch
from src.data.check import DataCheckReport, Problem, append_problem, write_problems
from src.data.columns import find_columns, has_rewards, reward_of_columns
from src.data.datamodule import ignore_interrupts
from src.data.dataset import collate
from src.data.huggingface_table import (
    hub_dataset_missing,
    loader_arguments,
    needed_columns,
    row_of_columns,
    with_reward,
    without_decoding,
)
from src.data.rewards import MissingReward, Rewards
from src.data.rows import DatasetRow, decode_row
from src.data.transforms import Transform, check_aspect_ratios
from src.records import Reward, Triplet
from src.seeds import fold_seed

READ_AHEAD = 8
"""Rows that are taken from a shard at once."""

MOST_BROKEN = 100
"""So many rows in a row that can't be used are taken for a broken set."""


class Placed(NamedTuple):
    """A row of a lane, and the pass over the whole stream in which it is served."""

    row: DatasetRow
    epoch: int


def open_stream(path: str, split: str = "train", name: str | None = None) -> IterableDataset:
    """What `datasets` streams from a path: parquet files, an imagefolder, or a hub id; see `open_table`.

    Raises:
        FileNotFoundError: a path, or a hub id, without anything there.
        ValueError: a `save_to_disk` folder, which needs no streaming, or whatever `datasets` says.
    """
    kind, arguments = loader_arguments(path)
    if kind == "saved":
        raise ValueError(f"{path} was written by save_to_disk and is read in place: say data=table")
    try:
        stream = datasets.load_dataset(kind, name, **arguments, split=split, streaming=True)
    except (ConnectionError, DatasetNotFoundError) as error:
        raise hub_dataset_missing(path) from error
    except (DatasetsError, ValueError, KeyError, OSError) as error:
        raise ValueError(
            f"{path} can't be streamed, split {split!r}: {str(error).splitlines()[0][:300]}"
        ) from error
    assert isinstance(stream, IterableDataset)
    return stream


@final
class StreamedRows:
    """Rows of a stream, lane by lane.

    Args:
        stream: see `open_stream`.
        columns: columns with names of their own, see columns.py.
        own_rewards: whether to read reward columns, if there are any.
        rewards: joined by id, in place of the stream's own.
        missing_reward: rows whose reward is missing or failed are left out, or an error.

    Raises:
        ValueError: no column for something needed, or images of another kind than encoded ones.
    """

    def __init__(
        self,
        stream: IterableDataset,
        columns: Mapping[str, str | bool | None] | None = None,
        own_rewards: bool = True,
        rewards: Rewards | None = None,
        missing_reward: MissingReward = "drop",
    ) -> None:
        if missing_reward not in ("drop", "fail"):
            raise ValueError(f"missing_reward is drop or fail, not {missing_reward!r}")
        names = stream.column_names
        if names is None:
            raise ValueError(
                "the stream doesn't say what its columns are: stream parquet files, or a set that declares its features"
            )
        self.columns = find_columns(names, columns or {}, "the stream")
        self.rated = own_rewards and rewards is None and has_rewards(names, "the stream")
        self.stream = without_decoding(
            stream.select_columns(needed_columns(self.columns, self.rated)), self.columns
        )
        self.rewards = rewards
        self.missing_reward = missing_reward

    def lane(self, lane: int, lanes: int, seed: int, epoch: int) -> Iterator[DatasetRow | Problem]:
        """What one of several lanes serves in a pass: every row that is rated, or why it can't be used.

        Raises:
            ValueError: a reward is missing or failed, and `missing_reward` is "fail".
        """
        strategy = "shards" if self.stream.num_shards >= lanes else "examples"
        part = split_dataset_by_node(self.stream, lane, lanes, strategy=strategy)
        part.set_epoch(
            1 + fold_seed("shards", seed, epoch) % 2**31
        )  # any other number than 0 is the seed of a shuffle of the shards
        # iterating in a worker process would divide the part among the workers once more; taking batches
        # doesn't
        yield from self._rows_of(part, f"lane {lane} of {lanes}")

    def in_order(self) -> Iterator[DatasetRow | Problem]:
        """Every row that is rated, in the order of the files, or why it can't be used.

        Raises:
            ValueError: a reward is missing or failed, and `missing_reward` is "fail".
        """
        return self._rows_of(self.stream, "the stream")

    def _rows_of(self, stream: IterableDataset, where: str) -> Iterator[DatasetRow | Problem]:
        number = 0
        for batch in stream.iter(READ_AHEAD):
            for place in range(len(batch[self.columns["instruction"]])):
                found = self._row(
                    {name: values[place] for name, values in batch.items()}, f"row {number} of {where}"
                )
                number += 1
                if found is not None:
                    yield found

    def endless(self, lane: int, lanes: int, seed: int) -> Iterator[tuple[DatasetRow | Problem, int]]:
        """Pass after pass of a lane, with the number of the pass.

        Raises:
            ValueError: a pass without a row; as `lane`.
        """
        epoch = 0
        while True:
            served = 0
            for found in self.lane(lane, lanes, seed, epoch):
                served += 1
                yield found, epoch
            if not served:
                raise ValueError(
                    f"lane {lane} of {lanes} has no rows with a usable reward in pass {epoch}: give fewer readers or more data"
                )
            epoch += 1

    def _row(self, values: Mapping[str, Any], where: str) -> DatasetRow | Problem | None:
        """A row, what is wrong with it, or None for one that is left out as it has no reward."""
        id = str(values[self.columns["id"]]) if "id" in self.columns else None
        try:
            row = row_of_columns(values, self.columns, id, where)
        except (ValueError, FileNotFoundError) as error:
            return Problem(None, id or where, "row", str(error))
        if self.rewards is None and not self.rated:
            return row
        try:
            reward = self._reward(row.id, values)
        except ValueError as error:
            return Problem(None, row.id, "reward", str(error))
        if reward is not None and not reward.failed:
            return with_reward(row, reward)
        if self.missing_reward == "fail":
            raise ValueError(
                f"{row.id!r} has no reward, or a failed one: rate it, or drop such rows with data.missing_reward=drop"
            )
        return None

    def _reward(self, id: str, values: Mapping[str, Any]) -> Reward | None:
        if self.rewards is None:
            return reward_of_columns(values.__getitem__, id)
        if id in self.rewards.wrong:
            raise ValueError(self.rewards.wrong[id])
        return self.rewards.by_id.get(id)


@final
class LaneBatches(TorchIterable):
    """The batches of one rank, as the workers of its DataLoader make them: they take turns, beginning with
    the one whose turn it is.

    Args:
        rows: all of them.
        transform: of both images; None serves them as they are.
        batch_size: rows in a batch.
        rank, world_size: of this process.
        readers: lanes of a rank.
        seed: of the order of shards, and of crops and flips.
        start: number of batches that this rank consumed before (resume).
        listed: the file that names rows which can't be used; None lets them end the training.
    """

    def __init__(
        self,
        rows: StreamedRows,
        transform: Transform | None,
        batch_size: int,
        rank: int,
        world_size: int,
        readers: int,
        seed: int,
        start: int,
        listed: Path | None,
    ) -> None:
        self.rows = rows
        self.transform = transform
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.readers = readers
        self.seed = seed
        self.start = start
        self.listed = listed

    def __iter__(self) -> Iterator[EditBatch]:
        worker = get_worker_info()
        reader, before = reader_turn(self.start, self.readers, 0 if worker is None else worker.id)
        lane = self.rank * self.readers + reader
        placed = self.rows.endless(lane, self.world_size * self.readers, self.seed)
        usable = self._usable(islice(placed, before * self.batch_size, None))
        while True:
            yield collate(list(islice(usable, self.batch_size)))

    def _usable(
        self, placed: Iterator[tuple[DatasetRow | Problem, int]]
    ) -> Iterator[tuple[Triplet, Reward | None]]:
        """One triplet for every place in the lane, so that places can be counted without decoding: in place
        of a row that can't be used stands the next that can, cropped otherwise.
        """
        vacant = 0
        for found, epoch in placed:
            problem = found if isinstance(found, Problem) else None
            triplets: list[Triplet] = []
            if isinstance(found, DatasetRow):
                try:
                    triplet = decode_row(found)
                    triplets = [
                        self._transformed(triplet, found.reward, epoch, distance)
                        for distance in range(vacant, -1, -1)
                    ]
                except (ValueError, FileNotFoundError) as error:
                    problem = Problem(None, found.id, "unreadable", str(error), found="while")
            if problem is None and isinstance(found, DatasetRow):
                yield from ((triplet, found.reward) for triplet in triplets)
                vacant = 0
                continue
            assert problem is not None
            vacant += 1
            if self.listed is None or vacant > MOST_BROKEN:
                raise ValueError(problem.reason)
            append_problem(self.listed, problem)

    def _transformed(self, triplet: Triplet, reward: Reward | None, epoch: int, distance: int) -> Triplet:
        if self.transform is None:
            return triplet
        seed = fold_seed("transform", self.seed, epoch, triplet.case.id)
        return self.transform(
            triplet, reward, seed if distance == 0 else fold_seed("instead", seed, distance)
        )


def reader_turn(start: int, readers: int, worker: int) -> tuple[int, int]:
    """Which lane of its rank a worker of a resumed DataLoader serves, and how many batches that lane has
    served before.

    Batch k of a rank is that of lane k % readers, and a DataLoader always begins with worker 0.
    """
    lane = (start + worker) % readers
    return lane, (start - lane + readers - 1) // readers


class StreamedEditData(LightningDataModule):
    """Serves a stream.

    Args:
        stream: see `open_stream`.
        batch_size: per rank.
        readers: processes of a rank that read and decode, each its own part of the stream; with 0 the
            training process does. Part of the order.
        seed: of the order of shards, and of crops and flips.
        transform: of both images of a pair; None for triplets that have the size they are trained at.
        columns: columns with names of their own, see columns.py.
        own_rewards: whether to read reward columns, if there are any.
        rewards: joined by id, in place of the stream's own.
        missing_reward: rows whose reward is missing or failed are left out, or an error.
        on_error: rows that can't be used end the training, or are listed in a file and replaced by the next
            ones.
        check: how many of the first rows are decoded before training; nobody can look at all of a stream.

    Raises:
        ValueError: an unknown `on_error`, or what `StreamedRows` raises.
    """

    def __init__(
        self,
        stream: IterableDataset,
        batch_size: int,
        readers: int,
        seed: int,
        transform: Transform | None = None,
        columns: Mapping[str, str | bool | None] | None = None,
        own_rewards: bool = True,
        rewards: Rewards | None = None,
        missing_reward: MissingReward = "drop",
        on_error: Literal["fail", "skip"] = "fail",
        check: int = 100,
    ) -> None:
        super().__init__()
        if on_error not in ("fail", "skip"):
            raise ValueError(f"on_error is fail or skip, not {on_error!r}")
        self.rows = StreamedRows(stream, columns, own_rewards, rewards, missing_reward)
        self.batch_size = batch_size
        self.readers = readers
        self.seed = seed
        self.transform = transform
        self.on_error = on_error
        self.first_rows = check
        self.listed: Path | None = None

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images in a batch: the transform's, or read off the first row that can
        be.
        """
        if self.transform is not None:
            return self.transform.image_size
        first = next(found for found in self.rows.lane(0, 1, self.seed, 0) if isinstance(found, DatasetRow))
        return first.original.size()

    def check(self, listed: Path) -> DataCheckReport:
        """Look at the first rows.

        Args:
            listed: the file that names the rows which can't be used.

        Raises:
            ValueError: rows that can't be used, unless they are to be skipped; or no row at all.
        """
        seen = list(islice(self.rows.lane(0, 1, self.seed, 0), self.first_rows))
        problems = [problem for problem in map(check_streamed_row, seen) if problem is not None]
        write_problems(listed, problems)
        if problems and self.on_error == "fail":
            raise ValueError(
                f"{len(problems)} of the first {len(seen)} rows can't be used, the first because {problems[0].reason}; all are listed in {listed}: "
                "correct them, or say data.on_error=skip"
            )
        if self.first_rows and len(problems) == len(seen):
            raise ValueError(
                f"the first {len(seen)} rows with a reward can't be used, or there are none, see {listed}"
            )
        self.listed = listed if self.on_error == "skip" else None
        return DataCheckReport(
            len(seen),
            f"the first ones of a stream of {self.rows.stream.num_shards} shards, their pictures decoded",
            problems,
            {},
        )

    def train_dataloader(self) -> DataLoader[EditBatch]:
        """Endless batches from the step at which training stands."""
        trainer = self.trainer
        assert trainer is not None
        start = trainer.global_step * trainer.accumulate_grad_batches
        place = {
            "rank": trainer.global_rank,
            "world_size": trainer.world_size,
            "readers": max(1, self.readers),
        }
        return DataLoader(
            LaneBatches(
                self.rows,
                self.transform,
                self.batch_size,
                seed=self.seed,
                start=start,
                listed=self.listed,
                **place,
            ),
            batch_size=None,
            num_workers=self.readers,
            persistent_workers=self.readers > 0,
            worker_init_fn=ignore_interrupts,
        )


def check_streamed_row(found: DatasetRow | Problem) -> Problem | None:
    """What is wrong with a row, its images decoded."""
    if isinstance(found, Problem):
        return found
    try:
        triplet = decode_row(found)
        check_aspect_ratios(triplet.case.original.shape[:2], triplet.edited.shape[:2], found.id)
    except (ValueError, FileNotFoundError) as error:
        return Problem(None, found.id, "unreadable", str(error))
    return None
