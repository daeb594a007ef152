"""Online algorithms: groups judged and compared, weights that stand in, a step by an independent formula."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from conftest import config, small_editor, triplets
from hydra.utils import instantiate
from options import small_backbone
from pytorch_lightning import LightningModule, Trainer
from torch.utils.data import DataLoader

from src.aggregation import Overall, PerPerspective
from src.algorithms.best_of_group import BestOfGroup
from src.algorithms.denoising import draw
from src.algorithms.diffusion_dpo import DiffusionDPO, best_and_worst
from src.algorithms.diffusion_nft import DiffusionNFT
from src.algorithms.flow_grpo import FlowGRPO
from src.algorithms.group_rewards import GroupRewards
from src.algorithms.online import Online, cases_of
from src.algorithms.policy_losses import LARGEST_ADVANTAGE, optimality
from src.algorithms.weights import OtherWeights
from src.batch import EditBatch
from src.diffusion.guidance import Guidance
from src.diffusion.process import noised
from src.diffusion.rollout import Rollout
from src.diffusion.transitions import Ancestral
from src.editor import Editor
from src.records import Case, Reward, TargetReward, Triplet, Verdict

ALGORITHMS = [DiffusionNFT, FlowGRPO, BestOfGroup, DiffusionDPO]


def verdict(score: float | None) -> Verdict:
    return Verdict(None, None, "out of order", "failed") if score is None else Verdict(score, None, "None")


class Judged:
    """A judge that says what it is told, in turn, or the brightness of the edit."""

    name, fingerprint = "told", "told"

    def __init__(self, scores: Sequence[float | None] | None = None) -> None:
        self.scores = None if scores is None else iter(scores)
        self.seen: list[Triplet] = []

    def judge(self, triplets: Sequence[Triplet]) -> list[Reward]:
        self.seen += triplets
        rewards = []
        for triplet in triplets:
            bright = float(triplet.edited.mean()) / 51 if self.scores is None else next(self.scores)
            rewards.append(Reward(triplet.case.id, self.name, "", *[verdict(bright)] * 3))
        return rewards


def group_rewards(judge: Judged | None = None, **options) -> GroupRewards:
    return GroupRewards(judge or Judged(), Overall(), **{"floor": 1e-4} | options)


def awake(*overrides: str) -> Editor:
    return woken(small_editor("model.process.prediction=sample", *overrides))


def woken(editor: Editor) -> Editor:
    """The editor with random weights in place of zeros, so that the edits of a case differ."""
    generator = torch.Generator().manual_seed(5)
    for parameter in editor.parameters():  # wake what is zero at the start
        if not parameter.any():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return editor


def online(kind: Callable[..., Online], editor: Editor, rewards: GroupRewards | None = None, **options):
    settings = {
        "optimizer": lambda named: torch.optim.SGD([each for _, each in named], lr=1.0),
        "seed": 3,
        "rewards": rewards or group_rewards(),
        "rollout": Rollout(3, Ancestral(1.0)),
        "guidance": Guidance(),
        "target": TargetReward(),
        "members": 4,
    }
    return kind(editor, **settings | options)


def fit(module: LightningModule, batch: EditBatch, steps: int = 1, precision: str = "32-true") -> Trainer:
    trainer = Trainer(
        precision=precision,
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader([batch] * steps, collate_fn=lambda rows: rows[0]))
    return trainer


def cases(batch: EditBatch) -> Sequence[Case]:
    return cases_of(batch)


def test_groups_are_cases_and_not_instructions(batch: EditBatch) -> None:
    same = EditBatch(**{**vars(batch), "instructions": ["make it night"] * 3})
    judge = Judged([1.0, 3.0, 5.0, 5.0, 0.0, 2.0])
    edits = [case.original for case in cases(same) for _ in range(2)]
    found = group_rewards(judge)(cases(same), edits)
    assert [triplet.case.id for triplet in judge.seen] == ["a", "a", "b", "b", "c", "c"]
    torch.testing.assert_close(found.values, torch.tensor([[0.2, 0.6], [1.0, 1.0], [0.0, 0.4]]))
    torch.testing.assert_close(found.advantages.value, torch.tensor([[-1.0, 1.0], [0.0, 0.0], [-1.0, 1.0]]))
    assert found.advantages.valid.tolist() == [[True, True], [False, False], [True, True]]


def test_members_without_a_verdict_are_as_if_they_had_not_been_drawn(batch: EditBatch) -> None:
    one = EditBatch(["a"], batch.original[:1], batch.edited[:1], ["make it night"], None, None)
    edit = cases(one)[0].original
    found = group_rewards(Judged([1.0, None, 3.0, 5.0]), most_failed=0.5)(cases(one), [edit] * 4)
    alone = group_rewards(Judged([1.0, 3.0, 5.0]))(cases(one), [edit] * 3)
    assert found.values[0, 1].isnan()
    torch.testing.assert_close(found.advantages.value[0, [0, 2, 3]], alone.advantages.value[0])


def test_a_judge_that_fails_too_often_ends_the_training(batch: EditBatch) -> None:
    rewards = group_rewards(Judged([1.0] * 40 + [None] * 3 + [1.0]))
    edits = [case.original for case in cases(batch) for _ in range(4)]
    for _ in range(3):
        rewards(cases(batch), edits)
    with pytest.raises(
        ValueError, match=r"told failed on 3 of the last 44 edits, more than 5%.*out of order"
    ):
        rewards(cases(batch)[:2], edits[:8])


def test_perspectives_are_compared_apart(batch: EditBatch) -> None:
    class Uneven(Judged):
        def judge(self, triplets: Sequence[Triplet]) -> list[Reward]:
            low, high = [
                Reward("a", "told", "", verdict(0.0), verdict(3.0), verdict(2.0)),
                Reward("a", "told", "", verdict(5.0), verdict(3.1), verdict(2.0)),
            ]
            return [low, high]

    found = GroupRewards(Uneven(), PerPerspective(), floor=1e-4)(
        cases(batch)[:1], [cases(batch)[0].original] * 2
    )
    # two perspectives vary, by 5 points and by 0.1, and count alike; the third is equal
    torch.testing.assert_close(found.advantages.value, torch.tensor([[-2 / 3, 2 / 3]]))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("kind", ALGORITHMS)
def test_every_algorithm_learns_from_what_it_draws(
    batch: EditBatch, kind: Callable[..., Online], precision: str
) -> None:
    editor = awake()
    before = {name: value.clone() for name, value in editor.trained_state().items()}
    options = {"reference_weight": 0.1} if kind is FlowGRPO else {}
    module = online(kind, editor, **options)
    fit(module, batch, 2, precision)
    assert any(not torch.equal(before[name], value) for name, value in editor.trained_state().items())
    assert module.costs.edits == 2 * 3 * 4


def test_an_editor_that_reads_image_and_instruction_learns_as_well(batch: EditBatch, tmp_path: Path) -> None:
    small = small_backbone("smartedit_tiny", tmp_path)
    overrides = ("model/backbone=smartedit_tiny", "model.process.prediction=sample", *small)
    torch.manual_seed(0)
    editor = woken(instantiate(config(*overrides).model))
    before = {name: value.clone() for name, value in editor.trained_state().items()}
    fit(online(DiffusionDPO, editor), batch)
    assert any(not torch.equal(before[name], value) for name, value in editor.trained_state().items())


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_equal_rewards_change_nothing(batch: EditBatch, kind: Callable[..., Online]) -> None:
    editor = awake()
    before = {name: value.clone() for name, value in editor.trained_state().items()}
    fit(online(kind, editor, group_rewards(Judged([2.0] * 24))), batch)
    for name, value in editor.trained_state().items():
        torch.testing.assert_close(value, before[name], atol=1e-7, rtol=0, msg=name)


def test_a_step_of_nft_is_denoising_weighted_by_the_advantage(batch: EditBatch) -> None:
    """At the weights that drew, the gradient of the loss is that of (2 r - 1) |y - target|^2."""
    editor = awake()
    module = online(DiffusionNFT, editor, times=1)
    other = awake()
    twin = online(DiffusionNFT, other, times=1)
    fit(module, batch)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(twin)
    twin.trainer = trainer
    drawn = twin.draw(batch, 0, 0)
    judged = twin.judge_edits(batch, drawn.clean)
    good = optimality(judged.advantages.value.flatten())
    process, shape = other.process, drawn.clean.shape[1:]
    draws = draw(3, 0, 0, range(12), (shape[0], shape[1], shape[2]))
    t = process.draw_time(draws.time)
    x_t = noised(drawn.clean, draws.eps, process.marginal(t))
    output = other.guided(x_t, t, twin.prepared(batch, Guidance()))
    error = (output - process.regression_target(drawn.clean, draws.eps, t)).square().flatten(1).mean(1)
    (LARGEST_ADVANTAGE * (2 * good - 1) * error).mean().backward()
    for (name, moved), start in zip(editor.named_parameters(), other.parameters(), strict=True):
        if start.grad is not None:
            torch.testing.assert_close(moved, start - start.grad, atol=2e-5, rtol=1e-3, msg=name)


def test_a_step_of_dpo_pulls_to_the_best_and_away_from_the_worst(batch: EditBatch) -> None:
    """At the reference the gradient of the loss is that of beta / 4 (best error - worst error)."""
    editor, other = awake(), awake()
    module, twin = (online(DiffusionDPO, each, times=1, beta=8.0) for each in (editor, other))
    fit(module, batch)
    twin.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    twin.trainer.strategy.connect(twin)
    drawn = twin.draw(batch, 0, 0)
    values = twin.judge_edits(batch, drawn.clean).values
    process, shape = other.process, drawn.clean.shape[1:]
    draws = draw(3, 0, 0, range(3), (shape[0], shape[1], shape[2]))
    t = process.draw_time(draws.time)
    prepared = twin.prepared(batch, Guidance(), repeat=False)
    errors = []
    for places in (values.argmax(1), values.argmin(1)):
        clean = drawn.clean[4 * torch.arange(3) + places]
        output = other.guided(noised(clean, draws.eps, process.marginal(t)), t, prepared)
        target = process.regression_target(clean, draws.eps, t)
        errors.append((output - target).square().flatten(1).mean(1))
    (8.0 / 4 * (errors[0] - errors[1])).mean().backward()
    for (name, moved), start in zip(editor.named_parameters(), other.parameters(), strict=True):
        if start.grad is not None:
            torch.testing.assert_close(moved, start - start.grad, atol=2e-5, rtol=1e-3, msg=name)


def test_the_best_and_the_worst_edit_stand_side_by_side() -> None:
    edits = torch.arange(6.0).view(6, 1, 1, 1)
    advantage = torch.tensor([[0.0, -1.0, 1.0], [2.0, -2.0, 0.0]])
    assert best_and_worst(edits, advantage).flatten().tolist() == [2.0, 1.0, 3.0, 4.0]


def test_weights_that_stand_in_are_used_and_given_back_also_under_autocast(batch: EditBatch) -> None:
    editor, other = awake(), awake("model.process.prediction=sample")
    with torch.no_grad():
        for value in other.parameters():
            value += 0.05
    weights = OtherWeights(other)
    x_t, t = batch.original, torch.full((3,), 0.5)
    x_t = torch.randn(3, *editor.backbone.latent_shape(16, 16), generator=torch.Generator().manual_seed(0))

    def output(which: Editor) -> torch.Tensor:
        prepared = which.prepare(batch.original, batch.instructions, [TargetReward()] * 3, Guidance())
        return which.guided(x_t, t, prepared)

    with torch.autocast("cpu", torch.bfloat16):
        own, expected = output(editor).detach(), output(other).detach()
        with weights.standing_in(editor):
            found = output(editor)
        again = output(editor).detach()
    assert not torch.equal(own, expected)
    assert torch.equal(found, expected)
    assert torch.equal(again, own)
    assert not [*weights.parameters()]
    weights.follow(editor, 0.25)
    for name, value in editor.trained_state().items():
        torch.testing.assert_close(
            weights.tensors()[name], 0.25 * other.trained_state()[name] + 0.75 * value, atol=1e-6, rtol=1e-5
        )


def test_an_edit_is_drawn_alike_in_any_batch(batch: EditBatch) -> None:
    module = online(FlowGRPO, awake().eval())
    module.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    whole = module.draw(batch, 5, 1).clean
    assert whole.shape[0] == 12
    assert torch.equal(whole, module.draw(triplets(), 5, 1).clean)
    assert not torch.equal(whole, module.draw(batch, 6, 1).clean)
    assert len({tuple(row.flatten().tolist()) for row in whole}) == 12


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"algorithm\.members=1"):
        online(FlowGRPO, small_editor(), members=1)
    with pytest.raises(ValueError, match=r"mix=0\.0 must be positive"):
        online(DiffusionNFT, small_editor(), mix=0.0)
    with pytest.raises(ValueError, match=r"times=0"):
        online(BestOfGroup, small_editor(), times=0)
    with pytest.raises(ValueError, match=r"beta=0\.0 must be positive"):
        online(DiffusionDPO, small_editor(), beta=0.0)
    with pytest.raises(ValueError, match=r"reference_weight=-1\.0"):
        online(FlowGRPO, small_editor(), reference_weight=-1.0)
    with pytest.raises(ValueError, match="most_failed"):
        group_rewards(most_failed=1.5)
