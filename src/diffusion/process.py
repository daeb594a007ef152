"""The noise process: how a clean latent becomes noise, and what the network is asked to predict on the way.

Every process here has the form x_t = alpha_t x_0 + sigma_t eps with eps ~ N(0, I). Shapes: latents (b, c, h,
w), times (b,).
"""

from abc import ABC, abstractmethod
from typing import NamedTuple, final

from jaxtyping import Float, Shaped
from torch import Tensor

Latent = Float[Tensor, "b c h w"]
Time = Shaped[Tensor, " b"]
"""One time per sample, in the process's own unit: integer steps for DDPM, [0, 1] for rectified flow."""


@final
class Marginal(NamedTuple):
    """alpha_t and sigma_t of x_t = alpha_t x_0 + sigma_t eps, one value per sample."""

    alpha: Float[Tensor, " b"]
    sigma: Float[Tensor, " b"]


@final
class Prediction(NamedTuple):
    """What a network output says about x_t: its clean latent and its noise."""

    x_0: Latent
    eps: Latent


def noised(x_0: Latent, eps: Latent, marginal: Marginal) -> Latent:
    """x_t = alpha_t x_0 + sigma_t eps."""
    return per_sample(marginal.alpha, x_0) * x_0 + per_sample(marginal.sigma, x_0) * eps


def per_sample(values: Float[Tensor, " b"], latent: Latent) -> Float[Tensor, "b 1 1 1"]:
    """One number per sample, shaped and typed to multiply a latent."""
    return values.to(device=latent.device, dtype=latent.dtype).view(-1, 1, 1, 1)


def check_channels(output: Float[Tensor, "b d h w"], x_t: Latent, more: int = 0) -> None:
    """Raise ValueError unless an output has the latent's channels and `more` of its own."""
    if output.shape[1] != x_t.shape[1] + more:
        raise ValueError(
            f"the process takes {x_t.shape[1] + more} channels from the network, which puts out "
            f"{output.shape[1]} (prediction=posterior goes with a backbone's deviation=true, others with "
            "false)"
        )


class Process(ABC):
    """How latents are noised in training and which times a sampler visits."""

    @abstractmethod
    def draw_time(self, u: Float[Tensor, " b"], cells: int | None = None) -> Time:
        """Training times from uniform numbers u in [0, 1).

        Args:
            u: one per sample.
            cells: of the latent, height times width.

        Raises:
            ValueError: no cells for a process whose times depend on them.
        """

    @abstractmethod
    def marginal(self, t: Time) -> Marginal:
        """alpha_t and sigma_t."""

    @abstractmethod
    def network_time(self, t: Time) -> Shaped[Tensor, " b"]:
        """The number that the network's time embedding sees, in [0, 1000]."""

    @abstractmethod
    def network_input(self, x_t: Latent, t: Time) -> Latent:
        """The noisy latent as the network sees it: x_t itself, or x_t scaled by a number that depends on the
        time alone.
        """

    @abstractmethod
    def network_output(self, output: Float[Tensor, "b d h w"], x_t: Latent, t: Time) -> Latent:
        """What the network put out, as an estimate of `regression_target`.

        Args:
            output: (b, c, h, w), or with further channels where the process asks for them.
            x_t, t: the noisy latent and its time.

        Raises:
            ValueError: another number of channels.
        """

    @abstractmethod
    def regression_target(self, x_0: Latent, eps: Latent, t: Time) -> Latent:
        """What the network should output at time t."""

    @abstractmethod
    def predict(self, output: Latent, x_t: Latent, t: Time) -> Prediction:
        """x_0 and eps implied by a network output; `predict(target(x_0, eps, t), noised(x_0, eps,
        marginal(t)), t) == (x_0, eps)`.
        """

    @abstractmethod
    def times(
        self, steps: int, shift: float | None = None, cells: int | None = None
    ) -> Shaped[Tensor, " steps"]:
        """The times a sampler visits, from most to least noisy; after the last one comes the clean latent.

        Args:
            steps: their number.
            shift: of a process whose times can be shifted towards the noise; None for its own.
            cells: of the latent, height times width.

        Raises:
            ValueError: no step, a shift for a process without, or no cells for one whose times depend on
                them.
        """
