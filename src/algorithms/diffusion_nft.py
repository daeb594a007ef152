"""DiffusionNFT (Zheng et al. 2025): online reinforcement learning by the forward process. Noise is added to
the drawn edits as in training, and the network is pulled to the good ones and pushed away from the bad ones;
no probability is needed, so any sampler can draw.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from src.algorithms.denoising import draw
from src.algorithms.group_rewards import GroupRewards, JudgedGroups
from src.algorithms.online import Online
from src.algorithms.policy_losses import LARGEST_ADVANTAGE, forward_process_loss, optimality
from src.algorithms.weights import OtherWeights
from src.batch import EditBatch
from src.diffusion.guidance import Guidance
from src.diffusion.process import Latent, Time, noised
from src.diffusion.rollout import Rollout, Trajectory
from src.editor import Editor
from src.records import TargetReward


@final
class Noisy(NamedTuple):
    """Drawn edits with noise added, their times, and what the network should put out."""

    x_t: Latent
    t: Time
    target: Latent


@final
class DiffusionNFT(Online):
    """Learning from drawn edits, good and bad, by the forward process.

    Args:
        editor, optimizer, scheduler, seed, rewards, rollout, guidance, target, members: as in `Online`. The
            guidance is distilled into the network, which is trained without.
        mix: see `forward_process_loss`; 1 for preferences of people and editing, 0.1 for text in images.
        times: noise times per edit and step.
        slowest: the largest share of their old weights that the drawing weights keep per step; 0 draws with
            the weights that are trained.
        slowing: how much that share grows per step.
        adaptive: divide by the mean absolute error, for processes whose errors grow with the noise.
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
        mix: float = 1.0,
        times: int = 2,
        slowest: float = 0.5,
        slowing: float = 0.001,
        adaptive: bool = False,
    ) -> None:
        super().__init__(editor, optimizer, seed, rewards, rollout, guidance, target, members, scheduler)
        if mix <= 0.0 or times < 1 or not 0.0 <= slowest < 1.0 or slowing < 0.0:
            raise ValueError(
                f"algorithm.mix={mix} must be positive, times={times} at least 1, slowest={slowest} in "
                f"[0, 1), slowing={slowing} not negative"
            )
        self.mix, self.times, self.adaptive = mix, times, adaptive
        self.slowest, self.slowing = slowest, slowing
        self.old = OtherWeights(editor)
        self.followed = -1

    def drawing_weights(self) -> AbstractContextManager[None]:
        """Edits are drawn with weights that follow those that are trained, once per optimiser step."""
        if self.followed != self.global_step:
            self.old.follow(self.editor, min(self.slowing * self.global_step, self.slowest))
            self.followed = self.global_step
        return self.old.standing_in(self.editor)

    def loss(
        self, batch: EditBatch, drawn: Trajectory, judged: JudgedGroups, micro_step: int
    ) -> Float[Tensor, ""]:
        """The mean over times and edits."""
        good = optimality(judged.advantages.value.flatten().to(drawn.clean.device))
        noisy = [self._noisy(drawn.clean, micro_step * self.times + index) for index in range(self.times)]
        # first, as the exchange of weights would spoil gradients of what was computed before it
        with self.old.standing_in(self.editor):
            prepared = self.prepared(batch, Guidance())
            before = [self.editor.guided(each.x_t, each.t, prepared) for each in noisy]
        prepared = self.prepared(batch, Guidance())
        losses = [
            forward_process_loss(
                self.editor.guided(each.x_t, each.t, prepared),
                old,
                each.target,
                good,
                self.mix,
                self.adaptive,
            )
            for each, old in zip(noisy, before, strict=True)
        ]
        mean = LARGEST_ADVANTAGE * torch.stack(losses).mean(0)
        return self.mean_of(mean, judged.advantages.valid.flatten())

    def _noisy(self, clean: Latent, number: int) -> Noisy:
        """Drawn edits with noise added, for a number that is new in each pass of an optimiser step."""
        process, (channels, height, width) = self.editor.process, clean.shape[1:]
        rows = range(self.global_rank * len(clean), (self.global_rank + 1) * len(clean))
        draws = draw(self.seed, self.global_step, number, rows, (channels, height, width))
        t, eps = (
            each.to(clean.device) for each in (process.draw_time(draws.time, height * width), draws.eps)
        )
        x_t = noised(clean, eps, process.marginal(t))
        return Noisy(x_t, t, process.regression_target(clean, eps, t).float())
