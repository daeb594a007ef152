"""One stochastic step of a sampler as a normal distribution, x' = mean + std z with z ~ N(0, I): what online
reinforcement learning needs to know about it.

`now` is the present time, `after` the next, less noisy one; both are marginals x = alpha x_0 + sigma eps of
any process. A kernel chooses how much of the noise at `after` is fresh. All of this is fp32, outside of
autocast: in bf16, rounding of a latent alone moves the ratio of two probabilities by 1e-4.
"""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from src.diffusion.process import Latent, Marginal, Prediction, Process, per_sample

Deviation = Float[Tensor, "b 1 1 1"]


@final
class Transition(NamedTuple):
    """The distribution of the next latent.

    Attributes:
        mean: of the next latent.
        std: its standard deviation, one per sample; 0 for a deterministic step.
    """

    mean: Latent
    std: Deviation

    def sample(self, eps: Latent) -> Latent:
        """The next latent from noise eps, N(0, I)."""
        return self.mean + self.std * eps


def log_probability(transition: Transition, latent: Latent) -> Float[Tensor, " b"]:
    """The log density of a latent under a transition with std > 0, as the mean over its elements: a sum over
    thousands of elements would leave no learning rate at which a ratio stays near 1.
    """
    z = (latent - transition.mean) / transition.std
    return (-0.5 * z**2 - transition.std.log() - 0.5 * math.log(2.0 * math.pi)).flatten(1).mean(1)


def kl_divergence(one: Transition, other: Latent) -> Float[Tensor, " b"]:
    """KL of a transition from one with the same std > 0 and another mean, as the mean over elements."""
    return ((one.mean - other) ** 2 / (2.0 * one.std**2)).flatten(1).mean(1)


class Kernel(ABC):
    """How much of the noise at the next time is fresh."""

    @abstractmethod
    def transition(self, prediction: Prediction, now: Marginal, after: Marginal) -> Transition:
        """The distribution of the next latent.

        Args:
            prediction: x_0 and noise implied by the network at the present time.
            now, after: marginals of the present and the next time; sigma of the present one is above 0.
        """

    @abstractmethod
    def check(self, process: Process) -> None:
        """Raise ValueError for a process that the kernel is not defined for."""


@final
class Ancestral(Kernel):
    """DDIM with eta (Song et al. 2021), for every process: eta = 0 is deterministic, 1 Euler ancestral. The
    chain keeps the marginals of the process at any eta, and nothing of the fresh noise is left at the end.

    Args:
        eta: share of the ancestral noise, 0 to 1.
    """

    def __init__(self, eta: float = 1.0) -> None:
        if not 0.0 <= eta <= 1.0:
            raise ValueError(f"eta must lie in [0, 1], got {eta}")
        self.eta = eta

    def transition(self, prediction: Prediction, now: Marginal, after: Marginal) -> Transition:
        """Mean alpha' (x_0 + kept eps), std alpha' fresh. In k-diffusion's variable x / alpha the noise level
        is sigma / alpha; the ratio after/now is written so that alpha = 0 (pure noise) is allowed.
        """
        x_0, eps = prediction
        alpha = per_sample(after.alpha, x_0)
        level = per_sample(after.sigma / after.alpha, x_0)
        ratio = per_sample((after.sigma * now.alpha) / (after.alpha * now.sigma), x_0)
        fresh = (self.eta * level * (1.0 - ratio**2).clamp_min(0.0).sqrt()).clamp(max=level)
        kept = (level**2 - fresh**2).clamp_min(0.0).sqrt()
        return Transition(alpha * (x_0 + kept * eps), alpha * fresh)

    def check(self, process: Process) -> None:
        """Any process will do."""


@final
class FlowSDE(Kernel):
    """Flow-GRPO's (Liu et al. 2025): Euler-Maruyama of an SDE with the marginals of a rectified flow, noise
    rate g = a sqrt(t / (1 - t)). With few steps much of its noise stays in the result: at 10 steps and shift
    3, 0.20 of a signal of 0.45.

    Args:
        noise: a.
    """

    def __init__(self, noise: float = 0.7) -> None:
        if not noise > 0.0:
            raise ValueError(f"noise must be positive, got {noise}")
        self.noise = noise

    def transition(self, prediction: Prediction, now: Marginal, after: Marginal) -> Transition:
        """Mean x - v D - g^2 D / (2 t) eps, std g sqrt(D), with D = t - t'. At t = 1, where g is infinite, it
        divides by the next time's 1 - t', as Flow-GRPO does.
        """
        x_0, eps = prediction
        t, later = per_sample(now.sigma, x_0), per_sample(after.sigma, x_0)
        left = torch.where(t < 1.0, 1.0 - t, 1.0 - later)
        variance = self.noise**2 * t / left * (t - later)
        mean = per_sample(after.alpha, x_0) * x_0 + (later - variance / (2.0 * t)) * eps
        return Transition(mean, variance.sqrt())

    def check(self, process: Process) -> None:
        """Raise ValueError unless alpha + sigma = 1, as in a rectified flow."""
        alpha, sigma = process.marginal(process.times(4, cells=1))
        if not torch.allclose(alpha + sigma, torch.ones_like(alpha), atol=1e-5):
            raise ValueError(
                f"the kernel flow_sde needs a rectified flow, not {type(process).__name__}: take kernel="
                "ancestral"
            )


@final
class CPS(Kernel):
    """Coefficient-preserving sampling (Flow-CPS, Wang and Yu 2025): the noise level is kept, a fixed angle of
    it is fresh. No noise is left at the end, but the result does not converge to the data with more steps.

    Args:
        eta: the angle in quarter turns, above 0 to 1.
    """

    def __init__(self, eta: float = 0.8) -> None:
        if not 0.0 < eta <= 1.0:
            raise ValueError(f"eta must lie in (0, 1], got {eta}")
        self.eta = eta

    def transition(self, prediction: Prediction, now: Marginal, after: Marginal) -> Transition:
        """Mean alpha' x_0 + sigma' cos(eta pi/2) eps, std sigma' sin(eta pi/2)."""
        x_0, eps = prediction
        sigma, angle = per_sample(after.sigma, x_0), self.eta * math.pi / 2.0
        mean = per_sample(after.alpha, x_0) * x_0 + sigma * math.cos(angle) * eps
        return Transition(mean, sigma * math.sin(angle))

    def check(self, process: Process) -> None:
        """Any process will do."""
