"""torch.compile for training, with a workaround for a bug that silently leaves half of a U-Net without
gradients.

With weights or images in channels_last, Inductor (seen in torch 2.13 on CPUs) may schedule the backward pass
of a nearest upsampling, which accumulates into a tensor of zeros, after the kernels that read the sum.
Everything below the upsampling then gets a gradient of exactly zero, and the loss still falls.
tests/algorithms/test_compiling.py compares every gradient with that of the uncompiled network.

In bfloat16 (seen in torch 2.13 with AVX512), `x * (1.0 + gain)` with a gain broadcast over x may get
gradients that are not finite; `torch.addcmul(x, x, gain)` does not (tiny_transformer.py).
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.upsampling import Upsample2D
from jaxtyping import Float
from torch import Tensor, nn


def compiled(network: nn.Module) -> Callable[..., Any]:
    """The forward pass of a network, compiled for training. Weights keep their names.

    Nearest-neighbour upsampling is replaced by copying every cell, which gives the same result and whose
    gradient is a plain sum. Every size is compiled separately: dynamic sizes fail in torch 2.13 (a mask's
    stride is assumed to be fixed).
    """
    for module in network.modules():
        if isinstance(module, Upsample2D) and module.interpolate and not module.use_conv_transpose:
            module.interpolate = False
            module.register_forward_pre_hook(_doubled_first)
    return torch.compile(network.forward, dynamic=False)


def doubled(hidden: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c 2*h 2*w"]:
    """Each cell repeated two by two, in channels_last order."""
    batch, channels, height, width = hidden.shape
    cells = (
        hidden.permute(0, 2, 3, 1).reshape(batch, height, 1, width, 1, channels).expand(-1, -1, 2, -1, 2, -1)
    )
    return cells.reshape(batch, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


def _doubled_first(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """A forward pre-hook of diffusers' Upsample2D, called with its input and, at odd sizes, the output's."""
    hidden, *size = inputs
    image = doubled(hidden)
    if size and size[0] is not None:
        height, width = size[0]
        image = image[
            :, :, :height, :width
        ]  # nearest neighbours of 2n - 1 cells are those of 2n without the last
    return (image, *size)
