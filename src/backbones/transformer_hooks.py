"""Forward hooks that let an Integration act inside a stock diffusers transformer: no fork, no subclass, no
renamed weight.

Sites: "stem" = the tokens of images as they enter, "block.i" = all blocks in order of execution,
"time_embedding", and "modulation.i" = the vectors of shifts, scales and gates that the blocks get. The reward
changes the tokens of the noisy image; those of the original are the same for every reward.
"""

import functools
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from src.backbones.hooks import RewardedCall, RewardHooks
from src.conditioning.integration import Integration


@final
class Site(NamedTuple):
    """Where an integration may act.

    Attributes:
        module: whose output it changes.
        width: channels of that output.
        holds: the output is a "vector" (b, c), tokens of "image"s (b, n, c), a "pair" of text and image
            tokens, or both "joined" in one sequence, text first.
    """

    module: nn.Module
    width: int
    holds: Literal["vector", "image", "pair", "joined"]


@final
class TransformerHooks(RewardHooks):
    """Calls an integration at its sites while `reward(...)` is active.

    Args:
        sites: of the transformer, by name.
        integration: of the reward.

    Raises:
        ValueError: an integration that also changes skip connections.
    """

    def __init__(self, sites: Mapping[str, Site], integration: Integration) -> None:
        super().__init__(integration, "transformer")
        if integration.touches_skips:
            raise ValueError("a transformer has no skip connections: set skips=false")
        for name in integration.sites:
            site = sites[name]
            site.module.register_forward_hook(functools.partial(self._act, name, site.holds))

    def checkpoint(self, block: nn.Module, *inputs: Any) -> Any:
        """Gradient checkpointing of a block, for `enable_gradient_checkpointing`.

        The hook of a block runs again when the backward pass recomputes it, after `reward(...)` has ended: so
        the call is kept here and entered once more.
        """
        kept = self.current

        def run(*inputs: Any) -> Any:
            if kept is None:
                return block(*inputs)
            with self.reward(*kept):
                return block(*inputs)

        return checkpoint(run, *inputs, use_reentrant=False)

    def _act(self, site: str, holds: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """A forward hook."""
        hidden: Tensor = output[1] if holds == "pair" else output
        call = self.call_at(site, hidden.shape[0])
        if holds == "vector":
            return self.integration.apply_at(site, hidden, call.reward)
        hidden = self._with_reward(site, hidden, call, call.text if holds == "joined" else 0)
        return (output[0], hidden) if holds == "pair" else hidden

    def _with_reward(
        self, site: str, hidden: Float[Tensor, "b n c"], call: RewardedCall, start: int
    ) -> Float[Tensor, "b n c"]:
        """The tokens of the noisy image, which begin at `start`, with the reward in them; as an image of one
        column, which is what integrations take.
        """
        noisy = hidden[:, start : start + call.noisy]
        column = noisy.transpose(1, 2).unsqueeze(-1)
        changed = self.integration.apply_at(site, column, call.reward).squeeze(-1).transpose(1, 2)
        return torch.cat([hidden[:, :start], changed, hidden[:, start + call.noisy :]], 1)
