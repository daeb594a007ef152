"""Equation 2 of the paper: Z'' = CA(Z', Linear_1(c_R)), one standard transformer encoder block in front of
the U-Net's first block.
"""

import contextlib
from collections.abc import Sequence
from typing import Literal, final

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from src.batch import RewardTokens
from src.conditioning.integration import Integration, split_heads, width_of


@final
class Attention(Integration):
    """Latent after conv_in as query, reward tokens as key and value; pre-norm, residual, feed-forward ratio
    4.

    Args:
        reward_width: D of the reward tokens.
        signals: those of the reward encoder; all of them are treated alike.
        site_widths: channels of every site of the backbone.
        heads: attention heads; they must divide the stem's width.
        feedforward_ratio: hidden width of the feed-forward over the stem's width.
        init: "zero" makes both output layers zero, so that step 0 equals the backbone. Departure from the
            paper, which says random.
        inner: width of the block, to which the latent is mapped and from which the change that the block
            makes is mapped back; None for the stem's own, as in the paper. With 3,072 channels the block has
            120 million weights, with inner=1024 20 million.

    Raises:
        ValueError: heads don't divide the block's width.
    """

    def __init__(
        self,
        reward_width: int,
        signals: Sequence[str],
        site_widths: dict[str, int],
        heads: int = 8,
        feedforward_ratio: int = 4,
        init: Literal["zero", "random"] = "zero",
        inner: int | None = None,
    ) -> None:
        super().__init__()
        stem = width_of("stem", site_widths)
        width = stem if inner is None else inner
        if width % heads:
            whose = "the stem's" if inner is None else "the inner"
            raise ValueError(f"{heads} heads don't divide {whose} {width} channels")
        self.heads = heads
        self.init = init
        self.linear_1 = nn.Linear(reward_width, width)
        self.query_norm = nn.LayerNorm(width)
        self.key_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.attention_out = nn.Linear(width, width)
        self.feedforward_norm = nn.LayerNorm(width)
        self.feedforward_in = nn.Linear(width, feedforward_ratio * width)
        self.feedforward_out = nn.Linear(feedforward_ratio * width, width)
        self.narrow = None if inner is None else nn.Linear(stem, width)
        self.widen = None if inner is None else nn.Linear(width, stem)
        if init == "zero":
            # inside a narrow block they are random: it is the map back that starts at zero
            last = (self.attention_out, self.feedforward_out) if self.widen is None else (self.widen,)
            for layer in last:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    @property
    def sites(self) -> tuple[str, ...]:
        return ("stem",)

    @property
    def touches_skips(self) -> bool:
        return False

    @property
    def identity_at_init(self) -> bool:
        return self.init == "zero"

    def apply_at(self, site: str, hidden: Tensor, reward: RewardTokens) -> Tensor:
        """Z' (b, c, h, w) -> Z'' of the same shape."""
        batch, channels, height, width = hidden.shape
        pixels = hidden.flatten(2).transpose(1, 2)
        if self.narrow is None or self.widen is None:
            attended, fed = self._changes(pixels, reward)
            pixels = pixels + attended + fed
        else:
            attended, fed = self._changes(self.narrow(pixels), reward)
            pixels = pixels + self.widen(attended + fed).to(pixels.dtype)
        return pixels.transpose(1, 2).reshape(batch, channels, height, width)

    def _changes(self, pixels: Float[Tensor, "b n w"], reward: RewardTokens) -> tuple[Tensor, Tensor]:
        """What attention and feed-forward add to these pixels, one after the other."""
        key, value = self.key_value(self.key_norm(self.linear_1(reward.tokens))).chunk(2, -1)
        query, key, value = (
            split_heads(x, self.heads) for x in (self.query(self.query_norm(pixels)), key, value)
        )
        # torch's fused kernel for CPUs takes three times as long as plain products in bf16, over a few dozen
        # keys
        with sdpa_kernel(SDPBackend.MATH) if pixels.device.type == "cpu" else contextlib.nullcontext():
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=reward.mask[:, None, None, :])
        attended = self.attention_out(mixed.transpose(1, 2).flatten(2)).to(pixels.dtype)
        hidden = F.gelu(self.feedforward_in(self.feedforward_norm(pixels + attended)))
        return attended, self.feedforward_out(hidden).to(pixels.dtype)
