"""Several integrations at once; the paper's full model is attention and addition together."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from src.batch import RewardTokens
from src.conditioning.integration import Integration


@final
class Both(Integration):
    """Applies its parts in order at every site that they share.

    Args:
        reward_width, signals, site_widths: handed to every part.
        parts: builders of the parts by name, applied in this order.
    """

    def __init__(
        self,
        reward_width: int,
        signals: Sequence[str],
        site_widths: dict[str, int],
        parts: Mapping[str, Callable[..., Integration]],
    ) -> None:
        super().__init__()
        shared = {"reward_width": reward_width, "signals": signals, "site_widths": site_widths}
        self.parts = nn.ModuleDict({name: part(**shared) for name, part in parts.items()})

    def _integrations(self) -> list[Integration]:
        return [cast(Integration, part) for part in self.parts.children()]

    @property
    def sites(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(site for part in self._integrations() for site in part.sites))

    @property
    def touches_skips(self) -> bool:
        return any(part.touches_skips for part in self._integrations())

    @property
    def identity_at_init(self) -> bool:
        return all(part.identity_at_init for part in self._integrations())

    def apply_at(self, site: str, hidden: Tensor, reward: RewardTokens) -> Tensor:
        for part in self._integrations():
            if site in part.sites:
                hidden = part.apply_at(site, hidden, reward)
        return hidden

    def appended(self, reward: RewardTokens) -> Float[Tensor, "b n w"] | None:
        found = [tokens for part in self._integrations() if (tokens := part.appended(reward)) is not None]
        return torch.cat(found, 1) if found else None
