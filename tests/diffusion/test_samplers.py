"""Samplers against known answers: a Gaussian's exact score, and diffusers' own schedulers."""

import diffusers
import pytest
import torch

from src.diffusion.ddpm import DDPM
from src.diffusion.guidance import Guidance
from src.diffusion.process import Process, per_sample
from src.diffusion.rectified_flow import RectifiedFlow
from src.diffusion.samplers import Sampler, seeded_noise

CPU = torch.device("cpu")
PROCESSES = [DDPM("epsilon"), DDPM("v"), RectifiedFlow("velocity"), RectifiedFlow("sample")]


def exact_gaussian(process: Process, mean: float, deviation: float):
    """The best possible network for data ~ N(mean, deviation**2)."""

    def denoise(x_t, t):
        alpha, sigma = (per_sample(value, x_t) for value in process.marginal(t))
        x_0 = mean + deviation**2 * alpha / (alpha**2 * deviation**2 + sigma**2) * (x_t - alpha * mean)
        return process.regression_target(x_0, (x_t - alpha * x_0) / sigma, t)

    return denoise


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: f"{type(p).__name__}-{p.prediction}")
def test_recovers_a_gaussian(process: Process, eta: float) -> None:
    seeds = list(range(256))
    latent = Sampler(100, Guidance(), eta).sample(
        exact_gaussian(process, 0.7, 0.4), process, seeds, (1, 8, 8), CPU
    )
    assert latent.mean().item() == pytest.approx(0.7, abs=0.02)
    assert latent.std().item() == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_equals_the_schedulers_of_diffusers(eta: float) -> None:
    """With eta = 1 the steps are those of EulerAncestralDiscreteScheduler, with 0 those of
    EulerDiscreteScheduler.
    """
    process, steps, seeds, shape = DDPM("epsilon"), 12, [3, 4], (4, 8, 8)
    weight = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)) * 0.3

    def network(x_t, t):
        return torch.einsum("ij,bjhw->bihw", weight, x_t)

    ours = Sampler(steps, Guidance(), eta).sample(network, process, seeds, shape, CPU)
    build = diffusers.EulerAncestralDiscreteScheduler if eta else diffusers.EulerDiscreteScheduler
    scheduler = build(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, timestep_spacing="linspace"
    )
    scheduler.set_timesteps(steps)
    # diffusers rounds no time to a whole step; ours does, so the reference is given our times
    sigma = ((1 - process.alpha_bar) / process.alpha_bar).sqrt()[process.times(steps)]
    scheduler.sigmas = torch.cat([sigma.float(), torch.zeros(1)])
    draws = iter(range(1, steps + 1))
    x = seeded_noise(seeds, shape, 0) * (1 + scheduler.sigmas[0] ** 2).sqrt()
    for index, time in enumerate(scheduler.timesteps):
        output = network(scheduler.scale_model_input(x, time), time)
        if eta:
            fresh = seeded_noise(seeds, shape, next(draws))
            now, after = scheduler.sigmas[index], scheduler.sigmas[index + 1]
            up = (after**2 * (now**2 - after**2) / now**2).sqrt()
            generator_free = scheduler.step(
                output, time, x, generator=torch.Generator().manual_seed(index)
            ).prev_sample
            own = torch.randn(output.shape, generator=torch.Generator().manual_seed(index))
            x = generator_free - own * up + fresh * up  # the scheduler's own noise exchanged for ours
        else:
            x = scheduler.step(output, time, x).prev_sample
    torch.testing.assert_close(ours, x, atol=2e-3, rtol=2e-3)


def test_noise_depends_on_the_seed_alone() -> None:
    together, alone = seeded_noise([5, 6, 7], (3, 4, 4), 0), seeded_noise([6], (3, 4, 4), 0)
    assert torch.equal(together[1:2], alone)
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(seeded_noise([6], (3, 4, 4), 1), alone)


def test_clipping_keeps_predictions_in_range() -> None:
    process = RectifiedFlow("sample")
    latent = Sampler(5, Guidance(), clip=1.0).sample(lambda x_t, t: x_t * 10, process, [0], (3, 4, 4), CPU)
    assert latent.abs().max() <= 1.0


@pytest.mark.parametrize("arguments", [{"steps": 0}, {"steps": 5, "eta": 1.5}])
def test_impossible_settings_are_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match="got"):
        Sampler(guidance=Guidance(), **arguments)
