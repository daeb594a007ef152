"""NaN and infinity where a number belongs: found where they arise, so that they never pass for a result."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor

from src.finite import NotFiniteError


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names of tensors with an entry that is NaN or infinite."""
    floating = {name: each for name, each in tensors.items() if each.is_floating_point() and each.numel()}
    if not floating or bool(size_of(list(floating.values())).isfinite()):
        return []
    return [name for name, each in floating.items() if not bool(each.isfinite().all())]


def size_of(tensors: Sequence[Tensor]) -> Tensor:
    """Their common norm, for which nothing waits: not finite if an entry is not (or if they exceed 1e19)."""
    return torch.nn.utils.get_total_norm(tensors)


def check_finite(tensors: Mapping[str, Tensor], what: str, advice: str) -> None:
    """Raise NotFiniteError if a tensor holds NaN or infinity.

    Args:
        tensors: by name.
        what: they are, as the sentence's subject: "the weights in last.ckpt".
        advice: what to do.
    """
    wrong = not_finite(tensors)
    if wrong:
        raise NotFiniteError(
            f"{what} are not finite, NaN or infinity is in {len(wrong)} of {len(tensors)} "
            f"({', '.join(wrong[:3])}): {advice}"
        )


def nested_tensors(node: Any, name: str = "") -> dict[str, Tensor]:
    """All tensors in nested mappings and sequences, by their path."""
    if isinstance(node, Tensor):
        return {name: node}
    children = (
        node.items()
        if isinstance(node, Mapping)
        else enumerate(node)
        if isinstance(node, list | tuple)
        else ()
    )
    return {
        path: tensor
        for key, child in children
        for path, tensor in nested_tensors(child, f"{name}.{key}".lstrip(".")).items()
    }


def clamp_visibly(values: Tensor, low: float, high: float) -> Tensor:
    """`clamp`, but infinity becomes NaN: it must not pass for the brightest or darkest that there is."""
    return torch.where(values.isfinite(), values.clamp(low, high), math.nan)


@final
class HostCopy:
    """A number of a device, copied to the host without making anything wait before `read`.

    Attributes:
        is_here: whether reading it never waits, as on a CPU.
    """

    def __init__(self, value: Tensor) -> None:
        value = value.detach()
        self.is_here = value.device.type != "cuda"
        if self.is_here:
            self.value = value
        else:
            self.value = torch.empty((), dtype=value.dtype, pin_memory=True)
            self.value.copy_(value, non_blocking=True)
            self.copied = torch.cuda.Event()
            self.copied.record(torch.cuda.current_stream(value.device))

    def read(self) -> float:
        """The number; waits until it was computed, not for what was queued after it."""
        if not self.is_here:
            self.copied.synchronize()
        return float(self.value)
