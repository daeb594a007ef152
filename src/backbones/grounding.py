"""Where in the image an instruction applies, and what it asks for there: a small attention from the
instruction to the cells of the original.

A U-Net whose channels are modulated by the instruction must locate "the red circle" by itself, which is
learnt last when training from scratch. Here each head selects words, forms one query, compares it with every
cell and adds a value vector where a cell matches. Not in the paper, whose networks are pretrained;
experiments/LOG.md reports what it is worth to the tiny editor.
"""

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from src.batch import TextTokens
from src.diffusion.process import Latent

FREQUENCIES = 4
"""Number of frequencies that encode a cell's position: half a period, a whole one, and so on across the
image.
"""


@final
class Grounding(nn.Module):
    """(original latent, instruction) -> a map: sum over heads of sigmoid(query . key of the cell) times the
    head's value.

    The gate is a sigmoid and not a softmax over cells: an object covers many cells, and a head must be able
    to select none.

    Args:
        text_width: of the instruction's tokens.
        image_channels: of the original latent.
        channels: of the map, which is added to the output of a U-Net's first convolution.
        heads: number of queries.
        width: of the convolutions over the original.
        key_width: of queries and keys.
    """

    def __init__(
        self,
        text_width: int,
        image_channels: int,
        channels: int,
        heads: int = 8,
        width: int = 64,
        key_width: int = 32,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.channels = channels
        seen = image_channels + 4 * FREQUENCIES
        self.look = nn.Sequential(
            nn.Conv2d(seen, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
        )
        self.listen = nn.Linear(text_width, heads)
        self.key = nn.Conv2d(width + 4 * FREQUENCIES, heads * key_width, 1)
        self.query = nn.Linear(text_width, heads * key_width)
        self.value = nn.Linear(text_width, heads * channels)
        # initially every head selects about a quarter of the image
        self.threshold = nn.Parameter(torch.full((heads, 1), -1.0))

    def forward(self, original: Latent, instruction: TextTokens) -> Float[Tensor, "b channels h w"]:
        """The map on the latent's grid.

        Args:
            original: c_I, (b, image_channels, h, w).
            instruction: the encoded texts.
        """
        batch, _, height, width = original.shape
        place = place_waves(original)
        seen = self.look(torch.cat([original, place], 1))
        key = self.key(torch.cat([seen, place.to(seen.dtype)], 1)).view(batch, self.heads, -1, height * width)
        query, value = self.heard(self.query, instruction), self.heard(self.value, instruction)
        gate = torch.sigmoid(
            (query.unsqueeze(2) @ key).squeeze(2) * (2.0 / math.sqrt(key.shape[2])) + self.threshold
        )
        return (value.transpose(1, 2) @ gate.to(value.dtype)).view(batch, self.channels, height, width)

    def heard(self, layer: nn.Linear, instruction: TextTokens) -> Float[Tensor, "b heads out"]:
        """A layer's outputs for the words, one slice per head, averaged with the head's weights over the
        words.
        """
        shares = (
            self.listen(instruction.tokens).masked_fill(~instruction.mask.unsqueeze(2), -math.inf).softmax(1)
        )
        outputs = layer(instruction.tokens).unflatten(2, (self.heads, -1))
        return torch.einsum("blh,blho->bho", shares.to(outputs.dtype), outputs)


def place_waves(latent: Latent) -> Float[Tensor, "b waves h w"]:
    """Sines and cosines of each cell's coordinates, sums of which can single out any part of the image."""
    batch, _, height, width = latent.shape
    wave = torch.arange(1, FREQUENCIES + 1, device=latent.device, dtype=latent.dtype) * (math.pi / 2)
    down = (
        torch.linspace(-1.0, 1.0, height, device=latent.device, dtype=latent.dtype)
        .outer(wave)
        .T.unsqueeze(2)
        .expand(-1, height, width)
    )
    right = (
        torch.linspace(-1.0, 1.0, width, device=latent.device, dtype=latent.dtype)
        .outer(wave)
        .T.unsqueeze(1)
        .expand(-1, height, width)
    )
    return torch.cat([down.sin(), down.cos(), right.sin(), right.cos()]).expand(batch, -1, height, width)
