"""Batches of rewarded triplets for Lightning: any dataset, any number of ranks and workers."""

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, final

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from src.batch import EditBatch, EncodedBatch
from src.data.check import DataCheckReport, Thoroughness
from src.data.collate import collate
from src.data.dataset import RewardedTriplets
from src.data.order import GlobalBatchOrder, SampleIndexSampler
from src.data.precomputed import PrecomputedRows, collate_encoded
from src.data.rewards import MissingReward, Rewards, WithRewards
from src.data.training_rows import TrainingRows
from src.data.transformed_dataset import TransformedDataset
from src.data.transforms import Transform


@final
class EditData(LightningDataModule):
    """Serves a dataset.

    Args:
        dataset: rewarded triplets; built, and so validated, before any model.
        batch_size: per rank.
        num_workers: processes that prepare batches; 0 prepares them in the training process.
        seed: of the order, of crops and flips.
        transform: of both images of a pair; None for triplets that have their training size.
        rewards: joined by id to the rows of a dataset on disk; None for the dataset's own.
        missing_reward: rows whose reward is missing or failed are dropped and counted, or an error.
        on_error: rows that can't be used end the training before it begins, or are listed in a file and
            replaced by other rows.
        check: how thoroughly a dataset on disk is checked, see check.py.
        augmentations: number of transformed versions of a pair, the same for every seed, taken in turn; None
            for a new one in each pass, or for as many as are precomputed.
        precomputed: a folder of src.precompute that holds images and texts encoded; they are then not read.
        control: makes what is served of the dataset: the same triplets with other rewards, or some of them
            (conf/control).
        outside: whether rows may name files outside of their dataset's folder; conf/data hands it to the
            datasets, nothing else depends on it.

    Raises:
        FileNotFoundError: nothing precomputed there.
        ValueError: rewards or precomputed conditions for a dataset that is not on disk, a control for one
            that is, an unknown `on_error`, less than one augmentation, or what `WithRewards` or the control
            raises.
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
        augmentations: int | None = None,
        precomputed: str | Path | None = None,
        control: Callable[[RewardedTriplets], RewardedTriplets] | None = None,
        outside: bool = False,
    ) -> None:
        super().__init__()
        self.rows = TrainingRows(
            dataset,
            transform,
            rewards,
            missing_reward,
            on_error,
            check,
            augmentations,
            precomputed,
            control,
        )
        self.dataset = self.rows.dataset
        self.transform = transform
        self.on_error = on_error
        self.augmentations = augmentations
        self.precomputed = self.rows.precomputed
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images in a batch."""
        return self.rows.image_size

    def check(self, listed: Path) -> DataCheckReport | None:
        """Check the rows, see `TrainingRows.check`."""
        return self.rows.check(listed)

    def train_dataloader(self) -> DataLoader[EditBatch | EncodedBatch]:
        """Endless batches from the step that training has reached."""
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
        if self.precomputed is None:
            samples = TransformedDataset(
                self.dataset,
                self.transform,
                self.seed,
                self.rows.broken,
                self.rows.listed,
                self.augmentations,
            )
        else:
            assert isinstance(self.dataset, WithRewards)  # so TrainingRows has it
            samples = PrecomputedRows(self.dataset, self.precomputed)
        return DataLoader(
            samples,  # pyright: ignore[reportArgumentType]  # torch asks for a nominal Dataset
            batch_sampler=SampleIndexSampler(order),
            collate_fn=collate if self.precomputed is None else collate_encoded,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=ignore_interrupts,
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Attach the lookup of encoded texts, in the training's process: dropout decides which are needed."""
        return batch if self.precomputed is None else replace(batch, recall=self.precomputed.tokens)


def ignore_interrupts(worker: int) -> None:
    """Ignore Ctrl-C and a scheduler's SIGTERM in a worker: they reach every process of the group, but workers
    must live until the training has finished its step. They end with it, as each checks every few seconds
    whether its parent is alive.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
