"""The conditioning of the paper's released code, which differs from its equations; for its checkpoints and
for comparison.

- The reward is added to the time embedding, through an MLP of the encoded scores and a linear map of the
  text, and so reaches every residual block.
- The stem's attention is a post-norm layer between two 1x1 convolutions, with a residual connection around
  all of it; its keys are one vector of the
  scores and one of the text, without type embedding, through layers of their own.

Use it with `reward_encoder=released`, which returns the encoded scores and the text's last token unchanged.
"""

import math
from collections.abc import Sequence
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from src.batch import RewardTokens
from src.conditioning.integration import Integration, split_heads, width_of


def signal_layer(signal: str, reward_width: int, width: int) -> nn.Module:
    """Scores go through an MLP, text through a linear map."""
    if signal == "score":
        return nn.Sequential(nn.Linear(reward_width, width), nn.SiLU(), nn.Linear(width, width))
    return nn.Linear(reward_width, width)


@final
class PostNormStem(nn.Module):
    """One cross-attention layer, pixels as queries, that normalises after each residual sum (BERT's order).

    Args:
        width: channels of the stem.
        heads: of the attention.
        dropout: on attention and on both outputs.
        epsilon: of its layer norms; the release's 1e-12 is 0 in fp16, so keep it in fp32 or bf16.
    """

    def __init__(self, width: int, heads: int, dropout: float, epsilon: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads don't divide the stem's {width} channels")
        self.heads = heads
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.GroupNorm(math.gcd(32, width), width, eps=1e-6)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.norm1 = nn.LayerNorm(width, eps=epsilon)
        self.ffn = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.norm2 = nn.LayerNorm(width, eps=epsilon)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(
        self, hidden: Float[Tensor, "b c h w"], keys: Float[Tensor, "b k c"]
    ) -> Float[Tensor, "b c h w"]:
        """The stem's output with the reward in it."""
        pixels = self.proj_in(self.norm(hidden)).flatten(2).transpose(1, 2)
        query, key, value = (split_heads(x, self.heads) for x in (self.q(pixels), self.k(keys), self.v(keys)))
        attention = self.dropout((query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1))
        mixed = (attention @ value).transpose(1, 2).flatten(2)
        pixels = self.norm1(pixels + self.dropout(self.o(mixed)))
        pixels = self.norm2(pixels + self.dropout(self.ffn(pixels)))
        return hidden + self.proj_out(pixels.transpose(1, 2).reshape(hidden.shape))


@final
class Released(Integration):
    """Attention at the stem and addition to the time embedding, each with layers of its own for every signal.

    Args:
        reward_width: D of the reward tokens.
        signals: those of the reward encoder.
        site_widths: channels of every site of the backbone.
        heads: of the attention.
        dropout: 0.1 in the release's training. It draws from torch's global generator, so with it a resumed
            training is not bit for bit the same.
        epsilon: of the layer norms.
        init: "random" as released, or "zero" for the last layers, so that the untrained editor equals its
            backbone.
    """

    def __init__(
        self,
        reward_width: int,
        signals: Sequence[str],
        site_widths: dict[str, int],
        heads: int = 8,
        dropout: float = 0.0,
        epsilon: float = 1e-12,
        init: Literal["zero", "random"] = "random",
    ) -> None:
        super().__init__()
        self.init = init
        stem, time = width_of("stem", site_widths), width_of("time_embedding", site_widths)
        self.keys = nn.ModuleDict({signal: signal_layer(signal, reward_width, stem) for signal in signals})
        self.shifts = nn.ModuleDict({signal: signal_layer(signal, reward_width, time) for signal in signals})
        self.stem = PostNormStem(stem, heads, dropout, epsilon)
        if init == "zero":
            last = [
                layer[-1] if isinstance(layer, nn.Sequential) else layer for layer in self.shifts.values()
            ]
            for layer in (self.stem.proj_out, *last):
                for parameter in layer.parameters():
                    nn.init.zeros_(parameter)

    @property
    def sites(self) -> tuple[str, ...]:
        return "time_embedding", "stem"

    @property
    def touches_skips(self) -> bool:
        return False

    @property
    def identity_at_init(self) -> bool:
        return self.init == "zero"

    def apply_at(self, site: str, hidden: Tensor, reward: RewardTokens) -> Tensor:
        vectors = reward.per_signal()
        if site == "stem":
            keys = torch.stack(
                [layer(vector) for layer, vector in zip(self.keys.values(), vectors, strict=True)], 1
            )
            return self.stem(hidden, keys).to(hidden.dtype)
        for layer, vector in zip(self.shifts.values(), vectors, strict=True):
            hidden = hidden + layer(vector).to(hidden.dtype)
        return hidden
