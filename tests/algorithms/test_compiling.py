"""Laws of compiled training: every gradient is that of the network as it is."""

import subprocess
import sys

import pytest
import torch
from diffusers.models.upsampling import Upsample2D
from torch import nn

from src.algorithms.compiling import compiled, doubled

GRADIENTS = """
import sys, torch
sys.path.insert(0, "tests")
from conftest import small_editor, triplets
from src.algorithms.denoising import Denoising, draw

def gradients(compile_it):
    editor = small_editor("+experiment=reward_synthetic", *sys.argv[1:])
    for parameter in editor.parameters():  # what is zero at first would hide the rest
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(parameter.numel()))
    algorithm = Denoising(editor, torch.optim.AdamW, seed=0, compiled=compile_it)
    algorithm.losses(triplets(), draw(0, 0, 0, range(3), editor.backbone.latent_shape(16, 16))).minimised.backward()
    return {name: parameter.grad for name, parameter in editor.named_parameters() if parameter.grad is not None}

plain, found = gradients(False), gradients(True)
assert plain.keys() == found.keys(), plain.keys() ^ found.keys()
for name, gradient in plain.items():
    torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-3, msg=lambda text: name + ": " + text)
print(len(plain), "gradients,", sum(bool(gradient.any()) for gradient in plain.values()), "not zero")
"""


@pytest.mark.parametrize("integration", ["none", pytest.param("both", marks=pytest.mark.slow)])
def test_every_gradient_of_compiled_training_is_that_of_the_network(integration: str) -> None:
    """In a process of its own: the shape checks that tests run with cannot be traced."""
    command = [sys.executable, "-c", GRADIENTS, f"model/integration={integration}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    gradients, alive = (int(word) for word in done.stdout.split() if word.isdigit())
    assert alive > 0.9 * gradients > 100


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
