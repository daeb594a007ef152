"""The parts of a Stable Diffusion 1 pipeline, each loaded by itself from a diffusers pipeline folder or a hub id.

Without either (None) they have the full size and random weights, for benchmarks and for tests without a network.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, UNet2DConditionModel
from huggingface_hub import try_to_load_from_cache
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

T = TypeVar("T")

LATENT_CHANNELS = 4
EDIT_CHANNELS = 2 * LATENT_CHANNELS
"""Noisy latent and image latent, side by side."""

UNET: dict[str, Any] = {"sample_size": 64, "in_channels": EDIT_CHANNELS, "cross_attention_dim": 768}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": LATENT_CHANNELS,
    "sample_size": 512,
}
TEXT_ENCODER: dict[str, Any] = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
LONGEST_TEXT = 77
WEIGHTS = ("diffusion_pytorch_model.safetensors", "model.safetensors", "diffusion_pytorch_model.bin", "pytorch_model.bin")
"""Names of a part's weights, in the order in which they are looked for."""


def unet(pretrained: str | None) -> UNet2DConditionModel:
    """The U-Net of an editor: that of InsPix2Pix as it is, that of Stable Diffusion widened.

    Raises:
        ValueError: neither 4 nor 8 input channels.
    """
    if pretrained is None:
        return UNet2DConditionModel(**UNET)
    network = loaded(UNet2DConditionModel.from_pretrained, pretrained, "unet").train()  # it comes in evaluation mode
    channels = network.config["in_channels"]
    if channels == EDIT_CHANNELS:
        return network
    if channels == LATENT_CHANNELS:
        return widened(network)
    raise ValueError(
        f"the U-Net of {pretrained} has {channels} input channels; an editor starts from Stable Diffusion ({LATENT_CHANNELS}) "
        f"or InsPix2Pix ({EDIT_CHANNELS})"
    )


def widened(network: UNet2DConditionModel) -> UNet2DConditionModel:
    """A text-to-image U-Net that also takes an image latent and ignores it: four more input channels of weight zero, the bias kept."""
    old = network.conv_in
    new = nn.Conv2d(EDIT_CHANNELS, old.out_channels, old.kernel_size, padding=old.padding)  # pyright: ignore[reportArgumentType]
    assert old.bias is not None
    assert new.bias is not None
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
        new.bias.copy_(old.bias)
    network.conv_in = new
    network.register_to_config(in_channels=EDIT_CHANNELS)
    return network


def vae(pretrained: str | None) -> AutoencoderKL:
    """The autoencoder."""
    return AutoencoderKL(**VAE) if pretrained is None else loaded(AutoencoderKL.from_pretrained, pretrained, "vae")


def vae_config(pretrained: str | None) -> dict[str, Any]:
    """The autoencoder's config, without its weights."""
    if pretrained is None:
        return VAE
    config: Any = loaded(AutoencoderKL.load_config, pretrained, "vae")
    return config


def text_encoder(pretrained: str | None) -> CLIPTextModel:
    """The text encoder."""
    if pretrained is None:
        return CLIPTextModel(CLIPTextConfig(**TEXT_ENCODER, max_position_embeddings=LONGEST_TEXT))
    return loaded(CLIPTextModel.from_pretrained, pretrained, "text_encoder")


def text_width(pretrained: str | None) -> int:
    """Width of its tokens, without its weights."""
    return TEXT_ENCODER["hidden_size"] if pretrained is None else loaded(CLIPTextConfig.from_pretrained, pretrained, "text_encoder").hidden_size


def tokenizer(pretrained: str | None) -> CLIPTokenizer:
    """The tokenizer; without a source, one that knows bytes and no words."""
    return byte_tokenizer() if pretrained is None else loaded(CLIPTokenizer.from_pretrained, pretrained, "tokenizer")


def byte_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer without merges: every byte of a text is a token."""
    alphabet = sorted(ByteLevel.alphabet())
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[], model_max_length=LONGEST_TEXT)


def digests(pretrained: str, part: str) -> dict[str, str | None]:
    """sha256 of a part's config, without what only says who wrote it, and of its weights; None for what is not on this machine."""
    folder = Path(pretrained).expanduser() / part
    if not folder.is_dir():
        cached = try_to_load_from_cache(pretrained, f"{part}/config.json")
        if not isinstance(cached, str):
            return {"config": None, "weights": None}
        folder = Path(cached).parent
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = {name: value for name, value in config.items() if not name.startswith("_") and name != "transformers_version"}
    weights = next((folder / name for name in WEIGHTS if (folder / name).exists()), None)
    return {"config": hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest(), "weights": weights and file_digest(weights)}


def file_digest(path: Path) -> str:
    """sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tokenizer_digest(tokenizer: CLIPTokenizer) -> str:
    """sha256 of the vocabulary, whose order is also that of the merges, and of the window's length."""
    known = [tokenizer.model_max_length, tokenizer.pad_token_id, sorted(tokenizer.get_vocab().items())]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def loaded(load: Callable[..., T], pretrained: str, part: str) -> T:
    """One part of a pipeline.

    Raises:
        FileNotFoundError: a folder that is not there or lacks this part.
        ValueError: files that can't be read; pickled weights are read as weights only.
    """
    folder = Path(pretrained).expanduser()
    if folder.is_dir() and not (folder / part).is_dir():
        raise FileNotFoundError(f"{folder} is not a Stable Diffusion pipeline: it has no folder {part}/")
    if not folder.is_dir() and (folder.is_absolute() or pretrained.startswith((".", "~")) or len(folder.parts) != 2):
        raise FileNotFoundError(f"no pipeline folder {pretrained}; pretrained= takes a folder or a hub id such as timbrooks/instruct-pix2pix")
    # parts load in seconds, and their bars would tear ours
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    try:
        return load(str(folder) if folder.is_dir() else pretrained, subfolder=part)
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"{part} of {pretrained} can't be loaded: {' '.join(str(error).split())[:300]}") from error
