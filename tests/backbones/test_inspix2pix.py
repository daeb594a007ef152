"""InsPix2Pix: what it computes is what diffusers' own pipeline computes; where it starts from; what is
trained and kept.
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from backbones.pipelines import write_pipeline
from conftest import config
from diffusers import StableDiffusionInstructPix2PixPipeline, UNet2DConditionModel
from hydra.utils import instantiate
from PIL import Image

from src.algorithms.denoising import Denoising, draw
from src.backbones.stable_diffusion import widened
from src.batch import EditBatch
from src.editor import Editor
from src.records import TargetReward

INSPIX2PIX = ("model/backbone=inspix2pix", "model/process=ddpm")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("pipeline"))


def editor(pipeline: Path, *overrides: str) -> Editor:
    torch.manual_seed(0)
    return instantiate(config(*INSPIX2PIX, f"model.backbone.pretrained={pipeline}", *overrides).model)


def test_edits_as_diffusers_does(pipeline: Path) -> None:
    """Four steps fall on whole times of the schedule, so that Euler's method with guidance 7.5 and 1.5 must
    give the same image.
    """
    stock = StableDiffusionInstructPix2PixPipeline.from_pretrained(pipeline)
    stock.set_progress_bar_config(disable=True)
    model = editor(pipeline, "model/integration=none").eval()
    sampler = instantiate(config("sampler=paper", name="edit").sampler, steps=4, eta=0.0)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    original = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    ours = model.edit(original, ["make it night"], [TargetReward()], [7], sampler)

    from src.diffusion.samplers import seeded_noise

    stock.scheduler.set_timesteps(4)
    scale = stock.scheduler.init_noise_sigma
    latents = seeded_noise([7], (4, 8, 12), 0) * float((1 + scale**2) ** 0.5 / scale)
    theirs = stock(
        "make it night", Image.fromarray(pixels), 4, 7.5, 1.5, latents=latents, output_type="pt"
    ).images
    torch.testing.assert_close((ours + 1) / 2, theirs, atol=2e-4, rtol=1e-3)


def test_the_original_is_an_unscaled_mode_and_the_target_a_scaled_sample(pipeline: Path) -> None:
    backbone = editor(pipeline).backbone
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    posterior = backbone.vae.on(image.device).encode(image).latent_dist
    original, noise = backbone.encode_image(image), torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(original, posterior.mode())
    torch.testing.assert_close(
        backbone.encode_edited(image, original, noise), 0.18215 * (posterior.mean + posterior.std * noise)
    )


def test_stable_diffusion_is_widened_with_zeros_and_keeps_its_bias() -> None:
    torch.manual_seed(0)
    sizes = {
        "block_out_channels": (8, 8),
        "norm_num_groups": 4,
        "cross_attention_dim": 8,
        "attention_head_dim": 2,
        "sample_size": 8,
    }
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    narrow = UNet2DConditionModel(**sizes, **blocks)
    bias, before = narrow.conv_in.bias.clone(), narrow.conv_in.weight.clone()
    x, t, text = torch.randn(2, 4, 8, 8), torch.tensor([3, 500]), torch.randn(2, 5, 8)
    expected = narrow(x, t, text).sample
    wide = widened(narrow)
    assert wide.config["in_channels"] == 8
    assert torch.equal(wide.conv_in.bias, bias)
    assert torch.equal(wide.conv_in.weight[:, :4], before)
    assert not wide.conv_in.weight[:, 4:].any()
    torch.testing.assert_close(wide(torch.cat([x, torch.randn_like(x)], 1), t, text).sample, expected)


def test_an_editing_unet_is_left_as_it_is(pipeline: Path, tmp_path: Path) -> None:
    stock = UNet2DConditionModel.from_pretrained(pipeline, subfolder="unet")
    assert torch.equal(editor(pipeline).backbone.unet.conv_in.weight, stock.conv_in.weight)
    narrow = write_pipeline(tmp_path, in_channels=4)
    assert not editor(narrow).backbone.unet.conv_in.weight[:, 4:].any()


def test_frozen_networks_are_in_no_state(pipeline: Path) -> None:
    model = editor(pipeline)
    model.backbone.encode_text(["make it night"])
    model.backbone.encode_image(torch.zeros(1, 3, 32, 32))
    assert {name.split(".")[1] for name in model.state_dict() if name.startswith("backbone.")} == {"unet"}
    assert not any(p.requires_grad for p in model.backbone.vae.on(torch.device("cpu")).parameters())


@pytest.mark.parametrize(
    ("overrides", "trained"),
    [
        (["model.backbone.trained=unet"], {"unet"}),
        (["model.backbone.trained=none"], set()),
        (["+model/lora=attention"], {"lora"}),
    ],
)
def test_exactly_what_is_named_is_trained(pipeline: Path, overrides: list[str], trained: set[str]) -> None:
    model = editor(pipeline, *overrides)
    names = {name for name in model.trained_state() if name.startswith("backbone.")}
    assert all(
        name.startswith(("reward_encoder.", "integration.", "backbone.")) for name in model.trained_state()
    )
    assert all(
        parameter.requires_grad
        for name, parameter in model.named_parameters()
        if not name.startswith("backbone.")
    )
    if "lora" in trained:
        assert names
        assert all(".lora_" in name for name in names)
    elif trained:
        assert names == {f"backbone.{name}" for name in model.backbone.state_dict()}
    else:
        assert not names


def test_gradient_checkpointing_is_at_work_and_changes_nothing(pipeline: Path) -> None:
    """A U-Net comes from disk in evaluation mode, in which nothing would be checkpointed."""
    found = []
    for checkpointing in (False, True):
        model = editor(pipeline, f"model.backbone.gradient_checkpointing={checkpointing}")
        assert model.backbone.unet.training
        calls = []
        block = model.backbone.unet.down_blocks[0].resnets[0]
        block.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        module = Denoising(model, torch.optim.AdamW, seed=0)
        images = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
        batch = EditBatch(
            ["a", "b"],
            images[0],
            images[1],
            ["make it night", ""],
            torch.full((2, 3), 4.0),
            [("None", "None", "None")] * 2,
        )
        module.losses(batch, draw(0, 0, 0, range(2), (4, 8, 8))).minimised.backward()
        assert len(calls) == 1 + checkpointing
        found.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-6, rtol=1e-4)


def test_text_is_masked_where_it_ends_and_the_unet_reads_all_of_it(pipeline: Path) -> None:
    backbone = editor(pipeline).backbone
    text = backbone.encode_text(["abc", "", "abc"])
    assert text.tokens.shape == (3, 77, 24)
    assert text.mask.sum(1).tolist() == [5, 2, 5]  # beginning, letters, end
    assert torch.equal(text.tokens[0], text.tokens[2])
    with pytest.warns(UserWarning, match="cut after 77 of 202 tokens"):
        backbone.encode_text(["x" * 200])


def damaged(pipeline: Path, target: Path, damage: str) -> Path:
    shutil.copytree(pipeline, target)
    if damage == "no unet":
        shutil.rmtree(target / "unet")
    elif damage == "six channels":
        file = target / "unet/config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"in_channels": 6}))
        UNet2DConditionModel.from_config(target / "unet").save_pretrained(target / "unet")
    elif damage == "cut weights":
        file = target / "unet/diffusion_pytorch_model.safetensors"
        file.write_bytes(file.read_bytes()[:1000])
    return target


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("no unet", "is not a Stable Diffusion pipeline: it has no folder unet/"),
        (
            "six channels",
            "has 6 input channels; an editor starts from Stable Diffusion (4) or InsPix2Pix (8)",
        ),
        ("cut weights", "diffusion_pytorch_model.safetensors can't be read, it may be truncated"),
    ],
)
def test_a_damaged_pipeline_is_named(pipeline: Path, tmp_path: Path, damage: str, message: str) -> None:
    with pytest.raises(Exception, match=re.escape(message)):
        editor(damaged(pipeline, tmp_path / "damaged", damage))


def test_a_folder_that_is_not_there_is_not_taken_for_a_hub_id(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no pipeline folder"):
        editor(tmp_path / "nothing")


def test_lora_on_a_text_to_image_model_is_refused(tmp_path: Path) -> None:
    narrow = write_pipeline(tmp_path / "narrow", in_channels=4)
    with pytest.raises(Exception, match="LoRA can't teach"):
        editor(narrow, "+model/lora=attention")
