"""The discrete diffusion process of Stable Diffusion and InsPix2Pix (Ho et al. 2020), with the usual three
parametrisations.
"""

from typing import Literal, final

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from src.diffusion.process import Latent, Marginal, Prediction, Process, Time, check_channels, per_sample


@final
class DDPM(Process):
    """1,000 steps of the "scaled linear" schedule: sqrt(beta) rises linearly, beta from 0.00085 to 0.012.

    Args:
        prediction: what the network outputs. "epsilon" (InsPix2Pix), "v" = alpha eps - sigma x_0 (Salimans
            and Ho 2022), or "sample" = x_0.
        steps, beta_start, beta_end: the schedule; the defaults are those of the pretrained models.
    """

    def __init__(
        self,
        prediction: Literal["epsilon", "v", "sample"] = "epsilon",
        steps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
    ) -> None:
        if prediction not in ("epsilon", "v", "sample"):
            raise ValueError(f"DDPM predicts epsilon, v or sample, not {prediction!r}")
        self.prediction = prediction
        self.steps = steps
        self.beta_start = beta_start
        self.beta_end = beta_end
        beta = torch.linspace(beta_start**0.5, beta_end**0.5, steps, dtype=torch.float64) ** 2
        self.alpha_bar = torch.cumprod(1.0 - beta, 0)
        self._tables: dict[torch.device, Marginal] = {}

    def draw_time(self, u: Float[Tensor, " b"], cells: int | None = None) -> Time:
        return (u * self.steps).long().clamp_max(self.steps - 1)

    def marginal(self, t: Time) -> Marginal:
        if t.device not in self._tables:
            # one copy per device: to look a time up on the CPU, a GPU would have to finish everything before
            # it
            self._tables[t.device] = Marginal(
                self.alpha_bar.sqrt().float().to(t.device), (1.0 - self.alpha_bar).sqrt().float().to(t.device)
            )
        alpha, sigma = self._tables[t.device]
        return Marginal(alpha[t], sigma[t])

    def network_time(self, t: Time) -> Shaped[Tensor, " b"]:
        return t

    def network_input(self, x_t: Latent, t: Time) -> Latent:
        return x_t

    def network_output(self, output: Float[Tensor, "b d h w"], x_t: Latent, t: Time) -> Latent:
        check_channels(output, x_t)
        return output

    def regression_target(self, x_0: Latent, eps: Latent, t: Time) -> Latent:
        if self.prediction == "epsilon":
            return eps
        if self.prediction == "sample":
            return x_0
        alpha, sigma = (per_sample(value, x_0) for value in self.marginal(t))
        return alpha * eps - sigma * x_0

    def predict(self, output: Latent, x_t: Latent, t: Time) -> Prediction:
        alpha, sigma = (per_sample(value, x_t) for value in self.marginal(t))
        if self.prediction == "epsilon":
            return Prediction((x_t - sigma * output) / alpha, output)
        if self.prediction == "sample":
            return Prediction(output, (x_t - alpha * output) / sigma)
        return Prediction(alpha * x_t - sigma * output, sigma * x_t + alpha * output)

    def times(
        self, steps: int, shift: float | None = None, cells: int | None = None
    ) -> Shaped[Tensor, " steps"]:
        if shift is not None:
            raise ValueError(f"the times of DDPM can't be shifted: sampler.shift={shift}, set it to null")
        if not 1 <= steps <= self.steps:
            raise ValueError(f"a DDPM sampler takes 1 to {self.steps} steps, got {steps}")
        return torch.linspace(self.steps - 1, 0, steps, dtype=torch.float64).round().long()
