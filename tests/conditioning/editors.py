"""Small editors of every backbone, integration and reward encoder, and what the laws ask of them."""

from collections.abc import Sequence

import torch
from conftest import config, small_editor
from hydra.utils import instantiate

from src.algorithms.denoising import Denoising, draw
from src.batch import EditBatch
from src.editor import Editor

TIMES = torch.tensor([0.2, 0.5, 0.9])
"""Of the three samples, as the uniform numbers that a process makes its times of."""


def editor(integration: str, encoder: str = "score_text", *overrides: str) -> Editor:
    return small_editor(f"model/integration={integration}", f"model/reward_encoder={encoder}", *overrides)


def editor_of(backbone: str, small: Sequence[str], integration: str) -> Editor:
    """An editor with reproducible random weights around any backbone."""
    torch.manual_seed(0)
    return instantiate(config(f"model/backbone={backbone}", *small, f"model/integration={integration}").model)


def wake(model: Editor) -> Editor:
    """Replace zero-initialised layers of the reward modules and of the backbone by random weights."""
    generator = torch.Generator().manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad and not parameter.any():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return model


def equal_weights(*models: Editor) -> None:
    """Give the backbones of several editors the same random weights."""
    generator = torch.Generator().manual_seed(4)
    weights = {
        name: torch.randn(value.shape, generator=generator) * 0.1 if value.is_floating_point() else value
        for name, value in models[0].backbone.state_dict().items()
    }
    for model in models:
        model.backbone.load_state_dict(weights)


def output(model: Editor, batch: EditBatch, scores: torch.Tensor | None = None) -> torch.Tensor:
    """Network output at fixed noise and times."""
    latent = model.backbone.encode_image(batch.original)
    x_t = torch.randn(latent.shape, generator=torch.Generator().manual_seed(3))
    condition = model.condition(
        latent,
        batch.instructions,
        batch.scores if scores is None else scores,
        batch.feedback,
        reading=model.backbone.read(batch.original, batch.instructions),
    )
    return model(x_t, model.process.draw_time(TIMES, latent[0, 0].numel()), condition)


def loss(model: Editor, batch: EditBatch) -> torch.Tensor:
    module = Denoising(model, torch.optim.AdamW, seed=0)
    return module.losses(batch, draw(0, 0, 0, range(3), model.backbone.latent_shape(16, 16))).minimised


def gradients(model: Editor, batch: EditBatch) -> dict[str, torch.Tensor | None]:
    """The gradient of each trained parameter."""
    model.zero_grad()
    loss(model, batch).backward()
    return {
        name: None if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
        if p.requires_grad
    }
