"""The interface of judges: annotation, evaluation, best-of-N and curation all judge edits through it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from src.records import Reward, Triplet

if TYPE_CHECKING:
    from src.judges.question import Heard
    from src.judges.rubric import Rubric


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


@runtime_checkable
class RemoteJudge(Protocol):
    """A Judge that may work elsewhere, so that asking it takes next to nothing of this machine."""

    @property
    def is_remote(self) -> bool:
        """Whether it does, and answers within seconds."""
        ...


@runtime_checkable
class ReadyJudge(Protocol):
    """A Judge that may lack something, such as a key or weights, without which it answers nothing."""

    def check_ready(self) -> None:
        """Raise ValueError or FileNotFoundError if so, with what it lacks."""
        ...


@runtime_checkable
class KnowingJudge(Protocol):
    """A Judge that can judge only what it knows."""

    def knows(self, id: str) -> bool:
        """Whether it can judge edits of the case or triplet with this id."""
        ...


@runtime_checkable
class QuestionedJudge(Protocol):
    """A Judge that answers questions in words, which can be others than its own, and keeps the replies.

    Attributes:
        name: see Judge.
        fingerprint: see Judge.
        ledger_path: of the replies.
    """

    name: str
    fingerprint: str
    ledger_path: str | Path

    def judge(self, triplets: Sequence[Triplet]) -> list[Reward]:
        """See Judge."""
        ...

    def asking(self, rubric: "Rubric", name: str) -> "QuestionedJudge":
        """The same model, asked the questions of a rubric, under another name."""
        ...

    def heard(self, triplet: str, key: str) -> "list[Heard] | None":
        """What came of the questions behind a reward, in their order; None if the ledger doesn't hold it.

        Args:
            triplet: its id.
            key: of the reward.
        """
        ...


def check_can_judge(judge: Judge, ids: Sequence[str]) -> None:
    """Check, before any edit is made or paid for, that a judge can judge some of these cases or triplets.

    Raises:
        ValueError: it lacks something, or knows none of them.
        FileNotFoundError: it lacks weights.
    """
    if isinstance(judge, ReadyJudge):
        judge.check_ready()
    if isinstance(judge, KnowingJudge) and ids and not any(map(judge.knows, ids)):
        raise ValueError(
            f"judge={judge.name} measures edits of the synthetic world of its size, and none of these "
            f"{len(ids)} ({ids[0]}, ...) is one: choose a judge that looks (judge=gpt4o, ...)"
        )


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
