"""Diffusion-DPO (Wallace et al. 2023), online: of each group the best edit is to become likelier than the
worst one, as far as the reference allows. No probability is needed, so any sampler can draw.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from src.algorithms.denoising import draw
from src.algorithms.group_rewards import GroupRewards, JudgedGroups
from src.algorithms.online import Each, Online
from src.algorithms.policy_losses import preference_loss
from src.algorithms.weights import OtherWeights
from src.batch import EditBatch
from src.diffusion.guidance import Guidance
from src.diffusion.process import Latent, Time, noised
from src.diffusion.rollout import Rollout, Trajectory
from src.editor import Editor, PreparedEdits
from src.records import TargetReward


@final
class NoisyPairs(NamedTuple):
    """The best and the worst edit of each group, one after the other, with the same noise at the same time,
    and what the network should put out.
    """

    x_t: Latent
    t: Time
    target: Latent


@final
class DiffusionDPO(Online):
    """Learning from the best and the worst edit of each group; groups of equally good edits teach nothing.

    It can fail by making both worse, as only their difference counts: `preference/best_error` and
    `preference/worst_error`, the squared errors less those of the reference, are logged apart.

    Args:
        editor, optimizer, scheduler, seed, rewards, rollout, guidance, target, members: as in `Online`. The
            guidance is distilled into the network, which is trained without.
        beta: how strongly the network is bound to the reference, its start; see `preference_loss`.
        times: noise times per pair and step.
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
        beta: float = 100.0,
        times: int = 2,
    ) -> None:
        super().__init__(editor, optimizer, seed, rewards, rollout, guidance, target, members, scheduler)
        if not beta > 0.0 or times < 1:
            raise ValueError(f"algorithm.beta={beta} must be positive, times={times} at least 1")
        self.beta, self.times = beta, times
        self.reference = OtherWeights(editor)

    def drawing_weights(self) -> AbstractContextManager[None]:
        """Edits are drawn with the weights that are trained."""
        return nullcontext()

    def loss(
        self, batch: EditBatch, drawn: Trajectory, judged: JudgedGroups, micro_step: int
    ) -> Float[Tensor, ""]:
        """The mean over times and groups that have a best and a worst edit."""
        pairs = best_and_worst(drawn.clean, judged.advantages.value)
        noisy = [self._noisy(pairs, micro_step * self.times + index) for index in range(self.times)]
        # first, as the exchange of weights would spoil gradients of what was computed before it
        with self.reference.standing_in(self.editor):
            prepared = self._prepared(batch)
            before = [self._errors(each, prepared) for each in noisy]
        prepared = self._prepared(batch)
        moved = [self._errors(each, prepared) - start for each, start in zip(noisy, before, strict=True)]
        best, worst = torch.stack(moved).unflatten(1, (-1, 2)).unbind(2)
        valid = judged.advantages.valid.any(1)
        learnt = preference_loss(best.flatten(), worst.flatten(), self.beta)
        self.log_dict(
            {
                "preference/best_error": mean_where(best, valid),
                "preference/worst_error": mean_where(worst, valid),
                "preference/logit": mean_where(learnt.logit.view_as(best), valid),
            },
            batch_size=len(batch.ids),
        )
        return self.mean_of(learnt.loss.view_as(best).mean(0), valid)

    def _prepared(self, batch: EditBatch) -> PreparedEdits:
        return self.prepared(batch, Guidance(), repeat=False).repeated(2)

    def _errors(self, noisy: NoisyPairs, prepared: PreparedEdits) -> Each:
        output = self.editor.guided(noisy.x_t, noisy.t, prepared)
        return (output - noisy.target).square().flatten(1).mean(1)

    def _noisy(self, pairs: Latent, number: int) -> NoisyPairs:
        """The pairs with noise added, for a number that is new in each pass of an optimiser step."""
        process, (channels, height, width) = self.editor.process, pairs.shape[1:]
        groups = len(pairs) // 2
        rows = range(self.global_rank * groups, (self.global_rank + 1) * groups)
        draws = draw(self.seed, self.global_step, number, rows, (channels, height, width))
        t, eps = (
            each.to(pairs.device).repeat_interleave(2, 0)
            for each in (process.draw_time(draws.time, height * width), draws.eps)
        )
        x_t = noised(pairs, eps, process.marginal(t))
        return NoisyPairs(x_t, t, process.regression_target(pairs, eps, t).float())


def best_and_worst(edits: Latent, advantage: Float[Tensor, "p g"]) -> Float[Tensor, "pairs c h w"]:
    """The best edit of the first group, its worst, the best of the second, ...

    Args:
        edits: g of the first group, then g of the second, ...
        advantage: of each; 0 for edits without a verdict, which are neither where the others differ.
    """
    groups, members = advantage.shape
    places = torch.stack((advantage.argmax(1), advantage.argmin(1)), 1)
    return edits[(places + members * torch.arange(groups).unsqueeze(1)).flatten().to(edits.device)]


def mean_where(values: Float[Tensor, "times p"], valid: Tensor) -> Float[Tensor, ""]:
    """The mean over the groups that count; 0 of none."""
    weights = valid.to(values.device, values.dtype).expand_as(values)
    return ((values * weights).sum() / weights.sum().clamp_min(1.0)).detach()
