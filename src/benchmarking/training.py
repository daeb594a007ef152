"""Measures the project's training step: Lightning's loop around Denoising, with clipping, optimiser and EMA,
on prepared batches.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any, final

from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader

from src.algorithms.denoising import Denoising
from src.batch import EditBatch, EncodedBatch
from src.benchmarking.clock import Clock, mark_calls, operation_counter, peak_memory, reset_peak_memory
from src.benchmarking.measurement import RungMeasurement
from src.data.datamodule import EditData

DISTINCT_BATCHES = 4
"""Number of batches taken from the loader and used in turn."""

PHASES = ("encode", "forward", "backward", "optimiser")
"""Encode: everything before the denoiser: transfer, autoencoder and text encoder, or looking texts up.
Optimiser: with clipping and EMA.
"""


@final
class TimedSteps(Callback):
    """Counts the operations of the first step and times the steps after the warm-up. It must be the last of
    the trainer's callbacks, so that the time includes EMA.

    Args:
        clock: for the times.
        untimed: steps before timing; the first is never compiled, because a compiled network hides its
            operations.
    """

    def __init__(self, clock: Clock, untimed: int) -> None:
        self.clock = clock
        self.untimed = untimed
        self.counter = operation_counter()
        self.operations = 0
        self.first_call_s = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting."""
        assert isinstance(pl_module, Denoising)
        self.network = pl_module.compiled
        pl_module.compiled = mark_calls(pl_module.editor, self.clock, "encode", "forward")
        self.counter.__enter__()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Any) -> None:
        """Assign the loss to the forward pass."""
        self.clock.mark("forward")

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Assign the gradients to the backward pass."""
        self.clock.mark("backward")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Assign the rest of the step to the optimiser."""
        assert isinstance(pl_module, Denoising)
        self.clock.mark("optimiser")
        done = trainer.global_step
        if done == 1:
            self.counter.__exit__(None, None, None)
            self.operations = self.counter.get_total_flops()
            if self.network is not None:
                pl_module.compiled = mark_calls(self.network, self.clock, "encode", "forward")
        if done == 2 and self.network is not None:
            self.first_call_s = sum(self.clock.seconds().values())
        if done <= self.untimed:
            self.clock.restart()
        if done == self.untimed:
            reset_peak_memory(self.clock.device)


def first_batches(data: EditData, trainer: Trainer, count: int) -> list[EditBatch | EncodedBatch]:
    """The first batches of a training, on the CPU."""
    data.trainer = trainer
    # texts are looked up in the step itself, where a training does it
    return [data.on_after_batch_transfer(batch, 0) for batch in islice(data.train_dataloader(), count)]


def measure_training(
    algorithm: Denoising, trainer: Trainer, steps: TimedSteps, batches: Sequence[EditBatch | EncodedBatch]
) -> RungMeasurement:
    """Train for the trainer's number of steps.

    Args:
        algorithm: to be trained.
        trainer: with `steps` as the last of its callbacks.
        steps: the callback that measures.
        batches: of one size, used in turn.
    """
    order = [batches[step % len(batches)] for step in range(trainer.max_steps)]
    # any sequence will do as a dataset
    loader = DataLoader(order, batch_size=None)  # pyright: ignore[reportArgumentType]
    trainer.fit(algorithm, train_dataloaders=loader)
    samples = len(batches[0].ids) * (trainer.max_steps - steps.untimed)
    phases = {phase: seconds / samples for phase, seconds in steps.clock.seconds().items()}
    return RungMeasurement(
        samples_per_s=1.0 / sum(phases.values()),
        batch_size=len(batches[0].ids),
        phases={phase: phases[phase] for phase in PHASES},
        tflop_per_sample=steps.operations / len(batches[0].ids) / 1e12,
        peak_memory_gb=peak_memory(steps.clock.device) / 1e9,
        first_call_s=steps.first_call_s,
    )
