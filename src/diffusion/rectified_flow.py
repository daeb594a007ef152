"""Rectified flow (Liu et al. 2023): the straight line x_t = (1 - t) x_0 + t eps, t in [0, 1]."""

from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from src.diffusion.process import Latent, Marginal, Prediction, Process, Time, per_sample


class RectifiedFlow(Process):
    """Straight paths between data and noise.

    Args:
        prediction: "velocity" = eps - x_0 (the usual choice), or "sample" = x_0, which suits small models: what the network has to draw
            never contains noise, so it can be predicted as a change of the original picture.
        shift: s of t' = s t / (1 + (s - 1) t) (Esser et al. 2024); above 1, training and sampling dwell where there is more noise, which is where
            an edit is decided.
        data_deviation: standard deviation of clean latents. If given, the network sees x_t times alpha d^2 / (alpha^2 d^2 + sigma^2), the best linear
            guess of x_0: all of x_t at t = 0 and nothing at t = 1, where it holds nothing but noise. A network that predicts "sample" then needn't
            learn to ignore that noise. None leaves x_t as it is.
        smallest_time: training and sampling stay above it; at t = 0 a "sample" prediction says nothing about the noise.
    """

    def __init__(
        self,
        prediction: Literal["velocity", "sample"] = "velocity",
        shift: float = 1.0,
        data_deviation: float | None = None,
        smallest_time: float = 0.01,
    ) -> None:
        if prediction not in ("velocity", "sample"):
            raise ValueError(f"rectified flow predicts velocity or sample, not {prediction!r}")
        if not 0.0 < smallest_time < 1.0:
            raise ValueError(f"smallest_time must lie in (0, 1), got {smallest_time}")
        if shift <= 0.0:
            raise ValueError(f"shift must be positive, got {shift}")
        self.prediction = prediction
        if data_deviation is not None and data_deviation <= 0.0:
            raise ValueError(f"data_deviation must be positive, got {data_deviation}")
        self.shift = shift
        self.data_deviation = data_deviation
        self.smallest_time = smallest_time

    def draw_time(self, u: Float[Tensor, " b"]) -> Time:
        return self._shifted(u)

    def marginal(self, t: Time) -> Marginal:
        return Marginal(1.0 - t, t)

    def network_time(self, t: Time) -> Shaped[Tensor, " b"]:
        return 999.0 * t

    def network_input(self, x_t: Latent, t: Time) -> Latent:
        if self.data_deviation is None:
            return x_t
        alpha, sigma = self.marginal(t)
        variance = self.data_deviation**2
        return x_t * per_sample(alpha * variance / (alpha**2 * variance + sigma**2), x_t)

    def target(self, x_0: Latent, eps: Latent, t: Time) -> Latent:
        return eps - x_0 if self.prediction == "velocity" else x_0

    def predict(self, output: Latent, x_t: Latent, t: Time) -> Prediction:
        time = per_sample(t, x_t)
        if self.prediction == "velocity":
            return Prediction(x_t - time * output, x_t + (1.0 - time) * output)
        return Prediction(output, (x_t - (1.0 - time) * output) / time)

    def times(self, steps: int) -> Shaped[Tensor, " steps"]:
        if steps < 1:
            raise ValueError(f"a sampler takes at least one step, got {steps}")
        return self._shifted(torch.linspace(1.0, 0.0, steps + 1)[:-1])

    def _shifted(self, u: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return (self.shift * u / (1.0 + (self.shift - 1.0) * u)).clamp_min(self.smallest_time)
