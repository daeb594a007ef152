"""How far the times of a rectified flow lean towards the noise where that depends on the image's size: the
more cells, the easier each is guessed from its neighbours, and the less the same noise hides.
"""

import math
from abc import ABC, abstractmethod
from typing import final


class Shift(ABC):
    """The shift s of t' = s t / (1 + (s - 1) t) as a function of the latent."""

    @abstractmethod
    def at(self, cells: int, steps: int | None) -> float:
        """The shift.

        Args:
            cells: of the latent, height times width.
            steps: of a sampler; None in training.
        """


@final
class Flux2Shift(Shift):
    """That of FLUX.2: s = exp(mu), with mu linear in the number of cells for 10 and for 200 steps and linear
    in the steps between; above 4,300 cells that for 200 steps.

    Args:
        training_steps: of the sampler that a training is for.
    """

    def __init__(self, training_steps: int = 50) -> None:
        if training_steps < 1:
            raise ValueError(f"training_steps must be at least 1, got {training_steps}")
        self.training_steps = training_steps

    def at(self, cells: int, steps: int | None) -> float:
        few, many = 8.73809524e-05 * cells + 1.89833333, 0.00016927 * cells + 0.45666666
        if cells > 4300:
            return math.exp(many)
        steps = self.training_steps if steps is None else steps
        return math.exp(many + (many - few) / 190.0 * (steps - 200))
