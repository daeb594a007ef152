"""What an Editor promises: edits that depend on the seed and on nothing else, guidance, and errors that come
early.
"""

import pytest
import torch
from conftest import small_editor

from src.batch import EditBatch
from src.diffusion.guidance import Guidance
from src.diffusion.rollout import Rollout, Trajectory
from src.diffusion.samplers import Sampler
from src.diffusion.transitions import Ancestral, log_probability
from src.editor import PreparedEdits
from src.execution import Execution
from src.records import TargetReward

BEST = TargetReward()


@pytest.fixture
def editor():
    editor = small_editor().eval()
    generator = torch.Generator().manual_seed(5)
    for parameter in editor.parameters():  # wake what is zero at the start
        if not parameter.any():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return editor


def edit(
    editor, batch: EditBatch, rows: list[int], guidance: Guidance | None = None, targets=None, **sampler
) -> torch.Tensor:
    return editor.edit(
        batch.original[rows],
        [batch.instructions[row] for row in rows],
        targets or [BEST] * len(rows),
        [100 + row for row in rows],
        Sampler(3, guidance or Guidance(), **sampler),
    )


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_an_edit_depends_neither_on_batch_nor_on_order(editor, batch: EditBatch, eta: float) -> None:
    together = edit(editor, batch, [0, 1, 2], eta=eta)
    assert together.shape == batch.original.shape
    assert together.abs().max() <= 1.0
    torch.testing.assert_close(edit(editor, batch, [2, 0], eta=eta), together[[2, 0]], atol=1e-5, rtol=1e-4)


def test_target_rewards_change_the_edit(editor, batch: EditBatch) -> None:
    worst = TargetReward((0, 0, 0), ("the red circle was not removed", "None", "None"))
    assert (edit(editor, batch, [0, 1]) - edit(editor, batch, [0, 1], targets=[worst] * 2)).abs().max() > 1e-4


