"""Frozen networks (text encoders, autoencoders, language models) and backbones with frozen encoders only."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from src.backbones.backbone import Backbone
from src.batch import Moments
from src.diffusion.process import Latent

M = TypeVar("M", bound=nn.Module)


@final
class Frozen(Generic[M]):
    """A network that is built when first needed and lives outside the module tree, so that no optimiser,
    average or checkpoint holds it.

    Args:
        build: builds it, or loads it from the source that the config names.
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
        """Release its memory; the next use builds it again."""
        self.network = None


class FrozenEncoders(Backbone, ABC):
    """A backbone whose image and text encoders never change, so that a dataset can be encoded once
    (data/precomputed.py).
    """

    @abstractmethod
    def encode_moments(self, images: Float[Tensor, "b 3 H W"]) -> Moments:
        """The autoencoder's posterior of images in [-1, 1]. The mean of an original is its condition c_I."""

    @abstractmethod
    def sample_latent(self, edited: Moments, noise: Latent) -> Latent:
        """The clean latent x_0, sampled from an edited image's posterior with `noise`, N(0, I)."""

    @abstractmethod
    def encoder_digests(self) -> Mapping[str, str | None]:
        """sha256 of everything that the encoders' results depend on, by part; None for weights that are not
        on this machine (yet).

        Raises:
            ValueError: random weights, which differ in every process.
        """

    @abstractmethod
    def free(self) -> None:
        """Release the memory of the frozen networks; the next use builds them again."""
