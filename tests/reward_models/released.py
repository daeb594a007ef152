"""EditReward's weights in the layout of its release, random."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForImageTextToText

from src.reward_models.editreward_released import TOKEN


def write_released(folder: Path, base: Path) -> dict[str, str]:
    """Weights under the release's names, with one row more for its token, and prompts; returns the arguments
    that name them.
    """
    prompts = folder / "prompts"
    prompts.mkdir(parents=True)
    for name in ("following", "quality"):
        text = f"How good is the {name} of {{instruction}}? Rating: {TOKEN} please."
        (prompts / f"{name}.txt").write_text(text)
    weights = AutoModelForImageTextToText.from_pretrained(base, dtype="float32").state_dict()
    random = torch.Generator().manual_seed(5)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random) * 0.3

    width = 32
    embeddings = "model.language_model.embed_tokens.weight"
    weights[embeddings] = torch.cat((weights[embeddings], drawn(1, width)))
    weights["lm_head.weight"] = weights[embeddings].clone()
    for place in range(2):
        for layer, shape in {0: (1024, width), 3: (16, 1024), 5: (2, 16)}.items():
            weights[f"rm_heads.head_{place}.{layer}.weight"] = drawn(*shape)
            weights[f"rm_heads.head_{place}.{layer}.bias"] = drawn(shape[0])
    save_file(weights, folder / "model.safetensors")
    return {"folder": str(folder), "base": str(base), "prompts": str(prompts)}
