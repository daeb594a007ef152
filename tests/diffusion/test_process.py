"""Laws of the noise processes, for every process and parametrisation."""

import diffusers
import pytest
import torch

from src.diffusion.ddpm import DDPM
from src.diffusion.process import Process, noised
from src.diffusion.rectified_flow import RectifiedFlow

PROCESSES = [
    DDPM("epsilon"),
    DDPM("v"),
    DDPM("sample"),
    RectifiedFlow("velocity"),
    RectifiedFlow("sample"),
    RectifiedFlow("preconditioned", data_deviation=0.4),
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
