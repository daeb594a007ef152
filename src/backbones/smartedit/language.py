"""The multimodal language model of SmartEdit (Huang et al. 2024): LLaVA reads image and instruction, then 32
image tokens that query the edit.

The last hidden states of the image tokens go to the query transformer, the vision tower's features of the
image to the interaction module. One forward pass over the whole conversation suffices: nothing is sampled or
generated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from src.backbones.smartedit.conversation import MARKERS, Conversation, PromptTemplate, Tokenizer

Trained = Literal["none", "alignment", "all"]


@final
@dataclass(frozen=True, eq=False)
class LanguageModelOutput:
    """The language model's output for images and instructions, in fp32.

    Attributes:
        hidden: (b, n, D), the last hidden states at the image tokens, after the final normalisation.
        features: (b, w, g, g), the vision tower's features of each patch, before the projection to D.
        error: (b,), mean cross-entropy of the answer (text and image tokens), natural logarithm; None unless
            the new tokens are being trained.
    """

    hidden: Float[Tensor, "b n D"]
    features: Float[Tensor, "b w g g"]
    error: Float[Tensor, " b"] | None


@final
class LanguageModel(nn.Module):
    """A LLaVA with image tokens.

    Embeddings and output rows of the new tokens are separate modules beside the pretrained ones, which
    therefore keep their size and needn't be restored after each step. They are initialised with the mean of
    the old rows, as in SmartEdit. Nothing is trained until `train_parts` says so.

    Args:
        llava: vision tower (CLIP), projector and language model.
        tokenizer: that of the language model.
        conversation: the text around image and instruction.
        image_tokens: number of image tokens.
        lora: LoRA of the language model (not of the vision tower), kept in fp32; None for none.
        gradient_checkpointing: recompute the language model's activations in the backward pass: less memory,
            a third more time.

    Attributes:
        width: D, of the language model.
        image_width: w, width of the vision tower times the number of its layers that are used.
        grid: g, patches along a side of the image.
        new_tokens: embeddings of <img>, <im_start>, <im_end>, <img_0>, <img_1> ...
        new_head: rows of the output layer for the same tokens.

    Raises:
        ValueError: a tokenizer of another model, a vision tower that isn't CLIP's, a quantised output layer,
            or a conversation that is too long.
    """

    def __init__(
        self,
        llava: LlavaForConditionalGeneration,
        tokenizer: Tokenizer,
        conversation: Conversation,
        image_tokens: int = 32,
        lora: LoraConfig | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        config: Any = llava.config
        vision, text = config.vision_config, config.text_config
        if vision.model_type != "clip_vision_model":
            raise ValueError(
                f"the vision tower is a {vision.model_type}; images are preprocessed for CLIP's: take a "
                "LLaVA with CLIP"
            )
        self.llava = llava
        self.width: int = text.hidden_size
        layer = config.vision_feature_layer
        self.vision_layers: list[int] = [layer] if isinstance(layer, int) else list(layer)
        self.image_width: int = vision.hidden_size * len(self.vision_layers)
        self.side = int(vision.image_size)
        self.grid = self.side // int(vision.patch_size)
        self.image_tokens = image_tokens
        old_tokens, old_head = self._old_tokens.weight, self._old_head.weight
        if not old_head.is_floating_point():
            raise ValueError(
                "the language model's output layer is quantised, and its rows are needed as they are: add "
                "lm_head to llm_int8_skip_modules"
            )
        self.template = PromptTemplate(conversation, tokenizer, len(old_tokens), image_tokens)
        positions = self.grid**2 + 1 + conversation.max_length
        if positions > text.max_position_embeddings:
            raise ValueError(
                f"conversation.max_length={conversation.max_length} and an image of {self.grid**2 + 1} "
                f"tokens make sequences of {positions}; "
                f"the language model takes {text.max_position_embeddings}: lower max_length"
            )
        new = image_tokens + len(MARKERS)
        self.new_tokens = nn.Embedding(new, self.width, _weight=mean_rows(old_tokens, len(tokenizer), new))
        self.new_head = nn.Linear(self.width, new, bias=False, device=old_head.device)
        with torch.no_grad():
            self.new_head.weight.copy_(mean_rows(old_head, len(tokenizer), new))
        self.lora = lora
        if lora is not None:
            inject_adapter_in_model(lora, self._language_model)
            for name, parameter in self._language_model.named_parameters():
                if "lora_" in name:
                    parameter.data = parameter.data.float()
        if gradient_checkpointing:
            self._language_model.activation_checkpointing_enable()
        self.train_parts("none")

    # the modules that LLaVA's own forward combines; untyped in transformers
    @property
    def _language_model(self) -> Any:
        return self.llava.model.language_model

    @property
    def _old_tokens(self) -> Any:
        return self._language_model.get_input_embeddings()

    @property
    def _old_head(self) -> Any:
        return self.llava.lm_head

    def train_parts(self, which: Trained, train_vision: bool = False) -> None:
        """Select the trained parameters; all others are frozen.

        Args:
            which: "alignment": the new tokens and their head (stage 1). "all": besides them LoRA, or without
                LoRA the whole language model with its embedding, projector and head. "none": nothing.
            train_vision: with "all" also the layers of the vision tower that are used; for small ones that
                weren't pretrained.

        Raises:
            ValueError: an unknown value, train_vision without "all", or "all" of a model whose weights are
                quantised.
        """
        if which not in ("none", "alignment", "all"):
            raise ValueError(f"which parts are trained is none, alignment or all, not {which!r}")
        if train_vision and which != "all":
            raise ValueError(
                f"train_vision=true goes with which=all, not {which}: a vision tower isn't trained by itself"
            )
        if which == "all" and self.lora is None and getattr(self.llava, "is_quantized", False):
            raise ValueError(
                "the language model's weights are quantised and can't be trained: give lora, or load it "
                "without quantization"
            )
        self.requires_grad_(False)
        if which == "none":
            return
        self.new_tokens.requires_grad_(True)
        self.new_head.requires_grad_(True)
        if which == "alignment":
            return
        if self.lora is None:
            for part in (self._language_model, self.llava.model.multi_modal_projector, self.llava.lm_head):
                part.requires_grad_(True)
        else:
            for name, parameter in self._language_model.named_parameters():
                parameter.requires_grad_("lora_" in name)
        if train_vision:
            for part in self._vision_parts():
                part.requires_grad_(True)

    def merge_lora(self) -> None:
        """Merge LoRA into the weights, after which it can't be trained further."""
        for name, layer in list(self._language_model.named_modules()):
            if isinstance(layer, BaseTunerLayer):
                layer.merge()
                self._language_model.set_submodule(name, layer.get_base_layer())
        self.lora = None

    def _vision_parts(self) -> list[nn.Module]:
        """The modules of the vision tower that the features depend on; later layers would never get a
        gradient.
        """
        tower: Any = self.llava.model.vision_tower
        depth = len(tower.encoder.layers)
        last = max(layer % (depth + 1) for layer in self.vision_layers)
        return [tower.embeddings, tower.pre_layrnorm, *tower.encoder.layers[:last]]

    def forward(
        self,
        images: Float[Tensor, "b 3 H W"],
        instructions: Sequence[str],
        answers: Sequence[str | None] | None = None,
    ) -> LanguageModelOutput:
        """Hidden states and features of images, in [-1, 1] and of any size, and their instructions. A
        sample's result doesn't depend on the others'.

        Args:
            images, instructions: as above.
            answers: of chat samples, whose instruction is a question; None for samples to edit, and as a
                whole without chat samples. A chat sample has no image tokens: its error is that of its own
                answer, and its hidden states are meaningless.

        Raises:
            ValueError: a word that the tokenizer doesn't know, or different numbers of instructions and
                images.
        """
        if len(images) != len(instructions):
            raise ValueError(f"{len(instructions)} instructions for {len(images)} images")
        device = self._old_tokens.weight.device
        features, seen = self._image_features(images.to(device))
        head = self._embed(torch.tensor([self.template.head], device=device)).expand(len(images), -1, -1)
        said = [
            self._tail_and_answer_length(text, answer)
            for text, answer in zip(instructions, answers or [None] * len(instructions), strict=True)
        ]
        ids, mask = pad_ids([tail for tail, _ in said])
        embedded = torch.cat([head, seen.to(head.dtype), self._embed(ids.to(device))], 1)
        mask = F.pad(mask.to(device), (embedded.shape[1] - mask.shape[1], 0), value=True)
        read = self._language_model(
            inputs_embeds=embedded, attention_mask=mask.long(), use_cache=False
        ).last_hidden_state
        ends = mask.sum(
            1, keepdim=True
        )  # every sequence ends in its answer, whatever its length, and the answer in the image tokens
        hidden = hidden_states_at(read, ends + torch.arange(-self.image_tokens, 0, device=device))
        if not (self.training and torch.is_grad_enabled() and self.new_head.weight.requires_grad):
            return LanguageModelOutput(hidden, features, None)
        wanted, there = (part.to(device) for part in pad_ids([tail[-length:] for tail, length in said]))
        # the position before the answer predicts its first token
        before = hidden_states_at(
            read, ends - there.sum(1, keepdim=True) - 1 + torch.arange(wanted.shape[1], device=device)
        )
        return LanguageModelOutput(hidden, features, self._error(before, wanted, there))

    def _tail_and_answer_length(self, instruction: str, answer: str | None) -> tuple[list[int], int]:
        """Ids after the image, and the number of them that are to be learnt."""
        return (
            (self.template.tail_ids(instruction), len(self.template.answer))
            if answer is None
            else self.template.chat_ids(instruction, answer)
        )

    def _image_features(
        self, images: Float[Tensor, "b 3 H W"]
    ) -> tuple[Float[Tensor, "b w g g"], Float[Tensor, "b v D"]]:
        """The vision tower's features on their grid, and projected for the language model."""
        tower: Any = self.llava.model.vision_tower
        states = tower(clip_pixels(images, self.side), output_hidden_states=True).hidden_states
        selected = torch.cat([states[layer] for layer in self.vision_layers], -1)
        patches = selected[:, selected.shape[1] - self.grid**2 :]  # without the class token
        projected = self.llava.model.multi_modal_projector(
            patches if self.llava.config.vision_feature_select_strategy == "default" else selected
        )
        return patches.transpose(1, 2).unflatten(2, (self.grid, self.grid)).float(), projected

    def _embed(self, ids: Int[Tensor, "b l"]) -> Float[Tensor, "b l D"]:
        """Embeddings of old and new tokens, in the language model's number format."""
        old = self._old_tokens(ids.clamp_max(self.template.rows - 1))
        new = self.new_tokens((ids - self.template.rows).clamp_min(0))
        return torch.where((ids >= self.template.rows).unsqueeze(-1), new.to(old.dtype), old)

    def _error(
        self, hidden: Float[Tensor, "b a D"], answer: Int[Tensor, "b a"], there: Bool[Tensor, "b a"]
    ) -> Float[Tensor, " b"]:
        """Cross-entropy of each state's prediction of the answer's next token, averaged over each answer."""
        with torch.autocast(hidden.device.type, enabled=False):  # a softmax over 32,000 words needs fp32
            logits = torch.cat(
                [
                    F.linear(hidden, weight.float())
                    for weight in (self._old_head.weight, self.new_head.weight)
                ],
                -1,
            )
            return F.cross_entropy(logits.transpose(1, 2), answer, reduction="none").masked_fill(
                ~there, 0.0
            ).sum(1) / there.sum(1)


