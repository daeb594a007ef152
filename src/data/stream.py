"""Datasets that outgrow one disk: `datasets` streaming, split over ranks and workers without repeats, resumed
exactly.

Every (rank, worker) is a lane with its own shards, or its own rows where there are fewer shards than lanes.
Only the order of the shards is shuffled, in each pass: a buffer of shuffled rows could not be rebuilt on
resume. What a lane serves is a function of (seed, batches consumed, number of lanes); resuming skips the rows
that were consumed without decoding them. stream_datamodule.py makes batches of it.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Literal, final

import datasets
from datasets import IterableDataset
from datasets.distributed import split_dataset_by_node
from datasets.exceptions import DatasetNotFoundError, DatasetsError

from src.data.check import DataCheckReport
from src.data.columns import find_columns, has_rewards, reward_of_columns
from src.data.huggingface_table import (
    hub_dataset_missing,
    ids_of,
    needed_columns,
    of_web_dataset,
    reach_of,
    row_of_columns,
    unreadable,
    with_reward,
    without_decoding,
)
from src.data.only import check_all_there, kept_ids
from src.data.problems import Problem, write_problems
from src.data.rewards import MissingReward, Rewards
from src.data.rows import DatasetRow, RowStream, decode_row
from src.data.table_files import SAVED, WEB_DATASET, table_files
from src.data.transforms import Transform, check_aspect_ratios
from src.records import Reward
from src.seeds import fold_seed

READ_AHEAD = 8
"""Rows taken from a shard at once."""

IDS_AT_ONCE = 1000


def open_stream(path: str, split: str = "train", name: str | None = None) -> IterableDataset:
    """Stream parquet files, a WebDataset, an imagefolder or a hub id with `datasets`; see `open_table`.

    Raises:
        FileNotFoundError: nothing at this path or hub id.
        ValueError: a table that needs no streaming, or an error of `datasets`.
    """
    files = table_files(path, split)
    if files.builder == SAVED or files.columns is not None:
        raise ValueError(f"{path} is read in place: say data=table data.dataset.table.path={path}")
    try:
        stream = datasets.load_dataset(files.builder, name, **files.arguments, split=split, streaming=True)
    except (ConnectionError, DatasetNotFoundError) as error:
        raise hub_dataset_missing(path) from error
    except (DatasetsError, ValueError, KeyError, OSError) as error:
        raise unreadable(path, "streamed", split, error) from error
    assert isinstance(stream, IterableDataset)
    return of_web_dataset(stream) if files.builder == WEB_DATASET else stream


@final
class StreamedRows(RowStream):
    """Rows of a stream, lane by lane.

    Args:
        stream: see `open_stream`.
        columns: names of the columns where they can't be guessed, see columns.py.
        own_rewards: whether to read reward columns, if there are any.
        rewards: joined by id, in place of the stream's own.
        missing_reward: rows whose reward is missing or failed are dropped, or an error.
        source, outside: see `HuggingFaceTable`.
        only: a selection, whose rows alone are read; None for all. Its ids are looked for at once, which
            reads a stream without an id column from beginning to end.

    Raises:
        FileNotFoundError: no selection.
        ValueError: a required column is missing, images are not stored encoded, or a selected row isn't
            there.
    """

    def __init__(
        self,
        stream: IterableDataset,
        columns: Mapping[str, str | bool | None] | None = None,
        own_rewards: bool = True,
        rewards: Rewards | None = None,
        missing_reward: MissingReward = "drop",
        source: str | None = None,
        outside: bool = False,
        only: str | Path | None = None,
    ) -> None:
        self.reach = reach_of(source, outside)
        if missing_reward not in ("drop", "fail"):
            raise ValueError(f"missing_reward is drop or fail, not {missing_reward!r}")
        names = stream.column_names
        if names is None:
            raise ValueError(
                "the stream doesn't declare its columns: stream parquet files, "
                "or a dataset with declared features"
            )
        self.columns = find_columns(names, columns or {}, "the stream", "data.columns")
        self.rated = own_rewards and rewards is None and has_rewards(names, "the stream")
        self.stream = without_decoding(
            stream.select_columns(needed_columns(self.columns, self.rated)), self.columns
        )
        self.rewards = rewards
        self.missing_reward = missing_reward
        self.only: frozenset[str] | None = None
        if only is not None:
            ids = kept_ids(only)
            check_all_there(only, ids, self._ids())
            self.only = ids

    def lane(self, lane: int, lanes: int, seed: int, epoch: int) -> Iterator[DatasetRow | Problem]:
        """Iterate over one of several lanes in a pass: every row that is rated, or why it can't be used.

        Raises:
            ValueError: a reward is missing or failed, and `missing_reward` is "fail".
        """
        strategy = "shards" if self.stream.num_shards >= lanes else "examples"
        part = split_dataset_by_node(self.stream, lane, lanes, strategy=strategy)
        # any number but 0 seeds a shuffle of the shards
        part.set_epoch(1 + fold_seed("shards", seed, epoch) % 2**31)
        # plain iteration in a worker process would split the part among the workers again; `iter` doesn't
        yield from self._rows_of(part, f"lane {lane} of {lanes}")

    def in_order(self) -> Iterator[DatasetRow | Problem]:
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
        """Repeat a lane pass after pass; each row comes with the number of its pass.

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
                    f"lane {lane} of {lanes} has no rows with a usable reward in pass {epoch}: "
                    "give fewer readers or more data"
                )
            epoch += 1

    def _row(self, values: Mapping[str, Any], where: str) -> DatasetRow | Problem | None:
        """Return a row, what is wrong with it, or None for one that is left out: not chosen, or no reward."""
        id = None
        try:
            if "id" in self.columns:
                id = ids_of([values[self.columns["id"]]], where)[0]
                if self._left_out(id):
                    return None
            row = row_of_columns(values, self.columns, id, where, self.reach)
        except (ValueError, FileNotFoundError) as error:
            return Problem(None, id or where, "row", str(error))
        if self._left_out(row.id):
            return None
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
                f"{row.id!r} has no reward, or a failed one: rate it, or drop such rows with "
                "data.missing_reward=drop"
            )
        return None

    def _ids(self) -> Iterator[str]:
        """The ids of all rows that can be read."""
        if "id" not in self.columns:
            yield from (row.id for row in self.in_order() if isinstance(row, DatasetRow))
            return
        column = self.columns["id"]
        for batch in self.stream.select_columns([column]).iter(IDS_AT_ONCE):
            yield from map(str, batch[column])

    def _left_out(self, id: str) -> bool:
        return self.only is not None and id not in self.only

    def _reward(self, id: str, values: Mapping[str, Any]) -> Reward | None:
        if self.rewards is None:
            return reward_of_columns(values.__getitem__, id)
        if id in self.rewards.wrong:
            raise ValueError(self.rewards.wrong[id])
        return self.rewards.by_id.get(id)


