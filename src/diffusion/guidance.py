"""Classifier-free guidance over instruction, image and reward, and the dropout in training that makes it
possible.

InsPix2Pix (Brooks et al. 2023, eq. 3) combines three predictions; the optional fourth asks what a higher
reward changes (not in the paper):

    out = out(0, 0, R) + s_I [out(I, 0, R) - out(0, 0, R)] + s_T [out(I, T, R) - out(I, 0, R)]
        + (s_R - 1) [out(I, T, R) - out(I, T, R_ref)]

As a sum over branches the weights are: full s_T + s_R - 1, image only s_I - s_T, none 1 - s_I, reference
reward 1 - s_R. They sum to one, and a branch whose weight is zero is never computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Branch(StrEnum):
    """A guidance branch's condition: everything, the image without the instruction, neither, or everything
    with a reference reward.
    """

    FULL = "full"
    IMAGE_ONLY = "image_only"
    NONE = "none"
    REFERENCE_REWARD = "reference_reward"


@final
@dataclass(frozen=True)
class Guidance:
    """Guidance scales; 1 everywhere means one plain prediction.

    Attributes:
        text: s_T, how strongly the instruction is followed (7.5 in InsPix2Pix).
        image: s_I, how closely the original is kept (1.5 in InsPix2Pix).
        reward: s_R, how strongly the target reward is preferred to the reference reward.
        reference: the reference reward of the fourth branch: three scores, or "not_given", which needs a
            model trained with reward dropout.
    """

    text: float = 1.0
    image: float = 1.0
    reward: float = 1.0
    reference: str | Sequence[float] = (0.0, 0.0, 0.0)

    def weights(self) -> dict[Branch, float]:
        """Weight of every branch that matters; the values sum to one."""
        weights = {
            Branch.FULL: self.text + self.reward - 1.0,
            Branch.IMAGE_ONLY: self.image - self.text,
            Branch.NONE: 1.0 - self.image,
            Branch.REFERENCE_REWARD: 1.0 - self.reward,
        }
        return {branch: weight for branch, weight in weights.items() if abs(weight) > 1e-9}


@final
class DroppedConditions(NamedTuple):
    """Which samples lose their instruction and which lose their image."""

    text: Bool[Tensor, " b"]
    image: Bool[Tensor, " b"]


def condition_dropout(u: Float[Tensor, " b"], probability: float) -> DroppedConditions:
    """The InsPix2Pix scheme: text alone, both, or image alone are dropped with `probability` each, by one
    uniform number u in [0, 1).

    Text is dropped where u < 2p, the image where p <= u < 3p.
    """
    if not 0.0 <= probability <= 1.0 / 3.0:
        raise ValueError(
            f"condition dropout must lie in [0, 1/3], as three cases share it, got {probability}"
        )
    return DroppedConditions(text=u < 2 * probability, image=(u >= probability) & (u < 3 * probability))


def text_dropout(u: Float[Tensor, " b"], probability: float) -> DroppedConditions:
    """The instruction alone is dropped where u < p, by one uniform number u in [0, 1)."""
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"condition dropout must lie in [0, 1], got {probability}")
    return DroppedConditions(text=u < probability, image=torch.zeros_like(u, dtype=torch.bool))
