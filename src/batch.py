"""What travels through training: EditBatch or EncodedBatch (from the data) and Condition (what the denoiser sees besides the noisy latent)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from src.records import Feedback


@dataclass(frozen=True, eq=False)
class EditBatch:
    """Triplets, stacked, with their rewards if they have been rated.

    Attributes:
        ids: the triplets' ids.
        original, edited: (b, 3, h, w), in [-1, 1].
        instructions: one text per sample.
        scores: (b, 3), in [0, 5], order following, preserving, quality; None if nobody rated the triplets.
        feedback: three texts per sample, "None" where nothing failed; None if nobody rated the triplets.
    """

    ids: Sequence[str]
    original: Float[Tensor, "b 3 h w"]
    edited: Float[Tensor, "b 3 h w"]
    instructions: Sequence[str]
    scores: Float[Tensor, "b 3"] | None
    feedback: Sequence[Feedback] | None

    def to(self, device: torch.device) -> "EditBatch":
        """The same batch on another device (Lightning calls this)."""
        tensors = {"original": self.original, "edited": self.edited, "scores": self.scores}
        return replace(self, **{name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items() if tensor is not None})


@dataclass(frozen=True, eq=False)
class TextTokens:
    """Encoded texts: tokens (n, l, d) and which of them are words rather than padding (n, l)."""

    tokens: Float[Tensor, "n l d"]
    mask: Bool[Tensor, "n l"]

    def to(self, device: torch.device) -> "TextTokens":
        """The same texts on another device."""
        return TextTokens(self.tokens.to(device, non_blocking=True), self.mask.to(device, non_blocking=True))

    def mean(self) -> Float[Tensor, "n d"]:
        """The mean over each text's words, without its padding."""
        weight = self.mask.unsqueeze(-1).to(self.tokens.dtype)
        return (self.tokens * weight).sum(1) / weight.sum(1).clamp_min(1.0)

    def padded(self, multiple: int) -> "TextTokens":
        """The same texts with a number of positions that is a multiple of this, the new ones masked."""
        more = -self.mask.shape[1] % multiple
        return TextTokens(F.pad(self.tokens, (0, 0, 0, more)), F.pad(self.mask, (0, more)))

    def last(self) -> Float[Tensor, "n d"]:
        """The token at the end of each text; what CLIP calls its pooled output."""
        ends = self.mask.sum(1) - 1
        return self.tokens[torch.arange(len(ends), device=ends.device), ends]


@dataclass(frozen=True, eq=False)
class Moments:
    """Normal distributions over latents, as an autoencoder makes them of pictures; not scaled.

    Attributes:
        mean, std: (b, c, h, w); the mean is also the mode.
    """

    mean: Float[Tensor, "b c h w"]
    std: Float[Tensor, "b c h w"]


@dataclass(frozen=True, eq=False)
class EncodedBatch:
    """Triplets whose pictures and texts were encoded before the training (data/precomputed.py); otherwise an EditBatch.

    Attributes:
        ids, instructions, scores, feedback: as in EditBatch.
        original: (b, c, h, w), the condition c_I.
        edited: what the clean latent x_0 is drawn from.
        recall: the tokens of texts, on the CPU, in place of a text encoder; None on the way from a worker to the training.
    """

    ids: Sequence[str]
    original: Float[Tensor, "b c h w"]
    edited: Moments
    instructions: Sequence[str]
    scores: Float[Tensor, "b 3"] | None
    feedback: Sequence[Feedback] | None
    recall: Callable[[Sequence[str]], TextTokens] | None = None

    def to(self, device: torch.device) -> "EncodedBatch":
        """The same batch on another device (Lightning calls this)."""
        return replace(
            self,
            original=self.original.to(device, non_blocking=True),
            edited=Moments(self.edited.mean.to(device, non_blocking=True), self.edited.std.to(device, non_blocking=True)),
            scores=None if self.scores is None else self.scores.to(device, non_blocking=True),
        )

    def encode_text(self, texts: Sequence[str]) -> TextTokens:
        """What the text encoder made of these texts, on the batch's device. Raises ValueError for a text that it was not asked about."""
        assert self.recall is not None
        return self.recall(texts).to(self.original.device)


@dataclass(frozen=True, eq=False)
class RewardTokens:
    """The paper's c_R: one token sequence per sample, every signal's tokens side by side.

    Attributes:
        tokens: (b, k, d).
        mask: (b, k), True where a token means something (padding of the feedback text is False).
        lengths: how many of the k tokens belong to each signal, in order; they sum to k.
    """

    tokens: Float[Tensor, "b k d"]
    mask: Bool[Tensor, "b k"]
    lengths: tuple[int, ...]

    def pooled(self) -> Float[Tensor, "b d"]:
        """One vector per sample: the mean over signals of each signal's mean token, so that a long text does not drown the score."""
        return torch.stack(self.per_signal()).mean(0)

    def per_signal(self) -> list[Float[Tensor, "b d"]]:
        """Each signal's mean token, without its padding."""
        means = []
        for tokens, mask in zip(self.tokens.split(self.lengths, 1), self.mask.split(self.lengths, 1), strict=True):
            weight = mask.unsqueeze(-1).float()  # a sum of bf16 numbers loses digits, and torch 2.13 can't compile this one for CPUs
            means.append(((tokens * weight).sum(1) / weight.sum(1).clamp_min(1.0)).to(tokens.dtype))
        return means


@dataclass(frozen=True, eq=False)
class Condition:
    """What the denoiser is told besides the noisy latent and the time.

    Attributes:
        original_latent: (b, c, h, w), the original picture in latent space; zeros where the image condition is dropped.
        instruction: encoded instruction (c_T of the paper).
        stem_bias: (b, stem width, h, w) added after conv_in (SmartEdit's interaction module), or None.
        reward: c_R, or None for an editor without reward conditioning.
    """

    original_latent: Float[Tensor, "b c h w"]
    instruction: TextTokens
    stem_bias: Float[Tensor, "b s h w"] | None = None
    reward: RewardTokens | None = None
