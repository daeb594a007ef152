"""SmartEdit's first stage: the query transformer learns to output the text encoder's tokens, and the language
model its answer.

python -m src.train +experiment=smartedit_stage1 model.backbone.base.pretrained=FOLDER data.dataset.folder=DIR

The release aligns on the captions of 12 million images; here the instructions of an edit dataset are used.
"""

from collections.abc import Callable
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from src.algorithms.editor_module import EditorModule
from src.backbones.backbone import AlignableBackbone, refuse_answers
from src.batch import EditBatch
from src.editor import Editor


@final
class Alignment(EditorModule):
    """Cross-entropy of the language model's answer, and mean squared error between the query transformer's
    tokens and the text encoder's.

    Args:
        editor, optimizer, scheduler, seed: as in `EditorModule`; the backbone must be a SmartEdit that trains
            its reader.
        alignment_weight, language_weight: weights of the two terms; both are 1 in the release.

    Raises:
        ValueError: another backbone.
    """

    def __init__(
        self,
        editor: Editor,
        optimizer: Callable[..., Optimizer],
        seed: int,
        scheduler: Callable[..., LRScheduler] | None = None,
        alignment_weight: float = 1.0,
        language_weight: float = 1.0,
    ) -> None:
        super().__init__(editor, optimizer, scheduler, seed)
        if not isinstance(editor.backbone, AlignableBackbone):
            raise ValueError(
                "alignment is SmartEdit's first stage, and this backbone is "
                f"{type(editor.backbone).__name__}: say model/backbone=smartedit"
            )
        self.alignment_weight = alignment_weight
        self.language_weight = language_weight

    @property
    def supports_chat(self) -> bool:
        return False

    def training_step(self, batch: EditBatch, batch_index: int) -> Tensor:
        """One micro-step; logs `train/loss` (the alignment error) and `train/language_loss`."""
        backbone = self.editor.backbone
        assert isinstance(backbone, AlignableBackbone)
        refuse_answers(batch.answers)
        aligned = backbone.align(batch.original, batch.instructions)
        with torch.no_grad():
            wanted = backbone.encode_text(batch.instructions).tokens
        if wanted.shape != aligned.tokens.shape:
            raise ValueError(
                f"the text encoder makes {tuple(wanted.shape[1:])} tokens of a text, the query transformer "
                f"{tuple(aligned.tokens.shape[1:])}: "
                f"set model.backbone.reader.query_transformer.queries={wanted.shape[1]}"
            )
        error, language = F.mse_loss(aligned.tokens.float(), wanted.float()), aligned.error.mean()
        self.log("train/loss", error, batch_size=len(batch.ids))
        self.log("train/language_loss", language, batch_size=len(batch.ids))
        loss = self.alignment_weight * error + self.language_weight * language
        self.watch.remember(batch.ids, loss)
        return loss
