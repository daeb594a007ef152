"""Scores against steps: at regular steps the averaged editor edits validation cases, a judge scores the
edits, and the curve is drawn.

Logged as `validation/following`, `validation/preserving`, `validation/quality` (means in [0, 5]); the image
is `<folder>/score_curve.png`.
"""

from pathlib import Path
from typing import Any, final

import matplotlib.pyplot as plt
import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from src.callbacks.ema import EMA
from src.callbacks.validation_edits import validation_edits
from src.diffusion.samplers import Sampler
from src.evaluation.benchmark import Benchmark
from src.files import replacing
from src.judges.judge import Judge
from src.records import PERSPECTIVES, TargetReward


@final
class ScoreCurve(Callback):
    """Judges edits of the same cases at regular steps and at the end.

    Args:
        folder: the run folder.
        benchmark: its cases are edited; they must differ from those that results are reported on.
        judge: scores the edits; failed rewards are left out and counted in `validation/failed`.
        sampler: how edits are sampled.
        target: the target reward.
        ema: whose weights are used.
        every_n_steps: optimiser steps between two points of the curve.
        batch_size: edits per batch.
    """

    def __init__(
        self,
        folder: str | Path,
        benchmark: Benchmark,
        judge: Judge,
        sampler: Sampler,
        target: TargetReward,
        ema: EMA,
        every_n_steps: int = 500,
        batch_size: int = 64,
    ) -> None:
        self.image = Path(folder) / "score_curve.png"
        self.cases = benchmark.cases()
        self.judge = judge
        self.sampler = sampler
        self.target = target
        self.ema = ema
        self.every_n_steps = every_n_steps
        self.batch_size = batch_size
        self.curve: dict[int, list[float]] = {}

    def state_dict(self) -> dict[str, Any]:
        """The curve so far."""
        return {"curve": self.curve}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue a curve."""
        self.curve = dict(state_dict["curve"])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Judge at every `every_n_steps`-th step."""
        if trainer.global_step % self.every_n_steps == 0:
            self._judge(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge the finished editor."""
        self._judge(trainer, pl_module)

    def _judge(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or trainer.global_step in self.curve:
            return
        edits = validation_edits(
            trainer, pl_module, self.cases, self.sampler, self.target, self.ema, self.batch_size
        )
        rewards = [reward for reward in self.judge.judge(edits) if not reward.failed]
        failed = len(self.cases) - len(rewards)
        scores = torch.tensor([[verdict.score for verdict in reward.verdicts] for reward in rewards]).double()
        means = scores.mean(0).tolist() if rewards else [float("nan")] * len(PERSPECTIVES)
        self.curve[trainer.global_step] = means
        values = {
            f"validation/{perspective}": mean for perspective, mean in zip(PERSPECTIVES, means, strict=True)
        } | {"validation/failed": failed}
        for logger in trainer.loggers:
            logger.log_metrics(
                values, step=trainer.global_step - 1
            )  # the row of the step just completed has this number, too
        with replacing(self.image, durable=False) as partial:
            draw_curve(self.curve, partial)


def draw_curve(curve: dict[int, list[float]], path: Path) -> None:
    """One line per perspective, scores 0 to 5 over optimiser steps, as a PNG."""
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    steps = sorted(curve)
    for index, perspective in enumerate(PERSPECTIVES):
        axes.plot(steps, [curve[step][index] for step in steps], marker="o", markersize=3, label=perspective)
    axes.set(xlabel="optimiser steps", ylabel="mean score on validation cases", ylim=(0, 5))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110, format="png")
    plt.close(figure)
