"""Progress of a training: a rich bar in a terminal, a plain line every few seconds elsewhere (CI, logs, sweep
jobs).
"""

import sys
import time
from typing import Any, final

from pytorch_lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from src.batch import EditBatch, EncodedBatch


@final
class Progress(Callback):
    """Step, loss, samples/s over all ranks, elapsed time and ETA.

    Args:
        every_seconds: between plain lines.
    """

    def __init__(self, every_seconds: float = 15.0) -> None:
        self.every_seconds = every_seconds
        self.bar: Bar | None = None
        self.samples = 0
        self.first_step = 0
        self.start = 0.0
        self.last_line = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.start = self.last_line = time.monotonic()
        self.first_step = trainer.global_step
        if trainer.is_global_zero and sys.stderr.isatty():
            columns = (
                "training",
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                "ETA",
                TimeRemainingColumn(),
                TextColumn("{task.fields[told]}"),
            )
            self.bar = Bar(*columns, console=Console(stderr=True))
            self.task = self.bar.add_task(
                "training", total=trainer.max_steps, completed=trainer.global_step, told=""
            )
            self.bar.start()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: EditBatch | EncodedBatch,
        batch_idx: int,
    ) -> None:
        """Count and show."""
        self.samples += len(batch.ids) * trainer.world_size
        if not trainer.is_global_zero:
            return
        now = time.monotonic()
        last = trainer.global_step >= trainer.max_steps
        if self.bar is None and now - self.last_line < self.every_seconds and not last:
            return
        rate = self.samples / (now - self.start)
        loss = trainer.callback_metrics.get(
            "train/loss"
        )  # absent while a training has seen chat samples only
        told = f"loss {'-' if loss is None else f'{float(loss):.4f}'}  {speed(rate)}"
        if self.bar is not None:
            self.bar.update(self.task, completed=trainer.global_step, told=told)
            return
        self.last_line = now
        done = trainer.global_step - self.first_step
        remaining = (trainer.max_steps - trainer.global_step) * (now - self.start) / max(done, 1)
        print(
            f"step {trainer.global_step}/{trainer.max_steps}  {told}  ETA {remaining:.0f} s",
            file=sys.stderr,
            flush=True,
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the terminal as it was."""
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was, so that the error line stands alone."""
        self._stop()

    def _stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def speed(samples_per_second: float) -> str:
    """A rate as people read it: "35 samples/s", "0.4 samples/s", or "12 s/sample" where it is slower."""
    if samples_per_second >= 10.0:
        return f"{samples_per_second:.0f} samples/s"
    if samples_per_second >= 0.1 or samples_per_second <= 0.0:
        return f"{samples_per_second:.1f} samples/s"
    return f"{1.0 / samples_per_second:.0f} s/sample"
