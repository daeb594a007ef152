"""The Editor: backbone + reward encoder + integration + process. Read this file first.

editor.condition(...)   original, instruction and reward -> Condition
editor(x_t, t, condition)   network output, trained by `algorithms/denoising.py`
editor.edit(...)        an edited image for a target reward; its parts, for algorithms that sample themselves:
editor.prepare(...), editor.guided(x_t, t, prepared)
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from src.backbones.backbone import Backbone
from src.batch import Condition, Reading, RewardTokens, TextTokens
from src.conditioning.integration import Integration
from src.conditioning.reward_encoder import RewardEncoder
from src.diffusion.guidance import Branch, DroppedConditions, Guidance
from src.diffusion.process import Latent, Process, Time
from src.diffusion.samplers import Sampler
from src.records import Feedback, TargetReward, three

NULL_INSTRUCTION = ""


@final
class PreparedEdits(NamedTuple):
    """What stays the same over the steps of sampling b edits.

    Attributes:
        condition: of all guidance branches, one after the other along the batch.
        original_latent: (b, c, h, w).
        weights: of the branches; they sum to one.
    """

    condition: Condition
    original_latent: Latent
    weights: Sequence[float]

    def repeated(self, times: int) -> "PreparedEdits":
        """The same for several samples of each edit, which follow one another."""
        return PreparedEdits(
            self.condition.repeated(times), self.original_latent.repeat_interleave(times, 0), self.weights
        )


@final
class Editor(nn.Module):
    """A reward-conditioned editor.

    Args:
        backbone: the pretrained (or tiny) editing model.
        process: its noise process.
        reward_encoder, integration: factories that take sizes from the backbone. If either is None, the
            editor is its backbone: no reward parameters are built and rewards are ignored.
    """

    def __init__(
        self,
        backbone: Backbone,
        process: Process,
        reward_encoder: Callable[..., RewardEncoder] | None = None,
        integration: Callable[..., Integration] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.process = process
        # replaces `forward` in `edit` (execution.py); a function and not a module, so that weights keep their
        # names
        self.network: Callable[..., Latent] | None = None
        self.reward_encoder: RewardEncoder | None = None
        self.integration: Integration | None = None
        if reward_encoder is not None and integration is not None:
            self.reward_encoder = reward_encoder(text_width=backbone.text_width)
            self.integration = integration(
                reward_width=self.reward_encoder.width,
                signals=self.reward_encoder.signals,
                site_widths=backbone.site_widths | {"text": backbone.text_width},
            )
            backbone.attach(self.integration)

    def forward(self, x_t: Latent, t: Time, condition: Condition) -> Latent:
        """Estimate of the process's regression target for noisy latents x_t (b, c, h, w) at times t (b,)."""
        output = self.backbone.denoise(
            self.process.network_input(x_t, t), self.process.network_time(t), condition
        )
        return self.process.network_output(output, x_t, t)

    def condition(
        self,
        original_latent: Latent,
        instructions: Sequence[str],
        scores: Float[Tensor, "b 3"] | None,
        feedback: Sequence[Feedback] | None,
        dropped: DroppedConditions | None = None,
        not_given: Bool[Tensor, "b signals"] | None = None,
        encode_text: Callable[[Sequence[str]], TextTokens] | None = None,
        reading: Reading | None = None,
    ) -> Condition:
        """Everything the denoiser is conditioned on.

        Args:
            original_latent: from `backbone.encode_image`.
            instructions: one text per sample.
            scores: in [0, 5]; None, like feedback, only for an editor without reward conditioning.
            feedback: three texts per sample.
            dropped: samples whose instruction or image is dropped (condition dropout, guidance).
            not_given: samples and signals whose reward is replaced by "not given".
            encode_text: replaces the backbone's text encoder where texts are precomputed.
            reading: from `backbone.read`, for the same instructions. Samples whose instruction is dropped
                keep the stem bias, as in the SmartEdit release.

        Raises:
            ValueError: no scores or no feedback for an editor with reward conditioning.
        """
        encode_text = encode_text or self.backbone.encode_text
        lost = [False] * len(instructions) if dropped is None else dropped.text.tolist()
        if dropped is not None:
            original_latent = original_latent.masked_fill(
                dropped.image.to(original_latent.device).view(-1, 1, 1, 1), 0.0
            )
        if reading is None:
            texts = encode_text(
                [NULL_INSTRUCTION if drop else text for text, drop in zip(instructions, lost, strict=True)]
            )
        else:
            # the null instruction is encoded even if no instruction is dropped: all ranks must use the same
            # parameters at every step
            texts = (
                reading.instruction
                if dropped is None
                else _with_null_instruction(reading.instruction, lost, encode_text)
            )
        reward = self._reward(scores, feedback, not_given, encode_text)
        if self.integration is not None and reward is not None:
            texts = _appended(texts, self.integration.appended(reward))
        return Condition(original_latent, texts, None if reading is None else reading.stem_bias, reward)

    def _reward(
        self,
        scores: Float[Tensor, "b 3"] | None,
        feedback: Sequence[Feedback] | None,
        not_given: Bool[Tensor, "b signals"] | None,
        encode_text: Callable[[Sequence[str]], TextTokens],
    ) -> RewardTokens | None:
        """c_R, or None for an editor without reward conditioning."""
        if self.reward_encoder is None:
            return None
        if scores is None or feedback is None:
            raise ValueError(
                "this editor is conditioned on rewards and the triplets are unrated: "
                "say annotator=noisy, give data.rewards, or model/integration=none"
            )
        text = None
        if self.reward_encoder.uses_text:
            windows = self.reward_encoder.layout(feedback)
            text = encode_text([window for sample in windows for window in sample])
        return self.reward_encoder(scores, text, not_given)

    def trained_state(self) -> dict[str, Tensor]:
        """Everything that training changes, by name: weights that require a gradient, and buffers.
        Checkpoints, averages and exports hold exactly this; frozen weights are loaded from the source that
        the config names.
        """
        frozen = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}
        return {name: value for name, value in self.state_dict().items() if name not in frozen}

    def check_resolution(self, height: int, width: int) -> None:
        """Raise ValueError unless a latent can hold an image of this size."""
        self.backbone.latent_shape(height, width)

    @torch.no_grad()
    def edit(
        self,
        originals: Float[Tensor, "b 3 H W"],
        instructions: Sequence[str],
        targets: Sequence[TargetReward],
        seeds: Sequence[int],
        sampler: Sampler,
    ) -> Float[Tensor, "b 3 H W"]:
        """Edited images in [-1, 1].

        Args:
            originals: in [-1, 1], on the editor's device.
            instructions, targets, seeds: one per sample. All noise of a sample is a function of its seed, so
                an edit depends neither on the rest of the batch nor on its order.
            sampler: steps and guidance.

        Raises:
            ValueError: an image size that a latent cannot hold, or guidance that the editor was not trained
                for.
        """
        shape = self.backbone.latent_shape(*originals.shape[-2:])
        prepared = self.prepare(originals, instructions, targets, sampler.guidance)
        latent = sampler.sample(
            lambda x_t, t: self.guided(x_t, t, prepared), self.process, seeds, shape, originals.device
        )
        return self.backbone.decode(latent, prepared.original_latent)

    def prepare(
        self,
        originals: Float[Tensor, "b 3 H W"],
        instructions: Sequence[str],
        targets: Sequence[TargetReward],
        guidance: Guidance,
    ) -> PreparedEdits:
        """What stays the same over the steps of sampling edits; arguments and errors as in `edit`."""
        if guidance.image != 1.0 and not self.backbone.can_drop_image:
            raise ValueError(
                f"sampler.guidance.image={guidance.image:g}: this editor reads the original as tokens beside "
                "those of the edit and can't do without; set it to 1"
            )
        original_latent = self.backbone.encode_image(originals)
        reading = self.backbone.read(originals, instructions)
        weights = guidance.weights()
        scores = torch.tensor(
            [target.scores for target in targets], dtype=torch.float32, device=originals.device
        )
        feedback = [three(target.feedback, "feedback") for target in targets]
        conditions = [
            self._branch(branch, guidance, original_latent, instructions, reading, scores, feedback)
            for branch in weights
        ]
        return PreparedEdits(_concatenate_conditions(conditions), original_latent, list(weights.values()))

    def guided(self, x_t: Latent, t: Time, prepared: PreparedEdits) -> Latent:
        """The guided network output for noisy latents, all branches in one call; with gradient where that is
        on.
        """
        branches = len(prepared.weights)
        output = (self.network or self)(x_t.repeat(branches, 1, 1, 1), t.repeat(branches), prepared.condition)
        parts = output.float().chunk(branches)
        return torch.stack([weight * part for weight, part in zip(prepared.weights, parts, strict=True)]).sum(
            0
        )

    def _branch(
        self,
        branch: Branch,
        guidance: Guidance,
        original_latent: Latent,
        instructions: Sequence[str],
        reading: Reading | None,
        scores: Float[Tensor, "b 3"],
        feedback: Sequence[Feedback],
    ) -> Condition:
        """The condition of one guidance branch. The target reward stays in all three branches of InsPix2Pix,
        as in the release.
        """
        samples = len(instructions)
        all_of, none_of = torch.ones(samples, dtype=torch.bool), torch.zeros(samples, dtype=torch.bool)
        dropped = DroppedConditions(
            text=all_of if branch in (Branch.IMAGE_ONLY, Branch.NONE) else none_of,
            image=all_of if branch is Branch.NONE else none_of,
        )
        not_given = None
        if branch is Branch.REFERENCE_REWARD:
            if self.reward_encoder is None:
                raise ValueError(
                    "reward guidance needs an editor with reward conditioning; set sampler.guidance.reward=1"
                )
            reference = guidance.reference
            if reference == "not_given":
                not_given = torch.ones(
                    samples, len(self.reward_encoder.signals), dtype=torch.bool, device=scores.device
                )
            elif isinstance(reference, str):
                raise ValueError(f"the reference reward is three scores or not_given, got {reference!r}")
            else:
                scores = torch.tensor(three(reference, "reference reward"), device=scores.device).expand(
                    samples, 3
                )
        return self.condition(
            original_latent, instructions, scores, feedback, dropped, not_given, reading=reading
        )


