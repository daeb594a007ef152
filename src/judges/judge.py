"""The interface of judges: annotation, evaluation, best-of-N and curation all judge edits through it."""

import hashlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from src.records import Reward, Triplet


@runtime_checkable
class Judge(Protocol):
    """Turns triplets into Rewards, in the same order and number; a triplet that can't be judged gets failed
    verdicts, never a number.

    Attributes:
        name: short name used in paths and tables ("oracle", "gpt4o").
        fingerprint: everything besides the triplet that an answer depends on (model and revision, prompt,
            parameters, version).
    """

    name: str
    fingerprint: str

    def judge(self, triplets: Sequence[Triplet]) -> list[Reward]:
        """One Reward per triplet."""
        ...


@runtime_checkable
class PaidJudge(Protocol):
    """A Judge whose calls may cost money."""

    @property
    def is_paid(self) -> bool:
        """Whether it has a price, so that asking it more often than necessary is for the user to decide."""
        ...


def reward_key(triplet: Triplet, fingerprint: str) -> str:
    """sha256 over original, edited, instruction and the judge's fingerprint: equal keys mean the same
    question to the same judge.
    """
    digest = hashlib.sha256()
    for image in (triplet.case.original, triplet.edited):
        digest.update(repr(image.shape).encode())
        digest.update(image.tobytes())
    for text in (triplet.case.instruction, fingerprint):
        digest.update(len(text.encode()).to_bytes(8, "big"))
        digest.update(text.encode())
    return digest.hexdigest()
