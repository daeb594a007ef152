"""SmartEdit's Q-Former: translates the language model's hidden states into tokens like those of Stable
Diffusion's text encoder (Huang et al. 2024, section 3.2).

A BLIP-2 Q-Former (Li et al. 2023) of six layers: 77 learnt queries attend to the language model's hidden
states at its image tokens in every second layer and replace the text encoder's 77 tokens in the denoiser's
cross-attention.
"""

from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel


@final
class QueryTransformer(nn.Module):
    """Hidden states of a language model to tokens of a text encoder's width. The layers are those of
    transformers' `Blip2QFormerModel`.

    Args:
        encoder_width: D, of the language model's hidden states.
        width: of the output tokens.
        queries: their number.
        layers: blocks of self-attention and feed-forward.
        heads: of every attention.
        feedforward: hidden width of the feed-forward.
        cross_attention_every: layers 0, n, 2n, ... attend to the hidden states.
        dropout: on attention and on every layer's output, in training.

    Attributes:
        sizes: the arguments that can't be inferred from its weights.

    Raises:
        ValueError: heads don't divide the width, or no layer attends to the hidden states.
    """

    def __init__(
        self,
        encoder_width: int,
        width: int = 768,
        queries: int = 77,
        layers: int = 6,
        heads: int = 12,
        feedforward: int = 3072,
        cross_attention_every: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads don't divide the query transformer's width of {width}")
        if layers < 1 or cross_attention_every < 1:
            raise ValueError(
                f"layers={layers} and cross_attention_every={cross_attention_every}: both must be at least 1"
            )
        self.sizes = {
            "queries": queries,
            "layers": layers,
            "heads": heads,
            "feedforward": feedforward,
            "cross_attention_every": cross_attention_every,
            "dropout": dropout,
        }
        config = Blip2QFormerConfig(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=feedforward,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            cross_attention_frequency=cross_attention_every,
            encoder_hidden_size=encoder_width,
        )
        self.qformer = Blip2QFormerModel(config)
        self.queries = nn.Parameter(torch.randn(queries, width) * config.initializer_range)

    def forward(self, hidden: Float[Tensor, "b n encoder_width"]) -> Float[Tensor, "b queries width"]:
        """Tokens for the denoiser, before the interaction module.

        Args:
            hidden: the language model's last hidden states at its image tokens; none is padding.
        """
        queries = self.queries.expand(hidden.shape[0], -1, -1)
        output: Any = self.qformer(query_embeds=queries, encoder_hidden_states=hidden)
        return output.last_hidden_state
