"""Transitions: the sampler's step is one, densities are torch's, marginals are those of exact propagation."""

import math
from collections.abc import Callable
from itertools import pairwise

import diffusers
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from src.diffusion import transitions
from src.diffusion.ddpm import DDPM
from src.diffusion.process import Marginal, Prediction, Process
from src.diffusion.rectified_flow import RectifiedFlow
from src.diffusion.transitions import CPS, Ancestral, FlowSDE, Kernel, Transition, log_probability

KERNELS = {"ancestral": Ancestral(0.7), "flow_sde": FlowSDE(0.7), "cps": CPS(0.8)}
DATA_MEAN, DATA_STD = 0.3, 0.45


def marginal(process: Process, t: float, batch: int = 1) -> Marginal:
    return process.marginal(torch.full((batch,), t))


def random_latents(*seeds: int) -> list[torch.Tensor]:
    return [torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in seeds]


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ancestral_is_the_ddim_scheduler_of_diffusers(eta: float) -> None:
    process = DDPM("epsilon")
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
    )
    scheduler.set_timesteps(10)
    x_t, eps, z = random_latents(0, 1, 2)
    t, later = 600, 500
    theirs = scheduler.step(eps, t, x_t, eta=eta, variance_noise=z).prev_sample
    now, after = (process.marginal(torch.full((3,), time)) for time in (t, later))
    prediction = process.predict(eps, x_t, torch.full((3,), t))
    ours = Ancestral(eta).transition(prediction, now, after).sample(z)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_densities_and_divergences_are_those_of_torch() -> None:
    mean, other, latent = random_latents(0, 1, 2)
    std = torch.tensor([0.2, 0.7, 1.5]).view(-1, 1, 1, 1)
    one = Transition(mean, std)
    expected = Normal(mean, std.expand_as(mean)).log_prob(latent).flatten(1).mean(1)
    torch.testing.assert_close(log_probability(one, latent), expected)
    divergence = kl_divergence(Normal(mean, std.expand_as(mean)), Normal(other, std.expand_as(mean)))
    torch.testing.assert_close(transitions.kl_divergence(one, other), divergence.flatten(1).mean(1))


def test_a_drawn_latent_has_the_expected_density() -> None:
    mean = torch.zeros(2, 3, 64, 64)
    drawn = Transition(mean, torch.full((2, 1, 1, 1), 0.3))
    z = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))
    entropy = -math.log(0.3) - 0.5 * math.log(2 * math.pi * math.e)
    likely = log_probability(drawn, drawn.sample(z))
    assert (likely - entropy).abs().max() < 4 / math.sqrt(2 * mean[0].numel())


def test_small_noise_of_flow_sde_is_that_of_ancestral_with_eta_over_the_root_of_two() -> None:
    process, now = RectifiedFlow(), 0.6
    prediction = Prediction(*(latent[:1] for latent in random_latents(0, 1)))
    step = [marginal(process, t) for t in (now, now - 1e-4)]
    sde = FlowSDE(0.5 * math.sqrt(2)).transition(prediction, *step)
    ancestral = Ancestral(0.5).transition(prediction, *step)
    assert sde.std.item() == pytest.approx(ancestral.std.item(), rel=1e-3)
    torch.testing.assert_close(sde.mean, ancestral.mean, atol=1e-6, rtol=1e-6)


def test_flow_sde_is_the_formula_of_its_paper() -> None:
    """x - v D - g^2 D / (2t) (x + (1 - t) v): eps is x + (1 - t) v."""
    process, a, t, later = RectifiedFlow(), 0.7, 0.6, 0.45
    x, v = (latent[:1] for latent in random_latents(0, 1))
    step, g2 = t - later, a**2 * t / (1 - t)
    expected = x * (1 - g2 * step / (2 * t)) - v * (1 + g2 * (1 - t) / (2 * t)) * step
    prediction = process.predict(v, x, torch.full((1,), t))
    found = FlowSDE(a).transition(prediction, marginal(process, t), marginal(process, later))
    torch.testing.assert_close(found.mean, expected, atol=1e-5, rtol=1e-5)
    assert found.std.item() == pytest.approx(math.sqrt(g2 * step), rel=1e-5)


def result_deviation(kernel: Callable[[], Kernel], steps: int, shift: float) -> float:
    """The standard deviation of what a kernel makes of Gaussian data with the exact network, by propagation
    of moments: all steps are affine. The last step goes to t = 0, with noise where the kernel has some.
    """
    times = torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float64)
    times = shift * times / (1 + (shift - 1) * times)
    variance = 1.0

    def affine(t: torch.Tensor, later: torch.Tensor, x: float) -> tuple[float, float]:
        alpha, sigma = 1 - t, t
        x_0 = DATA_MEAN + DATA_STD**2 * alpha / (alpha**2 * DATA_STD**2 + sigma**2) * (x - alpha * DATA_MEAN)
        prediction = Prediction(*(value.view(1, 1, 1, 1) for value in (x_0, (x - alpha * x_0) / sigma)))
        now, after = (Marginal(1 - time.view(1), time.view(1)) for time in (t, later))
        found = kernel().transition(prediction, now, after)
        return float(found.mean), float(found.std)

    for t, later in pairwise(times):
        (low, std), (high, _) = affine(t, later, 0.0), affine(t, later, 1.0)
        variance = (high - low) ** 2 * variance + std**2
    return math.sqrt(variance)


@pytest.mark.parametrize(
    ("kernel", "steps", "shift", "expected"),
    [
        (lambda: Ancestral(0.0), 10, 1, 0.385),
        (lambda: FlowSDE(0.7), 10, 1, 0.430),
        (lambda: FlowSDE(0.7), 10, 3, 0.379),
        (lambda: CPS(0.8), 10, 1, 0.315),
        (lambda: CPS(0.5), 20, 3.05, 0.354),
        (lambda: Ancestral(0.5), 10, 3, 0.318),
        (lambda: Ancestral(1.0), 4, 1, 0.266),
        (lambda: Ancestral(1.0), 2000, 1, 0.449),
        (lambda: CPS(0.8), 2000, 1, 0.363),
    ],
)
def test_marginals_of_exact_propagation(
    kernel: Callable[[], Kernel], steps: int, shift: float, expected: float
) -> None:
    """Only ancestral steps converge to the data, of deviation 0.45; flow_sde leaves noise."""
    assert result_deviation(kernel, steps, shift) == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize("name", ["ancestral", "cps"])
def test_the_last_step_has_no_noise(name: str) -> None:
    process = RectifiedFlow()
    prediction = Prediction(*(latent[:1] for latent in random_latents(0, 1)))
    after = Marginal(torch.ones(1), torch.zeros(1))
    found = KERNELS[name].transition(prediction, marginal(process, 0.2), after)
    assert found.std.item() == 0.0
    assert torch.equal(found.mean, prediction.x_0)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a rectified flow, not DDPM"):
        FlowSDE().check(DDPM("epsilon"))
    for kernel, value in ((Ancestral, 1.5), (FlowSDE, 0.0), (CPS, 0.0)):
        with pytest.raises(ValueError, match=f"got {value}"):
            kernel(value)
    for kernel in KERNELS.values():
        kernel.check(RectifiedFlow())