@final
class TrainingStream:
    """A stream as it is trained on, before anything is a tensor.

    Args:
        stream, seed, transform, columns, own_rewards, rewards, missing_reward, on_error, check, source,
            outside, only: see `StreamedEditData`.

    Attributes:
        rows: every row that is rated.
        listed: the file that lists rows that can't be used; None where they end the training.

    Raises:
        ValueError: an unknown `on_error`, a `check` that is no number, or what `StreamedRows` raises.
    """

    def __init__(
        self,
        stream: IterableDataset,
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
        if on_error not in ("fail", "skip"):
            raise ValueError(f"on_error is fail or skip, not {on_error!r}")
        if isinstance(check, bool) or not isinstance(check, int) or check < 0:
            raise ValueError(
                f"data.check={check} is not possible for a stream, whose end is unknown: give a number of "
                "first rows"
            )
        self.rows = StreamedRows(stream, columns, own_rewards, rewards, missing_reward, source, outside, only)
        self.seed = seed
        self.transform = transform
        self.on_error = on_error
        self.first_rows = check
        self.listed: Path | None = None

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images in a batch: the transform's, or those of the first usable row."""
        if self.transform is not None:
            return self.transform.image_size
        first = next(row for row in self.rows.lane(0, 1, self.seed, 0) if isinstance(row, DatasetRow))
        return first.original.size()

    def check(self, listed: Path) -> DataCheckReport:
        """Check the first rows.

        Args:
            listed: the file that names the rows which can't be used.

        Raises:
            ValueError: rows that can't be used, unless they are to be skipped; or no usable row at all.
        """
        first = list(islice(self.rows.lane(0, 1, self.seed, 0), self.first_rows))
        problems = [problem for problem in map(check_streamed_row, first) if problem is not None]
        write_problems(listed, problems)
        if problems and self.on_error == "fail":
            raise ValueError(
                f"{len(problems)} of the first {len(first)} rows can't be used, the first because "
                f"{problems[0].reason}; all are listed in {listed}: correct them, or say data.on_error=skip"
            )
        if self.first_rows and len(problems) == len(first):
            raise ValueError(
                f"the first {len(first)} rows with a reward can't be used, or there are none, see {listed}"
            )
        self.listed = listed if self.on_error == "skip" else None
        return DataCheckReport(
            len(first),
            f"the first rows of a stream of {self.rows.stream.num_shards} shards, their images decoded",
            problems,
            {},
        )


def check_streamed_row(row: DatasetRow | Problem) -> Problem | None:
    """Decode a row and report what is wrong with it."""
    if isinstance(row, Problem):
        return row
    try:
        triplet = decode_row(row)
        check_aspect_ratios(triplet.case.original.shape[:2], triplet.edited.shape[:2], row.id)
    except (ValueError, FileNotFoundError) as error:
        return Problem(None, row.id, "unreadable", str(error))
    return None
