"""Edits of validation cases by the averaged editor in mid-training, for the callbacks that judge them."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer

from src.algorithms.editor_module import EditorModule
from src.batching import same_size_batches
from src.callbacks.ema import EMA
from src.data.collate import to_images, to_tensor
from src.diffusion.samplers import Sampler
from src.evaluation.case_images import frame_case
from src.evaluation.generation import check_resolutions, load_originals
from src.images import framing_for, native
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
    """An edit of each case, those of one size together, with the original as the editor saw it; the noise is
    a function of the case alone. Photographs are edited at the size that the sampler's `resize` names.

    Raises:
        NotFiniteError: an edit that is no image.
        ValueError, FileNotFoundError: a photograph that can't be read, or is too small for a latent.
    """
    assert isinstance(pl_module, EditorModule)
    editor, edits = pl_module.editor, []
    framing = native
    if any(not isinstance(case.image, np.ndarray) for case in cases):
        data = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]  # Lightning sets it
        framing = framing_for(sampler.resize, min(data.image_size))
    held = check_resolutions(editor, cases, framing)
    with ema.averaged(editor), torch.inference_mode(), trainer.precision_plugin.forward_context():
        editor.eval()
        for batch in same_size_batches(cases, lambda case: frame_case(case, framing).size, batch_size):
            originals = load_originals(batch, framing, held)
            edited = editor.edit(
                to_tensor(originals).to(pl_module.device),
                [case.instruction for case in batch],
                [target] * len(batch),
                [fold_seed("noise", case.id, 0) for case in batch],
                sampler,
            )
            images = to_images(edited, [f"edit of {case.id}" for case in batch])
            edits += [
                Triplet(replace(case, image=original), image)
                for case, original, image in zip(batch, originals, images, strict=True)
            ]
        editor.train()
    return edits
