"""The denoiser that a network with unlimited data and capacity would become, where the data are finitely many
latents.

If x_0 is one of k latents, each as likely, and x_t = alpha x_0 + sigma eps, the network that minimises the
mean squared error outputs what follows from the mean of x_0 given x_t. That mean weights each latent by
exp(-|x_t - alpha x_0|^2 / (2 sigma^2)).
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from src.diffusion.process import Latent, Marginal, Process, Time, per_sample

Latents = Float[Tensor, "k c h w"]


def posterior_weights(latents: Latents, x_t: Latent, marginal: Marginal) -> Float[Tensor, "b k"]:
    """The probability of each latent given x_t, in double precision; every row sums to 1.

    Args:
        latents: the k possible values of x_0, equally likely.
        x_t: noisy latents.
        marginal: alpha_t >= 0 and sigma_t > 0, one per row of x_t.

    Raises:
        ValueError: no latent, or a sigma that is not positive.
    """
    if len(latents) == 0:
        raise ValueError("a posterior needs at least one latent, got none")
    if not bool((marginal.sigma > 0).all()):
        raise ValueError(f"a posterior needs noise: sigma must be above 0, got {marginal.sigma.min().item()}")
    known, seen = latents.double().flatten(1), x_t.double().flatten(1)
    alpha, sigma = (value.double().to(seen.device).unsqueeze(1) for value in marginal)
    # |x_t|^2 is the same for all latents; softmax subtracts the largest exponent before it takes exp
    exponents = (alpha * (seen @ known.T) - alpha**2 * known.square().sum(1) / 2) / sigma**2
    return exponents.softmax(dim=1)


def posterior_mean(latents: Latents, x_t: Latent, marginal: Marginal) -> Latent:
    """The mean of x_0 given x_t, in the type of x_t. Arguments and errors as in `posterior_weights`."""
    weights = posterior_weights(latents, x_t, marginal)
    return torch.einsum("bk,kchw->bchw", weights, latents.double()).to(x_t.dtype)


@final
class ExactDenoiser:
    """The posterior mean as a network's output, for `Sampler.sample`.

    Args:
        latents: the k possible values of x_0, equally likely; on the device of the sampling.
        process: the sampler's.

    Raises:
        ValueError: no latent.
    """

    def __init__(self, latents: Latents, process: Process) -> None:
        if len(latents) == 0:
            raise ValueError("an exact denoiser needs at least one latent, got none")
        self.latents = latents.double()
        self.process = process

    def __call__(self, x_t: Latent, t: Time) -> Latent:
        """Network output for noisy latents x_t (b, c, h, w) at times t (b,)."""
        marginal = self.process.marginal(t)
        x_0 = posterior_mean(self.latents, x_t, marginal)
        alpha, sigma = (per_sample(value, x_t) for value in marginal)
        return self.process.regression_target(x_0, (x_t - alpha * x_0) / sigma, t)
