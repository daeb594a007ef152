"""The judge that knows the truth: it rebuilds a synthetic triplet's scene from its id and measures the edited
image against it.
"""

from collections.abc import Sequence
from typing import final

from src.judges.judge import reward_key
from src.records import PERSPECTIVES, Reward, Triplet, Verdict
from src.synthetic.measure import measure
from src.synthetic.world import World, code_digest


@final
class OracleJudge:
    """Exact scores, success and feedback for triplets of one synthetic world; anything else gets failed
    verdicts, never a number. Implements `Judge` and `KnowingJudge`.

    Args:
        world: the synthetic world, whose ids and image size it knows.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.name = "oracle"
        self.fingerprint = f"oracle world={world.version()} size={world.size} code={code_digest()}"

    def knows(self, id: str) -> bool:
        """Whether the scene of this id can be rebuilt."""
        try:
            self.world.parse(id)
        except ValueError:
            return False
        return True

    def judge(self, triplets: Sequence[Triplet]) -> list[Reward]:
        """One Reward per triplet, in order."""
        return [self._judge_one(triplet) for triplet in triplets]

    def _judge_one(self, triplet: Triplet) -> Reward:
        key = reward_key(triplet, self.fingerprint)
        try:
            truth = self.world.ground_truth(triplet.case.id)
            measured = measure(truth, triplet.edited)
        except ValueError as error:
            # the id of another world, or an image of another size: no scene to measure against, so no score
            following, preserving, quality = (Verdict(None, None, str(error), "failed") for _ in PERSPECTIVES)
            return Reward(triplet.case.id, self.name, key, following, preserving, quality)
        following, preserving, quality = (
            Verdict(score, success, text)
            for score, success, text in zip(measured.scores, measured.success, measured.feedback, strict=True)
        )
        return Reward(triplet.case.id, self.name, key, following, preserving, quality)
