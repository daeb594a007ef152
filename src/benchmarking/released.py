"""Work that the paper's released code does on every batch without using the result.

It runs the whole CLIP ViT-H/14 image encoder, and encodes the null instruction at every step. What else makes
it slow are settings of this project (gradient checkpointing, live encoders, ...).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from src.algorithms.denoising import Denoising
from src.backbones.frozen import Frozen
from src.batch import EditBatch
from src.editor import NULL_INSTRUCTION


@final
class ReleaseOverhead(Callback):
    """Does this work and discards the result.

    Args:
        image_encoder: settings of a CLIPVisionConfig, built with random weights; None for no image encoder.
        null_text: encode the null instruction separately.
        dtype: of the image encoder's weights.
    """

    def __init__(
        self, image_encoder: Mapping[str, Any] | None, null_text: bool, dtype: str = "float32"
    ) -> None:
        self.null_text = null_text
        self.image_encoder: Frozen[Any] | None = None
        if image_encoder is not None:
            config = CLIPVisionConfig(**image_encoder)
            self.image_encoder = Frozen(
                lambda: CLIPVisionModelWithProjection(config).to(getattr(torch, dtype))
            )
            self.side: Any = config.image_size

    @torch.no_grad()
    def compute(
        self, originals: Float[Tensor, "b 3 H W"], encode_text: Callable[[Sequence[str]], Any]
    ) -> None:
        """Compute everything that the release computes and doesn't use for these images."""
        if self.null_text:
            encode_text([NULL_INSTRUCTION])
        if self.image_encoder is not None:
            network = self.image_encoder.on(originals.device)
            network(F.interpolate(originals, (self.side, self.side), mode="bilinear").to(network.dtype))

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Before every step, in the precision of the training."""
        if not isinstance(batch, EditBatch):
            return  # precomputed: there is no image to look at
        assert isinstance(pl_module, Denoising)
        with trainer.precision_plugin.forward_context():
            self.compute(batch.original, pl_module.editor.backbone.encode_text)
