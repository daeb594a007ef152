"""Exponential moving average of a network's weights, used by evaluation, previews and export."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, final

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from src.algorithms.optimised import Optimised, Trained
from src.algorithms.step_watch import ADVICE
from src.algorithms.weights import exchange
from src.finite_tensors import HostCopy, check_finite, size_of


@final
class Waiting(NamedTuple):
    """Weights of an optimiser step that are not averaged yet: the step, their size, and whose they are."""

    step: int
    size: HostCopy
    module: Optimised


@final
class EMA(Callback):
    """Average after n optimiser steps: decay * average + (1 - decay) * weights, decay = min(decay, (1 + n) /
    (10 + n)).

    Kept as plain tensors outside the module, for trained weights only, and saved under `ema` in the
    checkpoint. Weights that are not finite are never averaged: they end the training. So that a GPU need not
    be waited for, the weights of its step are averaged just before the next step changes them.

    Args:
        decay: the largest decay; 0.9999 is usual for long trainings.
    """

    def __init__(self, decay: float = 0.9999) -> None:
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"EMA decay must lie in [0, 1), got {decay}")
        self.decay = decay
        self.updates = 0
        self.average: dict[str, Tensor] = {}
        self.waiting: Waiting | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start from the current weights unless a checkpoint brought an average; move it to the module's
        device.
        """
        state = _model(pl_module).trained_state()
        source = self.average or state
        self.average = {name: source[name].detach().to(value.device).clone() for name, value in state.items()}

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Average once per optimiser step, not per micro-step.

        Raises:
            NotFiniteError: the weights are not finite.
        """
        if trainer.global_step <= (self.updates if self.waiting is None else self.waiting.step):
            return
        state = _model(pl_module).trained_state().values()
        size = HostCopy(size_of([value for value in state if value.is_floating_point()]))
        assert isinstance(pl_module, Optimised)
        self.waiting = Waiting(trainer.global_step, size, pl_module)
        if size.is_here:
            self.settle()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Average the weights of the step before, which are about to change."""
        self.settle()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Average the last weights."""
        self.settle()

    @torch.no_grad()
    def settle(self) -> None:
        """Average weights that wait for it. Raises NotFiniteError if they, or their step, are not finite."""
        waiting, self.waiting = self.waiting, None
        if waiting is None:
            return
        waiting.module.settle()
        state = waiting.module.model.trained_state()
        if not math.isfinite(waiting.size.read()):
            what = f"training stopped at step {waiting.step}: the weights after it"
            check_finite(state, what, ADVICE)
        self.updates = waiting.step
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        floating = [name for name, value in state.items() if value.is_floating_point()]
        # all tensors in a few kernels, as a GPU would otherwise wait for a thousand launches
        get_ema_multi_avg_fn(decay)(
            [self.average[name] for name in floating], [state[name] for name in floating], self.updates
        )
        for name in state.keys() - set(floating):
            self.average[name].copy_(state[name])

    @contextmanager
    def averaged(self, model: Trained) -> Iterator[None]:
        """A context in which the network has the averaged weights."""
        self.settle()
        exchange(model, self.average)
        try:
            yield
        finally:
            exchange(model, self.average)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add `ema` and its step count."""
        self.settle()
        checkpoint["ema"] = {name: value.cpu() for name, value in self.average.items()}
        checkpoint["ema_updates"] = self.updates

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Continue the average of the checkpoint."""
        self.average = dict(checkpoint["ema"])
        self.updates = checkpoint["ema_updates"]


def _model(module: LightningModule) -> Trained:
    if not isinstance(module, Optimised):
        raise TypeError(f"this callback needs an Optimised module, got {type(module).__name__}")
    return module.model
