"""Rectified flow (Liu et al. 2023): the straight line x_t = (1 - t) x_0 + t eps, t in [0, 1]."""

from typing import Literal, NamedTuple, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from src.diffusion.process import (
    Latent,
    Marginal,
    Prediction,
    Process,
    Time,
    check_channels,
    noised,
    per_sample,
)
from src.diffusion.shifts import Shift

PREDICTIONS = ("velocity", "sample", "preconditioned", "posterior")

DEVIATIONS = (-5.0, 1.0)
"""Bounds of the logarithm of the deviation that a network puts out for "posterior"."""


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
        prediction: "velocity" = eps - x_0 (the usual choice); "sample" = x_0; "preconditioned" (Karras et al.
            2022, table 1) = the error of the best linear estimate of x_0, in standard deviations of that
            error. Its size is 1 at every time: near pure noise the network predicts x_0, near the data the
            noise. Or "posterior": the network says what x_0 should be without regard to x_t, and how far off
            that may be; `gaussian_posterior_mean` then takes x_t into account, and the loss is that of
            "preconditioned". Where nothing changes the network is sure, and noise in x_t is dropped without
            having to be copied. The last two need data_deviation.
        shift: s of t' = s t / (1 + (s - 1) t) (Esser et al. 2024); above 1, training and sampling dwell where
            there is more noise, which is where an edit is decided. A sampler may have a shift of its own. Or
            a rule that asks for the size of the latent.
        second_shift: that of every other training time, None for the same. With `shift` 16, 6 % of the times
            are below 0.5; with 16 and 3, 15 %.
        data_deviation: standard deviation of clean latents. If given, the network sees x_t times alpha d^2 /
            (alpha^2 d^2 + sigma^2), the best linear estimate of x_0: all of x_t at t = 0 and nothing at t =
            1, where x_t is pure noise. A network that predicts "sample" then needn't learn to ignore that
            noise. None passes x_t unchanged.
        smallest_time: training and sampling stay above it; at t = 0 a "sample" prediction says nothing about
            the noise.
        time_scale: what the network is told for t = 1; 1000 for the pretrained ones.
        draw: of training times before the shift: "uniform", or "logit_normal" (Esser et al. 2024), whose
            logits are N(0, 1), so that few are near the ends.
    """

    def __init__(
        self,
        prediction: Literal["velocity", "sample", "preconditioned", "posterior"] = "velocity",
        shift: float | Shift = 1.0,
        data_deviation: float | None = None,
        smallest_time: float = 0.01,
        second_shift: float | None = None,
        time_scale: float = 999.0,
        draw: Literal["uniform", "logit_normal"] = "uniform",
    ) -> None:
        if prediction not in PREDICTIONS:
            *others, last = PREDICTIONS
            raise ValueError(f"rectified flow predicts {', '.join(others)} or {last}, not {prediction!r}")
        if draw not in ("uniform", "logit_normal"):
            raise ValueError(f"draw={draw!r}: training times are drawn uniform or logit_normal")
        if not 0.0 < smallest_time < 1.0:
            raise ValueError(f"smallest_time must lie in (0, 1), got {smallest_time}")
        numbers = {"shift": shift, "second_shift": second_shift, "time_scale": time_scale}
        for name, value in numbers.items():
            if isinstance(value, int | float) and value <= 0.0:
                raise ValueError(f"{name} must be positive, got {value}")
        self.prediction = prediction
        if data_deviation is not None and data_deviation <= 0.0:
            raise ValueError(f"data_deviation must be positive, got {data_deviation}")
        if prediction in ("preconditioned", "posterior") and data_deviation is None:
            raise ValueError(
                f"prediction={prediction} needs data_deviation, the standard deviation of clean latents"
            )
        self.shift = shift
        self.second_shift = second_shift
        self.data_deviation = data_deviation
        self.smallest_time = smallest_time
        self.time_scale = time_scale
        self.draw = draw

    def draw_time(self, u: Float[Tensor, " b"], cells: int | None = None) -> Time:
        own = self._shift(cells)
        if self.second_shift is None:
            return shifted(self._drawn(u), own, self.smallest_time)
        half, rest = (2.0 * u).floor(), self._drawn((2.0 * u).remainder(1.0))
        first, second = (shifted(rest, s, self.smallest_time) for s in (own, self.second_shift))
        return torch.where(half < 1.0, first, second)

    def _drawn(self, u: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        return u if self.draw == "uniform" else torch.special.ndtri(u).sigmoid()

    def _shift(self, cells: int | None, steps: int | None = None) -> float:
        if not isinstance(self.shift, Shift):
            return self.shift
        if cells is None:
            raise ValueError("the shift of these times depends on the size of the latent: give its cells")
        return self.shift.at(cells, steps)

    def marginal(self, t: Time) -> Marginal:
        return Marginal(1.0 - t, t)

    def network_time(self, t: Time) -> Shaped[Tensor, " b"]:
        return self.time_scale * t

    def network_input(self, x_t: Latent, t: Time) -> Latent:
        return x_t if self.data_deviation is None else self._linear_guess(x_t, t, self.data_deviation).x_0

    def network_output(self, output: Float[Tensor, "b d h w"], x_t: Latent, t: Time) -> Latent:
        if self.prediction != "posterior" or self.data_deviation is None:
            check_channels(output, x_t)
            return output
        check_channels(output, x_t, more=1)
        output, x_t = output.float(), x_t.float()
        deviation = self.data_deviation * output[:, -1:].clamp(*DEVIATIONS).exp()
        x_0 = gaussian_posterior_mean(output[:, :-1], deviation, x_t, self.marginal(t))
        guess = self._linear_guess(x_t, t, self.data_deviation)
        return (x_0 - guess.x_0) / guess.error

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
        if self.prediction != "sample" and self.data_deviation is not None:
            guess = self._linear_guess(x_t, t, self.data_deviation)
            x_0 = guess.x_0 + guess.error * output
        return Prediction(x_0, (x_t - (1.0 - time) * x_0) / time)

    def _linear_guess(self, x_t: Latent, t: Time, deviation: float) -> LinearGuess:
        alpha, sigma = (per_sample(value, x_t) for value in self.marginal(t))
        total = alpha**2 * deviation**2 + sigma**2
        return LinearGuess(x_t * (alpha * deviation**2 / total), deviation * sigma / total.sqrt())

    def times(
        self, steps: int, shift: float | None = None, cells: int | None = None
    ) -> Shaped[Tensor, " steps"]:
        if steps < 1:
            raise ValueError(f"a sampler takes at least one step, got {steps}")
        uniform = torch.linspace(1.0, 0.0, steps + 1)[:-1]
        return shifted(uniform, self._shift(cells, steps) if shift is None else shift, self.smallest_time)


def shifted(u: Float[Tensor, " n"], shift: float, smallest: float) -> Float[Tensor, " n"]:
    """S u / (1 + (s - 1) u), at least `smallest`."""
    return (shift * u / (1.0 + (shift - 1.0) * u)).clamp_min(smallest)


def gaussian_posterior_mean(
    mean: Latent, deviation: Float[Tensor, "b 1 h w"], x_t: Latent, marginal: Marginal
) -> Latent:
    """The mean of x_0 ~ N(m, s^2) after seeing x_t: m + K (x_t - alpha m), K = alpha s^2 / (alpha^2 s^2 +
    sigma^2).

    Args:
        mean: m.
        deviation: s, one per cell.
        x_t: alpha x_0 + sigma eps.
        marginal: alpha and sigma > 0.
    """
    alpha, sigma = (per_sample(value, x_t) for value in marginal)
    total = alpha**2 * deviation**2 + sigma**2
    return (sigma**2 * mean + alpha * deviation**2 * x_t) / total
