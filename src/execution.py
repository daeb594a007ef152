"""How an editor's network computes when images are edited: number format, memory order, compilation.
Training has switches of its own.

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
    """What changes the speed of an edit, and in short number formats its last digits.

    Attributes:
        dtype: float32 or bfloat16, of the weights and of what the network computes. bfloat16 halves the
            memory; it is faster on GPUs and on CPUs that multiply it in hardware, and several times slower on
            others.
        channels_last: the memory order in which convolutions are fastest.
        compiled: torch.compile; a minute or more for the first image of each size, so it is worth it for
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
        """The same editor, changed so that `edit` computes like this; it can't be trained afterwards. Call it
        on the device to work on.
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
        """What is called with x_t, t and a condition, all of them in fp32."""
        # every size is compiled by itself, as in training: sizes left open fail in torch 2.13
        network = torch.compile(editor.forward, dynamic=False) if self.compiled else editor.forward
        dtype = DTYPES[self.dtype]
        return network if dtype is torch.float32 else _computing_in(network, dtype)


def _computing_in(network: Callable[..., Latent], dtype: torch.dtype) -> Callable[..., Latent]:
    """The network fed with numbers of this format. The sampler's own sums stay in fp32: they add thirty small
    differences.
    """

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
