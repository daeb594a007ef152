"""The synthetic world's benchmarks: 80 unseen scenes x the seven edit types of Real-Edit = 560 cases, each
with its ground truth.

    python -m src.evaluate checkpoint=runs/.../last.ckpt benchmark=synthetic_edit judge=oracle

Scenes and photographs are disjoint from those of training. Protocol: one edit per case, noise determined by
(case, seed), all cases in the means.

    synthetic_edit        words and objects as in training
    synthetic_wordings    sentences that are not in training, of words that are
    synthetic_pairs       objects whose colour and shape occur in training, but never together
    synthetic_validation  other photographs, for choosing settings and monitoring a training
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Bool

from src.evaluation.benchmark import Benchmark, Reference
from src.evaluation.ideal import IdealEdits
from src.evaluation.pixels import changed_region
from src.evaluation.references import copy_of_input
from src.records import Case, Feedback, Image, Triplet
from src.synthetic.world import BENCHMARK_ORIGINALS, World

NAMES = {
    "benchmark": "synthetic_edit",
    "wordings": "synthetic_wordings",
    "pairs": "synthetic_pairs",
    "validation": "synthetic_validation",
}

PIXELS_PER_MARGIN = 32
"""Pixels of the image's side per pixel of margin around the changed region, which an editor on a coarser grid
needs.
"""


@final
class SyntheticEdit(Benchmark):
    """A benchmark of a World.

    Args:
        world: source of cases and ground truth.
        training_seed: seed of the triplets in the reference row `training triplets`.
        split: of the world: benchmark, wordings, pairs or validation.
        originals: their number, 1 to 80, with seven edits each.
        ideals: makes the edits of the ideal rows, completed with the world; None for no such rows.

    Raises:
        ValueError: an unknown split.
    """

    def __init__(
        self,
        world: World,
        training_seed: int,
        split: str = "benchmark",
        originals: int = BENCHMARK_ORIGINALS,
        ideals: Callable[..., IdealEdits] | None = None,
    ) -> None:
        if split not in NAMES:
            raise ValueError(f"the split {split!r} is no benchmark: one of {', '.join(NAMES)}")
        self.world = world
        self.training_seed = training_seed
        self.split = split
        self.originals = originals
        self.ideals = None if ideals is None else ideals(world=world)

    @property
    def name(self) -> str:
        """See Benchmark."""
        return NAMES[self.split]

    def cases(self) -> Sequence[Case]:
        """All originals x 7 edit types."""
        return self._cases

    def ground_truth(self, case: Case) -> Image:
        """The scene rendered with the edit applied."""
        return self.world.exact_edit(case.id)

    def failed_feedback(self, case: Case) -> Feedback:
        """The feedback on this case's corrupted edit."""
        return self.world.failed_feedback(case.id)

    def captions(self, case: Case) -> Mapping[str, str]:
        """None: the world describes edits, not images."""
        return {}

    def edit_region(self, case: Case) -> Bool[np.ndarray, "h w"]:
        """The pixels in which original and ground truth differ, with a margin of 1/32 of the image's side.

        For edits of the whole image (style, global, most of background) that is everything.
        """
        return changed_region(case.original, self.ground_truth(case), self.world.size // PIXELS_PER_MARGIN)

    def mask(self, case: Case) -> None:
        """None: the protocol does not weight pixels."""

    def references(self) -> Sequence[Reference]:
        """Copying the input; the training data; the ground truth."""
        return (
            copy_of_input(),
            Reference("training triplets", self._training_triplets),
            Reference("exact target", self._exact_triplets),
        )

    @cached_property
    def _cases(self) -> Sequence[Case]:
        return self.world.benchmark_cases(originals=self.originals, split=self.split)

    def _training_triplets(self, cases: Sequence[Case]) -> Iterator[Triplet]:
        """As many training triplets as cases; judged by the same judge, so that the row is comparable."""
        return (self.world.triplet("train", self.training_seed, index) for index in range(len(cases)))

    def _exact_triplets(self, cases: Sequence[Case]) -> Iterator[Triplet]:
        return (Triplet(case, self.ground_truth(case)) for case in cases)