def hidden_states_at(read: Float[Tensor, "b l D"], at: Int[Tensor, "b n"]) -> Float[Tensor, "b n D"]:
    """The states at some positions of each sequence, in fp32; positions outside it are clamped."""
    return read.gather(1, at.clamp(0, read.shape[1] - 1).unsqueeze(-1).expand(-1, -1, read.shape[2])).float()


def clip_pixels(images: Float[Tensor, "b 3 H W"], side: int) -> Float[Tensor, "b 3 side side"]:
    """Images in [-1, 1] resized to squares, whatever their aspect ratio, and normalised for CLIP."""
    square = F.interpolate(images.float(), (side, side), mode="bicubic", antialias=True).clamp(-1.0, 1.0)
    mean, std = (
        torch.tensor(values, device=square.device).view(1, 3, 1, 1)
        for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)
    )
    return ((square + 1) / 2 - mean) / std


def pad_ids(sequences: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "b l"], Bool[Tensor, "b l"]]:
    """Ids padded on the right to the longest, and a mask that is False at padding."""
    longest = max(map(len, sequences))
    ids = torch.tensor([[*sequence, *[0] * (longest - len(sequence))] for sequence in sequences])
    return ids, torch.arange(longest) < torch.tensor([[len(sequence)] for sequence in sequences])


def mean_rows(weight: Tensor, known: int, count: int) -> Float[Tensor, "count D"]:
    """`count` rows, each the mean of the rows that the tokenizer uses; models may have further, untrained
    ones.
    """
    return weight.detach()[:known].float().mean(0).repeat(count, 1)
