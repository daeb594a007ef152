"""The oracle with errors: a judge of known accuracy, for best-of-N and whatever else depends on how good a
judge is.

python -m src.evaluate checkpoint=runs/.../editor best_of=8 judge@selector=noisy_oracle selector.deviation=1.0
"""

import math
from collections.abc import Sequence
from random import Random
from typing import final

from src.judges.judge import reward_key
from src.judges.oracle import OracleJudge
from src.records import MAX_SCORE, PERSPECTIVES, Perspective, Reward, Triplet, Verdict
from src.seeds import fold_seed
from src.synthetic.world import World


@final
class NoisyOracleJudge:
    """The oracle's scores, each with an independent error N(0, deviation), clipped to [0, 5]. Implements
    `Judge`.

    An error is a function of (seed, the oracle's key of the triplet, perspective): an edit gets the same
    error whenever and in whatever batch it is judged, and a larger deviation stretches the same errors. The
    feedback is the oracle's; there is no yes or no, as an error of a score says nothing about one. What the
    oracle can't judge fails here, too.

    Args:
        world: the synthetic world, whose ids and image size it knows.
        deviation: standard deviation of the error, in points, before rounding and clipping.
        whole_points: round to whole points, as most judging models do; makes ties.
        seed: of the errors; another seed is another judge of the same accuracy.
        name: see Judge; two of them need two names to be compared in one report.

    Raises:
        ValueError: a negative deviation.
    """

    def __init__(
        self,
        world: World,
        deviation: float | int = 0.7,
        whole_points: bool = False,
        seed: int = 0,
        name: str = "noisy_oracle",
    ) -> None:
        if not deviation >= 0:
            raise ValueError(f"deviation={deviation} is not possible: a standard deviation is 0 or more")
        self.oracle = OracleJudge(world)
        self.deviation = float(deviation)
        self.whole_points = whole_points
        self.seed = seed
        self.name = name
        self.fingerprint = (
            f"noisy deviation={deviation:g} whole_points={whole_points} seed={seed} of "
            f"{self.oracle.fingerprint}"
        )

    def knows(self, id: str) -> bool:
        """Whether the oracle does."""
        return self.oracle.knows(id)

    def judge(self, triplets: Sequence[Triplet]) -> list[Reward]:
        """One Reward per triplet, in order."""
        return [
            self._with_errors(triplet, exact)
            for triplet, exact in zip(triplets, self.oracle.judge(triplets), strict=True)
        ]

    def _with_errors(self, triplet: Triplet, exact: Reward) -> Reward:
        pairs = zip(PERSPECTIVES, exact.verdicts, strict=True)
        following, preserving, quality = (
            self._verdict(verdict, perspective, exact.key) for perspective, verdict in pairs
        )
        return Reward(
            exact.id, self.name, reward_key(triplet, self.fingerprint), following, preserving, quality
        )

    def _verdict(self, verdict: Verdict, perspective: Perspective, key: str) -> Verdict:
        if verdict.score is None:
            return verdict
        error = Random(fold_seed("noisy oracle", self.seed, key, perspective.value)).gauss(
            0.0, self.deviation
        )
        return Verdict(clip_score(verdict.score + error, self.whole_points), None, verdict.feedback)


def clip_score(score: float, whole_points: bool) -> float:
    """The score rounded to whole points (halves go up) if asked, then clipped to [0, 5]."""
    return float(min(MAX_SCORE, max(0.0, math.floor(score + 0.5) if whole_points else score)))
