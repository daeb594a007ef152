"""The synthetic world's benchmarks: 80 unseen scenes x the seven edit types of Real-Edit = 560 cases, each
with its exact answer.

    python -m src.evaluate checkpoint=runs/.../last.ckpt benchmark=synthetic_edit judge=oracle

Scenes and photographs are disjoint from those of training. Protocol: one edit per case, noise fixed by (case,
seed), all cases in the means.

    synthetic_edit        words and objects as in training
    synthetic_wordings    instructions worded as none in training, of words that training has
    synthetic_pairs       about objects of a colour and shape that training has only apart
    synthetic_validation  other photographs, to choose settings by and to watch a training
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Bool

from src.evaluation.benchmark import Benchmark, Reference
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
"""Around what an edit changes, one pixel of margin for so many pixels of the image's side: an editor on a
coarser grid needs as much.
"""


@final
class SyntheticEdit(Benchmark):
    """A benchmark of a World.

    Args:
        world: where cases and exact answers come from.
        training_seed: seed of the training triplets that the reference row `training triplets` shows.
        split: of the world: benchmark, wordings, pairs or validation.
        originals: how many, 1 to 80, with seven edits each.

    Raises:
        ValueError: another split.
    """

    def __init__(
        self, world: World, training_seed: int, split: str = "benchmark", originals: int = BENCHMARK_ORIGINALS
    ) -> None:
        if split not in NAMES:
            raise ValueError(f"the split {split!r} is no benchmark: one of {', '.join(NAMES)}")
        self.world = world
        self.training_seed = training_seed
        self.split = split
        self.originals = originals

    @property
    def name(self) -> str:
        """See Benchmark."""
        return NAMES[self.split]

    def cases(self) -> Sequence[Case]:
        """All originals x 7 edit types."""
        return self._cases

    def ground_truth(self, case: Case) -> Image:
        """The scene drawn again with the edit done."""
        return self.world.exact_edit(case.id)

    def failed_feedback(self, case: Case) -> Feedback:
        """What is said of this case's corrupted edit."""
        return self.world.failed_feedback(case.id)

    def captions(self, case: Case) -> Mapping[str, str]:
        """None: the world describes edits, not images."""
        return {}

    def edit_region(self, case: Case) -> Bool[np.ndarray, "h w"]:
        """The pixels in which original and exact target differ, and a margin of 1/32 of the image's side.

        Of edits of the whole image (style, global, most of background) that is everything, so that nothing
        lies outside.
        """
        return changed_region(case.original, self.ground_truth(case), self.world.size // PIXELS_PER_MARGIN)

    def mask(self, case: Case) -> None:
        """The protocol weighs no pixels."""

    def references(self) -> Sequence[Reference]:
        """Doing nothing; how good the training data is; doing exactly what was asked."""
        return (
            copy_of_input(),
            Reference("training triplets", self._training_triplets),
            Reference("exact target", self._exact_triplets),
        )

    @cached_property
    def _cases(self) -> Sequence[Case]:
        return self.world.benchmark_cases(originals=self.originals, split=self.split)

    def _training_triplets(self, cases: Sequence[Case]) -> Iterator[Triplet]:
        """As many training triplets as there are cases; judged by the same judge, so that the row compares
        with all others.
        """
        return (self.world.triplet("train", self.training_seed, index) for index in range(len(cases)))

    def _exact_triplets(self, cases: Sequence[Case]) -> Iterator[Triplet]:
        return (Triplet(case, self.ground_truth(case)) for case in cases)