def test_targets_may_differ_within_a_batch(editor, batch: EditBatch) -> None:
    low = TargetReward((1, 1, 1))
    mixed = edit(editor, batch, [0, 1], targets=[BEST, low])
    torch.testing.assert_close(mixed[:1], edit(editor, batch, [0]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mixed[1:], edit(editor, batch, [1], targets=[low]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "guidance", [Guidance(text=3.0), Guidance(text=3.0, image=1.5), Guidance(reward=2.0)]
)
def test_guidance_changes_the_edit(editor, batch: EditBatch, guidance: Guidance) -> None:
    assert (edit(editor, batch, [0, 1]) - edit(editor, batch, [0, 1], guidance)).abs().max() > 1e-4


def test_guidance_at_one_is_no_guidance(editor, batch: EditBatch) -> None:
    same = TargetReward((0.0, 0.0, 0.0))
    plain = edit(editor, batch, [0, 1], targets=[same] * 2)
    # a reference equal to the target leaves nothing to amplify
    torch.testing.assert_close(
        edit(editor, batch, [0, 1], Guidance(reward=4.0), targets=[same] * 2), plain, atol=1e-4, rtol=1e-3
    )


def test_guidance_against_not_given_needs_reward_dropout(editor, batch: EditBatch) -> None:
    guidance = Guidance(reward=2.0, reference="not_given")
    with pytest.raises(ValueError, match="reward dropout"):
        edit(editor, batch, [0], guidance)
    trained_for_it = small_editor("model.reward_encoder.dropout=0.1").eval()
    assert edit(trained_for_it, batch, [0], guidance).isfinite().all()


def test_reward_guidance_needs_a_reward(batch: EditBatch) -> None:
    with pytest.raises(ValueError, match="needs an editor with reward conditioning"):
        edit(small_editor("model/integration=none"), batch, [0], Guidance(reward=2.0))


def test_a_size_that_the_latent_cannot_hold_is_refused(editor) -> None:
    with pytest.raises(ValueError, match=r"multiples of 4, got 22x32"):
        editor.check_resolution(22, 32)
    editor.check_resolution(24, 40)


def rolled_out(editor, batch: EditBatch, rollout: Rollout) -> tuple[PreparedEdits, Trajectory]:
    rows, guidance = [0, 1], Guidance(text=2.0)
    prepared = editor.prepare(batch.original[rows], batch.instructions[:2], [BEST] * 2, guidance)
    shape = editor.backbone.latent_shape(*batch.original.shape[-2:])
    with torch.no_grad():
        drawn = rollout.sample(
            lambda x_t, t: editor.guided(x_t, t, prepared),
            editor.process,
            [100, 101],
            shape,
            batch.original.device,
            rollout.stochastic(0, 0),
        )
    return prepared, drawn


def test_a_rollout_draws_the_edit(editor, batch: EditBatch) -> None:
    prepared, drawn = rolled_out(editor, batch, Rollout(3, Ancestral(1.0)))
    edited = edit(editor, batch, [0, 1], Guidance(text=2.0), eta=1.0)
    assert torch.equal(editor.backbone.decode(drawn.clean, prepared.original_latent), edited)


def test_gradients_of_a_replay_reach_what_is_trained_and_a_rollout_before_changes_none(
    editor, batch: EditBatch
) -> None:
    rollout = Rollout(3, Ancestral(1.0))
    _, drawn = rolled_out(editor, batch, rollout)

    def gradients(after_a_rollout: bool) -> list[torch.Tensor]:
        editor.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            prepared = editor.prepare(batch.original[:2], batch.instructions[:2], [BEST] * 2, Guidance())
            if after_a_rollout:
                rolled_out(editor, batch, rollout)
            now = rollout.replay(lambda x_t, t: editor.guided(x_t, t, prepared), editor.process, drawn, 1)
        log_probability(now, drawn.after[1]).sum().backward()
        return [parameter.grad for parameter in editor.parameters() if parameter.grad is not None]

    alone, after = gradients(False), gradients(True)
    assert len(alone) == len(after) == len([*editor.parameters()])
    assert any(gradient.any() for gradient in alone)
    for one, other in zip(alone, after, strict=True):
        assert torch.equal(one, other)


def test_unknown_words_are_named(editor) -> None:
    with pytest.raises(ValueError, match="'zebra'"):
        editor.backbone.encode_text(["remove the zebra"])


def test_an_untrained_editor_of_changes_returns_the_original(batch: EditBatch) -> None:
    editor = small_editor("model.backbone.relative=true", "model.process.prediction=sample").eval()
    torch.testing.assert_close(edit(editor, batch, [0, 1, 2]), batch.original, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("relative", [False, True])
def test_a_target_decodes_to_itself(batch: EditBatch, relative: bool) -> None:
    backbone = small_editor(f"model.backbone.relative={relative}").backbone
    original = backbone.encode_image(batch.original)
    torch.testing.assert_close(
        backbone.decode(backbone.encode_edited(batch.edited, original, torch.zeros_like(original)), original),
        batch.edited,
    )


def test_execution_changes_only_the_last_digits(batch: EditBatch) -> None:
    """bf16, channels last: the edits are those of fp32 but for rounding; fp32 in channels last exactly those,
    but for the order of sums.
    """
    plain = edit(small_editor().eval(), batch, [0, 1, 2])
    lasting = Execution(channels_last=True).prepare(small_editor())
    torch.testing.assert_close(edit(lasting, batch, [0, 1, 2]), plain, atol=1e-5, rtol=1e-4)
    short = Execution("bfloat16", channels_last=True).prepare(small_editor())
    assert {parameter.dtype for parameter in short.backbone.parameters()} == {torch.bfloat16}
    edited = edit(short, batch, [0, 1, 2])
    assert edited.dtype is torch.float32
    assert (edited - plain).abs().mean() < 0.05 * plain.abs().mean()


def test_an_unknown_number_format_is_refused() -> None:
    with pytest.raises(ValueError, match="float32 or bfloat16, not 'int8'"):
        Execution("int8")
