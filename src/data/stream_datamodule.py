"""Batches of a stream for Lightning: every rank and worker reads a lane of its own."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal, final

from datasets import IterableDataset
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import IterableDataset as TorchIterable

from src.batch import EditBatch
from src.data.check import DataCheckReport
from src.data.collate import collate
from src.data.dataset import Example
from src.data.examples import as_examples, without_chance
from src.data.problems import Problem, append_problem
from src.data.rewards import MissingReward, Rewards
from src.data.rows import DatasetRow, decode_row
from src.data.stream import StreamedRows, TrainingStream
from src.data.training_loader import ignore_interrupts
from src.data.transforms import Transform
from src.records import Reward, Triplet
from src.seeds import fold_seed

MOST_BROKEN = 100
"""After this many consecutive unusable rows the dataset is considered broken."""


@final
class LaneBatches(TorchIterable):
    """The batches of one rank. The workers of its DataLoader take turns, starting with the one whose turn it
    is.

    Args:
        rows: all of them.
        transform: of both images; None serves them unchanged.
        batch_size: rows in a batch.
        rank, world_size: of this process.
        readers: lanes of a rank.
        seed: of the order of shards, and of crops and flips.
        start: number of batches that this rank has consumed (resume).
        listed: the file that lists rows that can't be used; None lets them end the training.
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
        rows = self.rows.endless(lane, self.world_size * self.readers, self.seed)
        usable = self._usable(islice(rows, before * self.batch_size, None))
        while True:
            yield collate(list(islice(usable, self.batch_size)))

    def _usable(
        self, rows: Iterator[tuple[DatasetRow | Problem, int]]
    ) -> Iterator[tuple[Triplet, Reward | None]]:
        """Yield one triplet for every place in the lane, so that places can be counted without decoding: a
        row that can't be used is replaced by the next usable one, with another crop.
        """
        vacant = 0
        for row, epoch in rows:
            problem = row if isinstance(row, Problem) else None
            triplets: list[Triplet] = []
            if isinstance(row, DatasetRow):
                try:
                    triplet = decode_row(row)
                    triplets = [
                        self._transformed(triplet, row.reward, epoch, distance)
                        for distance in range(vacant, -1, -1)
                    ]
                except (ValueError, FileNotFoundError) as error:
                    problem = Problem(None, row.id, "unreadable", str(error), found="while")
            if problem is None and isinstance(row, DatasetRow):
                yield from ((triplet, row.reward) for triplet in triplets)
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


def decoded(rows: Iterator[DatasetRow | Problem]) -> Iterator[tuple[Triplet, Reward | None]]:
    """The triplets of the rows that can be used."""
    for row in rows:
        if isinstance(row, DatasetRow):
            try:
                yield decode_row(row), row.reward
            except (ValueError, FileNotFoundError):
                continue  # listed when it is trained on


def reader_turn(start: int, readers: int, worker: int) -> tuple[int, int]:
    """Return the lane of its rank that a worker of a resumed DataLoader serves, and the number of batches
    that lane has served before.

    Batch k of a rank belongs to lane k % readers, and a DataLoader always begins with worker 0.
    """
    lane = (start + worker) % readers
    return lane, (start - lane + readers - 1) // readers


@final
class StreamedEditData(LightningDataModule):
    """Serves a stream.

    Args:
        stream: see `open_stream`.
        batch_size: per rank.
        readers: processes of a rank that read and decode, each its own part of the stream; 0 reads in the
            training process. Part of the order.
        seed: of the order of shards, and of crops and flips.
        transform: of both images of a pair; None for triplets that have their training size.
        columns: names of the columns where they can't be guessed, see columns.py.
        own_rewards: whether to read reward columns, if there are any.
        rewards: joined by id, in place of the stream's own.
        missing_reward: rows whose reward is missing or failed are dropped, or an error.
        on_error: rows that can't be used end the training, or are listed in a file and replaced by the next
            ones.
        check: number of first rows that are decoded before training; a whole stream can't be checked.
        source, outside: see `HuggingFaceTable`.
        only: see `StreamedRows`.

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
        source: str | None = None,
        outside: bool = False,
        only: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.stream = TrainingStream(
            stream,
            seed,
            transform,
            columns,
            own_rewards,
            rewards,
            missing_reward,
            on_error,
            check,
            source,
            outside,
            only,
        )
        self.batch_size = batch_size
        self.readers = readers

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images in a batch."""
        return self.stream.image_size

    @property
    def is_unrated(self) -> bool:
        """Whether no row has a reward."""
        return not self.stream.rows.rated and self.stream.rows.rewards is None

    def examples(self, count: int) -> Sequence[Example]:
        """What previews show. Raises ValueError if no row can be shown."""
        rows = self.stream.rows.in_order()
        return as_examples(decoded(rows), without_chance(self.stream.transform), count, "the stream's rows")

    def sample_rows(self, count: int) -> list[DatasetRow]:
        """The first rows, `count` at most."""
        return [row for row in islice(self.stream.rows.in_order(), count) if isinstance(row, DatasetRow)]

    def check(self, listed: Path) -> DataCheckReport:
        """Check the first rows, see `TrainingStream.check`."""
        return self.stream.check(listed)

    def train_dataloader(self) -> DataLoader[EditBatch]:
        """Endless batches from the step that training has reached."""
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
                self.stream.rows,
                self.stream.transform,
                self.batch_size,
                seed=self.stream.seed,
                start=start,
                listed=self.stream.listed,
                **place,
            ),
            batch_size=None,
            num_workers=self.readers,
            persistent_workers=self.readers > 0,
            worker_init_fn=ignore_interrupts,
        )
