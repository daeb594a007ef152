"""Balanced losses: where they are least, what they weigh, and that they leave the minimiser alone."""

import pytest
import torch
from conftest import small_editor

from src.algorithms.denoising import Denoising, draw
from src.algorithms.uncertainty import Uncertainty, weighted_losses
from src.batch import EditBatch


def test_the_weighted_loss_is_least_at_the_logarithm_of_the_loss() -> None:
    losses = torch.tensor([1e-3, 0.5, 7.0], dtype=torch.float64)
    best = losses.log()
    for change in (-0.1, 0.1):
        assert weighted_losses(losses, best + change).mean() > weighted_losses(losses, best).mean()
    log_variance = best.clone().requires_grad_()
    weighted_losses(losses, log_variance).mean().backward()
    torch.testing.assert_close(log_variance.grad, torch.zeros_like(losses))


def test_at_its_best_every_task_pulls_alike() -> None:
    errors = torch.tensor([0.01, 4.0], dtype=torch.float64)
    scale = torch.ones(2, dtype=torch.float64, requires_grad=True)
    weighted_losses(errors * scale, errors.log()).mean().backward()
    torch.testing.assert_close(scale.grad, torch.full((2,), 0.5, dtype=torch.float64))


def test_it_learns_which_tasks_are_hard() -> None:
    torch.manual_seed(0)
    module = Uncertainty(4)
    sigma, instruction = torch.rand(64), torch.eye(4)[torch.arange(64) % 4]
    assert not module(sigma, instruction).any()
    losses = torch.tensor([0.01, 0.1, 1.0, 10.0])[torch.arange(64) % 4]
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(400):
        optimizer.zero_grad()
        weighted_losses(losses, module(sigma, instruction)).mean().backward()
        optimizer.step()
    torch.testing.assert_close(module(sigma, instruction), losses.log(), atol=0.3, rtol=0.1)


@pytest.mark.parametrize("balanced", [False, True])
def test_the_logged_error_is_the_same_and_only_the_weights_differ(batch: EditBatch, balanced: bool) -> None:
    editor = small_editor()
    plain = Denoising(editor, torch.optim.AdamW, seed=0)
    module = Denoising(editor, torch.optim.AdamW, seed=0, balanced=balanced)
    draws = draw(0, 0, 0, range(3), editor.backbone.latent_shape(16, 16))
    losses = module.losses(batch, draws)
    torch.testing.assert_close(losses.error, plain.losses(batch, draws).error)
    # fresh, it is the plain mean
    torch.testing.assert_close(losses.minimised, losses.error)
    assert (module.uncertainty is not None) == balanced
    losses.minimised.backward()
    if module.uncertainty is not None:
        assert module.uncertainty.log_variance.bias.grad is not None
