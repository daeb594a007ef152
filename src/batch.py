"""The data classes of training: EditBatch or EncodedBatch (from the data) and Condition (the denoiser's input
besides the noisy latent); ContestBatch, for reward models.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self, final, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from src.records import Feedback


@final
@dataclass(frozen=True, eq=False)
class EditBatch:
    """A batch of triplets with their rewards, if they have any.

    Attributes:
        ids: the triplets' ids.
        original, edited: (b, 3, h, w), in [-1, 1].
        instructions: one text per sample.
        scores: (b, 3), in [0, 5], in the order following, preserving, quality; None if the triplets are
            unrated.
        feedback: three texts per sample, "None" where nothing failed; None if the triplets are unrated.
        answers: the answer of each chat sample, whose instruction is a question and which has no edit; None
            for samples with an edit. None as a whole if there are no chat samples.
        edit_types: kinds of edit, as benchmarks call them; None where nothing is known.
    """

    ids: Sequence[str]
    original: Float[Tensor, "b 3 h w"]
    edited: Float[Tensor, "b 3 h w"]
    instructions: Sequence[str]
    scores: Float[Tensor, "b 3"] | None
    feedback: Sequence[Feedback] | None
    answers: Sequence[str | None] | None = None
    edit_types: Sequence[str] | None = None

    def to(self, device: torch.device) -> "EditBatch":
        """The same batch on another device (Lightning calls this)."""
        tensors = {"original": self.original, "edited": self.edited, "scores": self.scores}
        return replace(
            self,
            **{
                name: tensor.to(device, non_blocking=True)
                for name, tensor in tensors.items()
                if tensor is not None
            },
        )

    def with_edit(self) -> Bool[Tensor, " b"]:
        """Samples that have an edit; on the CPU."""
        return torch.tensor([answer is None for answer in self.answers or [None] * len(self.ids)])


@final
@dataclass(frozen=True, eq=False)
class TextTokens:
    """Encoded texts: tokens (n, l, d) and a mask (n, l), False at padding."""

    tokens: Float[Tensor, "n l d"]
    mask: Bool[Tensor, "n l"]

    def to(self, device: torch.device) -> "TextTokens":
        """The same texts on another device."""
        return TextTokens(self.tokens.to(device, non_blocking=True), self.mask.to(device, non_blocking=True))

    def repeated(self, times: int) -> "TextTokens":
        """Each text several times, one after the other."""
        return TextTokens(self.tokens.repeat_interleave(times, 0), self.mask.repeat_interleave(times, 0))

    def mean(self) -> Float[Tensor, "n d"]:
        """The mean token of each text, without its padding."""
        weight = self.mask.unsqueeze(-1).to(self.tokens.dtype)
        return (self.tokens * weight).sum(1) / weight.sum(1).clamp_min(1.0)

    def padded_to_multiple(self, multiple: int) -> "TextTokens":
        """Pads every text to the next multiple of this length; padding is masked."""
        return self.padded_to(self.mask.shape[1] + -self.mask.shape[1] % multiple)

    def padded_to(self, length: int) -> "TextTokens":
        """Pads every text to `length` tokens; padding is masked."""
        more = length - self.mask.shape[1]
        return TextTokens(F.pad(self.tokens, (0, 0, 0, more)), F.pad(self.mask, (0, more)))

    def last(self) -> Float[Tensor, "n d"]:
        """The last token of each text, which CLIP calls its pooled output."""
        ends = self.mask.sum(1) - 1
        return self.tokens[torch.arange(len(ends), device=ends.device), ends]


@final
@dataclass(frozen=True, eq=False)
class Moments:
    """An autoencoder's posterior over the latents of images: normal, not scaled.

    Attributes:
        mean, std: (b, c, h, w); the mean is also the mode.
    """

    mean: Float[Tensor, "b c h w"]
    std: Float[Tensor, "b c h w"]


@final
@dataclass(frozen=True, eq=False)
class Reading:
    """The encoding of original and instruction together by a multimodal language model (SmartEdit), in place
    of the text encoder's tokens.

    Attributes:
        instruction: tokens for the denoiser's cross-attention, c_T of the paper.
        stem_bias: (b, stem width, g, g) on the language model's grid of the image; added after conv_in,
            resized to the latent.
        language_error: (b,), the language model's mean cross-entropy over the expected answer; None where it
            is not trained. The other fields of a chat sample are meaningless.
    """

    instruction: TextTokens
    stem_bias: Float[Tensor, "b s g g"]
    language_error: Float[Tensor, " b"] | None = None

    def to(self, device: torch.device) -> "Reading":
        """The same reading on another device."""
        error = None if self.language_error is None else self.language_error.to(device, non_blocking=True)
        return Reading(self.instruction.to(device), self.stem_bias.to(device, non_blocking=True), error)


@final
@dataclass(frozen=True, eq=False)
class EncodedBatch:
    """A batch of triplets whose images and texts were precomputed (data/precomputed.py).

    Attributes:
        ids, instructions, scores, feedback: as in EditBatch.
        original: (b, c, h, w), the condition c_I.
        edited: the posterior from which the clean latent x_0 is sampled.
        reading: for backbones that read original and instruction together; else None.
        recall: looks up the tokens of texts, on the CPU, in place of a text encoder; None until the batch
            arrives from its worker.
    """

    ids: Sequence[str]
    original: Float[Tensor, "b c h w"]
    edited: Moments
    instructions: Sequence[str]
    scores: Float[Tensor, "b 3"] | None
    feedback: Sequence[Feedback] | None
    reading: Reading | None = None
    recall: Callable[[Sequence[str]], TextTokens] | None = None

    def to(self, device: torch.device) -> "EncodedBatch":
        """The same batch on another device (Lightning calls this)."""
        return replace(
            self,
            original=self.original.to(device, non_blocking=True),
            edited=Moments(
                self.edited.mean.to(device, non_blocking=True), self.edited.std.to(device, non_blocking=True)
            ),
            scores=None if self.scores is None else self.scores.to(device, non_blocking=True),
            reading=None if self.reading is None else self.reading.to(device),
        )

    def encode_text(self, texts: Sequence[str]) -> TextTokens:
        """The precomputed tokens of these texts, on the batch's device. Raises ValueError for a text that was
        not precomputed.
        """
        assert self.recall is not None
        return self.recall(texts).to(self.original.device)


@final
@dataclass(frozen=True, eq=False)
class RewardTokens:
    """The paper's c_R: one token sequence per sample, the concatenation of all signals' tokens.

    Attributes:
        tokens: (b, k, d).
        mask: (b, k), False at the padding of feedback texts.
        lengths: number of tokens of each signal, in order; they sum to k.
    """

    tokens: Float[Tensor, "b k d"]
    mask: Bool[Tensor, "b k"]
    lengths: tuple[int, ...]

    def repeated(self, times: int) -> "RewardTokens":
        """Each sample several times, one after the other."""
        return RewardTokens(
            self.tokens.repeat_interleave(times, 0), self.mask.repeat_interleave(times, 0), self.lengths
        )

    def pooled(self) -> Float[Tensor, "b d"]:
        """One vector per sample: the mean over signals of each signal's mean token, so that a long text does
        not outweigh the scores.
        """
        return torch.stack(self.per_signal()).mean(0)

    def per_signal(self) -> list[Float[Tensor, "b d"]]:
        """Each signal's mean token, without its padding."""
        means = []
        for tokens, mask in zip(
            self.tokens.split(self.lengths, 1), self.mask.split(self.lengths, 1), strict=True
        ):
            weight = mask.unsqueeze(
                -1
            ).float()  # a sum of bf16 numbers loses digits, and torch 2.13 can't compile this one for CPUs
            means.append(((tokens * weight).sum(1) / weight.sum(1).clamp_min(1.0)).to(tokens.dtype))
        return means