def _concatenate_conditions(conditions: Sequence[Condition]) -> Condition:
    """Concatenates branches along the batch; texts are padded to the longest."""
    rewards = [condition.reward for condition in conditions if condition.reward is not None]
    biases = [condition.stem_bias for condition in conditions if condition.stem_bias is not None]
    return Condition(
        torch.cat([condition.original_latent for condition in conditions]),
        _concatenate_texts([condition.instruction for condition in conditions]),
        stem_bias=torch.cat(biases) if biases else None,
        reward=None
        if not rewards
        else RewardTokens(
            torch.cat([r.tokens for r in rewards]), torch.cat([r.mask for r in rewards]), rewards[0].lengths
        ),
    )


def _appended(texts: TextTokens, more: Float[Tensor, "b n w"] | None) -> TextTokens:
    """Texts with tokens behind all of theirs, padding included."""
    if more is None:
        return texts
    here = torch.ones(more.shape[:2], dtype=torch.bool, device=texts.mask.device)
    return TextTokens(
        torch.cat([texts.tokens, more.to(texts.tokens.dtype)], 1), torch.cat([texts.mask, here], 1)
    )


def _with_null_instruction(
    texts: TextTokens, lost: Sequence[bool], encode_text: Callable[[Sequence[str]], TextTokens]
) -> TextTokens:
    """Replaces dropped instructions by the null instruction."""
    null = encode_text([NULL_INSTRUCTION])
    longest = max(texts.mask.shape[1], null.mask.shape[1])
    texts, null = texts.padded_to(longest), null.padded_to(longest)
    rows = torch.tensor(lost, device=texts.mask.device).view(-1, 1)
    return TextTokens(
        torch.where(rows.unsqueeze(-1), null.tokens.to(texts.tokens.dtype), texts.tokens),
        torch.where(rows, null.mask, texts.mask),
    )


def _concatenate_texts(texts: Sequence[TextTokens]) -> TextTokens:
    longest = max(text.mask.shape[1] for text in texts)
    texts = [text.padded_to(longest) for text in texts]
    return TextTokens(torch.cat([text.tokens for text in texts]), torch.cat([text.mask for text in texts]))
