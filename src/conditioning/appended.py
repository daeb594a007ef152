"""The reward as further words: tokens that stand behind those of the instruction, where the network reads it.
The native way into a network that attends to text, and no part of the paper.
"""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from src.batch import RewardTokens
from src.conditioning.integration import Integration, width_of


@final
class Appended(Integration):
    """One token per signal, its mean token mapped to the width of the text.

    It can't be an identity at first: even a token of zeros takes attention from others.

    Args:
        reward_width: D of the reward tokens.
        signals: those of the reward encoder.
        site_widths: channels of every site of the backbone; "text" is the width of its text.
    """

    def __init__(self, reward_width: int, signals: Sequence[str], site_widths: dict[str, int]) -> None:
        super().__init__()
        width = width_of("text", site_widths)
        self.maps = nn.ModuleList(nn.Linear(reward_width, width) for _ in signals)

    @property
    def sites(self) -> tuple[str, ...]:
        return ()

    @property
    def touches_skips(self) -> bool:
        return False

    @property
    def identity_at_init(self) -> bool:
        return False

    def apply_at(self, site: str, hidden: Tensor, reward: RewardTokens) -> Tensor:
        raise ValueError(f"appended tokens act at no site, and were asked to at {site!r}")

    def appended(self, reward: RewardTokens) -> Float[Tensor, "b s w"]:
        """A token per signal."""
        return torch.stack(
            [layer(mean) for layer, mean in zip(self.maps, reward.per_signal(), strict=True)], 1
        )
