"""Equation 3 of the paper: z_i = UB_{i-1}(z_{i-1}) + Linear_2(c_R), the pooled reward added after every U-Net
block.

One Linear_2 cannot fit blocks of different widths, so there is one per block; c_R is pooled to a vector first
(both are our reading).
"""

from collections.abc import Sequence
from typing import Literal, final

from torch import Tensor, nn

from src.batch import RewardTokens
from src.conditioning.integration import Integration, width_of


@final
class Addition(Integration):
    """A linear map of the pooled reward tokens per site, broadcast over pixels.

    Args:
        reward_width: D of the reward tokens.
        signals: those of the reward encoder; all of them are treated alike.
        site_widths: channels of every site of the backbone.
        where: "blocks" (eq. 3), or "time_embedding", where the released code adds it instead.
        last_block: whether the output of the last block is changed too. Eq. 3 speaks of block inputs, the
            text of "each block".
        skips: whether the skip connections that leave a block get the same vector.
        init: "zero" or "random", as in Attention.
    """

    def __init__(
        self,
        reward_width: int,
        signals: Sequence[str],
        site_widths: dict[str, int],
        where: Literal["blocks", "time_embedding"] = "blocks",
        last_block: bool = True,
        skips: bool = False,
        init: Literal["zero", "random"] = "zero",
    ) -> None:
        super().__init__()
        if where == "blocks":
            sites = [site for site in site_widths if site.startswith("block.")]
            sites = sites if last_block else sites[:-1]
        else:
            sites = [where]
        self.skips = skips
        self.init = init
        # module names may not contain dots
        self.linear_2 = nn.ModuleDict(
            {site.replace(".", "_"): nn.Linear(reward_width, width_of(site, site_widths)) for site in sites}
        )
        self._sites = tuple(sites)
        if init == "zero":
            for layer in self.linear_2.values():
                assert isinstance(layer, nn.Linear)
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    @property
    def sites(self) -> tuple[str, ...]:
        return self._sites

    @property
    def touches_skips(self) -> bool:
        return self.skips

    @property
    def identity_at_init(self) -> bool:
        return self.init == "zero"

    def apply_at(self, site: str, hidden: Tensor, reward: RewardTokens) -> Tensor:
        """Hidden (b, c, h, w) or (b, c), plus a vector per sample."""
        shift = self.linear_2[site.replace(".", "_")](reward.pooled()).to(hidden.dtype)
        return hidden + shift.view(*shift.shape, *[1] * (hidden.dim() - 2))
