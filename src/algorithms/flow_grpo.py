"""Flow-GRPO (Liu et al. 2025): the policy gradient of the transitions that a rollout drew, weighted by how
much better its edit is than others of the same case.

One update per rollout: the ratio of probabilities is 1, and clipping it would do nothing.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from src.algorithms.group_rewards import GroupRewards, JudgedGroups
from src.algorithms.online import Each, Online
from src.algorithms.policy_losses import guarded_log_ratio, noise_weights, surrogate
from src.algorithms.weights import OtherWeights
from src.batch import EditBatch
from src.diffusion.guidance import Guidance
from src.diffusion.process import Latent
from src.diffusion.rollout import Rollout, Trajectory, check_replay
from src.diffusion.transitions import Transition, kl_divergence, log_probability
from src.editor import Editor
from src.records import TargetReward

Weighting = Literal["none", "tempflow", "guard"]


@final
class FlowGRPO(Online):
    """Policy gradient with advantages within groups.

    Args:
        editor, optimizer, scheduler, seed, rewards, rollout, guidance, target, members: as in `Online`.
        weighting: of the steps: none; "tempflow", by their noise; or "guard", log ratios with mean 0 whose
            gradients are alike at all steps.
        reference_weight: of the KL divergence from the start's transitions; 0 computes none.
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
        weighting: Weighting = "tempflow",
        reference_weight: float = 0.0,
    ) -> None:
        super().__init__(editor, optimizer, seed, rewards, rollout, guidance, target, members, scheduler)
        if reference_weight < 0.0:
            raise ValueError(f"algorithm.reference_weight={reference_weight} must not be negative")
        self.weighting: Weighting = weighting
        self.reference_weight = reference_weight
        self.reference = OtherWeights(editor) if reference_weight else None

    def drawing_weights(self) -> AbstractContextManager[None]:
        """Edits are drawn with the weights that are trained."""
        return nullcontext()

    def loss(
        self, batch: EditBatch, drawn: Trajectory, judged: JudgedGroups, micro_step: int
    ) -> Float[Tensor, ""]:
        """The mean over stochastic steps and edits. Raises ValueError if a replay is not what was drawn."""
        device = drawn.clean.device
        advantage = judged.advantages.value.flatten().to(device)
        # first, as the exchange of weights would spoil gradients of what was computed before it
        reference = self._reference_means(batch, drawn)
        prepared = self.prepared(batch, self.guidance)
        losses, stds = [], []
        for place in range(len(drawn.steps)):
            now = self.rollout.replay(
                lambda x_t, t: self.editor.guided(x_t, t, prepared), self.editor.process, drawn, place
            )
            check_replay(drawn, place, now)
            each = surrogate(self._log_ratio(now, drawn, place), advantage)
            if reference is not None:
                each = each + self.reference_weight * kl_divergence(now, reference[place])
            losses.append(each)
            stds.append(now.std.detach().mean())
        weights = torch.ones(len(stds), device=device)
        if self.weighting == "tempflow":
            weights = noise_weights(torch.stack(stds))
        mean = (weights.unsqueeze(1) * torch.stack(losses)).mean(0)
        return self.mean_of(mean, judged.advantages.valid.flatten())

    def _log_ratio(self, now: Transition, drawn: Trajectory, place: int) -> Each:
        if self.weighting == "guard":
            return guarded_log_ratio(now, drawn.mean[place], drawn.after[place], drawn.log_probability[place])
        return log_probability(now, drawn.after[place]) - drawn.log_probability[place]

    def _reference_means(self, batch: EditBatch, drawn: Trajectory) -> list[Latent] | None:
        """What the start's weights expect of each step."""
        if self.reference is None:
            return None
        with self.reference.standing_in(self.editor):
            prepared = self.prepared(batch, self.guidance)
            return [
                self.rollout.replay(
                    lambda x_t, t: self.editor.guided(x_t, t, prepared), self.editor.process, drawn, place
                ).mean
                for place in range(len(drawn.steps))
            ]
