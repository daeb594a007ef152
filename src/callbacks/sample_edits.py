"""Previews during training: original | edits at target scores 0, 3 and 5, or one edit without reward | exact
target, as a PNG and to the logger.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, final

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

from src.algorithms.editor_module import EditorModule
from src.callbacks.ema import EMA
from src.data.collate import to_images, to_tensor
from src.data.dataset import Example
from src.diffusion.samplers import Sampler
from src.images import contact_sheet, save_png
from src.records import TargetReward
from src.seeds import fold_seed


class HasExamples(Protocol):
    """Data that previews can show."""

    def examples(self, count: int) -> Sequence[Example]:
        """At most `count` examples."""
        ...


@final
class SampleEdits(Callback):
    """Edits the same few cases at regular steps, with averaged weights.

    Args:
        folder: images go to `<folder>/previews/step_<n>.png`.
        data: what is trained on.
        sampler: how edits are sampled.
        target: the target reward; its scores are replaced by each of `scores`.
        ema: whose weights are used.
        every_n_steps: optimiser steps between previews; there is always one at the end.
        scores: the columns.
        examples: what to edit, with reference images, all of one size; None for `count` of the data's own.
    """

    def __init__(
        self,
        folder: str | Path,
        data: HasExamples,
        sampler: Sampler,
        target: TargetReward,
        ema: EMA,
        every_n_steps: int = 500,
        scores: Sequence[float] = (0, 3, 5),
        examples: Sequence[Example] | None = None,
        count: int = 7,
    ) -> None:
        self.folder = Path(folder) / "previews"
        self.examples = data.examples(count) if examples is None else examples
        self.sampler = sampler
        self.ema = ema
        self.every_n_steps = every_n_steps
        self.targets = {
            f"{score:g}/{score:g}/{score:g}": TargetReward((score, score, score), target.feedback)
            for score in scores
        }
        self.last_step = -1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw at every `every_n_steps`-th step."""
        if trainer.global_step % self.every_n_steps == 0:
            self._draw(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the finished editor."""
        self._draw(trainer, pl_module)

    def _draw(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or trainer.global_step == self.last_step:
            return
        assert isinstance(pl_module, EditorModule)
        self.last_step = trainer.global_step
        editor = pl_module.editor
        cases = [example.case for example in self.examples]
        originals = to_tensor([case.original for case in cases]).to(pl_module.device)
        seeds = [fold_seed("noise", case.id, 0) for case in cases]
        instructions = [case.instruction for case in cases]
        columns = self.targets if editor.reward_encoder is not None else {"edit": TargetReward()}
        edits = []
        with self.ema.averaged(editor), torch.inference_mode():
            editor.eval()
            for target in columns.values():
                made = editor.edit(originals, instructions, [target] * len(cases), seeds, self.sampler)
                edits.append(to_images(made, [f"preview of {case.id}" for case in cases]))
            editor.train()
        rows = [
            [example.case.original, *row, example.answer]
            for example, *row in zip(self.examples, *edits, strict=True)
        ]
        image = contact_sheet(rows, ["original", *columns, self.examples[0].title], instructions)
        self.folder.mkdir(parents=True, exist_ok=True)
        save_png(image, self.folder / f"step_{trainer.global_step:06d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("previews", image, trainer.global_step, dataformats="HWC")
            elif isinstance(logger, WandbLogger):
                logger.log_image("previews", [image], step=trainer.global_step)
