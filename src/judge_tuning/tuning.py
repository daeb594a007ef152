"""How a judge learns: cross-entropy on the tokens of the answers, never on those of the questions."""

from collections.abc import Callable
from typing import final

from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from src.algorithms.optimised import Optimised
from src.judge_tuning.network import NO_TARGET, AnsweredBatch, TunedVLM


@final
class JudgeTuning(Optimised):
    """The mean over all answers' tokens of all ranks.

    Args:
        model: the network.
        optimizer, scheduler, seed: as in `Optimised`.
    """

    def __init__(
        self,
        model: TunedVLM,
        optimizer: Callable[..., Optimizer],
        seed: int,
        scheduler: Callable[..., LRScheduler] | None = None,
    ) -> None:
        super().__init__(model, optimizer, scheduler, seed)
        self.tuned = model

    @property
    def model(self) -> TunedVLM:
        return self.tuned

    def training_step(self, batch: AnsweredBatch, batch_index: int) -> Tensor:
        """One micro-step; logs `train/loss`."""
        loss = answer_loss(self.tuned, batch) / self.mean_over_ranks(batch.count)
        self.watch.remember(list(batch.ids), loss)
        self.log("train/loss", loss.detach(), batch_size=len(batch.ids))
        return loss


def answer_loss(model: TunedVLM, batch: AnsweredBatch) -> Tensor:
    """The summed cross-entropy of the answers' tokens, in fp32."""
    logits = model(batch)
    return cross_entropy(
        logits.float().flatten(0, 1), batch.targets.flatten(), ignore_index=NO_TARGET, reduction="sum"
    )
