"""Edits of validation cases by the averaged editor in mid-training, for the callbacks that judge them."""

from collections.abc import Sequence

import torch
from pytorch_lightning import LightningModule, Trainer

from src.algorithms.editor_module import EditorModule
from src.batching import same_size_batches
from src.callbacks.ema import EMA
from src.data.collate import to_images, to_tensor
from src.diffusion.samplers import Sampler
from src.records import Case, TargetReward, Triplet
from src.seeds import fold_seed


def validation_edits(
    trainer: Trainer,
    pl_module: LightningModule,
    cases: Sequence[Case],
    sampler: Sampler,
    target: TargetReward,
    ema: EMA,
    batch_size: int,
) -> list[Triplet]:
    """An edit of each case, those of one size together; the noise is a function of the case alone.

    Raises:
        NotFiniteError: an edit that is no image.
    """
    assert isinstance(pl_module, EditorModule)
    editor, edits = pl_module.editor, []
    with ema.averaged(editor), torch.inference_mode(), trainer.precision_plugin.forward_context():
        editor.eval()
        for batch in same_size_batches(cases, lambda case: case.original.shape, batch_size):
            edited = editor.edit(
                to_tensor([case.original for case in batch]).to(pl_module.device),
                [case.instruction for case in batch],
                [target] * len(batch),
                [fold_seed("noise", case.id, 0) for case in batch],
                sampler,
            )
            images = to_images(edited, [f"edit of {case.id}" for case in batch])
            edits += [Triplet(case, image) for case, image in zip(batch, images, strict=True)]
        editor.train()
    return edits
