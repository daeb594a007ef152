"""What labels say of which utilities: a perspective's of its own, "semantic" of following and preserving in
one, "overall" of all three.

EditReward's first dimension and ImagenHub's SC are "semantic": the worse of following and preserving. They
can't say which of the two failed, so a model that learnt from them alone identifies neither.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor

from src.records import ASPECTS, PERSPECTIVES
from src.reward_models.reward_model import Estimates

SHARPNESS = 0.5
"""Of the soft minimum, in units of utility: small, the worse of two decides; large, their mean."""

PARTS = {
    "semantic": ("following", "preserving"),
    "overall": ("following", "preserving", "quality"),
}
"""The perspectives in an aspect of several."""

WIDER: dict[str, tuple[str, ...]] = {
    "following": ("following", "semantic", "overall"),
    "preserving": ("preserving", "semantic", "overall"),
    "quality": ("quality", "overall"),
}
"""For each perspective the aspects that say something of it, the nearest first."""


@final
class AspectUtilities(NamedTuple):
    """Utilities of n edits in all five aspects, in the order of ASPECTS, and their variances."""

    mean: Float[Tensor, "n 5"]
    variance: Float[Tensor, "n 5"] | None


def soft_minimum(utilities: Float[Tensor, "*n k"], sharpness: float = SHARPNESS) -> Float[Tensor, "*n"]:
    """-tau log(mean of exp(-u / tau)): between the least and the mean of k utilities; u where all are u."""
    return -sharpness * (
        torch.logsumexp(-utilities / sharpness, -1) - torch.tensor(utilities.shape[-1]).log()
    )


def aspect_utilities(
    estimates: Estimates, weights: Float[Tensor, "3"], sharpness: float = SHARPNESS
) -> AspectUtilities:
    """The utilities of the three perspectives, semantic and overall.

    Args:
        estimates: of n edits.
        weights: of the perspectives in "overall"; 0 or more, sum 1.
        sharpness: of the minimum in "semantic".

    Returns:
        The variance of the minimum is of first order: its slopes squared times the variances.
    """
    mean, semantic = estimates.mean, estimates.mean[:, :2]
    joined = torch.cat(
        (mean, soft_minimum(semantic, sharpness)[:, None], (mean * weights).sum(-1, keepdim=True)), 1
    )
    if estimates.log_deviation is None:
        return AspectUtilities(joined, None)
    variance = (2.0 * estimates.log_deviation).exp()
    slopes = (-semantic / sharpness).softmax(-1)
    mixed = torch.stack(
        ((slopes.square() * variance[:, :2]).sum(-1), (weights.square() * variance).sum(-1)), 1
    )
    return AspectUtilities(joined, torch.cat((variance, mixed), 1))


def identified_by(labelled: Collection[str]) -> tuple[str, ...]:
    """The aspects that labels of these aspects identify, in the order of ASPECTS: their own, and those whose
    parts they all identify.
    """
    found = {
        aspect
        for aspect in ASPECTS
        if aspect in labelled or (aspect in PARTS and all(part in labelled for part in PARTS[aspect]))
    }
    return tuple(aspect for aspect in ASPECTS if aspect in found)


def nearest_aspects(identified: Sequence[str], shared: bool) -> tuple[str, str, str]:
    """For each perspective the aspect that scores it.

    Args:
        identified: what a model's labels told apart.
        shared: let a wider aspect stand for a perspective that isn't identified.

    Raises:
        ValueError: a perspective that isn't identified, with `shared` none that says anything of it.
    """
    lacking = [each.value for each in PERSPECTIVES if each.value not in identified]
    if lacking and not shared:
        raise ValueError(
            f"this reward model's labels identify {', '.join(identified) or 'nothing'}, and not "
            f"{', '.join(lacking)}: perspectives=shared lets the nearest aspect stand for each"
        )
    chosen = [
        next((each for each in WIDER[one] if each in identified), None) for one in map(str, PERSPECTIVES)
    ]
    if None in chosen:
        raise ValueError(
            f"this reward model's labels identify {', '.join(identified) or 'nothing'}: nothing of it says "
            f"how good an edit is in {', '.join(PERSPECTIVES)}"
        )
    first, second, third = (str(each) for each in chosen)
    return first, second, third
