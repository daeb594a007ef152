"""Fine-tuning on the best edit of each group (rejection sampling, online SFT): the control that every claim
of reinforcement learning needs, at equal numbers of judged edits.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from src.algorithms.denoising import draw
from src.algorithms.group_rewards import GroupRewards, JudgedGroups
from src.algorithms.online import Online
from src.batch import EditBatch
from src.diffusion.guidance import Guidance
from src.diffusion.process import noised
from src.diffusion.rollout import Rollout, Trajectory
from src.editor import Editor
from src.records import TargetReward


@final
class BestOfGroup(Online):
    """Denoising, equation 4, on the best edit of each group; groups of equally good edits teach nothing.

    Args:
        editor, optimizer, scheduler, seed, rewards, rollout, guidance, target, members: as in `Online`.
        times: noise times per best edit and step.
    """

    def __init__(
        self,
        editor: Editor,
        optimizer: Callable[..., Optimizer],
        seed: int,
        rewards: GroupRewards,
        rollout: Rollout,
        guidance: Guidance,
        target: TargetReward,
        members: int = 8,
        scheduler: Callable[..., LRScheduler] | None = None,
        times: int = 2,
    ) -> None:
        super().__init__(editor, optimizer, seed, rewards, rollout, guidance, target, members, scheduler)
        if times < 1:
            raise ValueError(f"algorithm.times={times}: at least one noise time is needed")
        self.times = times

    def drawing_weights(self) -> AbstractContextManager[None]:
        """Edits are drawn with the weights that are trained."""
        return nullcontext()

    def loss(
        self, batch: EditBatch, drawn: Trajectory, judged: JudgedGroups, micro_step: int
    ) -> Float[Tensor, ""]:
        """The mean over times and groups."""
        device, process = drawn.clean.device, self.editor.process
        best = judged.advantages.value.argmax(1)
        clean = drawn.clean[(torch.arange(len(best)) * self.members + best).to(device)]
        prepared = self.prepared(batch, Guidance(), repeat=False)
        first, (channels, height, width) = self.global_rank * len(best), clean.shape[1:]
        losses = []
        for index in range(self.times):
            draws = draw(
                self.seed,
                self.global_step,
                micro_step * self.times + index,
                range(first, first + len(best)),
                (channels, height, width),
            )
            t, eps = process.draw_time(draws.time, height * width).to(device), draws.eps.to(device)
            output = self.editor.guided(noised(clean, eps, process.marginal(t)), t, prepared)
            target = process.regression_target(clean, eps, t).float()
            losses.append((output - target).square().flatten(1).mean(1))
        return self.mean_of(torch.stack(losses).mean(0), judged.advantages.valid.any(1))
