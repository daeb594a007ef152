"""What an Editor needs from a pretrained editing model. A new one is one file that implements this, and one
yaml.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from src.batch import Condition, Reading, TextTokens
from src.conditioning.integration import Integration
from src.diffusion.process import Latent


class Backbone(nn.Module, ABC):
    """Encode image, encode instruction, denoise, decode; and the sites where a reward can enter."""

    @property
    @abstractmethod
    def text_width(self) -> int:
        """Width of the text encoder's tokens, and so of the reward tokens."""

    @property
    @abstractmethod
    def site_widths(self) -> dict[str, int]:
        """Channels of every site at which an integration may act."""

    @abstractmethod
    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """(c, h, w) of the latent of a image, or ValueError naming the sizes that the latent can hold."""

    @abstractmethod
    def attach(self, integration: Integration) -> None:
        """Let an integration act at its sites. Hooks of the backbone itself were registered before, so they
        come first.
        """

    @abstractmethod
    def encode_image(self, original: Float[Tensor, "b 3 H W"]) -> Latent:
        """The original image, in [-1, 1], as the condition c_I."""

    @abstractmethod
    def encode_edited(
        self, edited: Float[Tensor, "b 3 H W"], original_latent: Latent, noise: Latent
    ) -> Latent:
        """The edited image, in [-1, 1], as the latent x_0 to be noised.

        Some backbones describe it relative to the original's latent; those whose autoencoder gives a
        distribution draw from it with `noise`, N(0, I).
        """

    @abstractmethod
    def encode_text(self, texts: Sequence[str]) -> TextTokens:
        """Instructions or feedback as tokens; the empty text is the null instruction."""

    @abstractmethod
    def read(self, original: Float[Tensor, "b 3 H W"], instructions: Sequence[str]) -> Reading | None:
        """What a backbone that reads original (in [-1, 1]) and instruction together makes of them; None for
        one that encodes the text alone.
        """

    @abstractmethod
    def denoise(self, x_t: Latent, network_time: Shaped[Tensor, " b"], condition: Condition) -> Latent:
        """Network output for noisy latents; what it means is the process's business."""

    @abstractmethod
    def decode(self, latent: Latent, original_latent: Latent) -> Float[Tensor, "b 3 H W"]:
        """A latent as a image in [-1, 1]; the inverse of `encode_edited`, with the same original and
        without noise.
        """
