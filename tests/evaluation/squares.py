"""A benchmark and a judge small enough to work out by hand: 4 grey photographs x 3 edit types; the answer is
a plain square.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from src.evaluation.benchmark import Benchmark, Reference
from src.evaluation.references import copy_of_input
from src.judges.judge import reward_key
from src.records import Case, Feedback, Image, Reward, Triplet, Verdict

TYPES = ("local", "remove", "style")


class Squares(Benchmark):
    def __init__(self, size: int = 16) -> None:
        self.size = size

    @property
    def name(self) -> str:
        return "squares"

    def cases(self) -> Sequence[Case]:
        return [
            Case(
                f"p{p}-{kind}",
                np.full((self.size, self.size, 3), 40 * p, np.uint8),
                "make it night",
                kind,
                f"photo{p}",
            )
            for p in range(4)
            for kind in TYPES
        ]

    def ground_truth(self, case: Case) -> Image:
        return np.full_like(case.original, 200)

    def failed_feedback(self, case: Case) -> Feedback:
        return f"nothing of {case.id} was done", "None", "None"

    def captions(self, case: Case) -> Mapping[str, str]:
        return {}

    def edit_region(self, case: Case) -> np.ndarray | None:
        return None

    def mask(self, case: Case) -> None:
        return None

    def references(self) -> Sequence[Reference]:
        return copy_of_input(), Reference(
            "exact target", lambda cases: (Triplet(case, self.ground_truth(case)) for case in cases)
        )


class Ruler:
    """Following falls with the distance from 200, preserving with that from the original; quality is always
    5. Fails where told to.
    """

    name = "ruler"

    def __init__(self, fingerprint: str = "ruler-1", fails: Sequence[str] = ()) -> None:
        self.fingerprint = fingerprint
        self.fails = fails
        self.asked = 0

    def judge(self, triplets: Sequence[Triplet]) -> list[Reward]:
        self.asked += len(triplets)
        return [self._one(triplet) for triplet in triplets]

    def _one(self, triplet: Triplet) -> Reward:
        key = reward_key(triplet, self.fingerprint)
        if triplet.case.id in self.fails:
            failed = Verdict(None, status="failed")
            return Reward(triplet.case.id, self.name, key, failed, failed, failed)
        edited, original = triplet.edited.astype(float), triplet.case.original.astype(float)
        scores = 5 - np.abs(edited - 200).mean() / 51, 5 - np.abs(edited - original).mean() / 51, 5.0
        return Reward(
            triplet.case.id, self.name, key, *(Verdict(float(score), bool(score >= 4)) for score in scores)
        )
