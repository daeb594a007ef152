"""Batches of rewarded triplets for Lightning, any dataset, any number of ranks and workers."""

import signal

from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader

from src.batch import EditBatch
from src.data.dataset import RewardedTriplets, collate
from src.data.order import GlobalBatchOrder


class EditData(LightningDataModule):
    """Serves a dataset.

    Args:
        dataset: rewarded triplets; built, and so validated, before any model.
        batch_size: per rank.
        num_workers: processes that prepare batches; 0 prepares them in the training process.
        seed: of the order.
    """

    def __init__(self, dataset: RewardedTriplets, batch_size: int, num_workers: int, seed: int) -> None:
        super().__init__()
        self.dataset = dataset
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width of the pictures, read off the first triplet."""
        height, width, _ = self.dataset[0][0].case.original.shape
        return height, width

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
            self.dataset,  # pyright: ignore[reportArgumentType]  # torch asks for a nominal Dataset, any sequence will do
            batch_sampler=order,
            collate_fn=collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=leave_interrupts_to_the_training,
        )


def leave_interrupts_to_the_training(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; workers must live on until the training has finished its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
