"""Small Stable Diffusion pipelines with random weights, written to disk as diffusers writes them."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionInstructPix2PixPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from src.backbones.stable_diffusion import byte_tokenizer

WIDTH, STEM, TIME = 24, 16, 64


def write_pipeline(folder: Path, in_channels: int = 8, **unet) -> Path:
    """A pipeline of the layout of InsPix2Pix, or with 4 input channels of Stable Diffusion; two down blocks,
    latents a quarter of the image.
    """
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    sizes = {
        "sample_size": 8,
        "block_out_channels": (16, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "norm_num_groups": 8,
        "cross_attention_dim": WIDTH,
    }
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
    )
    pipeline = StableDiffusionInstructPix2PixPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(**{**sizes, **unet}, in_channels=in_channels),
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    return folder


def release_tensors() -> dict[str, torch.Tensor]:
    """The 34 tensors that the release adds, with the small pipeline's sizes."""
    generator = torch.Generator().manual_seed(5)
    linear = {
        "add_embedding.linear_1": (TIME, WIDTH),
        "add_embedding.linear_2": (TIME, TIME),
        "add_embedding2.linear_1": (STEM, WIDTH),
        "add_embedding2.linear_2": (STEM, STEM),
        "text_linear": (STEM, WIDTH),
        "text_linear2": (TIME, WIDTH),
        "proj_deal.norm": (STEM,),
        "proj_deal.proj_in": (STEM, STEM, 1, 1),
        "proj_deal.proj_out": (STEM, STEM, 1, 1),
        "ca.attention.self.query": (STEM, STEM),
        "ca.attention.self.key": (STEM, STEM),
        "ca.attention.self.value": (STEM, STEM),
        "ca.attention.output.dense": (STEM, STEM),
        "ca.attention.output.LayerNorm": (STEM,),
        "ca.hidden_intermediate.dense": (STEM, STEM),
        "ca.output.dense": (STEM, STEM),
        "ca.output.LayerNorm": (STEM,),
    }
    tensors = {f"{name}.weight": torch.randn(shape, generator=generator) for name, shape in linear.items()}
    return tensors | {
        f"{name}.bias": torch.randn(shape[0], generator=generator) for name, shape in linear.items()
    }


def write_release(folder: Path) -> Path:
    """A pipeline of the layout of the paper's published weights."""
    file = write_pipeline(folder) / "unet/diffusion_pytorch_model.safetensors"
    save_file(load_file(file) | release_tensors(), file, metadata={"format": "pt"})
    return folder
