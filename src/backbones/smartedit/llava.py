"""Loads a LLaVA and its tokenizer from a folder or the hub, or builds a small one with random weights for
laptops and tests.

FOLDER/language_model/ and FOLDER/language_tokenizer/ are what src.convert and src.export write; `part=llava`
loads a plain LLaVA from a folder or hub id such as llava-hf/llava-1.5-7b-hf.
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerBase,
)

from src.backbones.pretrained import component_folder, loaded, weights
from src.backbones.smartedit.conversation import Tokenizer

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

SMALLEST_NORM = 0.05
"""Mean magnitude of normalisation weights below which they are taken for delta weights: those of LLaMA models
reach 1 and more, deltas about 0.001.
"""


def pretrained_llava(
    path: str,
    dtype: str = "float32",
    quantization: Any = None,
    part: Literal["language_model", "llava"] = "language_model",
) -> LlavaForConditionalGeneration:
    """A LLaVA with all of its weights.

    Args:
        path: a folder or hub id.
        dtype: of the weights: float32, bfloat16 or float16.
        quantization: a `transformers.BitsAndBytesConfig` or another of its kind; None for none.
        part: "language_model" of a SmartEdit model; or "llava", the path itself.

    Raises:
        FileNotFoundError: as `pretrained.loaded`.
        ValueError: as `pretrained.weights`; a language model without vision tower; delta weights; an unknown
            dtype; a package for the quantization that isn't installed.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype of the language model is {', '.join(DTYPES)}, not {dtype!r}")
    config, _ = loaded(LlavaConfig.get_config_dict, path, part)
    missing = [name for name in ("vision_config", "text_config") if name not in config]
    if config.get("model_type") != "llava" or missing:
        raise ValueError(
            f"{component_folder(path, part)} is no LLaVA as transformers writes it, with vision tower, "
            "projector and language model: its config.json is of type "
            f"{config.get('model_type')}{''.join(f', without {name}' for name in missing)}; give one that "
            "is, or let src.convert build it: the "
            "original LLaVA-1.1 holds only the language model, its vision tower is CLIP's"
        )
    options = {} if quantization is None else {"quantization_config": quantization}
    try:  # shapes that differ are named by us
        llava = weights(
            LlavaForConditionalGeneration,
            path,
            part,
            dtype=DTYPES[dtype],
            ignore_mismatched_sizes=True,
            **options,
        )
    except ImportError as error:
        raise ValueError(
            f"quantization can't be had: {' '.join(str(error).split())}; install it, or give "
            "quantization=null"
        ) from error
    language: nn.Module = llava.model.language_model
    check_no_delta(dict(language.named_parameters()), str(component_folder(path, part)))
    return llava


def check_no_delta(tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise ValueError if a language model's weights are deltas to LLaMA's, as Vicuna-1.1 and LLaVA-1.1 were
    published.

    Args:
        tensors: by name; only those that end in "norm.weight" are checked.
        source: their source, for the message.
    """
    sizes = [
        float(value.detach().float().abs().mean())
        for name, value in tensors.items()
        if name.endswith("norm.weight")
    ]
    if sizes and max(sizes) < SMALLEST_NORM:
        raise ValueError(
            f"{source} holds delta weights: its normalisation layers are {max(sizes):.2g} at most, and no "
            "language model's are; they are the "
            "difference from LLaMA's weights: add those first (python -m llava.model.apply_delta "
            "--base-model-path LLAMA --delta-path DELTA "
            "--target-model-path TARGET, of the LLaVA project), and give TARGET"
        )


def pretrained_tokenizer(
    path: str, part: Literal["language_tokenizer", "llava_tokenizer"] = "language_tokenizer"
) -> PreTrainedTokenizerBase:
    """The tokenizer of a language model.

    Args:
        path: a folder or hub id.
        part: "language_tokenizer" of a SmartEdit model; or "llava_tokenizer", the path itself.

    Raises:
        FileNotFoundError, ValueError: as `pretrained.loaded`.
    """
    return loaded(AutoTokenizer.from_pretrained, path, part, trust_remote_code=False)


def small_llava(
    tokenizer: Tokenizer,
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    positions: int = 512,
    image_size: int = 28,
    patch_size: int = 14,
    image_width: int = 24,
    image_layers: int = 2,
    image_heads: int = 2,
) -> LlavaForConditionalGeneration:
    """A LLaVA-1.1 with random weights: its projector is a single linear layer, followed by an identity.

    Args:
        tokenizer: its number of tokens is the number of the model's rows.
        width, layers, heads, positions: of the language model; the feed-forward layers are three times as
            wide.
        image_size, patch_size: in pixels; the first is a multiple of the second.
        image_width, image_layers, image_heads: of the vision tower, whose last but one layer is read.

    Raises:
        ValueError: patches that don't fill the image.
    """
    if image_size % patch_size:
        raise ValueError(
            f"the vision tower's images of {image_size} pixels can't be cut into patches of {patch_size}: "
            "give a multiple"
        )
    vision = CLIPVisionConfig(
        hidden_size=image_width,
        intermediate_size=4 * image_width,
        num_hidden_layers=image_layers,
        num_attention_heads=image_heads,
        image_size=image_size,
        patch_size=patch_size,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=positions,
    )
    llava = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision,
            text_config=text,
            projector_hidden_act="linear",
            image_token_index=len(tokenizer),
        )  # pyright: ignore[reportArgumentType]
    )
    identity = llava.model.multi_modal_projector.linear_2
    nn.init.eye_(identity.weight)
    nn.init.zeros_(identity.bias)
    return llava
