"""A vision-language model as a Judge: a rubric, a client and a ledger.

A question that is in the ledger is not asked again. A reply that can't be read is asked for once more with
another seed; then the verdict fails, with the reason. How questions are asked is in session.py.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import final

from src.judges.bounded_map import bounded_map
from src.judges.health import Health
from src.judges.judge import reward_key
from src.judges.ledger import MEMORY, Ledger
from src.judges.limits import Limits
from src.judges.price import Price
from src.judges.question import Heard, Question, ReadyClient, RemoteClient, VLMClient
from src.judges.rubric import Rubric
from src.judges.session import JudgingSession, answer_or_reason
from src.judges.streaming import Judgement
from src.records import Reward, Triplet


@final
class VLMJudge:
    """A vision-language model as a Judge. Implements `StreamingJudge`, `PaidJudge`, `RemoteJudge` and
    `QuestionedJudge`, too.

    Args:
        name: see Judge.
        rubric: the questions, and how answers become a reward.
        client: the model that answers.
        ledger: file of the replies; None keeps them in memory, for tests.
        limits: how fast and how far.
        price: of tokens; None if unknown, and then a budget is refused.
        retry_failed: ask again what was given up in an earlier run.

    Raises:
        ValueError: a budget without a price.
    """

    def __init__(
        self,
        name: str,
        rubric: Rubric,
        client: VLMClient,
        ledger: str | Path | None,
        limits: Limits,
        price: Price | None = None,
        retry_failed: bool = False,
    ) -> None:
        if limits.budget_usd is not None and price is None:
            raise ValueError(
                f"budget_usd={limits.budget_usd:g} can't be kept for {client.model}, whose price is unknown: "
                "give judge.price"
            )
        self.name = name
        self.rubric = rubric
        self.client = client
        self.ledger_path = MEMORY if ledger is None else ledger
        self.limits = limits
        self.price = price
        self.retry_failed = retry_failed
        self.health = Health(client.model, limits)
        self.fingerprint = f"{rubric.fingerprint} | {client.fingerprint}"

    @property
    def is_paid(self) -> bool:
        """Whether its price is known."""
        return self.price is not None

    @property
    def is_remote(self) -> bool:
        """See `RemoteJudge`."""
        return isinstance(self.client, RemoteClient) and self.client.is_remote

    @cached_property
    def ledger(self) -> Ledger:
        """Opened on first use, so that composing a judge makes no file. Raises as `Ledger`."""
        return Ledger(self.ledger_path)

    def check_ready(self) -> None:
        """Raise ValueError or FileNotFoundError if its client lacks a key or weights."""
        if isinstance(self.client, ReadyClient):
            self.client.check_ready()

    def judge(self, triplets: Sequence[Triplet]) -> list[Reward]:
        """One Reward per triplet, in order. Raises as `judgements`."""
        if not triplets:
            return []
        places: dict[tuple[str, str], deque[int]] = {}
        for index, triplet in enumerate(triplets):
            places.setdefault((triplet.case.id, reward_key(triplet, self.fingerprint)), deque()).append(index)
        rewards = {
            places[judgement.reward.id, judgement.reward.key].popleft(): judgement.reward
            for judgement in self.judgements(triplets)
        }
        return [rewards[index] for index in range(len(triplets))]

    def judgements(self, triplets: Iterable[Triplet]) -> Iterator[Judgement]:
        """One judgement per triplet, as they are finished.

        Raises:
            ValueError: no call has a chance (wrong key, model or address), the server is gone, or the budget
                is used up. Calls in flight are waited for and kept.
            NotWrittenError: the ledger can't be written.
        """
        with asyncio.Runner() as runner:
            session = JudgingSession(
                self.name,
                self.fingerprint,
                self.rubric,
                self.client,
                self.ledger,
                self.limits,
                self.price,
                self.retry_failed,
                self.health,
            )
            at_once = 2 + 2 * self.limits.concurrency // self.rubric.calls
            try:
                yield from bounded_map(runner, session.judgement, iter(triplets), at_once)
            finally:
                runner.run(self.client.close())

    def derive(self, triplet: str, key: str) -> Reward | None:
        """A reward derived again from the replies in the ledger, without any call; None if the ledger doesn't
        hold it.
        """
        heard = self.heard(triplet, key)
        if heard is None:
            return None
        return Reward(triplet, self.name, key, *self.rubric.verdicts([each.answer for each in heard]))

    def heard(self, triplet: str, key: str) -> list[Heard] | None:
        """What came of the questions behind a reward, in their order; None if the ledger doesn't hold it."""
        keys = self.ledger.questions_of(key)
        if keys is None:
            return None
        found: dict[tuple[str, int], Heard] = {}
        for question_key in keys:
            about, schema = self.ledger.about(question_key), self.ledger.schema(question_key)
            if about is None or schema is None:
                return None
            question = Question(triplet, about[0], "", (), schema, about[1], about[2])
            reply, given_up = self.ledger.reply(question_key), self.ledger.given_up(question_key)
            before = found[about[:2]].replies if about[:2] in found else ()
            replies = before if reply is None else (*before, reply)
            answer = answer_or_reason(self.rubric, question, reply, given_up)
            found[about[:2]] = Heard(about[0], about[1], replies, answer)
        return list(found.values())

    def asking(self, rubric: Rubric, name: str) -> "VLMJudge":
        """The same model with the same ledger, limits and price, asked other questions under another name."""
        ledger = None if self.ledger_path == MEMORY else self.ledger_path
        return VLMJudge(name, rubric, self.client, ledger, self.limits, self.price, self.retry_failed)
