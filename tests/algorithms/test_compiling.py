"""Laws of compiled training: every gradient is that of the network as it is."""

from dataclasses import replace

import pytest
import torch
from commands import UNET
from conftest import config, small_editor, triplets
from diffusers.models.upsampling import Upsample2D
from hydra.utils import instantiate
from killing import in_own_process
from torch import nn

from src.algorithms.compiling import compiled, doubled
from src.algorithms.denoising import Denoising, draw


def gradients(compiled: bool, *overrides: str) -> dict[str, torch.Tensor]:
    editor = small_editor(*UNET, *overrides)
    for parameter in editor.parameters():  # what is zero at first would hide the rest
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(parameter.numel()))
    algorithm = Denoising(editor, torch.optim.AdamW, seed=0, compiled=compiled)
    draws = draw(0, 0, 0, range(3), editor.backbone.latent_shape(16, 16))
    algorithm.losses(triplets(), draws).minimised.backward()
    return {
        name: parameter.grad for name, parameter in editor.named_parameters() if parameter.grad is not None
    }


def compare_gradients(*overrides: str) -> tuple[int, int]:
    """How many gradients there are, and how many of them are not zero."""
    plain, found = gradients(False, *overrides), gradients(True, *overrides)
    assert plain.keys() == found.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-3, msg=name)
    return len(plain), sum(bool(gradient.any()) for gradient in plain.values())


SHALLOW = (
    "model.backbone.unet.block_out_channels=[16]",
    "model.backbone.unet.down_block_types=[DownBlock2D]",
    "model.backbone.unet.up_block_types=[UpBlock2D]",
    "model.backbone.unet.mid_block_type=null",
)
"""Compiling takes a second or two for each of a network's layers."""


@pytest.mark.parametrize(
    "overrides",
    [
        pytest.param(("model/integration=none", *SHALLOW), id="shallow"),
        pytest.param(("model/integration=both",), id="both", marks=pytest.mark.slow),
    ],
)
def test_every_gradient_of_compiled_training_is_that_of_the_network(overrides: tuple[str, ...]) -> None:
    count, alive = in_own_process(compare_gradients, *overrides)
    assert alive > 0.9 * count > 50


def bfloat16_gradients(compiled: bool) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    editor = instantiate(config(*TRANSFORMER).model)
    for parameter in editor.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    algorithm = Denoising(editor, torch.optim.AdamW, seed=0, compiled=compiled)
    draws = draw(0, 0, 0, range(3), editor.backbone.latent_shape(32, 32))
    small = triplets()
    batch = replace(
        small, original=small.original.tile(1, 1, 2, 2), edited=small.edited.tile(1, 1, 2, 2)
    )  # 64 patches
    with torch.autocast("cpu", torch.bfloat16):
        minimised = algorithm.losses(batch, draws).minimised
    minimised.backward()
    return {
        name: parameter.grad for name, parameter in editor.named_parameters() if parameter.grad is not None
    }


TRANSFORMER = (
    "model/backbone=tiny_transformer",
    "model/process=posterior",
    "model/integration=none",
    "model.backbone.depth=1",
    "model.backbone.seen_after=1",
)
"""Widths as they are: what fails depends on whether vectors divide them."""


def compare_in_bfloat16() -> tuple[float, list[str]]:
    """Relative difference of all gradients together, and the names of those that are not finite."""
    plain, found = bfloat16_gradients(False), bfloat16_gradients(True)
    broken = [name for name, gradient in found.items() if not gradient.isfinite().all()]
    ours, theirs = (torch.cat([each[name].flatten() for name in plain]) for each in (found, plain))
    return float((ours - theirs).norm() / theirs.norm()), broken


@pytest.mark.slow
def test_compiled_bfloat16_gradients_of_the_transformer_are_finite_and_near() -> None:
    difference, broken = in_own_process(compare_in_bfloat16)
    assert not broken
    assert difference < 0.1


@pytest.mark.parametrize("size", [None, (10, 6), (9, 6), (9, 5)])
def test_cells_are_doubled_as_by_nearest_neighbours(size: tuple[int, int] | None) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(2, 4, 5, 3)
    plain, replaced = Upsample2D(4), Upsample2D(4)
    compiled(replaced)
    assert torch.equal(replaced(hidden, size), plain(hidden, size))
    plain, replaced = Upsample2D(4, use_conv=True), Upsample2D(4, use_conv=True)
    replaced.load_state_dict(plain.state_dict())
    compiled(replaced)
    # the convolution after it may round otherwise in another memory order; with AVX2 it does
    torch.testing.assert_close(replaced(hidden, size), plain(hidden, size), atol=1e-6, rtol=1e-5)
    assert torch.equal(doubled(hidden), nn.functional.interpolate(hidden, scale_factor=2.0, mode="nearest"))
