"""How a reward model is trained: comparisons and ratings of edits, all perspectives and sources at once."""

from collections.abc import Callable, Sequence
from typing import final

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from src.algorithms.optimised import Optimised
from src.batch import ContestBatch
from src.data.contests import ContestSource
from src.reward_models.contest_loss import ContestLoss, Judged, total_loss
from src.reward_models.reward_model import Estimates, RewardModel

PATIENCE = 100
"""Steps after which a network must tell some edits apart."""

LEAST_DEVIATION = 1e-3
"""Of the utilities in a batch: below it all edits are the same to the network."""


@final
class Preference(Optimised):
    """Weighted sums of the losses of pairs and ratings, each divided by its weight over all ranks.

    Args:
        model: the network.
        sources: who compared and rated.
        loss: builds the loss from the sources.
        optimizer, scheduler, seed: as in `Optimised`.

    Raises:
        ValueError: a loss that doesn't fit the network or the sources.
    """

    def __init__(
        self,
        model: RewardModel,
        sources: Sequence[ContestSource],
        loss: Callable[..., ContestLoss],
        optimizer: Callable[..., Optimizer],
        seed: int,
        scheduler: Callable[..., LRScheduler] | None = None,
    ) -> None:
        super().__init__(model, optimizer, scheduler, seed)
        self.network = model
        self.loss = loss(sources=sources)
        self.loss.check(model.has_deviation)

    @property
    def model(self) -> RewardModel:
        return self.network

    def training_step(self, batch: ContestBatch, batch_index: int) -> Tensor:
        """One micro-step; logs `train/...`.

        Raises:
            ValueError: the network has learnt to tell no edits apart.
        """
        estimates = self.network(batch.inputs)
        judged = self.loss(estimates, batch)
        loss = total_loss(judged, batch, self.loss.rating_weight, self.mean_over_ranks)
        self.watch.remember(batch.edit_ids, loss)
        self._log(batch, estimates, judged, loss)
        return loss

    def _log(self, batch: ContestBatch, estimates: Estimates, judged: Judged, loss: Tensor) -> None:
        """Every name in every step, so that all ranks log the same ones."""
        decided = ~batch.compared.tie
        spread = estimates.mean.detach().std(0, correction=0).max()
        if self.global_step == PATIENCE and float(spread) < LEAST_DEVIATION:
            raise ValueError(
                f"training stopped at step {self.global_step}: all edits of a batch get the same utilities "
                f"(deviation {float(spread):.1g}), so nothing is learnt; raise algorithm.optimizer.lr, or "
                "see whether the labels are there and the network's weights are trained"
            )
        values = {
            "train/loss": loss.detach(),
            "train/pairs": _mean(judged.pairs, batch.compared.weight),
            "train/ratings": _mean(judged.ratings, torch.ones_like(judged.ratings)),
            "train/accuracy": _mean((judged.difference > 0).float(), decided.float()),
            "train/difference": _mean(judged.difference.abs(), torch.ones_like(judged.difference)),
            "train/deviation": (
                torch.zeros_like(spread)
                if estimates.log_deviation is None
                else estimates.log_deviation.exp().mean()
            ),
        }
        self.log_dict({name: value.detach() for name, value in values.items()}, batch_size=len(batch.ids))


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean; 0 of nothing."""
    return (values * weights).sum() / weights.sum().clamp_min(1e-8)
