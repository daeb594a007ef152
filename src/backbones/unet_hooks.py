"""Forward hooks that let an Integration act inside a stock `UNet2DConditionModel`: no fork, no subclass, no
renamed weight.

Sites: "stem" = conv_in, "block.i" = down blocks, mid block, up blocks in order of execution,
"time_embedding".
"""

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, final

import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor, nn

from src.backbones.backbone import check_reward
from src.batch import RewardTokens
from src.conditioning.integration import Integration


def site_modules(unet: UNet2DConditionModel) -> dict[str, nn.Module]:
    """The module behind every site, in order of execution."""
    blocks = [*unet.down_blocks, *([] if unet.mid_block is None else [unet.mid_block]), *unet.up_blocks]
    return {"time_embedding": unet.time_embedding, "stem": unet.conv_in} | {
        f"block.{i}": block for i, block in enumerate(blocks)
    }


def site_widths(unet: UNet2DConditionModel) -> dict[str, int]:
    """Channels that come out of every site."""
    widths = {"time_embedding": unet.time_embedding.linear_2.out_features, "stem": unet.conv_in.out_channels}
    blocks = {name: block for name, block in site_modules(unet).items() if name.startswith("block.")}
    return widths | {name: block_width(block) for name, block in blocks.items()}


def block_width(block: nn.Module) -> int:
    """A block's output width: that of its last residual block, as down- and upsamplers keep it."""
    resnets = block.get_submodule("resnets")
    assert isinstance(resnets, nn.ModuleList)
    last: Any = resnets[-1]
    return last.out_channels


@final
class UNetHooks:
    """Calls an integration at its sites while `reward(...)` is active.

    Hooks are partials of bound methods and not closures, so that a deepcopy or pickle of the owning module
    refers to its own copies.
    """

    def __init__(self, unet: UNet2DConditionModel, integration: Integration) -> None:
        self.integration = integration
        self.current: RewardTokens | None = None
        modules = site_modules(unet)
        for site in integration.sites:
            modules[site].register_forward_hook(functools.partial(self._act, site))

    @contextmanager
    def reward(self, tokens: RewardTokens) -> Iterator[None]:
        """Inside this context the U-Net is conditioned on these tokens (b, k, d)."""
        self.current = tokens
        try:
            yield
        finally:
            self.current = None

    def _act(self, site: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """A forward hook; down blocks return (hidden, skips), the others a tensor."""
        if self.current is None:
            raise RuntimeError(
                f"the U-Net has a reward integration but ran without a reward (at {site!r}); go through "
                "Editor or `hooks.reward(...)`"
            )
        reward = self.current
        hidden: Tensor = output[0] if isinstance(output, tuple) else output
        if hidden.shape[0] != reward.tokens.shape[0]:
            raise ValueError(
                f"{reward.tokens.shape[0]} rewards for a batch of {hidden.shape[0]} (at {site!r})"
            )
        hidden = self.integration.apply_at(site, hidden, reward)
        if not isinstance(output, tuple):
            return hidden
        skips = output[1]
        if self.integration.touches_skips:
            skips = tuple(self.integration.apply_at(site, skip, reward) for skip in skips)
        return (hidden, skips, *output[2:])


def conditioned_on(hooks: UNetHooks | None, reward: RewardTokens | None) -> AbstractContextManager[None]:
    """A context in which the U-Net is conditioned on this reward, or on none if it has no integration.

    Raises:
        ValueError: an integration without a reward, or a reward that would be ignored.
    """
    check_reward(hooks is not None, reward)
    return nullcontext() if hooks is None or reward is None else hooks.reward(reward)


@final
class StemBias:
    """Adds a bias to the output of conv_in while `adding(...)` is active. The reward's integration, attached
    later, sees the sum.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        self.current: Float[Tensor, "b s gh gw"] | None = None
        unet.conv_in.register_forward_hook(functools.partial(self._add))

    @contextmanager
    def adding(self, bias: Float[Tensor, "b s gh gw"]) -> Iterator[None]:
        """Inside this context conv_in has this bias, resized (bilinear) to the latent."""
        self.current = bias
        try:
            yield
        finally:
            self.current = None

    def _add(self, module: nn.Module, inputs: tuple[Any, ...], hidden: Tensor) -> Tensor:
        """A forward hook."""
        if self.current is None:
            raise RuntimeError(
                "the U-Net has a stem bias but ran without one; go through Editor or `stem.adding(...)`"
            )
        if hidden.shape[0] != self.current.shape[0]:
            raise ValueError(f"{self.current.shape[0]} stem biases for a batch of {hidden.shape[0]}")
        return hidden + F.interpolate(self.current, size=hidden.shape[-2:], mode="bilinear").to(hidden.dtype)
