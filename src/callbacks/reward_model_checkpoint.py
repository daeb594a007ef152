"""Makes checkpoints of a reward model self-describing, calibrates the finished model on held-out contests,
and exports it with a card.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from src import reward_model_checkpoint
from src.algorithms.preference import Preference
from src.callbacks.ema import EMA
from src.callbacks.reward_model_card import bound_lines, card_of
from src.data.contest_data import ContestData
from src.records import ASPECTS, Contest, Scores, three
from src.reward_models.aspects import identified_by
from src.reward_models.calibration import Calibration
from src.reward_models.contest_loss import ContestLoss
from src.reward_models.fitting import HeldOut, estimated, fitted, held_out


@final
class RewardModelCheckpoint(Callback):
    """Adds the model's config to every checkpoint, with which a training of another configuration is refused,
    and writes `reward_model/` at the end. The same command, given again, calibrates again.

    Args:
        folder: the run folder.
        config: the resolved model config as YAML.
        ema: whose weights are exported.
        data: with the held-out contests.
        settings: everything else that the training depends on, as YAML.
        batch_size: edits at once when held-out contests are looked at; None for as many as the network says.
        most: held-out contests that are looked at; None for all.
    """

    def __init__(
        self,
        folder: str | Path,
        config: str,
        ema: EMA,
        data: ContestData,
        settings: str = "",
        batch_size: int | None = None,
        most: int | None = None,
    ) -> None:
        self.folder, self.config, self.ema, self.data = Path(folder), config, ema, data
        self.settings, self.batch_size, self.most = settings, batch_size, most

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add config, settings, and what tells the frozen weights apart."""
        assert isinstance(pl_module, Preference)
        checkpoint[reward_model_checkpoint.CONFIG] = self.config
        checkpoint["settings"] = self.settings
        checkpoint[reward_model_checkpoint.BASE] = pl_module.model.base()

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Raise ValueError for a checkpoint of a training on another base."""
        assert isinstance(pl_module, Preference)
        recorded = checkpoint.get(reward_model_checkpoint.BASE)
        where = str(trainer.ckpt_path)
        reward_model_checkpoint.check_base(recorded, pl_module.model, where, self.config)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Calibrate and export the averaged weights."""
        assert isinstance(pl_module, Preference)
        if trainer.is_global_zero:
            _, calibration = self.export(pl_module, self.folder / "reward_model")
            for line in bound_lines(calibration):
                print(f"warning: {line}", file=sys.stderr)

    def export(self, module: Preference, folder: Path) -> tuple[HeldOut, Calibration]:
        """Calibrate and export into a folder; what was seen of the held-out contests, and the calibration."""
        seen = self.look(module, list(self.data.held_out_contests(self.most)))
        return seen, self.write(seen, module, folder)

    def look(self, module: Preference, contests: Sequence[Contest]) -> HeldOut:
        """What the averaged model says of contests, beside what people said."""
        with self.ema.averaged(module.model):
            was_training = module.model.training
            module.model.eval()
            estimates = estimated(module.model, contests, _device(module), self.batch_size)
            module.model.train(was_training)
        return held_out(estimates, contests, self.data.held_out_sources, *weighing(module.loss))

    def write(self, seen: HeldOut, module: Preference, folder: Path, note: str = "") -> Calibration:
        """Calibrate the averaged model on what was seen, and export it; `note` is for its card."""
        identified = identified_by(learnt_aspects(self.data, module.loss))
        calibration = fitted(seen, identified, tie_widths(module.loss), *weighing(module.loss))
        card = card_of(seen, calibration, identified, self.data, module.global_step, note)
        reward_model_checkpoint.export_reward_model(
            folder, self.config, self.ema.average, calibration, identified, card, module.model.base()
        )
        return calibration


def weighing(loss: ContestLoss) -> tuple[Scores, float]:
    """What "overall" and "semantic" weigh: the overall judgement of the first source stands for all."""
    return three(loss.weights[0].detach().cpu().tolist(), "weights"), loss.sharpness


def _device(module: Preference) -> torch.device:
    return next(module.parameters()).device


def learnt_aspects(data: ContestData, loss: ContestLoss) -> list[str]:
    """The aspects of the labels that a training uses."""
    compared = {aspect for source in data.sources for aspect in source.aspects}
    rated = {aspect for source in data.sources for aspect in source.scales}
    used = (compared if loss.kind is not None else set()) | (rated if loss.rating_kind is not None else set())
    return [aspect for aspect in ASPECTS if aspect in used]


def tie_widths(loss: ContestLoss) -> Mapping[str, Mapping[str, float]]:
    """What was learnt of ties, by source and aspect."""
    return {
        name: dict(zip(ASPECTS, map(float, row), strict=True))
        for name, row in zip(loss.names, loss.widths.detach().cpu().tolist(), strict=True)
    }
