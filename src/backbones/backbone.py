"""What an Editor needs from a pretrained editing model. A new backbone is one file that implements this
interface and one yaml.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol, final, runtime_checkable

from jaxtyping import Float, Shaped
from torch import Tensor, nn

from src.batch import Condition, Reading, RewardTokens, TextTokens
from src.conditioning.integration import Integration
from src.diffusion.process import Latent

NO_CHAT_SUPPORT = (
    "the data holds conversations (rows with an answer and without an edited image), from which only a "
    "trained "
    "language model can learn (+experiment=smartedit_stage2): leave them out"
)


def refuse_answers(answers: Sequence[str | None] | None) -> None:
    """Raise ValueError if a batch has chat samples; for backbones without `supports_chat`."""
    if answers is not None:
        raise ValueError(NO_CHAT_SUPPORT)


def check_reward(has_integration: bool, reward: RewardTokens | None) -> None:
    """Raise ValueError for an integration without a reward, or a reward that would be ignored."""
    if reward is not None and not has_integration:
        raise ValueError(
            "a reward was given to an editor without reward integration, where it would be ignored"
        )
    if reward is None and has_integration:
        raise ValueError("a reward is missing: this editor has a reward integration")


class Backbone(nn.Module, ABC):
    """Encodes images and instructions, denoises and decodes; names the sites where a reward can enter.

    Attributes:
        is_lossless: whether a latent is the pixels, rearranged, of the edited image or of its change, so that
            what is known of images is known of latents. False for autoencoders.
        can_drop_image: whether a latent of zeros stands for no original (condition dropout, image guidance).
    """

    is_lossless: ClassVar[bool] = False
    can_drop_image: ClassVar[bool] = True

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
        """(c, h, w) of an image's latent. Raises ValueError naming the image sizes that a latent can hold."""

    @abstractmethod
    def attach(self, integration: Integration) -> None:
        """Let an integration act at its sites. The backbone registered its own hooks earlier, so they run
        first.
        """

    @abstractmethod
    def encode_image(self, original: Float[Tensor, "b 3 H W"]) -> Latent:
        """The original image, in [-1, 1], as the condition c_I."""

    @abstractmethod
    def encode_edited(
        self, edited: Float[Tensor, "b 3 H W"], original_latent: Latent, noise: Latent
    ) -> Latent:
        """The edited image, in [-1, 1], as the clean latent x_0.

        Args:
            edited: the edited image.
            original_latent: for backbones whose latent is the change relative to the original.
            noise: N(0, I), for autoencoders whose posterior is sampled.
        """

    @abstractmethod
    def encode_text(self, texts: Sequence[str]) -> TextTokens:
        """Instructions or feedback as tokens; the empty text is the null instruction."""

    @property
    @abstractmethod
    def supports_chat(self) -> bool:
        """Whether training can use chat samples, which have an answer in place of an edited image."""

    @abstractmethod
    def read(
        self,
        original: Float[Tensor, "b 3 H W"],
        instructions: Sequence[str],
        answers: Sequence[str | None] | None = None,
    ) -> Reading | None:
        """The encoding of original (in [-1, 1]) and instruction by a model that reads both together; None for
        backbones that encode the text alone.

        Args:
            original: the original images.
            instructions: one per sample; a question where the sample has an answer.
            answers: of chat samples, None for those with an edit; None if there are no chat samples.

        Raises:
            ValueError: answers for a backbone without `supports_chat`.
        """

    @abstractmethod
    def adopt(self, tensors: Mapping[str, Tensor], source: str) -> Mapping[str, Tensor]:
        """The trained weights with which this backbone starts from those of another editor's backbone.

        Most backbones return `tensors`; one around a base also takes the weights of its base alone.

        Args:
            tensors: weights of the other backbone, named as in its module.
            source: where they come from, for messages.

        Raises:
            ValueError: they were trained with other frozen parts than this backbone's.
        """

    @abstractmethod
    def denoise(
        self, x_t: Latent, network_time: Shaped[Tensor, " b"], condition: Condition
    ) -> Float[Tensor, "b d h w"]:
        """Network output for noisy latents; the process says what it means, and how many channels it has."""

    @abstractmethod
    def decode(self, latent: Latent, original_latent: Latent) -> Float[Tensor, "b 3 H W"]:
        """A latent as an image in [-1, 1]: the inverse of `encode_edited` with the same original, without
        noise.
        """


@runtime_checkable
class OwnTokenizer(Protocol):
    """A backbone whose tokenizer does not come with pretrained weights."""

    def learn_texts(self, texts: Sequence[str]) -> None:
        """Let the tokenizer learn from the texts of a training, if it learns at all."""
        ...

    def check_texts(self, texts: Sequence[str]) -> None:
        """Raise ValueError for a text that it can't encode."""
        ...


@final
class AlignmentOutput(NamedTuple):
    """What SmartEdit's stage 1 compares and minimises.

    Attributes:
        tokens: (b, queries, d), from the query transformer; they should become the text encoder's.
        error: (b,), mean cross-entropy of the language model's answer.
    """

    tokens: Float[Tensor, "b q d"]
    error: Float[Tensor, " b"]


class AlignableBackbone(Backbone, ABC):
    """A backbone whose reader is first aligned with a text encoder (algorithms/alignment.py)."""

    @abstractmethod
    def align(self, original: Float[Tensor, "b 3 H W"], instructions: Sequence[str]) -> AlignmentOutput:
        """The query transformer's tokens before the interaction module, and the language model's error.

        Raises:
            ValueError: the reader is frozen.
        """


@final
class SpokenAttributes(NamedTuple):
    """What the tokens say of their patches, as logits over attributes of objects.

    Attributes:
        before: (b, n, k), of the object that stands there in the original: all attributes but the last.
        after: (b, n, l), of the object that shall stand there: all attributes.
        presence: (b, n, 1), whether an object shall stand there.
        right, down: (b, n, 2 reach + 1), the object's centre relative to the patch's, from -reach to reach
            pixels.
    """

    before: Float[Tensor, "b n k"]
    after: Float[Tensor, "b n l"]
    presence: Float[Tensor, "b n 1"]
    right: Float[Tensor, "b n o"]
    down: Float[Tensor, "b n o"]


@final
class Readout(NamedTuple):
    """What a backbone keeps of the last batch that it denoised, for losses on it.

    Attributes:
        said: what the tokens say of their patches.
        tokens: (b, n, d), of the patches, row by row, at the end.
        start: (b, d), of the instruction's first token, halfway.
        opacity: (b, 1, H, W), the logit of where something is painted over the original.
    """

    said: SpokenAttributes
    tokens: Float[Tensor, "b n d"]
    start: Float[Tensor, "b d"]
    opacity: Float[Tensor, "b 1 H W"]


class SupervisedBackbone(Backbone, ABC):
    """A backbone whose tokens say what stands where, which a training may supervise
    (algorithms/supervision.py).

    Attributes:
        keeps_readout: whether `denoise` sets `readout`; False unless a training asks for it.
        readout: of the last batch.
    """

    keeps_readout: bool = False
    readout: Readout | None = None

    @property
    @abstractmethod
    def attributes(self) -> Mapping[str, int]:
        """Number of values of each attribute of an object, by name."""

    @property
    @abstractmethod
    def patch(self) -> int:
        """Pixels per token along each side."""

    @property
    @abstractmethod
    def reach(self) -> int:
        """Largest distance in pixels, along each axis, at which a token can place an object's centre."""
