"""Small editors of every integration and reward encoder."""

import torch
from conftest import small_editor

from src.editor import Editor


def editor(integration: str, encoder: str = "score_text", *overrides: str) -> Editor:
    return small_editor(f"model/integration={integration}", f"model/reward_encoder={encoder}", *overrides)


def wake(model: Editor) -> Editor:
    """Replace zero-initialised output layers of the reward modules, and the zero output layer of the tiny
    U-Net, by random weights.
    """
    generator = torch.Generator().manual_seed(2)
    modules = [model.integration, model.backbone.unet.conv_out]
    for parameter in (p for module in modules if module is not None for p in module.parameters()):
        if not parameter.any():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return model
