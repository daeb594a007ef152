"""How fast reward models on vision-language networks can be, by counting operations: no GPU, no weights.

    python experiments/reward_model_rates.py      # a minute on one core

Counts the weights of published networks without having them, and divides the peak rate of a GPU, times the
share of it that such networks reach, by the operations of an edit. Writes
experiments/results/reward_model_rates.md.
"""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch
from transformers import AutoModelForImageTextToText, Qwen2_5_VLConfig, Qwen3VLConfig

from src.environment import commit
from src.evaluation.report import markdown_table
from src.files import write_atomically
from src.reward_models.flops import EditFlops, edit_flops

PAGE = ROOT / "experiments/results/reward_model_rates.md"
WORDS = 220
"""Tokens of the prompt with an instruction of 20 words."""

PEAK = {"A100": 312e12, "H100": 989e12}
"""Dense bf16 operations per second, from the makers' data sheets."""

SHARE = 0.4
"""Of the peak; 0.3 to 0.5 is usual for dense transformers of this size at batches that fill the GPU."""

QWEN2_5 = {
    "text_config": {
        "hidden_size": 3584,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "intermediate_size": 18944,
        "vocab_size": 152064,
    },
    "vision_config": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
        "patch_size": 14,
        "window_size": 112,
        "fullatt_block_indexes": [7, 15, 23, 31],
    },
}
MIMO = {
    "text_config": QWEN2_5["text_config"]
    | {
        "hidden_size": 4096,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 11008,
        "vocab_size": 151680,
    },
    "vision_config": QWEN2_5["vision_config"] | {"out_hidden_size": 4096},
}
QWEN3 = {
    "text_config": {
        "hidden_size": 4096,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 12288,
        "vocab_size": 151936,
    },
    "vision_config": {
        "depth": 27,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_heads": 16,
        "out_hidden_size": 4096,
        "patch_size": 16,
        "deepstack_visual_indexes": [8, 16, 24],
    },
}
NETWORKS = {
    "Qwen2.5-VL-7B": (Qwen2_5_VLConfig, QWEN2_5),
    "MiMo-VL-7B": (Qwen2_5_VLConfig, MIMO),
    "Qwen3-VL-8B": (Qwen3VLConfig, QWEN3),
}
PIXELS = (200_704, 262_144, 1_048_576)


def network(name: str) -> Any:
    """A network without weights."""
    kind, settings = NETWORKS[name]
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(kind(**settings)).model


def row(name: str, pixels: int, flops: EditFlops) -> list[str]:
    """One line of the table."""
    full, lora = (2 * flops.training(trained, checkpointing=True) for trained in ("full", "lora"))
    released = 2 * flops.forward  # a pass per head
    cells = [name, f"{pixels:,}", str(flops.tokens), f"{flops.forward / 1e12:.1f}", f"{released / 1e12:.1f}"]
    for peak in PEAK.values():
        rates = (
            SHARE * peak / flops.forward,
            SHARE * peak / lora,
            SHARE * peak / full,
        )
        cells.append(f"{rates[0]:.0f} / {rates[1]:.1f} / {rates[2]:.1f}")
    return cells


def main() -> None:
    """Write the page."""
    lines = []
    for name in NETWORKS:
        built = network(name)
        lines += [row(name, pixels, edit_flops(built, pixels, WORDS)) for pixels in PIXELS]
    columns = ["network", "pixels of a picture", "tokens", "TFLOP, one pass", "TFLOP, EditReward's two"]
    columns += [f"{gpu}: edits judged / pairs, LoRA / pairs, full, per s" for gpu in PEAK]
    peaks = ", ".join(f"{name} {peak / 1e12:.0f}" for name, peak in PEAK.items())
    page = f"""# Rates of reward models on vision-language networks, by counting

`python experiments/reward_model_rates.py` at {commit()[:12]}; nothing was timed. Operations are counted from
the weights of the published networks ([flops.py](../../src/reward_models/flops.py), which agrees with
measured counts of small networks within 1 %). Rates are for one GPU at {SHARE:.0%} of its peak ({peaks}
TFLOP/s in bf16), with {WORDS} tokens of words, and with gradient checkpointing in training; the vision
tower is frozen. Reading and resizing pictures is not counted.

{markdown_table(columns, lines)}
One pass with a token per perspective costs half of EditReward's two.
"""
    write_atomically(PAGE, page)


if __name__ == "__main__":
    main()
