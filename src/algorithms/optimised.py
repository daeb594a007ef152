"""What all trainings share: optimised parameters, gradient clipping, content of checkpoints, exact resume."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from src.algorithms.resuming import settings_of, take_settings
from src.algorithms.step_watch import ADVICE, StepWatch
from src.finite_tensors import check_finite, nested_tensors
from src.seeds import fold_seed


@runtime_checkable
class Trained(Protocol):
    """A network that knows which of its tensors a training changes."""

    def trained_state(self) -> dict[str, Tensor]:
        """Weights that require a gradient, and buffers, by name."""
        ...


class Optimised(LightningModule, ABC):
    """A LightningModule around a network; subclasses define the loss in `training_step`.

    Args:
        network: to be trained; a subclass names it (`model`).
        optimizer: builds the optimiser from (name, parameter) pairs, as torch's optimisers can.
        scheduler: builds a learning rate schedule, stepped every optimiser step, or None for a constant rate.
        seed: of dropout layers inside the network, if any.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler] | None,
        seed: int,
    ) -> None:
        super().__init__()
        self.seed = seed
        self.drops = any(isinstance(module, nn.Dropout) and module.p > 0.0 for module in network.modules())
        self.build_optimizer = optimizer
        self.build_scheduler = scheduler
        self.watch = StepWatch(self.all_gather)  # pyright: ignore[reportArgumentType]

    @property
    @abstractmethod
    def model(self) -> Trained:
        """The network whose weights are averaged and exported."""

    @staticmethod
    def mean_over_ranks(number: float | int) -> float | int:
        """The mean over ranks of a number."""
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
        """Seed torch's global generator, from which dropout draws, by the step, so that a resumed training
        draws the same numbers.
        """
        if self.drops:
            micro_step = batch_index % self.trainer.accumulate_grad_batches
            torch.manual_seed(fold_seed("dropout", self.seed, self.global_step, micro_step, self.global_rank))

    def on_train_start(self) -> None:
        """Use the optimiser's settings of this training, not those of the checkpoint that it resumes."""
        if self.global_step:
            schedulers = [each.scheduler for each in self.trainer.lr_scheduler_configs]
            scheduler = next(iter(schedulers), None)
            assert scheduler is None or isinstance(scheduler, LRScheduler)
            take_settings(self.trainer.optimizers[0], self.optimizer_settings, scheduler, self.global_step)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log the gradient norm before clipping.

        Raises:
            NotFiniteError: it is not finite; on a GPU, at the step after.
        """
        self.settle()
        self.gradient_norm = torch.nn.utils.get_total_norm(
            [p.grad for p in self.parameters() if p.grad is not None]
        )
        self.log("train/gradient_norm", self.gradient_norm)
        self.watch.look(self.global_step + 1, self.gradient_norm, self._is_scaled)

    def settle(self) -> None:
        """Look at a step that was not looked at yet, on a GPU. Raises NotFiniteError if it is not finite."""
        self.watch.settle(self._is_scaled)

    @property
    def _is_scaled(self) -> bool:
        """Whether a gradient scaler is in use (fp16)."""
        return getattr(self.trainer.precision_plugin, "scaler", None) is not None

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by norm without Lightning unless a gradient scaler is in use (fp16): Lightning refuses fused
        optimisers under any mixed precision, although bf16 needs no scaler. The norm that was just logged is
        reused, as it takes a pass over all gradients.
        """
        if gradient_clip_val is None:
            return
        if self._is_scaled or gradient_clip_algorithm not in (None, "norm"):
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
        else:
            torch.nn.utils.clip_grads_with_norm_(self.parameters(), gradient_clip_val, self.gradient_norm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out frozen weights, which are loaded from the source that the config names. Called on all
        ranks, after the callbacks have added theirs.

        Raises:
            NotFiniteError: weights, averages or the optimiser's state are not finite; nothing is written.
        """
        self.settle()
        kept = {name: checkpoint.get(name, ()) for name in ("state_dict", "ema", "optimizer_states")}
        what = f"training stopped at step {checkpoint['global_step']}: the numbers to be saved"
        check_finite(nested_tensors(kept), what, ADVICE)
        for name in self._frozen():
            del checkpoint["state_dict"][name]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take frozen weights from the editor as it was built; everything else must be in the checkpoint."""
        checkpoint["state_dict"] |= {
            name: value for name, value in self.state_dict().items() if name in self._frozen()
        }

    def _frozen(self) -> set[str]:
        return {name for name, parameter in self.named_parameters() if not parameter.requires_grad}

    def configure_optimizers(self) -> Any:
        """Optimise the parameters that require a gradient. They come with their names, so that an optimiser
        can treat them differently.
        """
        optimizer = self.build_optimizer(
            [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        )
        self.optimizer_settings = settings_of(optimizer)
        if self.build_scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.build_scheduler(optimizer), "interval": "step"},
        }
