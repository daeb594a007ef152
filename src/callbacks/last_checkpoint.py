"""checkpoints/last.ckpt, written every few optimiser steps, at the end, and when the training is stopped.

It holds everything that a resumed training needs and is always taken between two optimiser steps. It is
written through `AtomicCheckpointIO`, so a kill meanwhile leaves the previous one.
"""

import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, final

from lightning_fabric.plugins import CheckpointIO
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint

from src import checkpoint as checkpoints
from src import slurm
from src.callbacks.metrics_file import MetricsFile, write_row_before_checkpoint
from src.finite import NotFiniteError
from src.finite_tensors import check_finite, nested_tensors

STOPPING = (signal.SIGINT, signal.SIGTERM)
OUT_OF_TIME = (signal.SIGUSR1, signal.SIGUSR2)
"""What `sbatch --signal=USR1@300` sends ahead of the time limit, to every process."""


@final
class TrainingStopped(Exception):  # noqa: N818  # nothing went wrong
    """A signal ended a training after a checkpoint was written.

    Args:
        message: at which step.
        out_of_time: SLURM's time limit did, and the job may go on in the queue.
    """

    def __init__(self, message: str, out_of_time: bool = False) -> None:
        super().__init__(message)
        self.out_of_time = out_of_time


@final
class LastCheckpoint(Checkpoint):
    """Keeps one checkpoint. Lightning calls checkpoint callbacks after all others, whose work for a step is
    thus included.

    Args:
        dirpath: folder of last.ckpt.
        every_n_train_steps: optimiser steps between checkpoints.
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
        """Cut the metrics to where training continues, and handle signals in place of Lightning, which would
        stop within a step.
        """
        self.saved_step = trainer.global_step
        for logger in trainer.loggers:
            if isinstance(logger, MetricsFile):
                logger.keep_before(trainer.global_step)
        self.handlers = {number: signal.signal(number, self._remember) for number in self._listened_to()}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time.

        Raises:
            TrainingStopped: a signal asked to end the training.
        """
        if trainer.global_step == self.saved_step:
            return  # the first micro-steps after a checkpoint or a start: there is nothing to save
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        stop = (
            trainer.strategy.reduce_boolean_decision(self.stop_signal is not None, all=False)
            and trainer.global_step != trainer.max_steps
        )
        if stop or trainer.global_step % self.every_n_train_steps == 0:
            self._save(trainer)
        if stop:
            told_to_end = trainer.strategy.reduce_boolean_decision(self.stop_signal in STOPPING, all=False)
            raise TrainingStopped(
                f"stopped at step {trainer.global_step} of {trainer.max_steps}", not told_to_end
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the final state."""
        self._give_signals_back()
        if trainer.global_step != self.saved_step:
            self._save(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the signal handlers."""
        self._give_signals_back()

    def _save(self, trainer: Trainer) -> None:
        write_row_before_checkpoint(trainer)
        self.saved_step = trainer.global_step
        trainer.save_checkpoint(self.path)

    def _listened_to(self) -> Sequence[signal.Signals]:
        """The signals to handle; outside of SLURM, SIGUSR1 and SIGUSR2 mean nothing to a training."""
        return STOPPING if slurm.job_number() is None else (*STOPPING, *OUT_OF_TIME)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        """The first signal ends the training after the current step, a second one at once. A warning of SLURM
        and the SIGTERM that follows it are not two.
        """
        if self.stop_signal is None or number not in OUT_OF_TIME:
            if self.stop_signal in STOPPING:
                raise KeyboardInterrupt
            self.stop_signal = signal.Signals(number)

    def _give_signals_back(self) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        self.handlers = {}


@final
class AtomicCheckpointIO(CheckpointIO):
    """Writes checkpoints beside their final path, flushes them to disk and renames them. Lightning itself
    writes to the system's temporary folder; if that is another disk, the checkpoint is then copied over the
    last good one.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write it, or leave the previous one."""
        checkpoints.write(Path(path), checkpoint)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read it, on the CPU; nothing is ever unpickled. Raises ValueError if it can't be continued."""
        saved = checkpoints.read_training(Path(path))
        kept = {name: saved.get(name, ()) for name in ("state_dict", "ema", "optimizer_states")}
        advice = "the training diverged before it was saved; resume an earlier one, or give resume=null"
        try:
            check_finite(nested_tensors(kept), f"the numbers in {path}", advice)
        except NotFiniteError as error:
            # no NotFiniteError: that is a training's, which goes on from this very file
            raise ValueError(str(error)) from None
        return saved

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove it; a missing one is fine."""
        Path(path).unlink(missing_ok=True)
