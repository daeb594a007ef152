"""A release of SmartEdit with its files, its names and its numbers of tensors (450, 133, 89, 686), small
widths and random weights.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from backbones.pipelines import WIDTH, write_pipeline
from backbones.smartedit.models import llama_tokenizer
from diffusers import UNet2DConditionModel
from tokenizers import Tokenizer, models
from transformers import CLIPVisionConfig, CLIPVisionModel, PreTrainedTokenizerFast

WORDS, NEW = 286, 35
LANGUAGE, IMAGE, QUERIES, STEM, HEAD = 16, 16, 7, 8, 8
ADAPTER = {
    "base_model_name_or_path": "vicuna",
    "bias": "none",
    "fan_in_fan_out": False,
    "lora_alpha": 16,
    "lora_dropout": 0.05,
    "modules_to_save": None,
    "peft_type": "LORA",
    "r": 2,
    "target_modules": ["q_proj", "v_proj"],
    "task_type": "CAUSAL_LM",
}
STEP = "15000"
LLM = f"LLM-{STEP}/adapter_model.bin"
QUERY = f"embeddings_qformer/checkpoint-{STEP}_embeddings_qformer.bin"
MODULATE = f"modulate-{STEP}/adapter_model.bin"
UNET = f"unet-{STEP}/adapter_model.bin"
FILES = {LLM: 450, QUERY: 133, MODULATE: 89, UNET: 686}
PUBLISHED_UNET = {
    "block_out_channels": (8, 16, 24, 24),
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "layers_per_block": 2,
    "norm_num_groups": 4,
}


def linear(name: str, out: int, into: int, bias: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (out, into)
    if bias:
        yield f"{name}.bias", (out,)


def norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def language_model(width: int = LANGUAGE, layers: int = 32) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "embed_tokens.weight", (WORDS + NEW, width)
    for layer in range(layers):
        for part in "qkvo":
            yield from linear(f"layers.{layer}.self_attn.{part}_proj", width, width, bias=False)
            if part in "qv":
                yield f"layers.{layer}.self_attn.{part}_proj.lora_A.default.weight", (2, width)
                yield f"layers.{layer}.self_attn.{part}_proj.lora_B.default.weight", (width, 2)
        yield f"layers.{layer}.self_attn.rotary_emb.inv_freq", (HEAD // 2,)
        for part, shape in (("gate_proj", (24, width)), ("down_proj", (width, 24)), ("up_proj", (24, width))):
            yield f"layers.{layer}.mlp.{part}.weight", shape
        yield f"layers.{layer}.input_layernorm.weight", (width,)
        yield f"layers.{layer}.post_attention_layernorm.weight", (width,)
    yield "norm.weight", (width,)


def query_transformer(width: int = LANGUAGE) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "sd_query_tokens", (1, QUERIES, WIDTH)
    yield "lm_head.weight", (WORDS + NEW, width)
    yield from linear("mm_projector", width, IMAGE)
    yield "sd_qformer.embeddings.position_ids", (1, 512)
    yield from norm("sd_qformer.embeddings.LayerNorm", WIDTH)
    for layer in range(6):
        name = f"sd_qformer.encoder.layer.{layer}"
        for kind, read in (("attention", WIDTH), *([("crossattention", width)] if layer % 2 == 0 else [])):
            for part in ("query", "key", "value"):
                yield from linear(f"{name}.{kind}.self.{part}", WIDTH, WIDTH if part == "query" else read)
            yield from linear(f"{name}.{kind}.output.dense", WIDTH, WIDTH)
            yield from norm(f"{name}.{kind}.output.LayerNorm", WIDTH)
        yield from linear(f"{name}.intermediate_query.dense", 32, WIDTH)
        yield from linear(f"{name}.output_query.dense", WIDTH, 32)
        yield from norm(f"{name}.output_query.LayerNorm", WIDTH)


def interaction() -> Iterator[tuple[str, tuple[int, ...]]]:
    def attention(name: str, inner: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        for part in "qkv":
            yield from linear(f"{name}.{part}_proj", inner, IMAGE)
        yield from linear(f"{name}.out_proj", IMAGE, inner)

    yield from linear("modulate_head", IMAGE, WIDTH)
    for layer in range(2):
        name = f"modulate_transformer.layers.{layer}"
        yield from attention(f"{name}.self_attn", IMAGE)
        yield from norm(f"{name}.norm1", IMAGE)
        yield from attention(f"{name}.cross_attn_token_to_image", IMAGE // 2)
        yield from norm(f"{name}.norm2", IMAGE)
        yield from linear(f"{name}.mlp.lin1", 20, IMAGE)
        yield from linear(f"{name}.mlp.lin2", IMAGE, 20)
        yield from norm(f"{name}.norm3", IMAGE)
        yield from norm(f"{name}.norm4", IMAGE)
        yield from attention(f"{name}.cross_attn_image_to_token", IMAGE // 2)
    yield from attention("modulate_transformer.final_attn_token_to_image", IMAGE // 2)
    yield from norm("modulate_transformer.norm_final_attn", IMAGE)
    yield "pe_layer.positional_encoding_gaussian_matrix", (2, IMAGE // 2)
    yield "dimension_reduction_head_zeroconv.weight", (STEM, IMAGE, 1, 1)
    yield "dimension_reduction_head_zeroconv.bias", (STEM,)
    yield from linear("dimension_reduction_head_qformer_out", WIDTH, IMAGE)


def drawn(
    shapes: Iterator[tuple[str, tuple[int, ...]]],
    seed: int,
    dtype: torch.dtype = torch.float32,
    before: str = "",
) -> dict[str, torch.Tensor]:
    """Random weights; constants as libraries make them."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {before + name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes}
    for name in tensors:
        if name.endswith("inv_freq"):
            tensors[name] = 1.0 / 10000.0 ** (torch.arange(0, HEAD, 2) / HEAD)
        if name.endswith("position_ids"):
            tensors[name] = torch.arange(512).unsqueeze(0)
    return tensors


