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
        where: "blocks" (eq. 3), "time_embedding", where the released code adds it instead, or "modulation":
            the shifts, scales and gates by which a transformer's blocks know the time (adaLN).
        last_block: whether the output of the last block is changed too. Eq. 3 speaks of block inputs, the
            text of "each block".
        skips: whether the skip connections that leave a block get the same vector.
        init: "zero" or "random", as in Attention.
        rank: of Linear_2, which is then one map to `rank` channels that all sites share and one from there
            per site; None for a whole map per site, as in the paper. A transformer of 25 blocks with 3,072
            channels would need 240 million weights for text 3,072 wide.

    Raises:
        ValueError: a backbone without the sites.
    """

    def __init__(
        self,
        reward_width: int,
        signals: Sequence[str],
        site_widths: dict[str, int],
        where: Literal["blocks", "time_embedding", "modulation"] = "blocks",
        last_block: bool = True,
        skips: bool = False,
        init: Literal["zero", "random"] = "zero",
        rank: int | None = None,
    ) -> None:
        super().__init__()
        names = {"blocks": "block.", "time_embedding": "time_embedding", "modulation": "modulation."}
        if where not in names:
            raise ValueError(f"an addition acts at {', '.join(names)}, not at {where!r}")
        sites = [site for site in site_widths if site.startswith(names[where])]
        if not sites:
            width_of(names[where], site_widths)
        sites = sites if last_block or where != "blocks" else sites[:-1]
        self.skips = skips
        self.init = init
        self.shared = None if rank is None else nn.Linear(reward_width, rank)
        inner = reward_width if rank is None else rank
        # module names may not contain dots
        self.linear_2 = nn.ModuleDict(
            {site.replace(".", "_"): nn.Linear(inner, site_widths[site]) for site in sites}
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
        vector = reward.pooled()
        vector = vector if self.shared is None else self.shared(vector)
        shift = self.linear_2[site.replace(".", "_")](vector).to(hidden.dtype)
        return hidden + shift.view(*shift.shape, *[1] * (hidden.dim() - 2))
