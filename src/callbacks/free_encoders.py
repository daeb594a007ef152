"""Keeps autoencoder and text encoder out of memory in trainings on precomputed conditions, whose previews
need both.
"""

import sys
from typing import Any, final

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities import rank_zero_only

from src.algorithms.editor_module import EditorModule
from src.backbones.frozen import FrozenEncoders
from src.data.precomputed import PrecomputedConditions
from src.editor import Editor


@final
class FreeEncoders(Callback):
    """Frees the frozen networks before every batch."""

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Has an effect only if something was edited since the last batch."""
        assert isinstance(pl_module, EditorModule)
        assert isinstance(pl_module.editor.backbone, FrozenEncoders)
        pl_module.editor.backbone.free()


def check_encoders(editor: Editor, precomputed: PrecomputedConditions) -> None:
    """Check that this editor's encoders made the conditions; weights that are not on this machine are warned
    of.

    Raises:
        ValueError: a backbone that trains its text encoder, or other encoders; names what differs.
    """
    if not isinstance(editor.backbone, FrozenEncoders):
        raise ValueError(
            f"{type(editor.backbone).__name__} can't be trained on the conditions in {precomputed.folder}: "
            "it trains "
            "its text encoder, which changes what the same texts are encoded to; leave out data.precomputed"
        )
    absent = precomputed.check_encoders(editor.backbone.encoder_digests())
    if absent and rank_zero_only.rank == 0:
        print(
            f"warning: {', '.join(absent)} are not on this machine and were not compared with those of "
            f"{precomputed.folder}",
            file=sys.stderr,
        )
    if editor.reward_encoder is not None and editor.reward_encoder.uses_text:
        precomputed.check_windows(editor.reward_encoder.windows)