@final
@dataclass(frozen=True, eq=False)
class Condition:
    """The denoiser's input besides the noisy latent and the time.

    Attributes:
        original_latent: (b, c, h, w), the original image in latent space; zeros where the image condition
            is dropped.
        instruction: encoded instruction (c_T of the paper).
        stem_bias: (b, stem width, g, g), resized to the latent and added after conv_in (SmartEdit's
            interaction module), or None.
        reward: c_R, or None for an editor without reward conditioning.
    """

    original_latent: Float[Tensor, "b c h w"]
    instruction: TextTokens
    stem_bias: Float[Tensor, "b s g g"] | None = None
    reward: RewardTokens | None = None

    def repeated(self, times: int) -> "Condition":
        """Each sample several times, one after the other."""
        return Condition(
            self.original_latent.repeat_interleave(times, 0),
            self.instruction.repeated(times),
            None if self.stem_bias is None else self.stem_bias.repeat_interleave(times, 0),
            None if self.reward is None else self.reward.repeated(times),
        )


@runtime_checkable
class ModelInputs(Protocol):
    """What a reward model has made of n edits, for its own `forward`."""

    def __len__(self) -> int:
        """N."""
        ...

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        ...


@final
@dataclass(frozen=True, eq=False)
class ComparedEdits:
    """Pairs of edits of a batch that people compared.

    Attributes:
        better, worse: indices of edits; of a tie in any order.
        tie: whether they were called equal.
        both_bad: equal because neither is any good.
        aspect: by what, an index into records.ASPECTS.
        source: who compared, an index into the sources of the training.
        weight: of the pair; those of one ranking sum to 1.
    """

    better: Int[Tensor, " p"]
    worse: Int[Tensor, " p"]
    tie: Bool[Tensor, " p"]
    both_bad: Bool[Tensor, " p"]
    aspect: Int[Tensor, " p"]
    source: Int[Tensor, " p"]
    weight: Float[Tensor, " p"]

    def to(self, device: torch.device) -> "ComparedEdits":
        """The same on another device."""
        return ComparedEdits(**{name: value.to(device) for name, value in vars(self).items()})


@final
@dataclass(frozen=True, eq=False)
class RatedEdits:
    """Ratings of edits of a batch.

    Attributes:
        edit: which edit.
        value: the rating in units of its scale, 0 in its middle (RatingScale).
        level: which level of its scale, from 0; -1 where a scale has none.
        aspect, source: as in `ComparedEdits`.
    """

    edit: Int[Tensor, " r"]
    value: Float[Tensor, " r"]
    level: Int[Tensor, " r"]
    aspect: Int[Tensor, " r"]
    source: Int[Tensor, " r"]

    def to(self, device: torch.device) -> "RatedEdits":
        """The same on another device."""
        return RatedEdits(**{name: value.to(device) for name, value in vars(self).items()})


@final
@dataclass(frozen=True, eq=False)
class ContestBatch:
    """A batch of contests, whose edits stand one after the other.

    Attributes:
        ids: of the contests.
        edit_ids: of all n edits.
        inputs: of all n edits.
        compared, rated: what was said of them.
    """

    ids: Sequence[str]
    edit_ids: Sequence[str]
    inputs: ModelInputs
    compared: ComparedEdits
    rated: RatedEdits

    def to(self, device: torch.device) -> "ContestBatch":
        """The same batch on another device (Lightning calls this)."""
        moved = (each.to(device) for each in (self.inputs, self.compared, self.rated))
        return ContestBatch(self.ids, self.edit_ids, *moved)  # pyright: ignore[reportArgumentType]
