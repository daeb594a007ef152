"""Judges that work on many triplets at once, and all others, asked in one way."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from src.batching import batches_of
from src.judges.judge import Judge
from src.records import Reward, Triplet
from src.reward_file import UsageFields


@final
@dataclass(frozen=True)
class Judgement:
    """A reward and what it cost, all attempts counted, those of earlier runs included."""

    reward: Reward
    usage: UsageFields


@runtime_checkable
class StreamingJudge(Protocol):
    """A Judge that works on many triplets at once and returns the cost of each."""

    def judgements(self, triplets: Iterable[Triplet]) -> Iterator[Judgement]:
        """One judgement per triplet, as they are finished; triplets are read as they are needed, in a thread
        of its own.

        Raises:
            ValueError: further calls are pointless (wrong key, unknown model, no budget, no server).
        """
        ...


def stream_judgements(judge: Judge, triplets: Iterable[Triplet], batch_size: int) -> Iterator[Judgement]:
    """One judgement per triplet, as they are finished; a judge that takes no stream gets batches.

    Raises:
        ValueError: a judge that takes batches answers with another number of rewards, or about others.
    """
    if isinstance(judge, StreamingJudge):
        yield from judge.judgements(triplets)
        return
    for batch in batches_of(triplets, batch_size):
        rewards = judge.judge(batch)
        if [reward.id for reward in rewards] != [triplet.case.id for triplet in batch]:
            raise ValueError(
                f"judge {judge.name!r} was asked about {len(batch)} triplets and answered {len(rewards)} "
                "rewards, or about others"
            )
        yield from (Judgement(reward, {}) for reward in rewards)
