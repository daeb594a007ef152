"""The parts of the transformer that paints: patches, positions, recolouring, surroundings."""

import pytest
import torch
from conditioning.editors import output
from conftest import config
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from src.algorithms.denoising import Denoising, draw
from src.backbones.tiny_transformer import (
    JointBlock,
    TinyTransformer,
    attention_mask,
    from_patches,
    in_patches,
    place_waves,
    position_features,
    recoloured,
    surroundings,
)
from src.batch import Condition, EditBatch
from src.editor import Editor

SMALL = [f"model.backbone.{size}" for size in ("width=16", "depth=2", "channels=16", "hidden=16")]


def backbone(*overrides: str) -> TinyTransformer:
    torch.manual_seed(0)
    return instantiate(config("model/backbone=tiny_transformer", *SMALL, *overrides).model).backbone


def test_patches_are_cut_row_by_row_and_put_together_again() -> None:
    image = torch.arange(2 * 3 * 8 * 12).view(2, 3, 8, 12).float()
    patches = in_patches(image, 4)
    assert patches.shape == (2, 6, 16, 3)
    assert torch.equal(patches[1, 4, 6], image[1, :, 5, 6]), "second row of patches, second row of pixels"
    assert torch.equal(from_patches(patches, (8, 12)), image)


def test_a_colour_matrix_acts_on_every_pixel_of_a_cell() -> None:
    image = torch.rand(2, 3, 8, 8)
    latent = torch.nn.functional.pixel_unshuffle(image, 2)
    colours = torch.rand(3, 3)
    matrix = colours.flatten().view(1, 9, 1, 1).expand(2, 9, 4, 4)
    expected = torch.einsum("ij,bjhw->bihw", colours, image)
    torch.testing.assert_close(
        recoloured(matrix, latent), torch.nn.functional.pixel_unshuffle(expected, 2), atol=1e-6, rtol=1e-5
    )


def test_positions_depend_on_the_distance_from_the_centre_alone() -> None:
    features = position_features(4, 7).unflatten(1, (4, -1))
    for one, other in (((7, 0), (8, 1)), ((3, 3), (0, 0)), ((10, 1), (12, 3))):  # offset, pixel
        torch.testing.assert_close(features[one], features[other])
    assert not torch.allclose(features[7, 0], features[7, 1])


def test_every_place_has_waves_of_its_own() -> None:
    waves = place_waves(8, 8, torch.zeros(()))
    distance = torch.cdist(waves, waves) + 10 * torch.eye(64)
    assert distance.min() > 0.5


def test_what_surrounds_a_hole_is_drawn_into_it() -> None:
    image = torch.full((1, 3, 16, 16), 0.5)
    hole = torch.zeros(1, 1, 16, 16)
    hole[..., 5:9, 5:9] = 1.0
    spoilt = torch.where(hole > 0, -1.0, image)
    torch.testing.assert_close(surroundings(spoilt, hole), image, atol=0.01, rtol=0.0)


def test_padding_is_not_attended_to() -> None:
    block = JointBlock(16, 4)
    torch.nn.init.normal_(block.attention_out.weight)
    tokens = torch.randn(1, 6, 16)
    mask = torch.tensor([[True, True, True, True, False, False]])
    other = torch.where(mask.unsqueeze(-1), tokens, torch.randn(1, 6, 16))
    outputs = [block(each, attention_mask(mask))[:, :4] for each in (tokens, other)]
    assert torch.equal(*outputs)


def test_opaque_paint_replaces_the_original_and_transparent_paint_leaves_it() -> None:
    model = backbone("model/integration=none")
    original, x_t = torch.rand(1, 12, 8, 8), torch.zeros(1, 12, 8, 8)
    given = Condition(original, model.encode_text(["remove the red circle"]))
    with torch.no_grad():
        model.painter.paint_head.weight.zero_()
        model.painter.paint_head.bias.copy_(torch.tensor([0.2, 0.2, 0.2, 30.0, -30.0]))
        painted = model.denoise(x_t, torch.tensor([999.0]), given) + original
        torch.testing.assert_close(painted, torch.full_like(painted, 0.2), atol=1e-5, rtol=0.0)
        model.painter.paint_head.bias[3] = -30.0
        assert model.denoise(x_t, torch.tensor([999.0]), given).abs().max() < 1e-6


def test_skips_are_refused() -> None:
    with pytest.raises(InstantiationException, match="skip"):
        instantiate(
            config(
                "model/backbone=tiny_transformer",
                *SMALL,
                "model/integration=addition",
                "model.integration.skips=true",
            ).model
        )


def test_a_deviation_goes_with_a_process_that_uses_it(batch: EditBatch) -> None:
    with pytest.raises(ValueError, match=r"takes 12 channels .* puts out 13"):
        output(
            instantiate(
                config("model/backbone=tiny_transformer", *SMALL, "model.backbone.deviation=true").model
            ),
            batch,
        )


def test_noise_is_dropped_where_nothing_changes() -> None:
    """After a few steps on copies, the output follows x_t with the slope that the process wants there. The
    editors of before had a slope of 0 at every time: they did not look at x_t.
    """
    torch.manual_seed(0)
    model: Editor = instantiate(
        config(
            "model/backbone=tiny_transformer", "model/process=posterior", *SMALL, "model/integration=none"
        ).model
    )
    original = torch.rand(4, 3, 16, 16) * 2 - 1
    batch = EditBatch(list("abcd"), original, original, ["make it night"] * 4, None, None)
    module = Denoising(model, torch.optim.AdamW, seed=0, condition_dropout=0.0)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    for step in range(80):
        optimizer.zero_grad()
        module.losses(batch, draw(0, step, 0, range(4), (12, 8, 8))).minimised.backward()
        optimizer.step()
    latent = model.backbone.encode_image(original)
    condition = model.condition(latent, batch.instructions, None, None)
    deviation = 0.45
    for time in (0.9, 0.5, 0.25):
        t = torch.full((4,), time)
        x_t = time * torch.randn_like(latent)  # x_0 is 0, as nothing changes
        with torch.no_grad():
            output = model(x_t, t, condition)
        slope = float((output * x_t).sum() / x_t.square().sum())
        alpha, total = 1.0 - time, ((1.0 - time) ** 2 * deviation**2 + time**2) ** 0.5
        assert slope == pytest.approx(-alpha * deviation / (time * total), rel=0.15), time
