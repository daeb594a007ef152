"""What is not finite in an optimiser step ends the training, without a GPU being waited for in any step.

On a CPU the numbers of a step are looked at before the optimiser uses them. A GPU's arrive while the next
step is computed and are looked at then; weights of a step are averaged and saved only after that.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from src.finite import NotFiniteError
from src.finite_tensors import HostCopy

ADVICE = (
    "try a smaller algorithm.optimizer.lr, trainer.gradient_clip_val=1 or trainer.precision=32-true, and "
    "python -m src.check_data for the data"
)

MOST_SKIPPED = 30
"""Steps in a row that a gradient scaler (fp16) may leave out before the training counts as broken."""


@final
class MicroStep(NamedTuple):
    """The triplets of a micro-step, their loss and, if known, the error of each; on the device."""

    ids: Sequence[str]
    loss: Float[Tensor, ""]
    errors: Float[Tensor, " b"] | None

    def not_finite(self) -> list[str]:
        """The triplets whose own error is not finite."""
        errors = [] if self.errors is None else self.errors.float().tolist()
        return [name for name, error in zip(self.ids, errors, strict=False) if not math.isfinite(error)]


@final
class Looked(NamedTuple):
    """The numbers of one optimiser step: its number counted from 1, the gradient norm, and what it was of."""

    step: int
    norm: HostCopy
    micro_steps: Sequence[MicroStep]


@final
class StepWatch:
    """The numbers of the current optimiser step, and of the one before that is not looked at yet.

    Args:
        on_all_ranks: gathers a number from all ranks; called only when all of them have found a norm that is
            not finite.
    """

    def __init__(self, on_all_ranks: Callable[[Tensor], Tensor]) -> None:
        self.on_all_ranks = on_all_ranks
        self.micro_steps: list[MicroStep] = []
        self.waiting: Looked | None = None
        self.skipped = 0

    def remember(
        self, ids: Sequence[str], loss: Float[Tensor, ""], errors: Float[Tensor, " b"] | None = None
    ) -> None:
        """Note a micro-step, for the message alone."""
        errors = None if errors is None else errors.detach()
        self.micro_steps.append(MicroStep(list(ids), loss.detach(), errors))

    def look(self, step: int, norm: Float[Tensor, ""], scaled: bool) -> None:
        """Look at an optimiser step's gradient norm, at once if it is here, else in `settle`.

        Args:
            step: counted from 1.
            norm: of the gradients, reduced over ranks.
            scaled: whether a gradient scaler leaves out steps with infinite gradients, as is usual with fp16.

        Raises:
            NotFiniteError: it is not finite.
        """
        self.waiting = Looked(step, HostCopy(norm), self.micro_steps)
        self.micro_steps = []
        if self.waiting.norm.is_here:
            self.settle(scaled)

    def settle(self, scaled: bool = False) -> None:
        """Look at the step that was not looked at yet. Raises NotFiniteError as `look`."""
        looked, self.waiting = self.waiting, None
        if looked is None:
            return
        norm = looked.norm.read()
        self.skipped = 0 if math.isfinite(norm) else self.skipped + 1
        if self.skipped > (MOST_SKIPPED if scaled else 0):
            raise NotFiniteError(f"{self._describe(looked, norm)}; {ADVICE}")

    def _describe(self, looked: Looked, norm: float) -> str:
        said = f"training stopped at step {looked.step}: the norm of the gradients is {norm:g}"
        losses = [each.loss.float() for each in looked.micro_steps]
        if not losses:
            return said
        broken = (~torch.stack(losses).isfinite()).any().float()
        flags = self.on_all_ranks(broken).reshape(-1).tolist()
        ranks = [str(rank) for rank, is_broken in enumerate(flags) if is_broken]
        if not ranks:
            return f"{said}, though the losses are finite"
        where = f" on rank {', '.join(ranks)}" if len(flags) > 1 else ""
        wrong = [name for each in looked.micro_steps for name in each.not_finite()]
        total = sum(len(each.ids) for each in looked.micro_steps)
        named = f" of {len(wrong)} of {total} triplets ({', '.join(wrong[:3])})" if len(wrong) < total else ""
        return f"{said}, the loss{where}{named if wrong else ''} is not finite"
