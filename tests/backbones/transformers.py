"""Small pipelines of flow transformers with random weights, written to disk as diffusers writes them."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from omegaconf import OmegaConf
from transformers import Qwen3Config, Qwen3ForCausalLM

from src.backbones.flux2_parts import byte_tokenizer
from src.missing_settings import CONF


def small_klein(**transformer: Any) -> Flux2KleinPipeline:
    """FLUX.2-klein's parts with the sizes of model/backbone=flux2_tiny, in evaluation mode."""
    torch.manual_seed(0)
    sizes: Any = OmegaConf.to_container(OmegaConf.load(CONF / "model/backbone/flux2_tiny.yaml").sizes)
    tokenizer = byte_tokenizer()
    vae = AutoencoderKLFlux2(**sizes["vae"])
    generator = torch.Generator().manual_seed(1)
    vae.bn.running_mean.normal_(generator=generator)
    vae.bn.running_var.uniform_(0.5, 2.0, generator=generator)
    text = Qwen3Config(vocab_size=len(tokenizer), **sizes["text_encoder"])
    pipeline = Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15),
        vae=vae.eval(),
        text_encoder=Qwen3ForCausalLM(text).eval(),
        tokenizer=tokenizer,
        transformer=Flux2Transformer2DModel(**{**sizes["transformer"], **transformer}).eval(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def write_klein(folder: Path, shards: bool = False, **transformer: Any) -> Path:
    """A pipeline folder of the layout of FLUX.2-klein; with `shards`, the transformer in several files."""
    pipeline = small_klein(**transformer)
    pipeline.save_pretrained(folder)
    if shards:
        for file in (folder / "transformer").glob("*.safetensors"):
            file.unlink()
        pipeline.transformer.save_pretrained(folder / "transformer", max_shard_size="100KB")
    return folder


def change_json(file: Path, **settings: Any) -> None:
    """Change settings of a JSON file."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
