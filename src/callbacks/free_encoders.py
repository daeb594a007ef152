"""Trainings on precomputed conditions hold no autoencoder and no text encoder, though their previews need
both.
"""

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from src.algorithms.editor_module import EditorModule
from src.backbones.frozen import FrozenEncoders


class FreeEncoders(Callback):
    """Gives the frozen networks back before every batch, whoever built them."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Nothing to do unless something was edited since the last batch."""
        assert isinstance(pl_module, EditorModule)
        assert isinstance(pl_module.editor.backbone, FrozenEncoders)
        pl_module.editor.backbone.free()
