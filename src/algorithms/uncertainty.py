"""Uncertainty weighting: the expected loss of each denoising task is learnt, so that easy and hard ones count
alike (Kendall 2018; Karras 2024, eq. 21, 22).

A task is a time and an instruction. Redrawing a whole image has a squared error hundreds of times that of
recolouring one object; with a plain mean, small edits would hardly be learnt. The weight depends only on the
network's inputs, so the minimum of each task's loss is unchanged.
"""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

FREQUENCIES = 8


def weighted_losses(losses: Float[Tensor, " b"], log_variance: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Each loss / variance + log variance, which is minimal at log_variance = log(loss), where every gradient
    is relative to the loss.
    """
    return losses * torch.exp(-log_variance) + log_variance


@final
class Uncertainty(nn.Module):
    """Log variance as a function of noise level and instruction; initially 0, which is the plain mean.

    Args:
        text_width: width of the instruction's tokens.
        hidden: width of the one hidden layer.
    """

    def __init__(self, text_width: int, hidden: int = 64) -> None:
        super().__init__()
        self.hidden = nn.Linear(text_width + 2 * FREQUENCIES, hidden)
        self.log_variance = nn.Linear(hidden, 1)
        nn.init.zeros_(self.log_variance.weight)
        nn.init.zeros_(self.log_variance.bias)

    def forward(self, sigma: Float[Tensor, " b"], instruction: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        """Log variance per sample, from the noise level sigma in [0, 1] and the instruction's mean token,
        through which no gradient flows.
        """
        angles = sigma.float().unsqueeze(1) * torch.exp2(torch.arange(FREQUENCIES, device=sigma.device))
        features = torch.cat([instruction.detach().float(), angles.cos(), angles.sin()], 1)
        with torch.autocast(sigma.device.type, enabled=False):
            return self.log_variance(nn.functional.silu(self.hidden(features))).squeeze(1)
