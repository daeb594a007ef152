"""Forward hooks that let an Integration act inside a stock `UNet2DConditionModel`: no fork, no subclass, no
renamed weight.

Sites: "stem" = conv_in, "block.i" = down blocks, mid block, up blocks in order of execution,
"time_embedding".
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor, nn

from src.backbones.hooks import RewardHooks
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
class UNetHooks(RewardHooks):
    """Calls an integration at its sites while `reward(...)` is active."""

    def __init__(self, unet: UNet2DConditionModel, integration: Integration) -> None:
        super().__init__(integration, "U-Net")
        modules = site_modules(unet)
        for site in integration.sites:
            modules[site].register_forward_hook(functools.partial(self._act, site))

    def _act(self, site: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        """A forward hook; down blocks return (hidden, skips), the others a tensor."""
        hidden: Tensor = output[0] if isinstance(output, tuple) else output
        reward = self.call_at(site, hidden.shape[0]).reward
        hidden = self.integration.apply_at(site, hidden, reward)
        if not isinstance(output, tuple):
            return hidden
        skips = output[1]
        if self.integration.touches_skips:
            skips = tuple(self.integration.apply_at(site, skip, reward) for skip in skips)
        return (hidden, skips, *output[2:])


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
