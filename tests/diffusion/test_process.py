"""Laws of the noise processes, for every process and parametrisation."""

import diffusers
import pytest
import torch

from src.diffusion.ddpm import DDPM
from src.diffusion.process import Marginal, Process, noised
from src.diffusion.rectified_flow import RectifiedFlow, gaussian_posterior_mean

PROCESSES = [
    DDPM("epsilon"),
    DDPM("v"),
    DDPM("sample"),
    RectifiedFlow("velocity"),
    RectifiedFlow("sample"),
    RectifiedFlow("preconditioned", data_deviation=0.4),
    RectifiedFlow("posterior", data_deviation=0.4, second_shift=3.0),
]
IDS = [f"{type(process).__name__}-{process.prediction}" for process in PROCESSES]


@pytest.mark.parametrize("process", PROCESSES, ids=IDS)
def test_target_determines_clean_latent_and_noise(process: Process) -> None:
    x_0, eps = torch.randn(2, 64, 3, 4, 4, dtype=torch.float64)
    t = process.draw_time(torch.linspace(0, 0.999, 64))
    x_t = noised(x_0, eps, process.marginal(t))
    prediction = process.predict(process.regression_target(x_0, eps, t), x_t, t)
    # the worst conditioned case divides by sigma = 0.01 or alpha = 0.068, which are float32 tables
    torch.testing.assert_close(prediction.x_0, x_0, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(prediction.eps, eps, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("process", PROCESSES, ids=IDS)
def test_times_fall_from_noise_towards_data(process: Process) -> None:
    times = process.times(20)
    sigma = process.marginal(times).sigma
    assert len(times) == 20
    assert (sigma.diff() < 0).all()
    assert process.marginal(times[:1]).sigma.item() > 0.99
    assert process.network_time(times).max() < 1000


@pytest.mark.parametrize("process", PROCESSES, ids=IDS)
def test_no_steps_is_refused(process: Process) -> None:
    with pytest.raises(ValueError, match=r"steps?, got 0"):
        process.times(0)


@pytest.mark.parametrize("prediction", ["epsilon", "v", "sample"])
def test_ddpm_is_the_process_of_diffusers(prediction: str) -> None:
    names = {"epsilon": "epsilon", "v": "v_prediction", "sample": "sample"}
    reference = diffusers.DDPMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=names[prediction],
        clip_sample=False,
    )
    process = DDPM(prediction)
    x_0, eps = torch.randn(2, 8, 3, 4, 4)
    t = torch.tensor([0, 1, 10, 100, 400, 700, 998, 999])
    torch.testing.assert_close(noised(x_0, eps, process.marginal(t)), reference.add_noise(x_0, eps, t))
    if prediction == "v":
        torch.testing.assert_close(
            process.regression_target(x_0, eps, t), reference.get_velocity(x_0, eps, t)
        )


def test_a_preconditioned_target_has_size_one_and_nothing_in_common_with_the_input() -> None:
    process = RectifiedFlow("preconditioned", data_deviation=0.4)
    x_0, eps = torch.randn(2, 1, 1, 300, 300) * torch.tensor([0.4, 1.0]).view(2, 1, 1, 1, 1)
    for time in (0.05, 0.5, 0.95, 1.0):
        t = torch.tensor([time])
        target = process.regression_target(x_0, eps, t)
        assert abs(target.std().item() - 1.0) < 0.02
        assert (target * noised(x_0, eps, process.marginal(t))).mean().abs() < 0.01
    torch.testing.assert_close(process.regression_target(x_0, eps, torch.ones(1)), x_0 / 0.4)
    with pytest.raises(ValueError, match="data_deviation"):
        RectifiedFlow("preconditioned")


POSTERIOR = RectifiedFlow("posterior", data_deviation=0.4)


def test_the_posterior_mean_weighs_what_is_expected_against_what_is_seen() -> None:
    """Of x_0 ~ N(m, s^2), no linear correction by m and x_t would be better."""
    m, s, marginal = 0.7, 0.3, Marginal(torch.tensor([0.6]), torch.tensor([0.4]))
    x_0 = m + s * torch.randn(1, 1, 300, 300)
    x_t = noised(x_0, torch.randn_like(x_0), marginal)
    found = gaussian_posterior_mean(torch.full_like(x_0, m), torch.full((1, 1, 300, 300), s), x_t, marginal)
    assert ((x_0 - found) * (x_t - x_t.mean())).mean().abs() < 0.005
    assert (x_0 - found).mean().abs() < 0.01
    sure, unsure = (
        gaussian_posterior_mean(torch.full_like(x_0, m), torch.full_like(x_0, d), x_t, marginal)
        for d in (0.0, 1e6)
    )
    torch.testing.assert_close(sure, torch.full_like(x_0, m))
    torch.testing.assert_close(unsure, x_t / 0.6, atol=1e-5, rtol=1e-5)


def test_a_network_that_says_nothing_leaves_the_linear_guess() -> None:
    """Mean 0 and deviation that of the data: the target's estimate is 0, at every time."""
    x_t, t = torch.randn(4, 3, 8, 8), torch.tensor([0.05, 0.3, 0.9, 1.0])
    assert POSTERIOR.network_output(torch.zeros(4, 4, 8, 8), x_t, t).abs().max() < 1e-5


def test_a_network_that_is_sure_drops_the_noise() -> None:
    x_0, eps, t = torch.randn(3, 3, 4, 4), torch.randn(3, 3, 4, 4), torch.tensor([0.1, 0.5, 1.0])
    x_t = noised(x_0, eps, POSTERIOR.marginal(t))
    said = torch.cat([x_0, torch.full((3, 1, 4, 4), -5.0)], 1)
    estimate = POSTERIOR.network_output(said, x_t, t)
    found = POSTERIOR.predict(estimate, x_t, t).x_0
    torch.testing.assert_close(found, x_0, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("process", PROCESSES, ids=IDS)
def test_an_output_of_other_channels_is_refused(process: Process) -> None:
    wrong = 3 if process.prediction == "posterior" else 4
    with pytest.raises(ValueError, match=rf"takes {7 - wrong} channels .* puts out {wrong}"):
        process.network_output(
            torch.zeros(1, wrong, 4, 4), torch.zeros(1, 3, 4, 4), process.draw_time(torch.rand(1))
        )


def test_every_other_time_has_the_second_shift() -> None:
    u = (torch.arange(100_000) + 0.5) / 100_000
    t = RectifiedFlow(shift=16.0, second_shift=3.0).draw_time(u)
    shares = [(t < bound).float().mean().item() for bound in (0.9, 0.75, 0.5, 0.33)]
    assert shares == pytest.approx([0.55, 0.33, 0.15, 0.085], abs=0.006)
    assert torch.equal(RectifiedFlow(shift=16.0, second_shift=16.0).draw_time(u[:50_000]), t[:50_000])


def test_a_sampler_may_have_a_shift_of_its_own() -> None:
    process = RectifiedFlow(shift=16.0)
    torch.testing.assert_close(process.times(2, 3.0), torch.tensor([1.0, 0.75]))
    torch.testing.assert_close(process.times(2), torch.tensor([1.0, 16 / 17]))
    with pytest.raises(ValueError, match=r"sampler\.shift=3"):
        DDPM().times(2, 3.0)


def test_rectified_flow_is_a_straight_line() -> None:
    process, t = RectifiedFlow(), torch.tensor([0.25])
    x_0, eps = torch.randn(2, 1, 1, 2, 2)
    torch.testing.assert_close(noised(x_0, eps, process.marginal(t)), 0.75 * x_0 + 0.25 * eps)
    torch.testing.assert_close(process.regression_target(x_0, eps, t), eps - x_0)


def test_scaled_input_is_the_best_linear_guess_of_the_clean_latent() -> None:
    process = RectifiedFlow("sample", data_deviation=0.5)
    x_0, eps = torch.randn(2, 1, 1, 200, 200) * torch.tensor([0.5, 1.0]).view(2, 1, 1, 1, 1)
    for time in (0.2, 0.6, 0.9):
        t = torch.tensor([time])
        x_t = noised(x_0, eps, process.marginal(t))
        guess = process.network_input(x_t, t)
        assert ((guess - x_0) * x_t).mean().abs() < 0.01  # no linear correction would be better
    assert not process.network_input(eps, torch.ones(1)).any()
    torch.testing.assert_close(process.network_input(x_0, torch.zeros(1)), x_0)


def test_the_schedule_is_looked_up_on_the_device_of_the_times() -> None:
    """Nothing comes from another device, which would stall a GPU at every step."""
    process = DDPM()
    here = process.marginal(torch.tensor([0, 999]))
    assert here.alpha[0] ** 2 == pytest.approx(1 - 0.00085)
    torch.testing.assert_close(here.alpha**2 + here.sigma**2, torch.ones(2))
    assert process.marginal(torch.zeros(2, dtype=torch.long, device="meta")).sigma.device.type == "meta"
