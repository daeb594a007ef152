"""How much better an edit is than the others of its group, the edits of one case: what group-relative
reinforcement learning maximises.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Scale = Literal["group", "step", "constant"]
"""What advantages are divided by: the standard deviation of the group, that of all rewards of the optimiser
step, or 1.
"""


@final
class Advantages(NamedTuple):
    """Advantages of p groups of g members.

    Attributes:
        value: 0 where there is nothing to learn.
        valid: members that count: judged, in a group of at least two judged members that differ.
        spread: standard deviation of each group's judged rewards; 0 for fewer than two.
    """

    value: Float[Tensor, "p g"]
    valid: Bool[Tensor, "p g"]
    spread: Float[Tensor, " p"]


def advantages(
    rewards: Float[Tensor, "p g"],
    scale: Scale,
    floor: float,
    over_ranks: Callable[[Float[Tensor, "3"]], Float[Tensor, "3"]] = lambda sums: sums,
) -> Advantages:
    """Rewards less their group's mean, divided by a scale.

    Args:
        rewards: higher is better; NaN where the judge failed, which counts in no mean, deviation or number.
        scale: see `Scale`; deviations are those of the population.
        floor: the least divisor, in units of the reward. Without one, a group whose rewards differ by
            rounding weighs as much as any other.
        over_ranks: sums three numbers over all ranks, for the scale "step".

    Raises:
        ValueError: a floor that is not positive, or an unknown scale.
    """
    if not floor > 0.0:
        raise ValueError(f"floor={floor}: the least divisor of an advantage must be positive")
    judged = ~rewards.isnan()
    known = rewards.nan_to_num()
    count = judged.sum(1, keepdim=True).clamp_min(1)
    centred = torch.where(judged, known - known.sum(1, keepdim=True) / count, 0.0)
    spread = ((centred**2).sum(1) / count.squeeze(1)).sqrt()
    if scale == "group":
        divisor = spread.unsqueeze(1)
    elif scale == "step":
        divisor = _common_deviation(known, judged, over_ranks)
    elif scale == "constant":
        divisor = torch.ones(())
    else:
        raise ValueError(f"scale={scale!r}: choose from group, step, constant")
    differs = (spread > 0.0) & (judged.sum(1) > 1)
    valid = judged & differs.unsqueeze(1)
    return Advantages(torch.where(valid, centred / divisor.clamp_min(floor), 0.0), valid, spread)


def _common_deviation(
    known: Float[Tensor, "p g"],
    judged: Bool[Tensor, "p g"],
    over_ranks: Callable[[Float[Tensor, "3"]], Float[Tensor, "3"]],
) -> Float[Tensor, ""]:
    """The standard deviation of all judged rewards of a step."""
    sums = torch.stack([judged.sum().to(known.dtype), known.sum(), (known**2).sum()])
    count, total, squares = over_ranks(sums)
    count = count.clamp_min(1.0)
    return (squares / count - (total / count) ** 2).clamp_min(0.0).sqrt()
