"""How Qwen2.5-VL and Qwen3-VL networks take words and pictures, for judges that answer questions and for
reward models alike.

The inputs are built here from image processor and tokenizer: the library's whole processor can't be built
without torchvision, and for still images it only adds the number of placeholders, height x width / merge^2 of
the grid of patches, for both families (tested against the library's own processors).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer

from src.hub import load_by_name

FAMILIES = ("qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe")
"""Model types with known placeholders. MiMo-VL is a qwen2_5_vl."""

PLACEHOLDER = "<|image_pad|>"


@final
@dataclass(frozen=True)
class NetworkInputs:
    """One question as the network takes it.

    Attributes:
        ids: tokens, the placeholders of the images expanded.
        pixels: patches of all its images, one per row.
        grids: per image (1, rows, columns) of its patches.
    """

    ids: Int[Tensor, " length"]
    pixels: Float[Tensor, "patches values"]
    grids: Int[Tensor, "pictures 3"]


@final
class VLMReader:
    """Config, tokenizer and image processor of a vision-language model, read at once, so that a wrong name
    shows early.

    Args:
        model, revision: see LocalVLM.

    Attributes:
        config, images, words: the three.

    Raises:
        FileNotFoundError: no such folder or hub id, or the hub can't be reached.
        ValueError: a model of another family, or no chat template.
    """

    def __init__(self, model: str, revision: str | None) -> None:
        self.model = model
        self.config: Any = load_by_name(
            lambda: AutoConfig.from_pretrained(model, revision=revision, trust_remote_code=False), model
        )
        if self.config.model_type not in FAMILIES:
            raise ValueError(
                f"{model} is a model of type {self.config.model_type}; what can be read is one of "
                f"{', '.join(FAMILIES)}"
            )
        self.images: Any = load_by_name(
            lambda: AutoImageProcessor.from_pretrained(model, revision=revision, trust_remote_code=False),
            model,
        )
        self.words: Any = load_by_name(
            lambda: AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=False), model
        )
        if self.words.chat_template is None:
            raise ValueError(
                f"the tokenizer of {model} has no chat template: take an instruction-tuned model"
            )

    def read(self, prompt: str, images: Sequence[np.ndarray]) -> NetworkInputs:
        """Images (h, w, 3) of any sizes, then words, as tokens and patches.

        Raises:
            ValueError: the words hold a special token, which would be taken for an image or for their end.
        """
        if specials := self.special_tokens(prompt):
            raise ValueError(f"the question holds {specials[0]}, a special token of {self.model}")
        return self.read_chat(self.chat(prompt, len(images)), images)

    def read_chat(self, chat: str, images: Sequence[np.ndarray]) -> NetworkInputs:
        """The same for a text in which each image has its placeholder. Raises ValueError for another number
        of them.
        """
        processed = self.images(images=list(images), return_tensors="pt")
        grids = processed["image_grid_thw"]
        counts = [int(grid.prod()) // self.images.merge_size**2 for grid in grids]
        ids = self.tokenize(chat, counts)
        return NetworkInputs(torch.tensor(ids), processed["pixel_values"], grids)

    def special_tokens(self, prompt: str) -> list[str]:
        """Special tokens in a text."""
        return [token for token in self.words.all_special_tokens if token in prompt]

    def chat(self, prompt: str, images: int) -> str:
        """The chat template's text for a number of images and a prompt, up to where the answer begins."""
        content = [*({"type": "image"} for _ in range(images)), {"type": "text", "text": prompt}]
        return self.words.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )

    def placeholders(self, height: int, width: int) -> int:
        """Tokens of an image."""
        return self.images.get_number_of_image_patches(height, width, {}) // self.images.merge_size**2

    def tokenize(self, chat: str, placeholders: Sequence[int]) -> list[int]:
        """The tokens of a chat template's text, with one placeholder per token of each image."""
        first, *rest = chat.split(PLACEHOLDER)
        if len(rest) != len(placeholders):
            raise ValueError(
                f"the chat template of {self.model} has room for {len(rest)} images instead of "
                f"{len(placeholders)}"
            )
        expanded = first + "".join(
            PLACEHOLDER * count + part for count, part in zip(placeholders, rest, strict=True)
        )
        return self.words(expanded, add_special_tokens=False)["input_ids"]

    def pad(self, batch: Sequence[NetworkInputs]) -> dict[str, Tensor]:
        """Inputs of different lengths as one batch, padded on the left."""
        longest = max(len(inputs.ids) for inputs in batch)
        ids = torch.full((len(batch), longest), self.words.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, inputs in enumerate(batch):
            ids[row, longest - len(inputs.ids) :] = inputs.ids
            mask[row, longest - len(inputs.ids) :] = 1
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "mm_token_type_ids": (ids == self.config.image_token_id).int(),
            "pixel_values": torch.cat([inputs.pixels for inputs in batch]),
            "image_grid_thw": torch.cat([inputs.grids for inputs in batch]),
        }
