"""Where c_R enters the denoiser. An Integration names the sites it acts at; the backbone calls it there
through forward hooks.

Sites of a U-Net: "stem" (after conv_in), "block.0" ... (after each down, mid and up block, in the order of
execution), "time_embedding".
"""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from src.batch import RewardTokens


class Integration(nn.Module, ABC):
    """The interface. Modes that are off build no parameters, so DDP finds no unused ones."""

    @property
    @abstractmethod
    def sites(self) -> tuple[str, ...]:
        """The sites this integration acts at."""

    @property
    @abstractmethod
    def touches_skips(self) -> bool:
        """Whether the skip connections leaving a block are changed too."""

    @property
    @abstractmethod
    def identity_at_init(self) -> bool:
        """Whether a freshly built integration leaves the backbone's output unchanged, bit for bit."""

    @abstractmethod
    def apply_at(self, site: str, hidden: Tensor, reward: RewardTokens) -> Tensor:
        """The hidden state at a site, (b, c, h, w) or (b, c) for the time embedding, with the reward in it;
        same shape and type.
        """

    def appended(self, reward: RewardTokens) -> Float[Tensor, "b n w"] | None:
        """Tokens of the text's width that the network reads behind the instruction's; None for none."""
        return None


def split_heads(tokens: Float[Tensor, "b n d"], heads: int) -> Float[Tensor, "b h n _"]:
    """Tokens for multi-head attention: each head gets a slice of the channels."""
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def width_of(site: str, site_widths: dict[str, int]) -> int:
    """Channels of a site, or ValueError naming the sites that the backbone has."""
    if site not in site_widths:
        raise ValueError(f"the backbone has no site {site!r}; it has {', '.join(site_widths)}")
    return site_widths[site]
