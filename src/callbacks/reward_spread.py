"""Before an online training: how much the edits of one case differ in their reward. Without a difference
there is nothing to learn, however long it takes.
"""

import sys
from itertools import islice
from typing import final

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from src.algorithms.group_rewards import JudgedGroups
from src.algorithms.online import Online


@final
class RewardSpread(Callback):
    """Draws and judges groups of the first training cases, prints what was found, and refuses to begin where
    there is hardly a difference.

    Args:
        groups: how many, over all ranks.
        least: standard deviation of the reward within a group, of 1, below which the training is not begun;
            0 for any.
    """

    def __init__(self, groups: int = 32, least: float = 0.02) -> None:
        if groups < 1 or least < 0.0:
            raise ValueError(f"groups={groups} must be at least 1, least={least} not negative")
        self.groups, self.least = groups, least

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure it at the first step.

        Raises:
            ValueError: less than the least spread, or a training that draws nothing.
        """
        if not isinstance(pl_module, Online):
            raise ValueError(
                f"callbacks.reward_spread is for online learning, not {type(pl_module).__name__}"
            )
        if trainer.global_step:
            return
        values, spread = self._measure(trainer, pl_module)
        mean, deviation = float(values.nanmean()), float(spread.mean())
        best = float(values.nan_to_num(-1.0).amax(1).mean())
        members = values.shape[1]
        if trainer.is_global_zero:
            print(
                f"reward of {len(values)} cases with {members} edits each: {mean:.3f} of 1, deviation within "
                f"a case {deviation:.3f}, none in {float((spread == 0).float().mean()):.0%} of the cases; "
                f"the best of {members} has {best - mean:+.3f}",
                file=sys.stderr,
            )
        if not deviation >= self.least:
            raise ValueError(
                f"the {members} edits of a case differ in their reward by {deviation:.4f} of 1, less than "
                f"callbacks.reward_spread.least={self.least}: there is too little to learn from. start= must "
                "be an editor that can edit, but not as well as this judge can tell (a reward of "
                f"{mean:.2f} of 1 now); more algorithm.rollout.steps, members or guidance may help"
            )

    def _measure(self, trainer: Trainer, module: Online) -> tuple[torch.Tensor, torch.Tensor]:
        """Rewards (p, g) and spreads (p,) of all ranks' groups."""
        data = trainer.datamodule  # pyright: ignore[reportAttributeAccessIssue]  # Lightning sets it
        batches = -(-self.groups // (trainer.world_size * data.batch_size))
        found: list[JudgedGroups] = []
        module.editor.eval()
        with trainer.precision_plugin.forward_context():
            for number, batch in enumerate(islice(data.train_dataloader(), batches)):
                here = batch.to(module.device)
                drawn = module.draw(here, 0, number)
                found.append(module.judge_edits(here, drawn.clean))
        module.editor.train()
        values = torch.cat([each.values for each in found])
        spread = torch.cat([each.advantages.spread for each in found])
        if trainer.world_size > 1:
            values, spread = (
                module.all_gather(each.to(module.device)).flatten(0, 1).cpu()  # pyright: ignore
                for each in (values, spread)
            )
        return values, spread
