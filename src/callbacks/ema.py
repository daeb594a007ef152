"""Exponential moving average of the editor's weights, used by evaluation, previews and export."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from src.algorithms.editor_module import EditorModule
from src.editor import Editor


@final
class EMA(Callback):
    """Average after n optimiser steps: decay * average + (1 - decay) * weights, decay = min(decay, (1 + n) /
    (10 + n)).

    Kept as plain tensors outside the module, for trained weights only, and saved under `ema` in the
    checkpoint.

    Args:
        decay: the largest decay; 0.9999 is usual for long trainings.
    """

    def __init__(self, decay: float = 0.9999) -> None:
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"EMA decay must lie in [0, 1), got {decay}")
        self.decay = decay
        self.updates = 0
        self.average: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start from the current weights unless a checkpoint brought an average; move it to the module's
        device.
        """
        state = _editor(pl_module).trained_state()
        source = self.average or state
        self.average = {name: source[name].detach().to(value.device).clone() for name, value in state.items()}

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Average once per optimiser step, not per micro-step."""
        if trainer.global_step <= self.updates:
            return
        self.updates = trainer.global_step
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        state = _editor(pl_module).trained_state()
        floating = [name for name, value in state.items() if value.is_floating_point()]
        # all tensors in a few kernels, as a GPU would otherwise wait for a thousand launches
        get_ema_multi_avg_fn(decay)(
            [self.average[name] for name in floating], [state[name] for name in floating], self.updates
        )
        for name in state.keys() - set(floating):
            self.average[name].copy_(state[name])

    @contextmanager
    def averaged(self, editor: Editor) -> Iterator[None]:
        """A context in which the editor has the averaged weights."""
        self._swap(editor)
        try:
            yield
        finally:
            self._swap(editor)

    @torch.no_grad()
    def _swap(self, editor: Editor) -> None:
        """Exchange weights and average, one tensor at a time: a second copy of a large model may not fit."""
        for name, value in editor.trained_state().items():
            own = value.clone()
            value.copy_(self.average[name])
            self.average[name].copy_(own)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add `ema` and its step count."""
        checkpoint["ema"] = {name: value.cpu() for name, value in self.average.items()}
        checkpoint["ema_updates"] = self.updates

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Continue the average of the checkpoint."""
        self.average = dict(checkpoint["ema"])
        self.updates = checkpoint["ema_updates"]


def _editor(module: LightningModule) -> Editor:
    if not isinstance(module, EditorModule):
        raise TypeError(f"this callback needs an EditorModule, got {type(module).__name__}")
    return module.editor
