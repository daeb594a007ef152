"""Laws of every backbone with the paper's full integration; new yamls are picked up by glob."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from backbones.pipelines import write_pipeline
from conditioning.editors import editor_of, equal_weights, gradients, output, wake
from options import options, small_backbone

from src.batch import EditBatch
from src.diffusion.samplers import Guidance, Sampler
from src.editor import Editor
from src.execution import Execution
from src.records import TargetReward

FULL_SIZE = ("smartedit", "flux2_klein")
"""Of these smartedit_tiny and flux2_tiny have the parts."""

BACKBONES = [name for name in options("model/backbone") if name not in FULL_SIZE]

WAYS = {name: [] for name in BACKBONES} | {
    f"tiny, {name}": [f"model/tokenizer@model.backbone.tokenizer={name}"]
    for name in options("model/tokenizer")
    if name not in ("by_data", "words")  # tiny's own, on the synthetic world
}
"""Backbones, and tiny with other tokenizers."""

Build = Callable[..., Editor]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(params=WAYS)
def build(request: pytest.FixtureRequest, pipeline: Path) -> Build:
    name = request.param.partition(",")[0]
    small = [*small_backbone(name, pipeline), *WAYS[request.param]]
    return lambda integration="both": editor_of(name, small, integration).eval()


def test_an_untrained_editor_is_its_backbone(build: Build, batch: EditBatch) -> None:
    plain, model = build("none"), build()
    equal_weights(plain, model)
    assert torch.equal(output(plain, batch), output(model, batch))


def test_the_output_depends_on_every_input(build: Build, batch: EditBatch) -> None:
    model = wake(build())
    before = output(model, batch)
    others = {
        "scores": replace(batch, scores=torch.full((3, 3), 2.0)),
        "feedback": replace(batch, feedback=[("the red circle was not removed", "None", "None")] * 3),
        "instruction": replace(batch, instructions=["make it night"] * 3),
        "original": replace(batch, original=batch.original.flip(0)),
    }
    for name, other in others.items():
        assert (before[0] - output(model, other)[0]).abs().max() > 1e-7, name


def test_every_trained_parameter_gets_a_gradient(build: Build, batch: EditBatch) -> None:
    """So DDP needs no search for unused parameters."""
    assert not [name for name, gradient in gradients(build().train(), batch).items() if gradient is None]


def test_a_copy_is_independent(build: Build, batch: EditBatch) -> None:
    model = wake(build())
    expected, twin = output(model, batch), copy.deepcopy(model)
    assert torch.equal(output(twin, batch), expected)
    for parameter in twin.parameters():
        parameter.data += 1.0
    assert torch.equal(output(model, batch), expected)
    assert not torch.equal(output(twin, batch), expected)


def test_latents_have_the_promised_shape(build: Build, batch: EditBatch) -> None:
    backbone = build().backbone
    original = backbone.encode_image(batch.original)
    shape = backbone.latent_shape(16, 16)
    assert original.shape == (3, *shape)
    clean = backbone.encode_edited(batch.edited, original, torch.zeros(3, *shape))
    assert clean.shape == (3, *shape)
    decoded = backbone.decode(clean, original)
    assert decoded.shape == batch.original.shape
    assert decoded.abs().max() <= 1.0


def test_texts_are_encoded_one_by_one(build: Build) -> None:
    backbone = build().backbone
    together = backbone.encode_text(["remove the red circle", "", "make it night"])
    assert together.tokens.shape == (*together.mask.shape, backbone.text_width)
    for row, text in enumerate(["remove the red circle", "", "make it night"]):
        alone = backbone.encode_text([text])
        words = int(alone.mask.sum())
        assert int(together.mask[row].sum()) == words
        torch.testing.assert_close(
            together.tokens[row, :words], alone.tokens[0, :words], atol=1e-5, rtol=1e-4
        )


def test_a_reward_is_neither_missed_nor_ignored(build: Build, batch: EditBatch) -> None:
    plain, model = build("none"), build()
    for editor, other in ((plain, model), (model, plain)):
        latent = other.backbone.encode_image(batch.original)
        reading = other.backbone.read(batch.original, batch.instructions)
        condition = other.condition(latent, batch.instructions, batch.scores, batch.feedback, reading=reading)
        with pytest.raises(ValueError, match="reward"):
            editor(latent, editor.process.draw_time(torch.full((3,), 0.5)), condition)


def test_chat_samples_are_refused_where_they_teach_nothing(build: Build, batch: EditBatch) -> None:
    backbone = build().backbone
    if not backbone.supports_chat:
        with pytest.raises(ValueError, match="conversations"):
            backbone.read(batch.original, batch.instructions, ["a circle", None, None])


def test_an_editor_starts_from_another_of_its_kind(build: Build) -> None:
    """What it adopts are all of the weights that are trained, under the same names."""
    backbone = build("none").backbone
    frozen = {name for name, parameter in backbone.named_parameters() if not parameter.requires_grad}
    trained = {name: value for name, value in backbone.state_dict().items() if name not in frozen}
    adopted = backbone.adopt(trained, "another editor")
    assert adopted.keys() == trained.keys()
    assert all(torch.equal(adopted[name], value) for name, value in trained.items())


def test_an_edit_in_short_numbers_is_near(build: Build, batch: EditBatch) -> None:
    """execution=fast"""
    model = wake(build())
    short = Execution(dtype="bfloat16").prepare(copy.deepcopy(model))
    asked = batch.instructions, [TargetReward()] * 3, [0, 1, 2], Sampler(2, Guidance())
    one, other = (editor.edit(batch.original, *asked) for editor in (model, short))
    assert (one - other).abs().mean() < 0.05


def test_edits_depend_on_seed_and_reward_alone(build: Build, batch: EditBatch) -> None:
    model = wake(build())
    sampler = Sampler(2, Guidance())

    def edit(rows: list[int], target: TargetReward) -> torch.Tensor:
        texts = [batch.instructions[row] for row in rows]
        return model.edit(batch.original[rows], texts, [target] * len(rows), rows, sampler)

    together = edit([0, 1], TargetReward())
    torch.testing.assert_close(edit([1], TargetReward())[0], together[1], atol=1e-4, rtol=1e-3)
    assert not torch.equal(edit([0, 1], TargetReward((0, 0, 0))), together)
