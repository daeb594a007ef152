"""A callback that records, by rank, which triplets a training used.

+callbacks.samples._target_=sample_log.SampleLog +callbacks.samples.folder=DIR, with tests/ on the path
"""

from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class SampleLog(Callback):
    """Appends the ids of every batch to `<folder>/<rank>.txt`, a batch a line."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        with (self.folder / f"{trainer.global_rank}.txt").open("a") as file:
            file.write(f"{trainer.world_size} {trainer.global_step} {' '.join(batch.ids)}\n")
