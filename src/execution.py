"""How the network computes during editing: number format, memory order, compilation. Training has switches of
its own.

    python -m src.edit ... execution=fast
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import nn

from src.batch import Condition, RewardTokens, TextTokens
from src.diffusion.process import Latent, Time
from src.editor import Editor

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@final
@dataclass(frozen=True)
class Execution:
    """Settings that change the speed of an edit and, in bfloat16, its last digits.

    Attributes:
        dtype: of weights and activations: float32 or bfloat16. bfloat16 halves the memory; it is faster on
            GPUs and on CPUs with hardware support, and several times slower on others.
        channels_last: memory order in which convolutions are fastest.
        compiled: use torch.compile; the first image of each size takes a minute or more, so it pays off for
            many images of one size.

    Raises:
        ValueError: an unknown dtype.
    """

    dtype: str = "float32"
    channels_last: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"execution.dtype is {' or '.join(DTYPES)}, not {self.dtype!r}")

    def prepare(self, editor: Editor) -> Editor:
        """Change an editor in place so that `edit` computes with these settings; it can't be trained
        afterwards. Call it when the editor is on its device.
        """
        dtype = DTYPES[self.dtype]
        editor = editor.eval()
        editor.backbone.to(dtype)
        if editor.integration is not None:
            editor.integration.to(dtype)
        if self.channels_last:
            nn.utils.convert_conv2d_weight_memory_format(editor, torch.channels_last)
        editor.network = self.network(editor)
        return editor

    def network(self, editor: Editor) -> Callable[..., Latent]:
        """The network as a function of x_t, t and a condition, all in fp32."""
        # every size is compiled separately, as in training: dynamic sizes fail in torch 2.13
        network = torch.compile(editor.forward, dynamic=False) if self.compiled else editor.forward
        dtype = DTYPES[self.dtype]
        return network if dtype is torch.float32 else _computing_in(network, dtype)


def _computing_in(network: Callable[..., Latent], dtype: torch.dtype) -> Callable[..., Latent]:
    """Cast the inputs of a network. The sampler's sums stay in fp32, as they add many small differences."""

    def call(x_t: Latent, t: Time, condition: Condition) -> Latent:
        text, reward = condition.instruction, condition.reward
        short = replace(
            condition,
            original_latent=condition.original_latent.to(dtype),
            instruction=TextTokens(text.tokens.to(dtype), text.mask),
            stem_bias=None if condition.stem_bias is None else condition.stem_bias.to(dtype),
            reward=None
            if reward is None
            else RewardTokens(reward.tokens.to(dtype), reward.mask, reward.lengths),
        )
        return network(x_t.to(dtype), t, short)

    return call
