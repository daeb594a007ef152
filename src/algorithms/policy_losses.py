"""Losses of online reinforcement learning and of preferences, as functions of tensors; one value per sample.

Sources: Flow-GRPO (2505.05470), TempFlow-GRPO, GRPO-Guard, Flow-DPPO (2606.11025), DiffusionNFT (2509.16117),
Diffusion-DPO (2311.12908). Departures: probabilities are true means over elements (several releases drop 1 /
(2 std^2) for some kernels, a hidden weight), and advantages are masked, not clipped.
"""

from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from src.diffusion.process import Latent
from src.diffusion.transitions import Transition, kl_divergence, log_probability

Each = Float[Tensor, " b"]
"""One number per sample."""

LARGEST_ADVANTAGE = 5.0
"""Beyond which DiffusionNFT's optimality doesn't grow."""

LEAST_ERROR = 1e-5
"""Of the division in `forward_process_loss`."""


def surrogate(log_ratio: Each, advantage: Each, clip: tuple[float, float] | None = None) -> Each:
    """GRPO's loss of one step: -A r with r = exp(log_ratio), or that of r clipped to [1 - low, 1 + high]
    where it is larger.

    With one update per rollout r is 1, the gradient is -A times that of the log probability, and clipping
    does nothing.

    Args:
        log_ratio: log probability at the present weights less that at those of the rollout.
        advantage: of the sample.
        clip: (low, high); None doesn't clip.
    """
    ratio = log_ratio.exp()
    if clip is None:
        return -advantage * ratio
    low, high = clip
    return torch.maximum(-advantage * ratio, -advantage * ratio.clamp(1.0 - low, 1.0 + high))


def guarded_log_ratio(now: Transition, old_mean: Latent, latent: Latent, old_log_probability: Each) -> Each:
    """GRPO-Guard's log ratio. A plain one has a negative mean that grows as the noise shrinks, so that
    clipping acts on one side only; here the mean is 0, and the spread is that of the change of the mean, the
    same for every step.

    Args:
        now: the transition at the present weights.
        old_mean, old_log_probability: at the weights of the rollout.
        latent: that the rollout drew.
    """
    drift = kl_divergence(now, old_mean)
    return (log_probability(now, latent) - old_log_probability + drift) * now.std.flatten()


def within_divergence(log_ratio: Each, divergence: Each, advantage: Each, bound: float) -> Bool[Tensor, " b"]:
    """Flow-DPPO's trust region: False for samples that are further away than `bound` and would move on in
    that direction.
    """
    moves_on = ((log_ratio > 0.0) & (advantage > 0.0)) | ((log_ratio < 0.0) & (advantage < 0.0))
    return ~((divergence >= bound) & moves_on)


def noise_weights(std: Float[Tensor, " steps"]) -> Float[Tensor, " steps"]:
    """TempFlow-GRPO's weights of steps, proportional to their noise and 1 on average. A plain ratio's
    gradient is largest where there is least noise, by a factor of 17 to 29 over ten steps: it would be spent
    on texture.
    """
    return std / std.mean()


def optimality(advantage: Each) -> Each:
    """DiffusionNFT's probability that a sample is a good one, 0 to 1, and 1/2 for an advantage of 0."""
    return 0.5 + 0.5 * (advantage / LARGEST_ADVANTAGE).clamp(-1.0, 1.0)


def forward_process_loss(
    predicted: Latent, old: Latent, target: Latent, optimality: Each, mix: float = 1.0, adaptive: bool = False
) -> Each:
    """DiffusionNFT: pull the network to a drawn sample if it is good, and push it away if it is not, without
    any log probability.

    With y+ = (1 - mix) old + mix predicted and y- = (1 + mix) old - mix predicted it is [r |y+ - y|^2 + (1 -
    r) |y- - y|^2] / mix. At predicted = old its value does not depend on r, but its gradient does: watch
    that. Its minimum is old + (2 / mix) Cov(r, y).

    Args:
        predicted: by the present weights, of anything linear in x_0: velocity, noise or x_0.
        old: by the weights of the rollout, without gradient.
        target: what the network should have put out for the drawn sample.
        optimality: r of the sample, 0 to 1.
        mix: how far the implicit policies lie from the old one; above 0.
        adaptive: divide each term by its mean absolute error, for predictions of x_0 whose errors grow with
            the noise.
    """
    better = (1.0 - mix) * old + mix * predicted
    worse = (1.0 + mix) * old - mix * predicted
    good, bad = (_mean_square(side - target, adaptive) for side in (better, worse))
    return (optimality * good + (1.0 - optimality) * bad) / mix


def _mean_square(error: Latent, adaptive: bool) -> Each:
    square = (error**2).flatten(1).mean(1)
    if not adaptive:
        return square
    return square / error.detach().abs().flatten(1).mean(1).clamp_min(LEAST_ERROR)


@final
class PreferenceLoss(NamedTuple):
    """Diffusion-DPO's loss, log 2 where the network is the reference, and how much more it prefers the winner
    than the reference does.
    """

    loss: Each
    logit: Each


def preference_loss(winner: Each, loser: Each, beta: float) -> PreferenceLoss:
    """Diffusion-DPO: -log sigmoid(-(beta / 2) (winner - loser)).

    Args:
        winner, loser: mean squared error of the network less that of the reference, at the same noise and
            time. Log both: a loss that falls while both rise has made everything worse.
        beta: how strongly the network is bound to the reference.
    """
    logit = -0.5 * beta * (winner - loser)
    return PreferenceLoss(-logsigmoid(logit), logit)
