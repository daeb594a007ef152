"""The edits of one case as the world makes them for training: the distribution that an editor learns.

Draw n of a case is corrupted as training triplets are, and rated as they are. It is a function of the world,
the case and n, so what an editor without limits would do (`src/evaluation/ideal.py`) can be computed.
"""

from functools import cached_property
from random import Random
from typing import final

import numpy as np
from jaxtyping import UInt8

from src.records import MAX_SCORE, NO_FAILURE, Image, Reward, Scores
from src.seeds import fold_seed
from src.synthetic.annotation import AnnotationTask, NoisyAnnotator
from src.synthetic.corruptions import Corruption, corrupt, sample_corruption
from src.synthetic.ground_truth import GroundTruth
from src.synthetic.measure import measure
from src.synthetic.scene import to_uint8
from src.synthetic.world import World

Images = UInt8[np.ndarray, "k h w 3"]

PERFECT: Scores = (MAX_SCORE, MAX_SCORE, MAX_SCORE)


@final
class Draws:
    """The draws of one case.

    Args:
        world: corrupts the edits.
        case_id: of the case.
        annotator: rates them as in training.
        count: how many an editor without reward sees of this case.

    Raises:
        ValueError: an id of another world, or a count below 1.
    """

    def __init__(self, world: World, case_id: str, annotator: NoisyAnnotator, count: int) -> None:
        if count < 1:
            raise ValueError(f"at least one draw of each case is needed, got {count}")
        self.world = world
        self.case_id = case_id
        self.annotator = annotator
        self.count = count
        self.spec = world.case_spec(case_id)

    @cached_property
    def images(self) -> Images:
        """The edited images of the first `count` draws."""
        return np.stack([self._render(self.corruption(number)) for number in range(self.count)])

    def all_good(self, most: int) -> Images:
        """Those of the first `count` draws that the annotator rates 5/5/5 without a complaint: what an editor
        asked for just that sees of this case. If there are none, the first such draw after them.

        Args:
            most: the search ends after this many draws.

        Returns:
            One image or more; none if no draw of the first `most` is rated so.
        """
        found = [number for number in range(self.count) if self.is_all_good(number)]
        if found:
            return self.images[found]
        for number in range(self.count, most):
            if self.is_all_good(number):
                return self._image(number)[None]
        return self.images[:0]

    def is_all_good(self, number: int) -> bool:
        """Whether the annotator rates draw `number` 5/5/5 and says "None" three times.

        Nine draws in ten need no measuring: they would be refused even if the oracle found them perfect.
        """
        corruption, image, spec = self.corruption(number), self._image(number), self.spec
        task = AnnotationTask(
            f"{self.case_id}#{number}",
            self.world.renderer,
            spec.scene,
            spec.edit,
            spec.free_place,
            corruption,
            image,
        )
        if not is_all_good(self.annotator.rate(task, PERFECT)):
            return False
        scores = self._exact_scores if corruption.is_clean else measure(self._truth, image).scores
        return is_all_good(self.annotator.rate(task, scores))

    def corruption(self, number: int) -> Corruption:
        """What goes wrong with draw `number`, 0 or more."""
        rng = Random(fold_seed("draw", self.case_id, number))
        spec, world = self.spec, self.world
        return sample_corruption(
            rng, world.renderer, spec.scene, spec.edit, spec.free_place, world.never_all_good
        )

    def _image(self, number: int) -> Image:
        return self.images[number] if number < self.count else self._render(self.corruption(number))

    def _render(self, corruption: Corruption) -> Image:
        return to_uint8(corrupt(self.world.renderer, self.spec.edit, corruption))

    @cached_property
    def _truth(self) -> GroundTruth:
        return self.world.ground_truth(self.case_id)

    @cached_property
    def _exact_scores(self) -> Scores:
        """Of a draw without flaws, which is the exact edit."""
        return measure(self._truth, self.world.exact_edit(self.case_id)).scores


def is_all_good(reward: Reward) -> bool:
    """Whether a reward is 5/5/5 with the text "None" in each perspective."""
    return all(verdict.score == MAX_SCORE and verdict.feedback == NO_FAILURE for verdict in reward.verdicts)
