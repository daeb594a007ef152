"""Qwen2.5-VL and Qwen3-VL of a few thousand random weights, in folders like those of the hub, and LoRA
adapters for them.
"""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
)

FAMILIES = ("qwen2_5_vl", "qwen3_vl")
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)

# what the families' own templates make of images and text
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}"
    "{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tokenizer() -> Qwen2Tokenizer:
    """One token per byte: digits stand alone, as in the real one."""
    vocab = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Qwen2Tokenizer(
        vocab=vocab, merges=[], eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token=None
    )
    made.add_special_tokens({"additional_special_tokens": [token for token in SPECIAL if token not in vocab]})
    made.chat_template = TEMPLATE
    return made


def write_vlm(folder: Path, family: str, seed: int = 0) -> Path:
    """A random model of a family."""
    words = tokenizer()
    id_of = words.convert_tokens_to_ids
    text = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 4096,
        "eos_token_id": id_of("<|im_end|>"),
        "pad_token_id": id_of("<|endoftext|>"),
        "bos_token_id": None,
    }
    vision = {"depth": 2, "hidden_size": 24, "num_heads": 2, "intermediate_size": 32, "out_hidden_size": 32}
    ids = {"image_token_id": id_of("<|image_pad|>"), "video_token_id": id_of("<|video_pad|>")}
    ids |= {
        "vision_start_token_id": id_of("<|vision_start|>"),
        "vision_end_token_id": id_of("<|vision_end|>"),
    }
    if family == "qwen2_5_vl":
        text["rope_parameters"] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
        config = Qwen2_5_VLConfig(
            text_config=text,
            vision_config={**vision, "patch_size": 14, "fullatt_block_indexes": [1], "window_size": 56},
            **ids,
        )
        processor = Qwen2VLImageProcessorPil(patch_size=14, min_pixels=28 * 28, max_pixels=112 * 112)
    else:
        text |= {
            "head_dim": 16,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [2, 3, 3],
                "mrope_interleaved": True,
            },
        }
        more = {"patch_size": 16, "num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
        config = Qwen3VLConfig(text_config=text, vision_config={**vision, **more}, **ids)
        processor = Qwen2VLImageProcessorPil(patch_size=16, min_pixels=32 * 32, max_pixels=128 * 128)
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(config)
    for weight in model.parameters():  # wide enough that answers depend on images and words
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def write_adapter(folder: Path, model: Path, seed: int = 1) -> Path:
    """A LoRA adapter with random weights for the text layers of a model."""
    base: PreTrainedModel = AutoModelForImageTextToText.from_pretrained(model)
    torch.manual_seed(seed)
    adapted = get_peft_model(base, LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"]))
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.5)
    adapted.save_pretrained(str(folder))
    return folder


def config_of(model: Path) -> object:
    """The config as the library reads it."""
    return AutoConfig.from_pretrained(model)
