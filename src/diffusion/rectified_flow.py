"""Rectified flow (Liu et al. 2023): the straight line x_t = (1 - t) x_0 + t eps, t in [0, 1]."""

from typing import Literal, NamedTuple, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from src.diffusion.process import Latent, Marginal, Prediction, Process, Time, noised, per_sample


@final
class LinearGuess(NamedTuple):
    """The best linear estimate of x_0 from x_t, for clean latents of mean 0 and a known deviation d.

    Attributes:
        x_0: x_t alpha d^2 / (alpha^2 d^2 + sigma^2).
        error: standard deviation of its error, d sigma / sqrt(alpha^2 d^2 + sigma^2).
    """

    x_0: Latent
    error: Float[Tensor, "b 1 1 1"]


@final
class RectifiedFlow(Process):
    """Straight paths between data and noise.

    Args:
        prediction: "velocity" = eps - x_0 (the usual choice); "sample" = x_0; or "preconditioned" (Karras et
            al. 2022, table 1) = the error of the best linear estimate of x_0, in standard deviations of that
            error. Its size is 1 at every time: near pure noise the network predicts x_0, near the data the
            noise. Needs data_deviation.
        shift: s of t' = s t / (1 + (s - 1) t) (Esser et al. 2024); above 1, training and sampling dwell where
            there is more noise, which is where an edit is decided.
        data_deviation: standard deviation of clean latents. If given, the network sees x_t times alpha d^2 /
            (alpha^2 d^2 + sigma^2), the best linear estimate of x_0: all of x_t at t = 0 and nothing at t =
            1, where x_t is pure noise. A network that predicts "sample" then needn't learn to ignore that
            noise. None passes x_t unchanged.
        smallest_time: training and sampling stay above it; at t = 0 a "sample" prediction says nothing about
            the noise.
    """

    def __init__(
        self,
        prediction: Literal["velocity", "sample", "preconditioned"] = "velocity",
        shift: float = 1.0,
        data_deviation: float | None = None,
        smallest_time: float = 0.01,
    ) -> None:
        if prediction not in ("velocity", "sample", "preconditioned"):
            raise ValueError(
                f"rectified flow predicts velocity, sample or preconditioned, not {prediction!r}"
            )
        if not 0.0 < smallest_time < 1.0:
            raise ValueError(f"smallest_time must lie in (0, 1), got {smallest_time}")
        if shift <= 0.0:
            raise ValueError(f"shift must be positive, got {shift}")
        self.prediction = prediction
        if data_deviation is not None and data_deviation <= 0.0:
            raise ValueError(f"data_deviation must be positive, got {data_deviation}")
        if prediction == "preconditioned" and data_deviation is None:
            raise ValueError(
                "prediction=preconditioned needs data_deviation, the standard deviation of clean latents"
            )
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
        return x_t if self.data_deviation is None else self._linear_guess(x_t, t, self.data_deviation).x_0

    def regression_target(self, x_0: Latent, eps: Latent, t: Time) -> Latent:
        if self.prediction == "velocity":
            return eps - x_0
        if self.prediction == "sample" or self.data_deviation is None:
            return x_0
        guess = self._linear_guess(noised(x_0, eps, self.marginal(t)), t, self.data_deviation)
        return (x_0 - guess.x_0) / guess.error

    def predict(self, output: Latent, x_t: Latent, t: Time) -> Prediction:
        time = per_sample(t, x_t)
        if self.prediction == "velocity":
            return Prediction(x_t - time * output, x_t + (1.0 - time) * output)
        x_0 = output
        if self.prediction == "preconditioned" and self.data_deviation is not None:
            guess = self._linear_guess(x_t, t, self.data_deviation)
            x_0 = guess.x_0 + guess.error * output
        return Prediction(x_0, (x_t - (1.0 - time) * x_0) / time)

    def _linear_guess(self, x_t: Latent, t: Time, deviation: float) -> LinearGuess:
        alpha, sigma = (per_sample(value, x_t) for value in self.marginal(t))
        total = alpha**2 * deviation**2 + sigma**2
        return LinearGuess(x_t * (alpha * deviation**2 / total), deviation * sigma / total.sqrt())

    def times(self, steps: int) -> Shaped[Tensor, " steps"]:
        if steps < 1:
            raise ValueError(f"a sampler takes at least one step, got {steps}")
        return self._shifted(torch.linspace(1.0, 0.0, steps + 1)[:-1])

    def _shifted(self, u: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return (self.shift * u / (1.0 + (self.shift - 1.0) * u)).clamp_min(self.smallest_time)
