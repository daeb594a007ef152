"""Networks that training leaves as they are: text encoders, autoencoders, language models."""

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


class Frozen(Generic[M]):
    """A network that is built when it is first needed, and lives outside the module tree: no optimiser, average or checkpoint ever holds it.

    Args:
        build: makes it, or loads it from the place that the config names.
    """

    def __init__(self, build: Callable[[], M]) -> None:
        self.build = build
        self.network: M | None = None

    def on(self, device: torch.device) -> M:
        """The network on this device, in evaluation mode."""
        if self.network is None:
            self.network = self.build().eval().requires_grad_(False)
        return self.network.to(device)

    def free(self) -> None:
        """Give its memory back; it is built again when it is needed again."""
        self.network = None
