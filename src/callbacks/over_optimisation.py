"""Whether an online training cheats its judge: a hold-out judge that is never learnt from scores the same
validation edits. Where it falls while the reward does not, the training ends, and the editor from before the
turn is kept.

Leaves `<folder>/best/`, the averaged editor of the best reading by the hold-out judge, and
`<folder>/over_optimisation.png`; logs `reward/validation` and `holdout/validation`, in [0, 1].
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Float
from pytorch_lightning import Callback, LightningModule, Trainer

from src.aggregation import Aggregation
from src.algorithms.group_rewards import scores_or_nan
from src.algorithms.online import Online
from src.callbacks.editor_checkpoint import EditorCheckpoint
from src.callbacks.ema import EMA
from src.callbacks.validation_edits import validation_edits
from src.diffusion.samplers import Sampler
from src.evaluation.benchmark import Benchmark
from src.evaluation.statistics import clustered_interval
from src.files import replacing
from src.judges.judge import Judge
from src.records import Case, TargetReward, Triplet

Values = Float[np.ndarray, " n"]
"""Aggregated rewards of cases, in [0, 1]; NaN where a judge failed."""


@final
class OverOptimisation(Callback):
    """Two judges on the same edits, at regular steps and at both ends.

    Args:
        folder: the run folder.
        benchmark: its cases are edited; they must not be trained on.
        judge: the hold-out judge; best of another family than the one that is learnt from.
        sampler, target, ema: how edits are made, and by whose weights.
        every_n_steps: optimiser steps between two readings.
        patience: readings in a row that must show a fall.
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
        every_n_steps: int = 25,
        patience: int = 2,
        batch_size: int = 64,
    ) -> None:
        if patience < 1 or every_n_steps < 1:
            raise ValueError(f"patience={patience} and every_n_steps={every_n_steps} must be at least 1")
        self.folder, self.judge = Path(folder), judge
        self.cases = benchmark.cases()
        self.sampler, self.target, self.ema = sampler, target, ema
        self.every_n_steps, self.patience, self.batch_size = every_n_steps, patience, batch_size
        self.curve: dict[int, list[float]] = {}
        self.best: dict[str, Any] = {}
        self.falls = 0

    def state_dict(self) -> dict[str, Any]:
        """Readings so far, and the best one."""
        return {"curve": self.curve, "best": self.best, "falls": self.falls}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from them."""
        self.curve, self.best = dict(state_dict["curve"]), dict(state_dict["best"])
        self.falls = state_dict["falls"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a training again that was ended here.

        Raises:
            ValueError: a training that learns from no judge.
        """
        if not isinstance(pl_module, Online):
            raise ValueError(f"callbacks.holdout is for online learning, not {type(pl_module).__name__}")
        if self.curve:
            self._end_if_turned(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Read the start."""
        if trainer.global_step == 0:
            self._read(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Read at every `every_n_steps`-th step."""
        if trainer.global_step % self.every_n_steps == 0:
            self._read(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the finished editor."""
        self._read(trainer, pl_module)

    def _read(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and trainer.global_step not in self.curve:
            self._judge(trainer, pl_module)
        self._end_if_turned(trainer)

    def _end_if_turned(self, trainer: Trainer) -> None:
        turned = trainer.strategy.broadcast(self.falls >= self.patience)
        if turned and not trainer.should_stop:
            trainer.should_stop = True
            if trainer.is_global_zero:
                print(self._verdict(trainer.global_step), file=sys.stderr)

    def _judge(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Online)
        rewards = pl_module.rewards
        edits = validation_edits(
            trainer, pl_module, self.cases, self.sampler, self.target, self.ema, self.batch_size
        )
        learnt = aggregated(rewards.judge, rewards.aggregation, edits)
        holdout = known_values(self.judge, rewards.aggregation, edits)
        step = trainer.global_step
        means = [float(np.nanmean(values)) for values in (learnt, holdout)]
        self.curve[step] = means
        if self.best and has_fallen(
            holdout, np.array(self.best["holdout"]), means[0], self.best["learnt"], self.cases
        ):
            self.falls += 1
        else:
            self.falls = 0
        if not self.best or means[1] > float(np.nanmean(self.best["holdout"])):
            self.best = {"step": step, "learnt": means[0], "holdout": holdout.tolist()}
            self._export(trainer)
        names = ("reward/validation", "holdout/validation")
        for logger in trainer.loggers:
            logger.log_metrics(dict(zip(names, means, strict=True)), step=max(step - 1, 0))
        with replacing(self.folder / "over_optimisation.png", durable=False) as partial:
            draw_readings(self.curve, self.judge.name, partial)

    def _export(self, trainer: Trainer) -> None:
        """Keep the averaged weights of this step."""
        for callback in trainer.callbacks:  # pyright: ignore[reportAttributeAccessIssue]
            if isinstance(callback, EditorCheckpoint):
                self.ema.settle()
                callback.export(self.folder / "best")

    def _verdict(self, step: int) -> str:
        mean = float(np.nanmean(self.best["holdout"]))
        learnt, holdout = self.curve[max(self.curve)]
        return (
            f"stopped at step {step}: by the hold-out judge {self.judge.name} edits fell from {mean:.3f} at "
            f"step {self.best['step']} to {holdout:.3f}, while the reward went from "
            f"{self.best['learnt']:.3f} to {learnt:.3f}; the editor of step {self.best['step']} is in "
            f"{self.folder / 'best'}"
        )


def aggregated(judge: Judge, aggregation: Aggregation, edits: Sequence[Triplet]) -> Values:
    """The aggregated rewards of edits by a judge, the mean of several; NaN where it failed."""
    scores = torch.tensor([scores_or_nan(reward) for reward in judge.judge(edits)])
    return aggregation(scores).mean(1).double().numpy()


def known_values(judge: Judge, aggregation: Aggregation, edits: Sequence[Triplet]) -> Values:
    """`aggregated` by the hold-out judge. Raises ValueError if it failed on all edits."""
    values = aggregated(judge, aggregation, edits)
    if np.isnan(values).all():
        raise ValueError(
            f"the hold-out judge {judge.name} failed on all {len(edits)} validation edits: take another "
            "judge@callbacks.holdout.judge, or ~callbacks.holdout for none"
        )
    return values


def has_fallen(
    holdout: Values, before: Values, learnt: float, learnt_before: float, cases: Sequence[Case]
) -> bool:
    """Whether the hold-out judge's rewards fell, the whole interval of their difference below 0, while the
    reward that is learnt did not.

    Args:
        holdout, before: now and at the best reading, one per case.
        learnt, learnt_before: means of the reward that is learnt.
        cases: whose photographs are the clusters of the interval.
    """
    known = ~(np.isnan(holdout) | np.isnan(before))
    photographs = [case.photograph for case, is_known in zip(cases, known, strict=True) if is_known]
    interval = clustered_interval((holdout - before)[known], photographs)
    return interval is not None and interval.high < 0.0 and learnt >= learnt_before


def draw_readings(curve: dict[int, list[float]], holdout: str, path: Path) -> None:
    """The reward and the hold-out judge's, 0 to 1, over optimiser steps, as a PNG."""
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    steps = sorted(curve)
    for index, label in enumerate(("the reward that is learnt", f"hold-out judge ({holdout})")):
        axes.plot(steps, [curve[step][index] for step in steps], marker="o", markersize=3, label=label)
    axes.set(xlabel="optimiser steps", ylabel="mean reward of validation cases", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110, format="png")
    plt.close(figure)
