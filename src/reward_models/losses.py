"""Losses of comparisons, ratings and rankings: pure functions of utilities, computed in float32.

Notation: d is the difference of utilities, better minus worse; `spread` S the standard deviation of d, S^2
the sum of both variances; sig the logistic function and sp(d) = -log sig(d). Reference values of all of them
are in tests/reward_models/test_losses.py.

EditReward (2509.26346) and HPSv3 minimise E[-log sig(z)], z ~ N(d, S^2). By Jensen's inequality it grows with
S for every d, so the deviation can only be pushed to 0: it is here to reproduce that (`gaussian_outside`).
-log E[sig(z)] is the likelihood of what was said (`gaussian`).
"""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

Each = Float[Tensor, " p"]

PairKind = Literal["bradley_terry", "margin", "rao_kupper", "davidson", "gaussian", "gaussian_outside"]
"""How a pair's loss follows from d and S. Only Rao-Kupper and Davidson have a probability of ties; with the
others a tie counts as half a comparison in each direction.
"""

RatingKind = Literal["gaussian", "ordinal", "squared"]

NODES = 32
"""Of the Gauss-Hermite quadrature; errors up to 4e-4 for S <= 5, 1e-6 for S <= 2."""

PUBLISHED_MARGIN = 0.57
"""Of UnifiedReward and others, see the reference."""

HERMITE, WEIGHTS = (torch.from_numpy(each).float() for each in np.polynomial.hermite_e.hermegauss(NODES))
LOG_WEIGHTS = (WEIGHTS / WEIGHTS.sum()).log()


def bradley_terry(difference: Each) -> Each:
    """-log P(better wins) = sp(d)."""
    return F.softplus(-difference)


def soft_bradley_terry(difference: Each, share: Each) -> Each:
    """Cross-entropy where a share of the people preferred the first: p sp(d) + (1 - p) sp(-d)."""
    return share * F.softplus(-difference) + (1.0 - share) * F.softplus(difference)


def margin(difference: Each, least: float = PUBLISHED_MARGIN) -> Each:
    """sp(d - c): the better edit must win by more than c."""
    return F.softplus(least - difference)


def gaussian(difference: Each, spread: Each) -> Each:
    """-log E[sig(z)], z ~ N(d, S^2), by quadrature."""
    inside = -F.softplus(-_drawn(difference, spread)) + LOG_WEIGHTS.to(difference)
    return -torch.logsumexp(inside, -1)


def gaussian_outside(difference: Each, spread: Each) -> Each:
    """E[-log sig(z)], z ~ N(d, S^2): EditReward's, which teaches that nothing is uncertain."""
    return (F.softplus(-_drawn(difference, spread)) * LOG_WEIGHTS.to(difference).exp()).sum(-1)


def _drawn(difference: Each, spread: Each) -> Float[Tensor, "p k"]:
    return difference[..., None] + spread[..., None] * HERMITE.to(difference)


def rao_kupper(difference: Each, tie: Bool[Tensor, " p"], width: Each) -> Each:
    """Rao and Kupper (1967): ties within a width kappa > 0. P(A) = sig(d - kappa), P(B) = sig(-d - kappa),
    and P(tie) = (exp(2 kappa) - 1) P(A) P(B); at d = 0 it is tanh(kappa / 2).
    """
    first, second = F.softplus(width - difference), F.softplus(width + difference)
    return torch.where(tie, first + second - torch.log(torch.expm1(2.0 * width)), first)


def davidson(difference: Each, tie: Bool[Tensor, " p"], log_weight: Each) -> Each:
    """Davidson (1970): P(tie) in proportion to nu exp((u_A + u_B) / 2); at d = 0 it is nu / (2 + nu).

    Args:
        difference, tie: of the pairs.
        log_weight: log nu.
    """
    halves = torch.stack((difference / 2.0, -difference / 2.0, log_weight), -1)
    return torch.logsumexp(halves, -1) - torch.where(tie, log_weight, difference / 2.0)


