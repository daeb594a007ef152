"""How much computing a reward model on a vision-language network needs, by counting weights.

A product with a matrix costs two floating-point operations per weight and token; attention between t tokens 4
t^2 times its width. Measured counts of small networks agree (tests). Causal masks are not counted as savings.
"""

from dataclasses import dataclass
from typing import Any, final

from torch import nn

RETURN = {"frozen": 0, "lora": 1, "full": 2}
"""Backward passes in units of a forward one: to activations alone, or to weights as well."""


@final
@dataclass(frozen=True)
class EditFlops:
    """Floating-point operations for one edit.

    Attributes:
        vision: of both pictures, forward.
        language: of all tokens, forward.
        tokens: of the language model.
    """

    vision: float
    language: float
    tokens: int

    @property
    def forward(self) -> float:
        """To judge it."""
        return self.vision + self.language

    def training(self, trained: str, checkpointing: bool = False) -> float:
        """To learn from it.

        Args:
            trained: "lora" or "full" of the language model; the vision tower is frozen.
            checkpointing: whether activations are computed once more.
        """
        return self.vision + self.language * (1 + RETURN[trained] + checkpointing)


def edit_flops(network: Any, pixels: int, words: int, pictures: int = 2) -> EditFlops:
    """The operations for one edit.

    Args:
        network: Qwen2.5-VL or Qwen3-VL without its output layer, on any device, "meta", too.
        pixels: of each picture.
        words: tokens of the text.
        pictures: their number.
    """
    vision, text = network.config.vision_config, network.config.text_config
    patches = pixels // vision.patch_size**2
    merged = vision.spatial_merge_size**2
    tokens = words + pictures * patches // merged
    seen = pictures * _vision_flops(network.visual, patches, merged)
    width = text.num_attention_heads * network.language_model.layers[0].self_attn.head_dim
    attention = 4 * tokens**2 * width * text.num_hidden_layers
    return EditFlops(seen, 2.0 * weights_of(network.language_model.layers) * tokens + attention, tokens)


def _vision_flops(visual: Any, patches: int, merged: int) -> float:
    """Of a picture: layers and embedding per patch, what merges patches per token, attention in windows."""
    config = visual.config
    per_patch = weights_of(visual.blocks) + weights_of(visual.patch_embed)
    mergers = weights_of(visual.merger) + weights_of(
        getattr(visual, "deepstack_merger_list", nn.ModuleList())
    )
    whole = getattr(config, "fullatt_block_indexes", range(config.depth))
    window = min((getattr(config, "window_size", 0) // config.patch_size) ** 2 or patches, patches)
    spans = sum(patches if layer in whole else window for layer in range(config.depth))
    attention = 4 * patches * spans * config.hidden_size
    return 2.0 * (per_patch * patches + mergers * patches / merged) + attention


def weights_of(module: nn.Module) -> int:
    """Weights of matrices and convolutions."""
    return sum(
        layer.weight.numel()
        for layer in module.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv3d)
    )
