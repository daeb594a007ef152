"""`synthetic_edit`: the synthetic world's benchmark, 80 unseen scenes x the seven edit types of Real-Edit = 560 cases, each with its exact answer.

    python -m src.evaluate checkpoint=runs/.../last.ckpt benchmark=synthetic_edit judge=oracle

Scenes and photographs are disjoint from those of training. Protocol: one edit per case, noise fixed by (case, seed), all 560 cases in the means.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property

from src.evaluation.benchmark import Benchmark, Reference
from src.evaluation.references import copy_of_input
from src.records import Case, Feedback, Image, Triplet
from src.synthetic.world import World


class SyntheticEdit(Benchmark):
    """The benchmark of a World.

    Args:
        world: where cases and exact answers come from.
        training_seed: seed of the training triplets that the reference row `training triplets` shows.
    """

    def __init__(self, world: World, training_seed: int) -> None:
        self.world = world
        self.training_seed = training_seed

    @property
    def name(self) -> str:
        """See Benchmark."""
        return "synthetic_edit"

    def cases(self) -> Sequence[Case]:
        """80 originals x 7 edit types."""
        return self._cases

    def exact_target(self, case: Case) -> Image:
        """The scene drawn again with the edit done."""
        return self.world.exact(case.id)

    def failed_feedback(self, case: Case) -> Feedback:
        """What is said of this case's corrupted edit."""
        return self.world.failed_feedback(case.id)

    def references(self) -> Sequence[Reference]:
        """Doing nothing; how good the training data is; doing exactly what was asked."""
        return copy_of_input(), Reference("training triplets", self._training_triplets), Reference("exact target", self._exact_triplets)

    @cached_property
    def _cases(self) -> Sequence[Case]:
        return self.world.benchmark_cases()

    def _training_triplets(self, cases: Sequence[Case]) -> Iterator[Triplet]:
        """As many training triplets as there are cases; judged by the same judge, so that the row compares with all others."""
        return (self.world.rewarded_triplet("train", self.training_seed, index)[0] for index in range(len(cases)))

    def _exact_triplets(self, cases: Sequence[Case]) -> Iterator[Triplet]:
        return (Triplet(case, self.exact_target(case)) for case in cases)
