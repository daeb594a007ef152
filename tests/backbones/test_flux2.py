"""FLUX.2-klein on small random parts: the stock pipeline's arithmetic, the reward's hooks, strict loading."""

import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from backbones.transformers import change_json, small_klein, write_klein
from conditioning.editors import gradients, output, wake
from conftest import config
from diffusers import Flux2KleinPipeline, Flux2Transformer2DModel
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from options import options
from safetensors.torch import load_file, save_file

from src import checkpoint
from src.algorithms.denoising import draw
from src.backbones.flux2_parts import KLEIN_4B, KLEIN_9B
from src.batch import EditBatch
from src.diffusion.guidance import Guidance
from src.diffusion.samplers import Sampler, seeded_noise
from src.diffusion.shifts import Flux2Shift
from src.editor import Editor
from src.missing_settings import CONF
from src.records import TargetReward

PAGE = CONF.parent / "src/backbones/README.md"
INTEGRATIONS = options("model/integration")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_klein(tmp_path_factory.mktemp("klein") / "pipeline")


@pytest.fixture
def other(folder: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return shutil.copytree(folder, tmp_path / "other")


def klein(folder: Path | str, integration: str = "none", *groups: str, **backbone: Any) -> Editor:
    """An editor with reproducible random reward modules; composed once per choice of groups, as that takes
    longer than all that is tested.
    """
    encoder = "released" if integration == "released" else "score_text"
    choice = ["model/backbone=flux2_klein", "model/process=flux2", f"model/reward_encoder={encoder}"]
    model = config(*choice, f"model/integration={integration}", *groups).model
    if "width" in (model.reward_encoder or {}):
        model.reward_encoder.width = 12
    for name, value in {"pretrained": str(folder), "text_length": 96, **backbone}.items():
        OmegaConf.update(model.backbone, name, value)
    torch.manual_seed(0)
    return instantiate(model).eval()


def refusal(folder: Path | str, *groups: str, **backbone: Any) -> str:
    with pytest.raises(InstantiationException) as caught:
        klein(folder, "none", *groups, **backbone)
    message = str(caught.value.__cause__)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_an_edit_is_that_of_the_stock_pipeline(folder: Path, guidance: float) -> None:
    """From the same latents: text, ids, times, guidance, statistics and decoder."""
    editor = klein(folder)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    original = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1.0
    shape, target = editor.backbone.latent_shape(64, 96), TargetReward()
    sampler = Sampler(3, Guidance(text=guidance))
    ours = editor.edit(original, ["make it red"], [target], [7], sampler)
    stock = Flux2KleinPipeline.from_pretrained(folder)
    stock.set_progress_bar_config(disable=True)
    noise = seeded_noise([7], shape, 0)
    theirs = stock(
        image=PIL.Image.fromarray(pixels),
        prompt="make it red",
        latents=noise,
        num_inference_steps=3,
        guidance_scale=guidance,
        max_sequence_length=96,
        output_type="pt",
    ).images
    torch.testing.assert_close(ours / 2 + 0.5, theirs, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize(("distilled", "steps", "text"), [(False, 50, 4.0), (True, 4, 1.0)])
def test_a_stock_pipeline_is_an_editor(
    other: Path, batch: EditBatch, distilled: bool, steps: int, text: float, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without training, by its folder; named by what it holds and sampled as it is meant to be."""
    change_json(other / "model_index.json", is_distilled=distilled)
    found = checkpoint.describe(other)["sampler"]
    assert (found["steps"], found["guidance"]["text"], found["resize"]) == (steps, text, "area:1048576")
    asked = batch.instructions, [TargetReward()] * 3, [0, 1, 2], Sampler(2, Guidance())
    ours = checkpoint.load_editor(other)
    assert capfd.readouterr().err == ""
    ours.backbone.text_length = 96
    assert torch.equal(klein(other).edit(batch.original, *asked), ours.edit(batch.original, *asked))
    before = checkpoint.content_hash(other)
    file = other / "vae/diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    save_file({name: value.float() * 2 for name, value in tensors.items()}, file, {"format": "pt"})
    assert checkpoint.content_hash(other) != before


def test_an_unknown_schedule_is_refused(other: Path) -> None:
    change_json(other / "scheduler/scheduler_config.json", shift_terminal=0.02)
    with pytest.raises(ValueError, match=r"says shift_terminal=0\.02, which is not known here"):
        checkpoint.describe(other)


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_an_untrained_editor_is_its_transformer(folder: Path, integration: str, batch: EditBatch) -> None:
    plain, model = klein(folder), klein(folder, integration)
    same = torch.equal(output(plain, batch), output(model, batch))
    assert same == (model.integration is None or model.integration.identity_at_init)


def test_the_reward_enters_at_noisy_tokens_alone(folder: Path, batch: EditBatch) -> None:
    """As the sequence enters the blocks, the tokens of the original are the same for every reward."""
    model = wake(klein(folder, "both_modulation"))
    seen: list[torch.Tensor] = []
    hidden = model.backbone.transformer.x_embedder
    hidden.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    before = output(model, batch)
    other = output(model, batch, batch.scores.flip(0))
    assert not torch.equal(before, other)
    assert torch.equal(seen[0][:, 16:], seen[1][:, 16:])
    assert not torch.equal(seen[0][:, :16], seen[1][:, :16])


@pytest.mark.parametrize(
    ("integration", "trained"),
    [("both_modulation", "transformer"), ("both_modulation", "none"), ("time_embedding", "none")],
)
def test_gradient_checkpointing_changes_no_gradient(
    folder: Path, integration: str, trained: str, batch: EditBatch
) -> None:
    """At sites of every kind, inside and outside of what is computed again."""
    plain = wake(klein(folder, integration, trained=trained)).train()
    slim = wake(klein(folder, integration, trained=trained, gradient_checkpointing=True)).train()
    expected, found = gradients(plain, batch), gradients(slim, batch)
    assert not [name for name, gradient in expected.items() if gradient is None]
    assert all(torch.equal(gradient, found[name]) for name, gradient in expected.items())


def test_the_stock_checkpointing_is_refused(folder: Path, batch: EditBatch) -> None:
    """It recomputes blocks when the reward is gone, and would train on wrong gradients."""
    model = wake(klein(folder, "both"))
    model.backbone.transformer.enable_gradient_checkpointing()
    with pytest.raises(RuntimeError, match="ran without a reward"):
        gradients(model, batch)


def test_a_copy_with_checkpointing_is_independent(folder: Path, batch: EditBatch) -> None:
    model = wake(klein(folder, "both_modulation", gradient_checkpointing=True)).train()
    twin = copy.deepcopy(model)
    expected, found = gradients(model, batch), gradients(twin, batch)
    assert all(torch.equal(gradient, found[name]) for name, gradient in expected.items())


def test_lora_trains_both_kinds_of_blocks(folder: Path, batch: EditBatch) -> None:
    model = wake(klein(folder, "both", "+model/lora=flux2", gradient_checkpointing=True))
    trained = [name for name, weight in model.backbone.named_parameters() if weight.requires_grad]
    assert {name.split(".")[1] for name in trained} == {"transformer_blocks", "single_transformer_blocks"}
    assert all("lora_" in name for name in trained)
    assert sorted({name.split(".lora_")[0].split("attn.")[1] for name in trained}) == [
        *("add_k_proj", "add_q_proj", "add_v_proj", "to_add_out", "to_k", "to_out", "to_out.0", "to_q"),
        *("to_qkv_mlp_proj", "to_v"),
    ]
    assert not [name for name, gradient in gradients(model.train(), batch).items() if gradient is None]


def test_frozen_weights_may_be_short(folder: Path, batch: EditBatch) -> None:
    """16-bit weights, LoRA and reward modules in 32 bits; near the 32-bit editor."""
    model = klein(folder, "both", "+model/lora=flux2", weights_dtype="bfloat16")
    plain = klein(folder)
    dtypes = {weight.dtype for weight in model.parameters() if weight.requires_grad}
    assert dtypes == {torch.float32}
    assert model.backbone.transformer.x_embedder.weight.dtype is torch.bfloat16
    one, other = output(model, batch).float(), output(plain, batch)
    assert 0.0 < (one - other).abs().mean() < 0.05
    assert not [name for name, gradient in gradients(model.train(), batch).items() if gradient is None]


def test_latents_are_images_and_back(folder: Path) -> None:
    """Height and width stay where they are: a gradient from left to right in an upright image."""
    backbone = klein(folder).backbone
    image = torch.linspace(-1, 1, 32).expand(1, 3, 48, 32)
    latent = backbone.encode_image(image)
    assert latent.shape == (1, *backbone.latent_shape(48, 32)) == (1, 16, 12, 8)
    assert backbone.decode(latent, latent).shape == image.shape
    with pytest.raises(ValueError, match="multiples of 4, got 30x32"):
        backbone.latent_shape(30, 32)


def test_the_original_is_not_for_dropping(folder: Path, batch: EditBatch) -> None:
    editor = klein(folder)
    asked = batch.instructions, [TargetReward()] * 3, [0, 1, 2]
    with pytest.raises(ValueError, match=r"guidance\.image=1\.5: this editor reads the original as tokens"):
        editor.edit(batch.original, *asked, Sampler(2, Guidance(text=4.0, image=1.5)))
    lost = instantiate(config("algorithm.condition_dropout=1.0").algorithm)(editor=editor)
    dropped = lost._dropped(draw(0, 0, 0, range(3), (16, 4, 4)))
    assert dropped.text.all()
    assert not dropped.image.any()


@pytest.mark.parametrize(("cells", "steps"), [(96, 3), (1024, 10), (1024, 50), (4096, 28), (8100, 50)])
def test_times_are_those_of_the_stock_scheduler(cells: int, steps: int) -> None:
    from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu

    scheduler = small_klein().scheduler
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=compute_empirical_mu(cells, steps))
    process = instantiate(config("model/process=flux2").model.process)
    ours = process.network_time(process.times(steps, cells=cells))
    torch.testing.assert_close(ours, scheduler.timesteps.float(), atol=1e-3, rtol=1e-6)
    drawn = process.draw_time(torch.tensor([0.5]), cells)
    shift = Flux2Shift().at(cells, 50)
    torch.testing.assert_close(drawn, torch.tensor([shift / (1.0 + shift)]))


COUNTS = {"4B": (KLEIN_4B, 3.88, 245, 123), "9B": (KLEIN_9B, 9.08, 436, 218)}
"""Billions of weights of the transformer, and millions of each kind of block."""


@pytest.mark.parametrize("size", COUNTS)
def test_full_sizes_are_those_that_were_published(size: str) -> None:
    sizes, total, double, single = COUNTS[size]
    with torch.device("meta"):
        network = Flux2Transformer2DModel(**sizes["transformer"])
    count = [
        sum(weight.numel() for weight in part.parameters())
        for part in (network, network.transformer_blocks[0], network.single_transformer_blocks[0])
    ]
    assert round(count[0] / 1e9, 2) == total
    assert [round(each / 1e6) for each in count[1:]] == [double, single]


NARROW_4B = [f"+reward_modules.{name}" for name in ("width=1024", "inner=1024", "rank=256")]
REWARD_MILLIONS = {
    "time_embedding": (1.1, 23.6),
    "modulation": (1.9, 2.3),
    "attention": (19.9, 136.9),
    "addition": (20.0, 589.9),
    "both": (39.9, 726.8),
}
"""Millions of weights of an integration in the 4B model, narrow and at the text's width, as the page says."""


@pytest.mark.parametrize("integration", REWARD_MILLIONS)
def test_the_reward_modules_have_the_sizes_that_the_page_says(integration: str) -> None:
    width, found = 3072, []
    sites = {"time_embedding": width, "stem": width, "modulation.0": 6 * width, "modulation.1": 3 * width}
    sites |= {f"block.{i}": width for i in range(25)}
    for narrow in (NARROW_4B, []):
        model = config(*narrow, f"model/integration={integration}").model
        with torch.device("meta"):
            encoder = instantiate(model.reward_encoder)(text_width=7680)
            parts = {"reward_width": encoder.width, "signals": encoder.signals, "site_widths": sites}
            built = instantiate(model.integration)(**parts)
        found.append(round(sum(weight.numel() for weight in built.parameters()) / 1e6, 1))
    assert tuple(found) == REWARD_MILLIONS[integration]
    assert f"| `{integration}` | {found[0]} | {found[1]} |" in PAGE.read_text()


def test_shards_are_read_and_a_missing_one_is_named(folder: Path, tmp_path: Path, batch: EditBatch) -> None:
    sharded = write_klein(tmp_path / "sharded", shards=True)
    assert len(list((sharded / "transformer").glob("*.safetensors"))) > 1
    assert torch.equal(output(klein(folder), batch), output(klein(sharded), batch))
    one, other = (klein(each).backbone.encoder_digests() for each in (folder, sharded))
    assert one == other
    last = sorted((sharded / "transformer").glob("*.safetensors"))[-1]
    last.write_bytes(last.read_bytes()[:50])
    assert f"{last} can't be read, it may be truncated" in refusal(sharded)
    last.unlink()
    assert refusal(sharded).endswith(
        f"lacks {last.name}, which diffusion_pytorch_model.safetensors.index.json names; "
        "copy or download it again"
    )


def test_another_family_is_refused(other: Path, tmp_path: Path) -> None:
    change_json(other / "model_index.json", _class_name="QwenImageEditPlusPipeline")
    assert (
        "is not a FLUX.2-klein pipeline: its model_index.json says QwenImageEditPlusPipeline, and "
        "Flux2KleinPipeline is needed" in refusal(other)
    )
    change_json(other / "model_index.json", _class_name="Flux2KleinPipeline")
    change_json(other / "transformer/config.json", _class_name="QwenImageTransformer2DModel")
    assert "its transformer/config.json says QwenImageTransformer2DModel" in refusal(other)
    assert "no pipeline folder nowhere; pretrained= takes a folder or a hub id such as" in refusal("nowhere")
    (tmp_path / "empty").mkdir()
    assert "is not a FLUX.2-klein pipeline: it has no model_index.json" in refusal(tmp_path / "empty")


def test_parts_of_different_models_are_refused(tmp_path: Path) -> None:
    wide = write_klein(tmp_path / "wide", joint_attention_dim=96)
    assert "reads text of width 96 and latents of 16 channels, its text encoder writes 3 x 16" in refusal(
        wide
    )
    guided = write_klein(tmp_path / "guided", guidance_embeds=True)
    assert "takes the guidance as an input, as FLUX.2-dev" in refusal(guided)


def test_settings_that_contradict_each_other_are_refused(folder: Path) -> None:
    assert "target_modules reaches none of the 1 Flux2SingleTransformerBlock" in refusal(
        folder, "+model/lora=attention"
    )
    assert "trained=lora and lora=null don't fit" in refusal(folder, trained="lora")
    assert "is for weights that are not trained" in refusal(folder, weights_dtype="bfloat16")
    assert "weights_dtype is float32 or bfloat16, not 'half'" in refusal(folder, weights_dtype="half")


def test_a_distilled_checkpoint_is_warned_of(other: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change_json(other / "model_index.json", is_distilled=True)
    klein(other)
    assert "was distilled to a few steps" in capfd.readouterr().err
    klein(other, allow_distilled=True)
    assert capfd.readouterr().err == ""


def test_lora_at_a_site_of_the_reward_is_refused(folder: Path) -> None:
    lora = {"lora.target_modules": ["x_embedder", "to_k", "to_qkv_mlp_proj"]}
    with pytest.raises(InstantiationException, match="LoRA changes the layer at stem"):
        klein(folder, "both", "+model/lora=flux2", **lora)
