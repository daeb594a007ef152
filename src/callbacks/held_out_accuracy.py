"""Held-out accuracy against steps: at regular steps the averaged reward model orders pairs of held-out
contests, whose originals the training never sees.

Logged as `held_out/accuracy` (of decided pairs, a tie of the model being an error; also by aspect, as in
`held_out/accuracy_quality`) and `held_out/loss` (mean -log sigmoid of the difference). The best so far is
kept in `<folder>/best`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from pytorch_lightning import Callback, LightningModule, Trainer

from src.algorithms.preference import Preference
from src.callbacks.reward_model_checkpoint import RewardModelCheckpoint
from src.records import Contest
from src.reward_models.fitting import HeldOut, accuracies, probabilities

BEST = "best"
CHOSEN = "Chosen as the best of {count} by the accuracy below, which is a little too high for that."


@final
class HeldOutAccuracy(Callback):
    """Looks at the same held-out contests at regular steps and at the end.

    Args:
        kept: has the contests, and writes the best.
        every_n_steps: optimiser steps between two looks.
        most: contests that are looked at.
        keep_best: whether the best is written as the finished model is, calibrated on these contests.

    Raises:
        ValueError: a number below 1.
    """

    def __init__(
        self, kept: RewardModelCheckpoint, every_n_steps: int = 500, most: int = 400, keep_best: bool = True
    ) -> None:
        if every_n_steps < 1 or most < 1:
            raise ValueError(
                f"callbacks.held_out: every_n_steps={every_n_steps} most={most}: at least 1 each is needed"
            )
        self.kept, self.every_n_steps, self.most, self.keep_best = kept, every_n_steps, most, keep_best
        self.curve: dict[int, float] = {}
        self.contests: Sequence[Contest] = ()

    def state_dict(self) -> dict[str, Any]:
        """The curve so far."""
        return {"curve": self.curve}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue a curve."""
        self.curve = dict(state_dict["curve"])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at every `every_n_steps`-th step."""
        if trainer.global_step % self.every_n_steps == 0:
            self._look(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the finished model, and say how it went."""
        self._look(trainer, pl_module)
        if trainer.is_global_zero and self.curve:
            print(summary(self.curve), file=sys.stderr, flush=True)

    def _look(self, trainer: Trainer, module: LightningModule) -> None:
        if not trainer.is_global_zero or trainer.global_step in self.curve:
            return
        assert isinstance(module, Preference)
        self.contests = self.contests or list(self.kept.data.held_out_contests(self.most))
        seen = self.kept.look(module, self.contests)
        found = figures(seen)
        if not found:
            return
        best = max(self.curve.values(), default=-1.0)
        self.curve[trainer.global_step] = found["held_out/accuracy"]
        for logger in trainer.loggers:
            # the row of the step just completed has this number, too
            logger.log_metrics(found, step=trainer.global_step - 1)
        if self.keep_best and found["held_out/accuracy"] > best:
            note = CHOSEN.format(count=f"{len(self.curve)} so far")
            self.kept.write(seen, module, Path(self.kept.folder, BEST), note)


def figures(seen: HeldOut) -> dict[str, float]:
    """Accuracy and loss on decided pairs; nothing where there are none."""
    differences = seen.differences()[~seen.compared.tie]
    if not len(differences):
        return {}
    each = {f"held_out/accuracy_{aspect}": float(right.mean()) for aspect, right, _ in accuracies(seen)}
    right = float((differences > 0).double().mean())
    return {"held_out/accuracy": right, "held_out/loss": probabilities(differences, 1.0).log_loss, **each}


def summary(curve: dict[int, float]) -> str:
    """The curve in a line: its best point and the last few."""
    best = max(curve, key=lambda step: (curve[step], -step))
    last = ", ".join(f"{curve[step]:.3f} at step {step:,}" for step in sorted(curve)[-4:])
    return f"held-out pairs right: {last}; the best is {curve[best]:.3f} at step {best:,} ({BEST}/)"
