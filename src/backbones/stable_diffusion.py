"""The components of a Stable Diffusion 1 pipeline, each loaded from a diffusers pipeline folder or a hub id.

Without a source (None) they have the full size and random weights, for benchmarks and for tests without a
network.
"""

import hashlib
import json
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from src.backbones.pretrained import loaded, weights

LATENT_CHANNELS = 4
EDIT_CHANNELS = 2 * LATENT_CHANNELS
"""Channels of noisy latent and image latent together."""

UNET: dict[str, Any] = {"sample_size": 64, "in_channels": EDIT_CHANNELS, "cross_attention_dim": 768}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": LATENT_CHANNELS,
    "sample_size": 512,
}
TEXT_ENCODER: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
}
LONGEST_TEXT = 77


def load_unet(pretrained: str | None) -> UNet2DConditionModel:
    """The U-Net of an editor: InsPix2Pix's as it is, Stable Diffusion's with four more input channels.

    Raises:
        FileNotFoundError, ValueError: as `pretrained.weights`; neither 4 nor 8 input channels, or other than
            4 output channels.
    """
    if pretrained is None:
        return UNet2DConditionModel(**UNET)
    network: UNet2DConditionModel = weights(
        UNet2DConditionModel, pretrained, "unet"
    ).train()  # it comes in evaluation mode
    channels, out = network.config["in_channels"], network.config["out_channels"]
    if out != LATENT_CHANNELS:
        raise ValueError(
            f"the U-Net of {pretrained} has {out} output channels, an editor's has {LATENT_CHANNELS}: start "
            "from Stable Diffusion 1.5"
        )
    if channels == EDIT_CHANNELS:
        return network
    if channels == LATENT_CHANNELS:
        return widened(network)
    raise ValueError(
        f"the U-Net of {pretrained} has {channels} input channels; an editor starts from Stable Diffusion "
        f"({LATENT_CHANNELS}) "
        f"or InsPix2Pix ({EDIT_CHANNELS})"
    )


def widened(network: UNet2DConditionModel) -> UNet2DConditionModel:
    """A text-to-image U-Net with four more input channels, whose weights are zero, so that the image latent
    is ignored at first.
    """
    old = network.conv_in
    new = nn.Conv2d(
        EDIT_CHANNELS,
        old.out_channels,
        old.kernel_size,  # pyright: ignore[reportArgumentType]
        padding=old.padding,  # pyright: ignore[reportArgumentType]
    )
    assert old.bias is not None
    assert new.bias is not None
    with torch.no_grad():
        new.weight.zero_()
        new.weight[:, : old.in_channels] = old.weight
        new.bias.copy_(old.bias)
    network.conv_in = new
    network.register_to_config(in_channels=EDIT_CHANNELS)
    return network


def load_vae(pretrained: str | None) -> AutoencoderKL:
    """The autoencoder. Raises as `pretrained.weights`."""
    return AutoencoderKL(**VAE) if pretrained is None else weights(AutoencoderKL, pretrained, "vae")


def vae_config(pretrained: str | None) -> dict[str, Any]:
    """The autoencoder's config, without its weights.

    Raises:
        FileNotFoundError: as `pretrained.loaded`.
        ValueError: of something else, or of latents that a U-Net of Stable Diffusion can't read.
    """
    if pretrained is None:
        return VAE
    config: Any = loaded(AutoencoderKL.load_config, pretrained, "vae")
    missing = [name for name in ("block_out_channels", "latent_channels") if name not in config]
    if missing:
        raise ValueError(
            f"vae/config.json of {pretrained} is not that of an autoencoder: it has no {', '.join(missing)}; "
            "take the one of the model"
        )
    if config["latent_channels"] != LATENT_CHANNELS:
        raise ValueError(
            f"the autoencoder of {pretrained} makes latents of {config['latent_channels']} channels, its "
            f"U-Net works on {LATENT_CHANNELS}: "
            "take the autoencoder of Stable Diffusion 1.5"
        )
    return config


def load_text_encoder(pretrained: str | None) -> CLIPTextModel:
    """The text encoder. Raises as `pretrained.weights`."""
    if pretrained is None:
        return CLIPTextModel(text_config(None))
    return weights(
        CLIPTextModel, pretrained, "text_encoder", ignore_mismatched_sizes=True
    )  # they are named by us


def text_config(pretrained: str | None) -> CLIPTextConfig:
    """Its config, without its weights."""
    if pretrained is None:
        return CLIPTextConfig(**TEXT_ENCODER, max_position_embeddings=LONGEST_TEXT)
    return loaded(CLIPTextConfig.from_pretrained, pretrained, "text_encoder")


def load_tokenizer(pretrained: str | None) -> CLIPTokenizer:
    """The tokenizer; without a source, one whose tokens are bytes.

    Raises:
        FileNotFoundError: as `pretrained.loaded`.
        ValueError: it makes tokens, or windows of them, that the text encoder doesn't know.
    """
    if pretrained is None:
        return byte_tokenizer()
    found, encoder = loaded(CLIPTokenizer.from_pretrained, pretrained, "tokenizer"), text_config(pretrained)
    if len(found) > encoder.vocab_size or found.model_max_length > encoder.max_position_embeddings:
        raise ValueError(
            f"tokenizer and text encoder of {pretrained} don't fit: the one has {len(found)} tokens and "
            f"windows of {found.model_max_length}, "
            f"the other {encoder.vocab_size} and {encoder.max_position_embeddings}; take both from the same "
            "model"
        )
    return found


def byte_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer without merges: every byte of a text is a token."""
    alphabet = sorted(ByteLevel.alphabet())
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)}, merges=[], model_max_length=LONGEST_TEXT
    )


def tokenizer_digest(tokenizer: CLIPTokenizer) -> str:
    """sha256 of the vocabulary, whose order is also that of the merges, and of the window's length."""
    known = [tokenizer.model_max_length, tokenizer.pad_token_id, sorted(tokenizer.get_vocab().items())]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()
