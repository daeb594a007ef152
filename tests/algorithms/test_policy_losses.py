"""Losses of reinforcement learning: gradients, fixed points and limits by independent formulas; and a toy
world on which they learn the right thing, or nothing where rewards say nothing.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.distributions import Normal

from src.algorithms.advantages import advantages
from src.algorithms.diffusion_dpo import best_and_worst
from src.algorithms.policy_losses import (
    forward_process_loss,
    guarded_log_ratio,
    noise_weights,
    optimality,
    preference_loss,
    surrogate,
    within_divergence,
)
from src.diffusion.process import Latent, Time, noised, per_sample
from src.diffusion.rectified_flow import RectifiedFlow
from src.diffusion.rollout import Rollout, Trajectory
from src.diffusion.transitions import Ancestral, Transition, log_probability

CPU = torch.device("cpu")


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("clip", [None, (1e-4, 5e-4)])
def test_one_update_per_rollout_is_the_plain_policy_gradient(clip: tuple[float, float] | None) -> None:
    advantage, mean = torch.tensor([1.0, -2.0, 0.0]), normal(3, 2, 4, 4).requires_grad_()
    std, drawn = torch.full((3, 1, 1, 1), 0.4), normal(3, 2, 4, 4, seed=1)
    likely = log_probability(Transition(mean, std), drawn)
    (found,) = torch.autograd.grad(surrogate(likely - likely.detach(), advantage, clip).sum(), mean)
    again = Normal(mean, std).log_prob(drawn).flatten(1).mean(1)
    (expected,) = torch.autograd.grad((-advantage * again).sum(), mean)
    torch.testing.assert_close(found, expected)
    assert not found[2].any()


def test_clipping_stops_what_has_gone_far_enough_and_nothing_else() -> None:
    log_ratio = torch.tensor([0.3, 0.3, -0.3, -0.3], requires_grad=True)
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    (gradient,) = torch.autograd.grad(surrogate(log_ratio, advantage, (0.1, 0.1)).sum(), log_ratio)
    assert (gradient == 0).tolist() == [True, False, False, True]


def test_guarded_ratios_have_mean_zero_and_one_spread_at_every_step() -> None:
    shape, moved = (4000, 2, 4, 4), 0.02
    z = normal(*shape)
    for noise in (0.1, 0.7):
        std = torch.full((shape[0], 1, 1, 1), noise)
        old = Transition(torch.zeros(shape), std)
        drawn = old.sample(z)
        now = Transition(torch.full(shape, moved), std)
        plain = log_probability(now, drawn) - log_probability(old, drawn)
        guarded = guarded_log_ratio(now, old.mean, drawn, log_probability(old, drawn))
        drift = moved**2 / (2 * noise**2)
        assert plain.mean().item() == pytest.approx(-drift, abs=4 * plain.std().item() / math.sqrt(4000))
        assert guarded.mean().item() == pytest.approx(0.0, abs=4 * guarded.std().item() / math.sqrt(4000))
        assert guarded.std().item() == pytest.approx(moved / math.sqrt(2 * 4 * 4), rel=0.05)


def test_the_trust_region_lets_samples_come_back() -> None:
    log_ratio, advantage = torch.tensor([0.1, 0.1, -0.1, -0.1]), torch.tensor([1.0, -1.0, 1.0, -1.0])
    far, near = torch.full((4,), 2e-5), torch.full((4,), 2e-6)
    assert within_divergence(log_ratio, far, advantage, 1e-5).tolist() == [False, True, True, False]
    assert within_divergence(log_ratio, near, advantage, 1e-5).all()


def test_weights_by_noise_are_1_on_average() -> None:
    weights = noise_weights(torch.tensor([0.9, 0.6, 0.3]))
    torch.testing.assert_close(weights, torch.tensor([1.5, 1.0, 0.5]))


def test_optimality_is_between_0_and_1_and_a_half_for_the_ordinary() -> None:
    found = optimality(torch.tensor([-9.0, -5.0, 0.0, 2.5, 5.0, 9.0]))
    assert found.tolist() == [0.0, 0.0, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize("mix", [0.1, 1.0])
def test_gradient_of_the_forward_process_at_the_old_weights(mix: float) -> None:
    old, target = normal(3, 2, 4, 4), normal(3, 2, 4, 4, seed=1)
    good = torch.tensor([0.9, 0.5, 0.2])
    predicted = old.clone().requires_grad_()
    loss = forward_process_loss(predicted, old, target, good, mix)
    (gradient,) = torch.autograd.grad(loss.sum(), predicted)
    expected = -2 * (2 * per_sample(good, old) - 1) * (target - old) / old[0].numel()
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-4)
    assert gradient[1].abs().max() < 1e-7
    swapped = forward_process_loss(predicted, old, target, 1 - good, mix)
    torch.testing.assert_close(torch.autograd.grad(swapped.sum(), predicted)[0], -gradient)
    torch.testing.assert_close(loss, forward_process_loss(old, old, target, 1 - good, mix))


@pytest.mark.parametrize("mix", [0.1, 1.0])
def test_minimum_of_the_forward_process(mix: float) -> None:
    """A scalar problem: the best constant is the old one plus 2 / mix times the covariance."""
    target = normal(4000, 1, 1, 1)
    good = torch.sigmoid(2 * target.flatten())
    old = target.mean().expand(4000, 1, 1, 1)
    moved = torch.zeros((), requires_grad=True)
    solver = torch.optim.LBFGS([moved], line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        solver.zero_grad()
        loss = forward_process_loss(old + moved, old, target, good, mix).mean()
        loss.backward()
        return loss

    solver.step(closure)  # pyright: ignore[reportArgumentType]
    covariance = ((good - good.mean()) * (target.flatten() - target.mean())).mean()
    assert moved.item() == pytest.approx(2 / mix * covariance.item(), rel=1e-3)


def test_adaptive_weights_leave_the_ordinary_at_rest_and_divide_by_the_error() -> None:
    old, target = normal(2, 2, 4, 4), normal(2, 2, 4, 4, seed=1)
    predicted = old.clone().requires_grad_()
    half = torch.full((2,), 0.5)
    loss = forward_process_loss(predicted, old, target, half, adaptive=True)
    assert torch.autograd.grad(loss.sum(), predicted)[0].abs().max() < 1e-7
    good = torch.ones(2)
    found = forward_process_loss(old, old, target, good, adaptive=True)
    error = (old - target).flatten(1)
    torch.testing.assert_close(found, (error**2).mean(1) / error.abs().mean(1))


def test_preferences() -> None:
    errors = torch.tensor([0.01, -0.02])
    level = preference_loss(errors, errors, 2000.0)
    torch.testing.assert_close(level.loss, torch.full((2,), math.log(2)))
    one, other = torch.tensor([-0.001]), torch.tensor([0.002])
    torch.testing.assert_close(
        preference_loss(one, other, 100.0).logit, -preference_loss(other, one, 100.0).logit
    )
    assert preference_loss(one, other, 100.0).logit.item() == pytest.approx(0.15)


# a toy world: four conditions, each with a right and a wrong mode, which the start draws equally often

CONDITIONS, MEMBERS, STEPS, GROUPS, WIDTH = 4, 16, 10, 16, 256
MODES = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
"""Where the right mode of each condition lies; the wrong one lies opposite."""


class Toy(nn.Module):
    """A flow in two dimensions that knows its condition."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(2 + CONDITIONS + 3, WIDTH), nn.SiLU()),
            *(nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 2)),
        )

    def forward(self, x_t: Latent, t: Time, condition: torch.Tensor) -> Latent:
        time = torch.stack([t, t**2, torch.sin(3 * t)], 1)
        known = torch.cat([x_t.flatten(1), nn.functional.one_hot(condition, CONDITIONS), time], 1)
        return self.layers(known).view_as(x_t)


