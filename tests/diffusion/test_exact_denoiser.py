"""Laws of the exact denoiser: one latent, pure noise, almost no noise, two latents, order, sampling."""

import pytest
import torch

from src.diffusion.ddpm import DDPM
from src.diffusion.exact_denoiser import ExactDenoiser, posterior_mean, posterior_weights
from src.diffusion.guidance import Guidance
from src.diffusion.process import Marginal, Process, noised
from src.diffusion.rectified_flow import RectifiedFlow
from src.diffusion.samplers import Sampler

CPU = torch.device("cpu")
SHAPE = (3, 4, 4)
PROCESSES = [
    DDPM("epsilon"),
    DDPM("v"),
    RectifiedFlow("velocity", shift=3.0),
    RectifiedFlow("sample"),
    RectifiedFlow("preconditioned", shift=16.0, data_deviation=0.45),
]
process_ids = [f"{type(process).__name__}-{process.prediction}" for process in PROCESSES]


def drawn(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn((count, *SHAPE), generator=torch.Generator().manual_seed(seed))


def at(alpha: float, sigma: float, count: int = 1) -> Marginal:
    return Marginal(torch.full((count,), alpha), torch.full((count,), sigma))


@pytest.mark.parametrize("time", [0.001, 0.3, 0.9, 1.0])
def test_the_mean_of_one_latent_is_that_latent(time: float) -> None:
    latents, x_t = drawn(1), 3 * drawn(5, 1)
    mean = posterior_mean(latents, x_t, at(1 - time, time, 5))
    torch.testing.assert_close(mean, latents.expand(5, *SHAPE))


def test_pure_noise_gives_the_mean_of_all() -> None:
    latents, x_t = drawn(7), drawn(2, 1)
    mean = posterior_mean(latents, x_t, at(0.0, 1.0, 2))
    torch.testing.assert_close(mean, latents.mean(0).expand(2, *SHAPE))


@pytest.mark.parametrize("sigma", [1e-2, 1e-5, 1e-12])
def test_almost_no_noise_gives_the_nearest(sigma: float) -> None:
    latents = drawn(7)
    x_t = latents[[2, 5]] + 0.05 * drawn(2, 1)
    mean = posterior_mean(latents, x_t, at(1 - sigma, sigma, 2))
    torch.testing.assert_close(mean, latents[[2, 5]])


def test_the_order_of_the_latents_does_not_matter() -> None:
    latents, x_t, marginal = drawn(6), drawn(3, 1), at(0.2, 0.8, 3)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    weights = posterior_weights(latents, x_t, marginal)
    torch.testing.assert_close(weights.sum(1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(posterior_weights(latents[order], x_t, marginal), weights[:, order])


@pytest.mark.parametrize("time", [0.2, 0.7, 0.95])
def test_two_latents_share_by_the_logistic_of_their_distances(time: float) -> None:
    latents, x_t = drawn(2), drawn(3, 1)
    distances = (x_t[:, None] - (1 - time) * latents).double().square().sum((2, 3, 4))
    expected = torch.sigmoid((distances[:, 1] - distances[:, 0]) / (2 * time**2))
    weights = posterior_weights(latents, x_t, at(1 - time, time, 3))
    torch.testing.assert_close(weights[:, 0], expected, rtol=1e-5, atol=1e-6)


def test_equal_latents_count_twice() -> None:
    latents, x_t = drawn(2), drawn(1, 1)
    once = posterior_weights(latents, x_t, at(0.1, 0.9))
    twice = posterior_weights(latents[[0, 0, 1]], x_t, at(0.1, 0.9))
    torch.testing.assert_close(twice[0, 0] / twice[0, 2], once[0, 0] / once[0, 1])


@pytest.mark.parametrize("process", PROCESSES, ids=process_ids)
def test_the_output_means_the_posterior_mean(process: Process) -> None:
    latents, t = drawn(5), process.times(10)[[2, 5, 9]]
    x_t = noised(latents[:3], drawn(3, 1), process.marginal(t))
    prediction = process.predict(ExactDenoiser(latents, process)(x_t, t), x_t, t)
    expected = posterior_mean(latents, x_t, process.marginal(t))
    torch.testing.assert_close(prediction.x_0, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(noised(*prediction, process.marginal(t)), x_t, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("process", PROCESSES, ids=process_ids)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_many_steps_end_at_one_of_the_latents(process: Process, eta: float) -> None:
    latents = drawn(8)
    denoise = ExactDenoiser(latents, process)
    ends = Sampler(100, Guidance(), eta).sample(denoise, process, range(64), SHAPE, CPU)
    distances = (ends[:, None] - latents).square().mean((2, 3, 4)).sqrt()
    assert distances.min(1).values.max() < 0.05
    assert len(distances.argmin(1).unique()) >= 6  # all are equally likely


def test_one_step_of_rectified_flow_ends_at_the_mean() -> None:
    latents, process = drawn(8), RectifiedFlow()
    end = Sampler(1, Guidance()).sample(ExactDenoiser(latents, process), process, [0], SHAPE, CPU)
    torch.testing.assert_close(end[0], latents.mean(0), rtol=1e-4, atol=1e-5)


def test_what_has_no_posterior_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one latent, got none"):
        ExactDenoiser(drawn(0), RectifiedFlow())
    with pytest.raises(ValueError, match="at least one latent, got none"):
        posterior_weights(drawn(0), drawn(1), at(0.5, 0.5))
    with pytest.raises(ValueError, match=r"sigma must be above 0, got 0\.0"):
        posterior_weights(drawn(2), drawn(1), at(1.0, 0.0))
