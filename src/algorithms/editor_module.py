"""What all trainings of an Editor have in common: what is optimised, how gradients are clipped, what a
checkpoint holds.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from src.editor import Editor
from src.seeds import fold_seed

NO_CHAT_SUPPORT = (
    "the data holds conversations (rows with an answer and without an edited picture), from which only a language model that is trained can learn "
    "(+experiment=smartedit_stage2): leave them out"
)


class EditorModule(LightningModule, ABC):
    """A LightningModule around an editor; subclasses say what is minimised, in `training_step`.

    Args:
        editor: what is trained.
        seed: of dropout inside the networks, where there is any.
        optimizer: builds the optimiser from (name, parameter) pairs, as all of torch's do.
        scheduler: builds a learning rate schedule, stepped every optimiser step, or None for a constant rate.
    """

    def __init__(
        self,
        editor: Editor,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler] | None,
        seed: int,
    ) -> None:
        super().__init__()
        self.editor = editor
        self.seed = seed
        self.drops = any(isinstance(module, nn.Dropout) and module.p > 0.0 for module in editor.modules())
        self.build_optimizer = optimizer
        self.build_scheduler = scheduler

    @property
    @abstractmethod
    def supports_chat(self) -> bool:
        """Whether it can learn from conversations, samples with an answer and without an edit."""

    @staticmethod
    def mean_over_ranks(number: int) -> float | int:
        """The mean of a number that every rank has."""
        if not torch.distributed.is_available() or not torch.distributed.is_initialized():
            return number
        device = (
            torch.device("cuda", torch.cuda.current_device())
            if torch.distributed.get_backend() == "nccl"
            else torch.device("cpu")
        )
        total = torch.tensor(float(number), device=device)
        torch.distributed.all_reduce(total)
        return float(total) / torch.distributed.get_world_size()

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        """Dropout draws from torch's own generator: seeded by the step, a training that goes on after a kill
        draws what it would have drawn.
        """
        if self.drops:
            micro_step = batch_index % self.trainer.accumulate_grad_batches
            torch.manual_seed(fold_seed("dropout", self.seed, self.global_step, micro_step, self.global_rank))

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log the gradient norm before clipping."""
        self.gradient_norm = torch.nn.utils.get_total_norm(
            [p.grad for p in self.parameters() if p.grad is not None]
        )
        self.log("train/gradient_norm", self.gradient_norm)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by norm ourselves unless a gradient scaler is at work (fp16): Lightning refuses fused
        optimisers under any mixed precision, though bf16 needs no scaler and its gradients are plain. The
        norm is the one that was just logged: it takes a pass over all gradients.
        """
        if gradient_clip_val is None:
            return
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        if scaled or gradient_clip_algorithm not in (None, "norm"):
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        else:
            torch.nn.utils.clip_grads_with_norm_(self.parameters(), gradient_clip_val, self.gradient_norm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what is frozen: it is loaded again from where the config says."""
        for name in self._frozen():
            del checkpoint["state_dict"][name]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take what is frozen from the editor as it was built; everything else must be in the checkpoint."""
        checkpoint["state_dict"] |= {
            name: value for name, value in self.state_dict().items() if name in self._frozen()
        }

    def _frozen(self) -> set[str]:
        return {name for name, parameter in self.named_parameters() if not parameter.requires_grad}

    def configure_optimizers(self) -> Any:
        """Only parameters that require a gradient are optimised; they come with their names, by which an
        optimiser may treat them differently.
        """
        optimizer = self.build_optimizer(
            [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        )
        if self.build_scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.build_scheduler(optimizer), "interval": "step"},
        }
