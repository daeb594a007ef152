"""Networks that training leaves as they are: text encoders, autoencoders, language models; and backbones all
of whose encoders are of this kind.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from src.backbones.backbone import Backbone
from src.batch import Moments
from src.diffusion.process import Latent

M = TypeVar("M", bound=nn.Module)


class Frozen(Generic[M]):
    """A network that is built when it is first needed, and lives outside the module tree: no optimiser,
    average or checkpoint ever holds it.

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


class FrozenEncoders(Backbone, ABC):
    """A backbone whose image and text encoders never change, so that what they make of a dataset can be
    computed once (data/precomputed.py).
    """

    @abstractmethod
    def encode_moments(self, images: Float[Tensor, "b 3 H W"]) -> Moments:
        """What the autoencoder makes of images in [-1, 1]. The mean of an original is its condition c_I."""

    @abstractmethod
    def sample_latent(self, edited: Moments, noise: Latent) -> Latent:
        """The latent x_0 to be noised, drawn from an edited image's distribution with `noise`, N(0, I)."""

    @abstractmethod
    def encoder_digests(self) -> Mapping[str, str | None]:
        """What the encoders' results depend on, part -> sha256; None for weights that are not on this machine
        (yet).

        Raises:
            ValueError: random weights, which are others in every process.
        """

    @abstractmethod
    def free(self) -> None:
        """Give the frozen networks' memory back; each is built again when it is needed again."""
