"""Rollouts: the sampler's latents, remembered, and replayed with the same probabilities."""

import pytest
import torch
from torch import nn

from src.diffusion.ddpm import DDPM
from src.diffusion.guidance import Guidance
from src.diffusion.process import Latent, Process, Time
from src.diffusion.rectified_flow import RectifiedFlow
from src.diffusion.rollout import Rollout, Window, check_replay
from src.diffusion.samplers import Sampler
from src.diffusion.transitions import CPS, Ancestral, FlowSDE, Kernel, log_probability

CPU = torch.device("cpu")
SEEDS, SHAPE = [3, 4, 5], (2, 4, 4)


class Network(nn.Module):
    """A mixture of channels that knows the time; dropout for the check of replays."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mix = nn.Conv2d(3, 2, 3, padding=1)
        self.drop = nn.Dropout(dropout)

    def forward(self, x_t: Latent, t: Time) -> Latent:
        time = t.float().view(-1, 1, 1, 1).expand_as(x_t[:, :1])
        return self.mix(self.drop(torch.cat([x_t, time], 1)))


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize(
    "process",
    [DDPM("epsilon"), DDPM("v"), RectifiedFlow("velocity"), RectifiedFlow("sample")],
    ids=lambda p: f"{type(p).__name__}-{p.prediction}",
)
def test_draws_what_the_sampler_draws(process: Process, eta: float) -> None:
    network = Network()
    with torch.no_grad():
        edited = Sampler(5, Guidance(), eta, clip=1.0).sample(network, process, SEEDS, SHAPE, CPU)
        rollout = Rollout(5, Ancestral(eta), clip=1.0)
        stochastic = rollout.stochastic(0, 0) if eta else range(1)
        drawn = rollout.sample(network, process, SEEDS, SHAPE, CPU, stochastic)
    assert torch.equal(drawn.clean, edited)


@pytest.mark.parametrize("kernel", [Ancestral(1.0), FlowSDE(0.7), CPS(0.8)], ids=lambda k: type(k).__name__)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
def test_replayed_with_unchanged_weights_every_ratio_is_1(kernel: Kernel, precision: torch.dtype) -> None:
    network, process = Network(), RectifiedFlow()
    rollout = Rollout(6, kernel, Window(3))

    def denoise(x_t: Latent, t: Time) -> Latent:
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            return network(x_t, t).float()

    with torch.no_grad():
        drawn = rollout.sample(denoise, process, SEEDS, SHAPE, CPU, rollout.stochastic(7, 1))
    assert drawn.before.dtype == torch.float32
    assert len(drawn.steps) == len(drawn.before) == 3
    for place in range(3):
        replayed = rollout.replay(denoise, process, drawn, place)
        check_replay(drawn, place, replayed)
        ratio = (log_probability(replayed, drawn.after[place]) - drawn.log_probability[place]).exp()
        assert (ratio - 1).abs().max() <= 1e-6
        assert replayed.mean.requires_grad
    with torch.no_grad():
        network.mix.weight += 0.05
    with pytest.raises(ValueError, match=f"step {drawn.steps[1]} of the rollout has another probability"):
        check_replay(drawn, 1, rollout.replay(denoise, process, drawn, 1))


@pytest.mark.parametrize("mismatch", ["kernel", "times", "guidance", "dropout"])
def test_what_was_drawn_otherwise_is_noticed(mismatch: str) -> None:
    network, process = Network(dropout=0.5 if mismatch == "dropout" else 0.0), RectifiedFlow()
    rollout = Rollout(5, Ancestral(1.0))
    with torch.no_grad():
        drawn = rollout.sample(network.eval(), process, SEEDS, SHAPE, CPU, rollout.stochastic(0, 0))
    other = {"kernel": Rollout(5, Ancestral(0.8)), "times": Rollout(5, Ancestral(1.0), shift=2.0)}
    strength = 1.1 if mismatch == "guidance" else 1.0
    network.train(mismatch == "dropout")
    replayed = other.get(mismatch, rollout).replay(
        lambda x_t, t: strength * network(x_t, t), process, drawn, 1
    )
    with pytest.raises(ValueError, match="another probability when replayed"):
        check_replay(drawn, 1, replayed)


def test_a_sample_depends_on_its_seed_alone() -> None:
    network, rollout = Network(), Rollout(4, Ancestral(1.0))
    with torch.no_grad():
        together, alone = (
            rollout.sample(network, RectifiedFlow(), seeds, SHAPE, CPU, range(3)) for seeds in (SEEDS, [4])
        )
    torch.testing.assert_close(together.clean[1:2], alone.clean, atol=1e-6, rtol=0)


def test_windows_are_functions_of_seed_and_step_and_lie_early() -> None:
    window = Window(2, early=0.5)
    seen = {tuple(window.steps(10, 3, step)) for step in range(200)}
    assert seen == {(begin, begin + 1) for begin in range(4)}
    assert window.steps(10, 3, 5) == window.steps(10, 3, 5)
    assert [*Window(3, early=1.0).steps(4, 0, 0)] == [0, 1, 2]


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="window of 4 steps does not fit into a schedule of 4"):
        Rollout(4, Ancestral(), Window(4))
    with pytest.raises(ValueError, match="at least two steps"):
        Rollout(1, Ancestral())
    with pytest.raises(ValueError, match="width >= 1"):
        Window(0)
    with pytest.raises(ValueError, match="needs a rectified flow"):
        Rollout(4, FlowSDE()).sample(Network(), DDPM("epsilon"), SEEDS, SHAPE, CPU, range(3))
