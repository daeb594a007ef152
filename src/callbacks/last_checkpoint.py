"""checkpoints/last.ckpt: written every so many optimiser steps, at the end, and when someone stops the
training.

Everything that a resumed training needs is in it, and it is always one between two optimiser steps. Written
through `AtomicCheckpointIO`, so a kill while it is being written leaves the one before.
"""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from src import checkpoint as checkpoints
from src.callbacks.metrics_file import MetricsFile, write_row_before_checkpoint

STOPPING = (signal.SIGINT, signal.SIGTERM)


class TrainingStopped(Exception):  # noqa: N818  # nothing went wrong
    """Ctrl-C or SIGTERM ended a training after a checkpoint was written."""


class LastCheckpoint(Checkpoint):
    """Keeps one checkpoint. Lightning calls callbacks of this kind after all others, so what they did for a
    step is done when it is saved.

    Args:
        dirpath: folder of last.ckpt.
        every_n_train_steps: optimiser steps between two checkpoints.
    """

    def __init__(self, dirpath: str | Path, every_n_train_steps: int = 500) -> None:
        if every_n_train_steps < 1:
            raise ValueError(
                f"a checkpoint every {every_n_train_steps} steps is not possible, give at least 1"
            )
        self.path = Path(dirpath) / "last.ckpt"
        self.every_n_train_steps = every_n_train_steps
        self.saved_step = 0
        self.stop_signal: signal.Signals | None = None
        self.handlers: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Continue the metrics where training continues, and take signals over from Lightning, which would
        stop in the middle of a step.
        """
        self.saved_step = trainer.global_step
        for logger in trainer.loggers:
            if isinstance(logger, MetricsFile):
                logger.keep_before(trainer.global_step)
        self.handlers = {number: signal.signal(number, self._remember) for number in STOPPING}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time.

        Raises:
            TrainingStopped: somebody wants to end the training.
        """
        if trainer.global_step == self.saved_step:
            return  # the first of several micro-steps after a checkpoint, or one that was just continued: no state to save
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        stop = (
            trainer.strategy.reduce_boolean_decision(self.stop_signal is not None, all=False)
            and trainer.global_step != trainer.max_steps
        )
        if stop or trainer.global_step % self.every_n_train_steps == 0:
            self._save(trainer)
        if stop:
            raise TrainingStopped(f"stopped at step {trainer.global_step} of {trainer.max_steps}")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end."""
        self._give_signals_back()
        if trainer.global_step != self.saved_step:
            self._save(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Signals end the program again."""
        self._give_signals_back()

    def _save(self, trainer: Trainer) -> None:
        write_row_before_checkpoint(trainer)
        self.saved_step = trainer.global_step
        trainer.save_checkpoint(self.path)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        """The first signal ends the training after its step, a second one at once."""
        if self.stop_signal is not None:
            raise KeyboardInterrupt
        self.stop_signal = signal.Signals(number)

    def _give_signals_back(self) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}


class AtomicCheckpointIO(CheckpointIO):
    """How Lightning writes a checkpoint here: beside its target, forced to the disk, renamed. Its own way
    goes through the system's folder for temporary files, from which, if that is another disk, the checkpoint
    is copied over the last good one.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write it, or leave the one before."""
        checkpoints.write(Path(path), checkpoint)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read it, on the CPU; nothing is ever unpickled."""
        return checkpoints.read(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove it; a missing one is fine."""
        Path(path).unlink(missing_ok=True)