@pytest.fixture(scope="module")
def start() -> dict[str, torch.Tensor]:
    """Weights of a toy that draws both modes of every condition."""
    torch.manual_seed(0)
    toy, process = Toy(), RectifiedFlow()
    optimizer = torch.optim.Adam(toy.parameters(), 3e-3)
    for _ in range(800):
        condition = torch.randint(CONDITIONS, (256,))
        side = torch.randint(2, (256, 1)) * 2 - 1
        clean = (MODES[condition] * side + 0.1 * torch.randn(256, 2)).view(-1, 2, 1, 1)
        t, eps = process.draw_time(torch.rand(256)), torch.randn_like(clean)
        x_t = noised(clean, eps, process.marginal(t))
        loss = ((toy(x_t, t, condition) - process.regression_target(clean, eps, t)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return toy.state_dict()


def right(clean: Latent, condition: torch.Tensor) -> torch.Tensor:
    """1 for the right mode, 0 for the wrong one."""
    return ((clean.flatten(1) * MODES[condition]).sum(1) > 0).float()


Reward = Callable[[Latent, torch.Tensor], torch.Tensor]


def share_right(toy: Toy, rollout: Rollout) -> float:
    condition = torch.arange(CONDITIONS).repeat_interleave(64)
    with torch.no_grad():
        drawn = rollout.sample(
            lambda x_t, t: toy(x_t, t, condition),
            RectifiedFlow(),
            [10**6 + seed for seed in range(len(condition))],
            (2, 1, 1),
            CPU,
            rollout.stochastic(0, 0),
        )
    return right(drawn.clean, condition).mean().item()


def forward_process(
    toy: Toy,
    old: Toy,
    process: RectifiedFlow,
    rollout: Rollout,
    drawn: Trajectory,
    advantage: torch.Tensor,
    condition: torch.Tensor,
) -> torch.Tensor:
    """DiffusionNFT, one time a sample."""
    t, eps = process.draw_time(torch.rand(len(condition))), torch.randn_like(drawn.clean)
    x_t = noised(drawn.clean, eps, process.marginal(t))
    with torch.no_grad():
        before = old(x_t, t, condition)
    target = process.regression_target(drawn.clean, eps, t)
    return forward_process_loss(toy(x_t, t, condition), before, target, optimality(advantage)).mean()


def policy_gradient(
    toy: Toy,
    old: Toy,
    process: RectifiedFlow,
    rollout: Rollout,
    drawn: Trajectory,
    advantage: torch.Tensor,
    condition: torch.Tensor,
) -> torch.Tensor:
    """Flow-GRPO, one update per rollout, steps weighted by their noise."""
    stds, losses = [], []
    for place in range(len(drawn.steps)):
        now = rollout.replay(lambda x_t, t: toy(x_t, t, condition), process, drawn, place)
        log_ratio = log_probability(now, drawn.after[place]) - drawn.log_probability[place]
        stds.append(now.std.detach().mean())
        losses.append(surrogate(log_ratio, advantage).mean())
    return (noise_weights(torch.stack(stds)) * torch.stack(losses)).mean()


def best_against_worst(
    toy: Toy,
    old: Toy,
    process: RectifiedFlow,
    rollout: Rollout,
    drawn: Trajectory,
    advantage: torch.Tensor,
    condition: torch.Tensor,
) -> torch.Tensor:
    """Online Diffusion-DPO, four times a pair; `old` has the weights of the start."""
    pairs = best_and_worst(drawn.clean, advantage.view(GROUPS, MEMBERS))
    asked = condition.view(GROUPS, MEMBERS)[:, :2].flatten()
    moved = []
    for _ in range(4):
        t = process.draw_time(torch.rand(GROUPS)).repeat_interleave(2)
        eps = torch.randn(GROUPS, *pairs.shape[1:]).repeat_interleave(2, 0)
        x_t, target = noised(pairs, eps, process.marginal(t)), process.regression_target(pairs, eps, t)
        with torch.no_grad():
            before = (old(x_t, t, asked) - target).square().flatten(1).mean(1)
        moved.append((toy(x_t, t, asked) - target).square().flatten(1).mean(1) - before)
    best, worst = torch.cat(moved).view(-1, 2).unbind(1)
    return preference_loss(best, worst, 1.0).loss.mean()


MAKE = {"nft": forward_process, "grpo": policy_gradient, "dpo": best_against_worst}


def learn(
    start: dict[str, torch.Tensor], algorithm: str, reward: Reward, updates: int, rate: float
) -> tuple[Toy, Rollout]:
    """A toy after some updates of 16 groups of 16."""
    torch.manual_seed(1)
    toy, old, process = Toy(), Toy(), RectifiedFlow()
    toy.load_state_dict(start)
    rollout = Rollout(STEPS, Ancestral(1.0))
    optimizer = torch.optim.Adam(toy.parameters(), rate)
    condition = (torch.arange(GROUPS) % CONDITIONS).repeat_interleave(MEMBERS)
    for update in range(updates):
        seeds = [update * len(condition) + member for member in range(len(condition))]
        old.load_state_dict(start if algorithm == "dpo" else toy.state_dict())
        with torch.no_grad():
            drawn = rollout.sample(
                lambda x_t, t: toy(x_t, t, condition),
                process,
                seeds,
                (2, 1, 1),
                CPU,
                rollout.stochastic(0, update),
            )
        judged = reward(drawn.clean, condition).view(GROUPS, MEMBERS)
        advantage = advantages(judged, "group", 0.1).value.flatten()
        loss = MAKE[algorithm](toy, old, process, rollout, drawn, advantage, condition)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return toy, rollout


@pytest.mark.parametrize("updates", [50, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("algorithm", ["nft", "grpo", "dpo"])
def test_the_right_mode_is_learnt(start: dict[str, torch.Tensor], algorithm: str, updates: int) -> None:
    toy = Toy()
    toy.load_state_dict(start)
    assert 0.4 < share_right(toy, Rollout(STEPS, Ancestral(1.0))) < 0.6
    # Adam's steps do not shrink with the gradient: at 1e-3 GRPO loses conditions that are solved
    rate = 3e-4 if algorithm == "grpo" and updates > 50 else 1e-3
    assert share_right(*learn(start, algorithm, right, updates, rate)) >= 0.95


@pytest.mark.parametrize("algorithm", ["nft", pytest.param("grpo", marks=pytest.mark.slow)])
def test_random_rewards_teach_nothing(start: dict[str, torch.Tensor], algorithm: str) -> None:
    generator = torch.Generator().manual_seed(2)

    def random(clean: Latent, condition: torch.Tensor) -> torch.Tensor:
        return torch.rand(len(clean), generator=generator)

    assert share_right(*learn(start, algorithm, random, 50, 1e-3)) < 0.65
