"""SmartEdit around a base backbone: what its reader adds, where it enters, what is trained in each stage,
where it comes from.
"""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from backbones.smartedit.folders import STEM_WIDTH, small_reader, write_smartedit
from conftest import config
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src import checkpoint
from src.algorithms.denoising import Denoising, StepDraws, draw, mean_over_edits
from src.backbones.smartedit.reader import Reader
from src.backbones.smartedit.smartedit import SmartEdit
from src.batch import Condition, EditBatch, TextTokens
from src.diffusion.guidance import DroppedConditions
from src.editor import Editor
from src.execution import Execution
from src.records import NO_FAILURE, TargetReward

INTEGRATIONS = ("none", "attention", "addition", "both", "time_embedding", "released")
TEXTS = ["make it night", "remove the red circle"]
FEEDBACK = [(NO_FAILURE,) * 3, ("the hat is still there", NO_FAILURE, NO_FAILURE)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_smartedit(tmp_path_factory.mktemp("smartedit"))


def model_config(folder: Path, *overrides: str) -> DictConfig:
    paths = (
        "model/backbone=smartedit",
        "model/process=ddpm",
        f"model.backbone.base.pretrained={folder}",
        "model.backbone.reader.dtype=float32",
    )
    return config(*paths, *overrides).model


def editor(folder: Path, *overrides: str) -> Editor:
    torch.manual_seed(0)
    return instantiate(model_config(folder, *overrides))


def images(height: int = 32, width: int = 48, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def batch() -> EditBatch:
    return EditBatch(
        ["a", "b"], images(), images(seed=1), TEXTS, torch.tensor([[5.0, 4, 3], [1, 2, 5]]), FEEDBACK
    )


def test_shapes_at_every_seam(folder: Path) -> None:
    model = editor(folder).eval()
    backbone = model.backbone
    assert isinstance(backbone, SmartEdit)
    reading = backbone.read(images(), TEXTS)
    answer = backbone.whole_reader().language(images(), TEXTS)
    assert answer.hidden.shape == (2, 32, 32)
    assert answer.features.shape == (2, 24, 2, 2)
    assert reading.instruction.tokens.shape == (2, 77, 24)
    assert reading.instruction.mask.all()
    assert reading.stem_bias.shape == (2, STEM_WIDTH, 2, 2)
    assert reading.language_error is None
    assert backbone.latent_shape(32, 48) == (4, 8, 12)
    assert backbone.site_widths["stem"] == STEM_WIDTH
    sampler = instantiate(config("sampler=paper", name="edit").sampler, steps=2)
    edits = model.edit(images(), TEXTS, [TargetReward()] * 2, [1, 2], sampler)
    assert edits.shape == (2, 3, 32, 48)
    assert torch.equal(edits, model.edit(images(), TEXTS, [TargetReward()] * 2, [1, 2], sampler))


def test_a_fresh_interaction_module_is_the_plain_path_bit_for_bit(folder: Path) -> None:
    """Its outputs start at zero: the U-Net reads the query transformer's tokens and nothing else changes."""
    model = editor(folder, "model/integration=none").eval()
    reader = small_reader(awake=False)
    model.backbone.reader.network = reader
    reading = model.backbone.read(images(), TEXTS)
    tokens = reader.query_transformer(reader.language(images(), TEXTS).hidden)
    assert torch.equal(reading.instruction.tokens, tokens)
    assert not reading.stem_bias.any()
    latent, x_t, t = (
        model.backbone.encode_image(images()),
        torch.randn(2, 4, 8, 12),
        torch.tensor([0.2, 0.9]),
    )
    ours = model(x_t, t, model.condition(latent, TEXTS, None, None, reading=reading))
    plain = instantiate(
        config(
            "model/backbone=inspix2pix",
            "model/process=ddpm",
            f"model.backbone.pretrained={folder}",
            "model/integration=none",
        ).model
    )
    assert torch.equal(
        ours, plain.eval()(x_t, t, Condition(latent, TextTokens(tokens, reading.instruction.mask)))
    )


@pytest.mark.parametrize("integration", INTEGRATIONS)
def test_a_constant_bias_is_the_bias_of_conv_in(folder: Path, integration: str) -> None:
    """So it enters before the reward's attention, which reads the sum; and both images keep it."""
    encoder = "released" if integration == "released" else "score_text"
    model = editor(folder, f"model/integration={integration}", f"model/reward_encoder={encoder}").eval()
    for name, parameter in model.named_parameters():
        if not name.startswith("backbone."):
            parameter.data += 0.2 * torch.randn_like(parameter)
    shift = torch.randn(STEM_WIDTH)
    reading = model.backbone.read(images(), TEXTS)
    scores, feedback = (None, None) if integration == "none" else (batch().scores, FEEDBACK)
    latent, x_t, t = (
        model.backbone.encode_image(images()),
        torch.randn(2, 4, 8, 12),
        torch.tensor([0.2, 0.9]),
    )
    told = model.condition(latent, TEXTS, scores, feedback, reading=reading)
    biased = Condition(latent, told.instruction, shift.view(1, -1, 1, 1).expand(2, -1, 2, 2), told.reward)
    one = model(x_t, t, biased)
    with torch.no_grad():
        model.backbone.base.unet.conv_in.bias += shift
    other = model(x_t, t, Condition(latent, told.instruction, torch.zeros(2, STEM_WIDTH, 2, 2), told.reward))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_who_loses_the_instruction_reads_the_empty_text_and_keeps_the_bias(folder: Path) -> None:
    model = editor(folder).eval()
    reading = model.backbone.read(images(), TEXTS)
    dropped = DroppedConditions(text=torch.tensor([True, False]), image=torch.tensor([False, True]))
    latent = model.backbone.encode_image(images())
    told = model.condition(latent, TEXTS, batch().scores, FEEDBACK, dropped, reading=reading)
    assert torch.equal(told.instruction.tokens[0], model.backbone.base.encode_text([""]).tokens[0])
    assert torch.equal(told.instruction.tokens[1], reading.instruction.tokens[1])
    assert torch.equal(told.stem_bias, reading.stem_bias)
    assert not told.original_latent[1].any()
    assert torch.equal(told.original_latent[0], latent[0])


def test_the_unet_never_runs_without_what_was_read(folder: Path) -> None:
    model = editor(folder, "model/integration=none").eval()
    latent = model.backbone.encode_image(images())
    with pytest.raises(ValueError, match="no stem bias"):
        model(
            torch.randn(2, 4, 8, 12),
            torch.tensor([0.2, 0.9]),
            Condition(latent, model.backbone.encode_text(TEXTS)),
        )
    with (
        pytest.raises(ValueError, match="1 stem biases for a batch of 2"),
        model.backbone.stem.adding(torch.zeros(1, STEM_WIDTH, 2, 2)),
    ):
        model.backbone.base.unet(
            torch.randn(2, 8, 8, 12), torch.tensor([1, 2]), model.backbone.encode_text(TEXTS).tokens
        )


PARTS = {
    "none": {"base.unet"},
    "alignment": {
        "base.unet",
        "reader.language.new_tokens",
        "reader.language.new_head",
        "reader.query_transformer",
    },
    "all": {
        "base.unet",
        "reader.language.new_tokens",
        "reader.language.new_head",
        "reader.query_transformer",
        "reader.interaction",
        "lora",
    },
}


@pytest.mark.parametrize("trained", PARTS)
def test_exactly_the_named_parameters_are_trained(folder: Path, trained: str) -> None:
    """By name, by gradient, and by what a step changes."""
    lora = (
        "model.backbone.reader.lora={_target_: peft.LoraConfig, _convert_: all, r: 2, "
        "target_modules: [q_proj, v_proj]}"
    )
    model = editor(folder, "model/integration=none", f"model.backbone.trained={trained}", lora).train()

    def part(name: str) -> str:
        return (
            "lora"
            if "lora_" in name
            else next((each for each in PARTS["all"] if name.startswith(f"backbone.{each}.")), name)
        )

    assert {part(name) for name, p in model.named_parameters() if p.requires_grad} == PARTS[trained]
    module = Denoising(model, lambda named: torch.optim.SGD([p for _, p in named], lr=1.0), seed=0)
    optimizer = module.configure_optimizers()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for step in range(2):  # the second reaches what the first sees through zeros
        losses = module.losses(batch(), draw(0, step, 0, range(2), (4, 8, 12)))
        assert (losses.language is not None) == (trained != "none")
        optimizer.zero_grad()
        losses.minimised.backward()
        optimizer.step()
    changed = {part(name) for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == PARTS[trained]


def test_only_edits_count_in_the_diffusion_mean(folder: Path) -> None:
    """Without any edit everything but the language model has a gradient of zero, rather than none: other
    ranks wait for it.
    """
    lora = (
        "model.backbone.reader.lora={_target_: peft.LoraConfig, _convert_: all, r: 2, "
        "target_modules: [q_proj, v_proj]}"
    )
    model = editor(folder, "model/integration=none", "model.backbone.trained=all", lora).train()
    module = Denoising(model, torch.optim.SGD, seed=0, language_weight=0.5)
    whole, draws = batch(), draw(0, 0, 0, range(2), (4, 8, 12))
    alone = EditBatch(whole.ids[:1], whole.original[:1], whole.edited[:1], whole.instructions[:1], None, None)
    edit = module.losses(alone, draws_of(draws, 0))
    mixed = module.losses(replace(whole, answers=[None, "it is a red circle"]), draws)
    assert mixed.error == pytest.approx(float(edit.error), rel=1e-5)
    conversation = module.losses(
        replace(alone, answers=["it is a red circle"], instructions=TEXTS[1:], original=whole.original[1:]),
        draws_of(draws, 1),
    )
    assert float(mixed.language) == pytest.approx(
        (float(edit.language) + float(conversation.language)) / 2, rel=1e-5
    )
    assert float(mixed.minimised) == pytest.approx(float(edit.error) + 0.5 * float(mixed.language), rel=1e-5)
    none = module.losses(replace(whole, answers=["it is a hat", "it is a red circle"]), draws)
    assert none.error is None
    assert float(none.minimised) == 0.5 * float(none.language)
    none.minimised.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert all(gradient is not None for gradient in gradients.values())
    told = {
        name.split(".")[2] for name, gradient in gradients.items() if gradient is not None and gradient.any()
    }
    assert told == {"language"}


def draws_of(draws: StepDraws, row: int) -> StepDraws:
    return StepDraws(*(each[row : row + 1] for each in draws))


def test_ranks_with_different_numbers_of_edits_make_the_global_mean() -> None:
    losses, edits = torch.tensor([1.0, 2.0, 4.0, 100.0]), torch.tensor([True, True, True, False])
    ranks = [mean_over_edits(losses[part], edits[part], 1.5) for part in (slice(0, 2), slice(2, 4))]
    assert float(sum(ranks)) / 2 == pytest.approx(7 / 3)
    assert float(mean_over_edits(losses, ~edits & False, 0)) == 0.0


@pytest.mark.parametrize("overrides", [(), ("model/backbone=inspix2pix",)])
def test_conversations_need_a_language_model_that_learns(folder: Path, overrides: tuple[str, ...]) -> None:
    model = (
        editor(folder)
        if not overrides
        else instantiate(
            config(
                *overrides,
                "model/process=ddpm",
                "model/integration=none",
                f"model.backbone.pretrained={folder}",
            ).model
        )
    )
    module = Denoising(model, torch.optim.SGD, seed=0)
    assert not module.supports_chat
    with pytest.raises(ValueError, match="conversations"):
        module.losses(replace(batch(), answers=[None, "it is a hat"]), draw(0, 0, 0, range(2), (4, 8, 12)))


def test_a_frozen_reader_is_outside_the_module_tree_and_comes_back_after_it_was_freed(folder: Path) -> None:
    model = editor(folder)
    assert not any("reader" in name for name in model.state_dict())
    reading = model.backbone.read(images(), TEXTS)
    model.backbone.free()
    assert model.backbone.reader.network is None
    again = model.backbone.read(images(), TEXTS)
    assert torch.equal(again.stem_bias, reading.stem_bias)
    assert torch.equal(again.instruction.tokens, reading.instruction.tokens)


def test_random_readers_are_never_frozen() -> None:
    model = instantiate(config("model/backbone=smartedit_tiny", "model.backbone.trained=none").model)
    with pytest.raises(ValueError, match=r"random weights.*reader\.weights"):
        model.backbone.read(images(), TEXTS)


def test_the_next_stage_takes_reader_and_unet_from_the_last(tmp_path: Path) -> None:
    """A SmartEdit starts from its base alone, then a reward stage from both; another reader is named."""
    base = instantiate(config("model/backbone=tiny", "model/integration=none").model)
    checkpoint.export(tmp_path / "base", "", (32, 32), base.trained_state())
    cfg = config("model/backbone=smartedit_tiny", "model/integration=none").model
    first = instantiate(cfg)
    checkpoint.start_from(
        first,
        exported(base, config("model/backbone=tiny", "model/integration=none").model, tmp_path / "base"),
    )
    assert torch.equal(first.backbone.base.unet.conv_in.weight, base.backbone.unet.conv_in.weight)
    for parameter in first.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    path = exported(first, cfg, tmp_path / "stage2")
    frozen = [
        "model/backbone=smartedit_tiny",
        "model.backbone.trained=none",
        f"model.backbone.reader.weights={path}",
    ]
    second = instantiate(config(*frozen).model)
    checkpoint.start_from(second, path)
    assert second.backbone.reader.network is None  # it may never be needed
    assert torch.equal(second.backbone.base.unet.conv_in.weight, first.backbone.base.unet.conv_in.weight)
    with torch.no_grad():
        ours, theirs = (
            second.backbone.read(images(32, 32), TEXTS),
            first.eval().backbone.read(images(32, 32), TEXTS),
        )
    torch.testing.assert_close(ours.instruction.tokens, theirs.instruction.tokens, atol=1e-5, rtol=1e-4)
    for parameter in first.backbone.reader.query_transformer.parameters():
        parameter.data += 0.01
    with pytest.raises(ValueError, match="another reader than this editor's frozen one"):
        checkpoint.start_from(instantiate(config(*frozen).model), exported(first, cfg, tmp_path / "other"))


def test_a_folder_s_reader_is_compared_without_loading_its_language_model(
    folder: Path, tmp_path: Path
) -> None:
    """A language model in 27 GB stays on the disk; of another reader's tensors, one that differs is named."""
    frozen = editor(folder, "model/integration=none")
    state = frozen.trained_state() | {
        f"backbone.reader.{name}": value for name, value in frozen.backbone.source.saved_tensors().items()
    }
    described = OmegaConf.to_yaml(model_config(folder, "model/integration=none"), resolve=True)
    checkpoint.export(tmp_path, described, (32, 32), state)
    checkpoint.start_from(frozen, tmp_path)
    assert frozen.backbone.reader.network is None
    changed = state | {"backbone.reader.query_transformer.queries": torch.zeros(77, 24)}
    checkpoint.export(tmp_path, described, (32, 32), changed)
    with pytest.raises(ValueError, match=r"in 1 of .* tensors such as query_transformer\.queries"):
        checkpoint.start_from(frozen, tmp_path)
    assert frozen.backbone.reader.network is None


def exported(model: Editor, cfg, path: Path) -> Path:
    path.mkdir(exist_ok=True)
    checkpoint.export(path, OmegaConf.to_yaml(cfg, resolve=True), (32, 32), model.trained_state())
    return path


def test_stage_one_leaves_the_interaction_module_to_stage_two(tmp_path: Path, capsys) -> None:
    reader = small_reader()
    state = {
        f"backbone.reader.{name}": value
        for name, value in reader.state_dict().items()
        if "language.llava" not in name and "interaction" not in name
    }
    state["backbone.reader.interaction.frequencies"] = reader.interaction.frequencies
    (tmp_path / "stage1").mkdir()
    checkpoint.export(tmp_path / "stage1", "", (32, 32), state)
    from src.backbones.smartedit.reader import read_reader_weights

    fresh = small_reader(seed=1, awake=False)
    fresh.load_weights(read_reader_weights(tmp_path / "stage1"), "stage 1")
    assert "starts with fresh weights" in capsys.readouterr().err
    assert torch.equal(fresh.query_transformer.queries, reader.query_transformer.queries)
    assert not fresh.interaction.text_out.weight.any()
    del state["backbone.reader.query_transformer.queries"]
    with pytest.raises(ValueError, match="queries is missing"):
        small_reader().load_weights(
            {name.removeprefix("backbone.reader."): value for name, value in state.items()}, "stage 1"
        )


def test_another_size_is_named() -> None:
    reader = small_reader()
    state = reader.state_dict()
    state["query_transformer.qformer.encoder.layer.0.crossattention.attention.key.weight"] = torch.zeros(
        24, 40
    )
    with pytest.raises(
        ValueError, match=r"\(24, 40\), this reader \(24, 32\); take language model.*7B or 13B"
    ):
        reader.load_weights(state, "a mixture")
    assert isinstance(reader, Reader)


def test_edits_in_short_numbers_where_the_reader_was_trained_along() -> None:
    """Its weights are then the editor's own, and become short as well."""
    cfg = config("model/backbone=smartedit_tiny", "model/process=preconditioned")
    torch.manual_seed(0)
    sampler = instantiate(config("sampler=tiny", name="edit").sampler, steps=2)
    plain = instantiate(cfg.model).eval().requires_grad_(False)
    short = copy.deepcopy(plain)
    Execution(dtype="bfloat16").prepare(short)
    one, other = (
        model.edit(images(32, 32), TEXTS, [TargetReward()] * 2, [1, 2], sampler) for model in (plain, short)
    )
    assert one.std() > 0.1
    torch.testing.assert_close(one, other, atol=0.1, rtol=0.1)
