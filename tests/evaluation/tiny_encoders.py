"""Small CLIP and DINO models with random weights, written to disk as transformers writes them, and counted as
they embed.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, ViTConfig, ViTModel

from src.backbones.stable_diffusion import byte_tokenizer
from src.evaluation.encoders import ImageEncoder
from src.evaluation.pixels import Image

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def write_clip(folder: Path, seed: int = 0) -> str:
    """CLIP on images of 32 pixels, each byte of a text a token, texts of 77 tokens at most."""
    torch.manual_seed(seed)
    words = byte_tokenizer()
    special = {
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
    }
    text = {**SIZES, **special, "vocab_size": len(words), "max_position_embeddings": 77, "projection_dim": 12}
    vision = {**SIZES, "image_size": 32, "patch_size": 8, "projection_dim": 12}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)).save_pretrained(folder)
    words.save_pretrained(folder)
    return str(folder)


def write_dino(folder: Path, seed: int = 0) -> str:
    """DINO on images of 28 pixels, cut out of 32."""
    torch.manual_seed(seed)
    ViTModel(ViTConfig(**SIZES, image_size=28, patch_size=7), add_pooling_layer=False).save_pretrained(folder)
    return str(folder)


class Counted(ImageEncoder):
    """Another encoder that counts the images it is given."""

    def __init__(self, encoder: ImageEncoder) -> None:
        self.encoder, self.fingerprint, self.described, self.embedded = (
            encoder,
            encoder.fingerprint,
            encoder.described,
            0,
        )

    def check_ready(self) -> None:
        self.encoder.check_ready()

    def images(self, images: Sequence[Image], device: torch.device) -> Float[Tensor, "n d"]:
        self.embedded += len(images)
        return self.encoder.images(images, device)
