"""Batches of rewarded triplets for Lightning, any dataset, any number of ranks and workers."""

import signal
from pathlib import Path
from typing import Literal

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from src.batch import EditBatch
from src.data.check import Report, Thoroughness, check, write_problems
from src.data.dataset import RewardedTriplets, collate
from src.data.order import GlobalBatchOrder, VisitOrder
from src.data.rewards import MissingReward, Rated, Rewards
from src.data.rows import RowSource
from src.data.served import Served
from src.data.transforms import Transform


class EditData(LightningDataModule):
    """Serves a dataset.

    Args:
        dataset: rewarded triplets; built, and so validated, before any model.
        batch_size: per rank.
        num_workers: processes that prepare batches; 0 prepares them in the training process.
        seed: of the order, of crops and flips.
        transform: of both pictures of a pair; None for triplets that have the size they are trained at.
        rewards: joined to the rows of a dataset on disk by their ids; None for those that it brings along.
        missing_reward: rows whose reward is missing or failed are dropped and counted, or an error.
        on_error: rows that can't be used end the training before it begins, or are listed in a file and other rows stand in their place.
        check: how closely the rows of a dataset on disk are looked at, see check.py.

    Raises:
        ValueError: rewards for a dataset that can't be joined, an unknown `on_error`, or what `Rated` raises.
    """

    def __init__(
        self,
        dataset: RewardedTriplets,
        batch_size: int,
        num_workers: int,
        seed: int,
        transform: Transform | None = None,
        rewards: Rewards | None = None,
        missing_reward: MissingReward = "drop",
        on_error: Literal["fail", "skip"] = "fail",
        check: Thoroughness = 1000,
    ) -> None:
        super().__init__()
        if on_error not in ("fail", "skip"):
            raise ValueError(f"on_error is fail or skip, not {on_error!r}")
        if rewards is not None and not isinstance(dataset, RowSource):
            raise ValueError(f"rewards can't be joined to {type(dataset).__name__}, only to datasets on disk")
        self.dataset = Rated(dataset, rewards, missing_reward) if isinstance(dataset, RowSource) else dataset
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.transform = transform
        self.on_error = on_error
        self.thoroughness: Thoroughness = check
        self.broken: frozenset[int] = frozenset()
        self.listed: Path | None = None

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width of the pictures in a batch: the transform's, or read off the first triplet."""
        if self.transform is not None:
            return self.transform.picture_size
        height, width, _ = self.dataset[0][0].case.original.shape
        return height, width

    def check(self, listed: Path) -> Report | None:
        """Look at a dataset on disk; one that is made on the fly has nothing to look at.

        Args:
            listed: the file that names the rows which can't be used.

        Raises:
            ValueError: rows that can't be used, unless they are to be skipped; or no row is left.
        """
        if not isinstance(self.dataset, Rated):
            return None
        report = check(self.dataset, self.thoroughness)
        write_problems(listed, report.problems)
        if report.problems and self.on_error == "fail":
            raise ValueError(
                f"{len(report.problems)} rows can't be used, the first because {report.problems[0].reason}; all are listed in {listed}: "
                "correct them, or say data.on_error=skip"
            )
        self.broken = frozenset(problem.index for problem in report.problems if problem.index is not None)
        if len(self.broken) >= len(self.dataset):
            raise ValueError(f"no row is left: of {len(self.dataset)} with a usable reward, {len(self.broken)} can't be used, see {listed}")
        self.listed = listed if self.on_error == "skip" else None
        return report

    def train_dataloader(self) -> DataLoader[EditBatch]:
        """Endless batches from the step at which training stands."""
        trainer = self.trainer
        assert trainer is not None
        order = GlobalBatchOrder(
            len(self.dataset),
            self.batch_size,
            trainer.global_rank,
            trainer.world_size,
            self.seed,
            start=trainer.global_step * trainer.accumulate_grad_batches,
        )
        return DataLoader(
            # torch asks for a nominal Dataset, any sequence will do
            Served(self.dataset, self.transform, self.seed, self.broken, self.listed),  # pyright: ignore[reportArgumentType]
            batch_sampler=VisitOrder(order),
            collate_fn=collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=leave_interrupts_to_the_training,
        )


def leave_interrupts_to_the_training(worker: int) -> None:
    """Ctrl-C, and SIGTERM from a scheduler, reach every process of a group; workers must live on until the training has finished its step. They end
    with it: each looks every few seconds whether its parent is still there.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