def pair_losses(kind: PairKind, difference: Each, spread: Each, tie: Bool[Tensor, " p"], width: Each) -> Each:
    """The loss of each pair.

    Args:
        kind: see PairKind.
        difference: of utilities, better minus worse.
        spread: standard deviation of the difference; only the gaussian kinds use it.
        tie: whether both were called equal.
        width: the tie width kappa > 0 of each pair's source and aspect; Davidson's nu with the same P(tie) at
            d = 0 is exp(kappa) - 1.
    """
    difference, spread, width = difference.float(), spread.float(), width.float()
    if kind == "rao_kupper":
        return rao_kupper(difference, tie, width)
    if kind == "davidson":
        return davidson(difference, tie, torch.log(torch.expm1(width)))
    one_way = ONE_WAY[kind]
    won, lost = one_way(difference, spread), one_way(-difference, spread)
    return torch.where(tie, (won + lost) / 2.0, won)


ONE_WAY: Mapping[str, Callable[[Each, Each], Each]] = {
    "bradley_terry": lambda difference, spread: bradley_terry(difference),
    "margin": lambda difference, spread: margin(difference),
    "gaussian": gaussian,
    "gaussian_outside": gaussian_outside,
}
"""Losses without a probability of ties, of differences and spreads."""


def plackett_luce(ordered: Float[Tensor, "*n k"]) -> Float[Tensor, "*n"]:
    """-log P(this order of k edits), best first: sum over i < k of logsumexp(u_i, ...) - u_i."""
    below = torch.logcumsumexp(ordered.float().flip(-1), -1).flip(-1)
    return (below - ordered)[..., :-1].sum(-1)


def ranking(ordered: Float[Tensor, "*n k"]) -> Float[Tensor, "*n"]:
    """The mean of Bradley-Terry's loss over all pairs of an order of k edits, best first."""
    first, second = torch.triu_indices(ordered.shape[-1], ordered.shape[-1], 1).unbind()
    return bradley_terry(ordered[..., first] - ordered[..., second]).mean(-1)


def gaussian_rating(utility: Each, log_deviation: Each, value: Each) -> Each:
    """-log N(value; u, s^2) without its constant: ((y - u) / s)^2 / 2 + log s."""
    return 0.5 * ((value - utility) * (-log_deviation).exp()).square() + log_deviation


def squared_rating(utility: Each, value: Each) -> Each:
    """(u - y)^2, the published regression; its y is the rating minus 4.5 on a scale whose middle is 5, ours
    is counted from the middle.
    """
    return (utility - value).square()


def ordinal_rating(
    utility: Each, deviation: Each, level: Int[Tensor, " r"], thresholds: Float[Tensor, "r levels_1"]
) -> Each:
    """-log P(level), P(y <= c) = sig((theta_c - u) / s).

    Args:
        utility, deviation: of each rated edit.
        level: from 0.
        thresholds: between the levels of each rating's scale, ascending; inf for levels that it doesn't have.
    """
    reached = (thresholds - utility[:, None]) / deviation[:, None]
    padded = F.pad(F.pad(reached, (1, 0), value=-torch.inf), (0, 1), value=torch.inf)
    upper = padded.gather(1, level[:, None] + 1).squeeze(1)
    lower = padded.gather(1, level[:, None]).squeeze(1)
    return -_log_between(lower, upper)


def _log_between(lower: Each, upper: Each) -> Each:
    """log(sig(upper) - sig(lower)) = log sig(upper) + log sig(-lower) + log(1 - exp(lower - upper)); exact
    where both are far out on one side.
    """
    gap = torch.where(lower.isfinite() & upper.isfinite(), lower - upper, torch.full_like(lower, -torch.inf))
    finite = torch.where(gap.isfinite(), gap, torch.full_like(gap, -1.0))
    inside = torch.where(gap.isfinite(), torch.log(-torch.expm1(finite)), torch.zeros_like(gap))
    return _log_sigmoid(upper) + _log_sigmoid(-lower) + inside


def _log_sigmoid(values: Each) -> Each:
    """Log sig, 0 at infinity, with a gradient of 0 there."""
    finite = torch.where(values.isfinite(), values, torch.zeros_like(values))
    return torch.where(values.isfinite(), F.logsigmoid(finite), torch.zeros_like(values))


def win_probability(difference: Each, temperature: float = 1.0) -> Each:
    """P(better wins) by Bradley and Terry's model: sig(d / T)."""
    return (difference / temperature).sigmoid()
