"""SmartEdit's bidirectional interaction module: instruction and image attend to each other before they reach
the denoiser (Huang et al. 2024, 3.3).

The two-way transformer of Segment Anything (Kirillov et al. 2023, appendix A) between the Q-Former's tokens
and the vision tower's features. The tokens become c_T, the features a bias after the U-Net's first
convolution. Both outputs are initialised to zero, so that the denoiser starts without them.
"""

import math
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from src.conditioning.integration import split_heads

TEXT_STEP = 0.5
"""Factor of the text branch's output that is added to the Q-Former's tokens in the release."""


def grid_encoding(
    height: int, width: int, frequencies: Float[Tensor, "2 half"]
) -> Float[Tensor, "cells 2*half"]:
    """Random Fourier features of grid positions (Tancik et al. 2020): sine and cosine of 2 pi (x, y) B, row
    by row.

    Args:
        height, width: of the grid; x and y are those of its cells' centres, from -1 to 1 along each side.
        frequencies: the matrix B, drawn once from N(0, 1) and kept with the weights.
    """
    down, right = (
        (torch.arange(size, device=frequencies.device) + 0.5) / size * 2.0 - 1.0 for size in (height, width)
    )
    y, x = torch.meshgrid(down, right, indexing="ij")
    angles = 2.0 * math.pi * torch.stack([x, y], -1).flatten(0, 1) @ frequencies.float()
    return torch.cat([angles.sin(), angles.cos()], -1)


@final
class NarrowAttention(nn.Module):
    """Multi-head attention whose queries, keys and values are narrower than the tokens.

    Args:
        width: of the tokens.
        heads: they must divide the narrower width.
        downsample: how many times narrower.

    Raises:
        ValueError: heads or downsampling don't divide the width.
    """

    def __init__(self, width: int, heads: int, downsample: int = 1) -> None:
        super().__init__()
        inner = width // downsample
        if inner * downsample != width or inner % heads:
            raise ValueError(
                f"{heads} heads and a downsampling of {downsample} don't divide the interaction module's "
                f"width of {width}"
            )
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, inner) for _ in range(3))
        self.out = nn.Linear(inner, width)

    def forward(
        self, query: Float[Tensor, "b n d"], key: Float[Tensor, "b m d"], value: Float[Tensor, "b m d"]
    ) -> Float[Tensor, "b n d"]:
        """Attention output of each query."""
        projected = (self.query(query), self.key(key), self.value(value))
        queries, keys, values = (split_heads(x, self.heads) for x in projected)
        return self.out(F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2))


@final
class TwoWayBlock(nn.Module):
    """Text attends to itself and to the image and passes a feed-forward; then the image attends to the text.
    Each residual sum is normalised.

    Args:
        width: of text and image.
        heads: of each attention.
        feedforward: hidden width, on the text's side only.
        downsample: of the attention between text and image.
        first: the first block's self-attention replaces the text, without residual sum and positions, as in
            Segment Anything.
    """

    def __init__(self, width: int, heads: int, feedforward: int, downsample: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attention = NarrowAttention(width, heads)
        self.text_to_image = NarrowAttention(width, heads, downsample)
        self.image_to_text = NarrowAttention(width, heads, downsample)
        self.feedforward_in, self.feedforward_out = (
            nn.Linear(width, feedforward),
            nn.Linear(feedforward, width),
        )
        self.norm1, self.norm2, self.norm3, self.norm4 = (nn.LayerNorm(width) for _ in range(4))

    def forward(
        self,
        text: Float[Tensor, "b n d"],
        image: Float[Tensor, "b m d"],
        start: Float[Tensor, "b n d"],
        places: Float[Tensor, "m d"],
    ) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b m d"]]:
        """Text and image after this block.

        Args:
            text, image: output of the previous block.
            start: the text as it entered the first block, which is added to queries and keys of the text.
            places: the same for the image.
        """
        if self.first:
            text = self.norm1(self.self_attention(text, text, text))
        else:
            text = self.norm1(text + self.self_attention(text + start, text + start, text))
        text = self.norm2(text + self.text_to_image(text + start, image + places, image))
        text = self.norm3(text + self.feedforward_out(F.relu(self.feedforward_in(text))))
        image = self.norm4(image + self.image_to_text(image + places, text + start, text))
        return text, image


@final
class InteractionModule(nn.Module):
    """Tokens and image features in, c_T and the bias of the U-Net's stem out.

    Args:
        text_width: of the Q-Former's tokens, and of c_T.
        image_width: of the vision tower's features; the transformer works at this width.
        stem_width: channels of the U-Net's first convolution.
        depth: two-way blocks.
        heads: of each attention.
        feedforward: hidden width of each block.
        downsample: of the attention between text and image.

    Attributes:
        sizes: the arguments that can't be inferred from its weights.

    Raises:
        ValueError: heads and downsampling don't divide the width, or the width is odd.
    """

    frequencies: Tensor

    def __init__(
        self,
        text_width: int,
        image_width: int,
        stem_width: int,
        depth: int = 2,
        heads: int = 8,
        feedforward: int = 2048,
        downsample: int = 2,
    ) -> None:
        super().__init__()
        if image_width % 2:
            raise ValueError(
                f"the interaction module's width of {image_width} is odd: half of a place's encoding is "
                "sines, half cosines"
            )
        self.sizes = {"depth": depth, "heads": heads, "feedforward": feedforward, "downsample": downsample}
        self.text_in = nn.Linear(text_width, image_width)
        self.register_buffer("frequencies", torch.randn(2, image_width // 2))
        self.layers = nn.ModuleList(
            [TwoWayBlock(image_width, heads, feedforward, downsample, index == 0) for index in range(depth)]
        )
        self.final_attention = NarrowAttention(image_width, heads, downsample)
        self.final_norm = nn.LayerNorm(image_width)
        self.text_out = nn.Linear(image_width, text_width)
        self.image_out = nn.Conv2d(image_width, stem_width, 1)
        for parameter in (*self.text_out.parameters(), *self.image_out.parameters()):
            nn.init.zeros_(parameter)

    def forward(
        self, text: Float[Tensor, "b n text_width"], image: Float[Tensor, "b image_width height width"]
    ) -> tuple[Float[Tensor, "b n text_width"], Float[Tensor, "b stem_width height width"]]:
        """c_T, and the stem's bias on the image features' grid. It can be resized to the latent later, as
        resizing commutes with a 1x1 convolution.

        Args:
            text: the Q-Former's tokens.
            image: the vision tower's features, any grid.
        """
        places = grid_encoding(image.shape[-2], image.shape[-1], self.frequencies).to(image.dtype)
        queries = start = self.text_in(text)
        keys = image.flatten(2).transpose(1, 2)
        for layer in self.layers:
            queries, keys = layer(queries, keys, start, places)
        queries = self.final_norm(queries + self.final_attention(queries + start, keys + places, keys))
        return text + TEXT_STEP * self.text_out(queries), self.image_out(
            keys.transpose(1, 2).unflatten(-1, image.shape[-2:])
        )