def release_tensors(width: int = LANGUAGE, layers: int = 32) -> dict[str, dict[str, torch.Tensor]]:
    """By file."""
    torch.manual_seed(4)
    unet = UNet2DConditionModel(
        in_channels=8, cross_attention_dim=WIDTH, attention_head_dim=2, sample_size=8, **PUBLISHED_UNET
    )
    return {
        LLM: drawn(language_model(width, layers), 1, torch.bfloat16, "model.base_model.model."),
        QUERY: drawn(query_transformer(width), 2),
        MODULATE: drawn(interaction(), 3),
        UNET: {f"unet.{name}": value.detach() for name, value in unet.state_dict().items()},
    }


def write_release(folder: Path, tensors: dict[str, dict[str, torch.Tensor]]) -> Path:
    """As the release is published: adapter_config.json one folder above what it belongs to."""
    for file, part in tensors.items():
        (folder / file).parent.mkdir(parents=True)
        torch.save(part, folder / file)
    (folder / "adapter_config.json").write_text(json.dumps(ADAPTER))
    return folder


def write_elsewhere(folder: Path) -> dict[str, str]:
    """What the conversion needs besides the release, by its names in the config."""
    torch.manual_seed(6)
    write_pipeline(folder / "pipeline", in_channels=4, **PUBLISHED_UNET)
    vision = CLIPVisionConfig(
        hidden_size=IMAGE,
        intermediate_size=20,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    CLIPVisionModel(vision).save_pretrained(folder / "vision")
    tokenizer = llama_tokenizer()
    assert len(tokenizer) == WORDS
    tokenizer.save_pretrained(folder / "tokenizer")
    return {
        "pipeline": f"{folder}/pipeline",
        "vision": f"{folder}/vision",
        "language_tokenizer": f"{folder}/tokenizer",
    }


def write_tokenizer(folder: Path, words: int) -> None:
    """One of another model."""
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"word{index}": index for index in range(3, words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)


def llava_tensors(release: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A LLaVA-1.1 whose language model is the release's, but for its words; it has three more than Vicuna."""
    generator = torch.Generator().manual_seed(9)
    tensors = {
        f"model.{name.removeprefix('model.base_model.model.')}": value.half()
        for name, value in release.items()
        if "lora_" not in name and "inv_freq" not in name
    }
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = torch.randn(WORDS + 3, LANGUAGE, generator=generator).half()
    return tensors | {
        "model.mm_projector.weight": torch.randn(LANGUAGE, IMAGE),
        "model.mm_projector.bias": torch.randn(LANGUAGE),
    }


def write_sentencepiece(folder: Path) -> Path:
    """A LLaMA tokenizer as Vicuna-1.1 has it: sentencepiece's file alone."""
    from transformers.utils import sentencepiece_model_pb2_new as sentencepiece

    model = sentencepiece.ModelProto()
    pieces = [
        ("<unk>", 2),
        ("<s>", 3),
        ("</s>", 3),
        *((f"<0x{byte:02X}>", 6) for byte in range(256)),
        ("▁", 1),
        ("a", 1),
        ("▁a", 1),
    ]
    for index, (text, kind) in enumerate(pieces):
        piece = model.pieces.add()
        piece.piece, piece.score, piece.type = text, -float(index), kind
    model.trainer_spec.model_type = 2
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(model.SerializeToString())
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    return folder
