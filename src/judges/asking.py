"""A judge made of a rubric, a respondent and a ledger: asks many questions at once, each until it is answered
or given up, and loses nothing.

A question is looked up in the ledger first. Otherwise it is attempted until a reply comes (waiting as the
server says, or ever longer with jitter); a reply that can't be read is asked for once more with another seed;
then the verdict is failed, with the reason. Each attempt is in the ledger before anything is derived from it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, final, runtime_checkable

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from src.judges.judge import reward_key
from src.judges.ledger import Ledger
from src.judges.limits import Limits, Pace, Purse
from src.judges.parsing import UnusableReply
from src.judges.price import Price
from src.judges.question import Answer, Question, Reply, Respondent, Unanswered
from src.judges.rubric import Rubric
from src.records import Reward, Triplet
from src.reward_file import Usage

FIRST_WAIT = 0.5
"""Seconds before the second attempt, at most; doubled with each further one."""

UNPROVEN_ATTEMPTS = 3
"""Attempts at the very first call, and triplets refused before any is answered: a server that can't be asked
should be known in seconds.
"""


class StoppedAskingError(ValueError):
    """There is no point in asking on; what was answered is in the ledger."""


@dataclass(frozen=True)
class Judgement:
    """A reward and what it cost, all attempts counted, those of earlier runs too."""

    reward: Reward
    usage: Usage


@runtime_checkable
class StreamingJudge(Protocol):
    """A Judge that can work on many triplets at once, and tells what each one cost."""

    def judgements(self, triplets: Iterable[Triplet]) -> Iterator[Judgement]:
        """One judgement per triplet, as they are finished; triplets are read as they are needed.

        Raises:
            ValueError: there is no point in going on (wrong key, unknown model, no budget, a server that is
                gone).
        """
        ...


@final
class VLMJudge:
    """A vision-language model as a Judge.

    Args:
        name: see Judge.
        rubric: what is asked.
        respondent: who is asked.
        ledger: file of the replies; None keeps them in memory, for tests.
        limits: how fast and how far.
        price: of tokens; None if unknown, and then no budget can be kept.
        retry_failed: ask once more what was given up in an earlier run.

    Raises:
        ValueError: a budget without a price.
    """

    def __init__(
        self,
        name: str,
        rubric: Rubric,
        respondent: Respondent,
        ledger: str | Path | None,
        limits: Limits,
        price: Price | None = None,
        retry_failed: bool = False,
    ) -> None:
        if limits.budget_usd is not None and price is None:
            raise ValueError(
                f"budget_usd={limits.budget_usd:g} can't be kept for {respondent.model}, whose price is unknown: give judge.price"
            )
        self.name = name
        self.rubric = rubric
        self.respondent = respondent
        self.ledger_path = ":memory:" if ledger is None else ledger
        self.limits = limits
        self.price = price
        self.retry_failed = retry_failed
        self.fingerprint = f"{rubric.fingerprint} | {respondent.fingerprint}"

    @cached_property
    def ledger(self) -> Ledger:
        """Opened when first needed, so that composing a judge makes no file. Raises as `Ledger`."""
        return Ledger(self.ledger_path)

    def judge(self, triplets: Sequence[Triplet]) -> list[Reward]:
        """One Reward per triplet, in order. Raises as `judgements`."""
        if not triplets:
            return []
        places: dict[tuple[str, str], deque[int]] = {}
        for index, triplet in enumerate(triplets):
            places.setdefault((triplet.case.id, reward_key(triplet, self.fingerprint)), deque()).append(index)
        rewards = {
            places[each.reward.id, each.reward.key].popleft(): each.reward
            for each in self.judgements(triplets)
        }
        return [rewards[index] for index in range(len(triplets))]

    def judgements(self, triplets: Iterable[Triplet]) -> Iterator[Judgement]:
        """One judgement per triplet, as they are finished.

        Raises:
            ValueError: no call has a chance (wrong key, model or address), the server is gone, or the budget
                is used up. What was in flight is waited for and kept.
            NotWrittenError: the ledger can't be written.
        """
        with asyncio.Runner() as runner:
            asking = Asking(self)
            flow = Flow(
                iter(triplets), asking.judgement, ahead=2 + 2 * self.limits.concurrency // self.rubric.calls
            )
            try:
                while (judgement := runner.run(flow.next())) is not None:
                    yield judgement
            finally:
                runner.run(self.respondent.close())

    def derived(self, triplet: str, key: str) -> Reward | None:
        """A reward read once more out of the replies in the ledger, without asking anybody; None if the
        ledger doesn't know it.
        """
        keys = self.ledger.questions_of(key)
        if keys is None:
            return None
        answers: dict[tuple[str, int], Answer | str] = {}
        for each in keys:
            about, form = self.ledger.about(each), self.ledger.form(each)
            if about is None or form is None:
                return None
            question = Question(triplet, about[0], "", (), form, about[1], about[2])
            answers[about[:2]] = self.read(question, self.ledger.reply(each), self.ledger.given_up(each))
        return Reward(triplet, self.name, key, *self.rubric.verdicts(list(answers.values())))

    def read(self, question: Question, reply: Reply | None, given_up: str | None) -> Answer | str:
        """The answer to a question, or why there is none."""
        if reply is None:
            return given_up or "not asked"
        try:
            return self.rubric.read(question, reply)
        except UnusableReply as error:
            return f"{question.about}: {error}"


class Asking:
    """The asking of one run, in one event loop.

    Args:
        judge: on whose behalf.
    """

    def __init__(self, judge: VLMJudge) -> None:
        self.judge = judge
        self.ledger, self.respondent, self.limits = judge.ledger, judge.respondent, judge.limits
        self.calls = asyncio.Semaphore(self.limits.concurrency)
        self.requests, self.tokens = (
            Pace(self.limits.requests_per_minute),
            Pace(self.limits.tokens_per_minute),
        )
        self.purse = Purse(self.limits.budget_usd, self.ledger.total().dollars)
        self.asked: dict[str, asyncio.Future[Answer | str]] = {}
        self.first = asyncio.Lock()
        self.proven = False
        self.in_vain = 0
        self.refused: set[str] = set()
        self.stopped: Exception | None = None

    async def judgement(self, triplet: Triplet) -> Judgement:
        """All questions about one triplet, at once."""
        # images are encoded beside the event loop, which goes on answering meanwhile
        key, questions = await asyncio.to_thread(self._prepared, triplet)
        found = await asyncio.gather(
            *(self._answered(question) for question in questions), return_exceptions=True
        )
        answered = [each for each in found if not isinstance(each, BaseException)]
        for each in found:
            if isinstance(each, BaseException):
                raise each
        answers = [answer for answer, _ in answered]
        keys = [key for _, keys in answered for key in keys]
        reward = Reward(triplet.case.id, self.judge.name, key, *self.judge.rubric.verdicts(answers))
        self.ledger.record_reward(key, triplet.case.id, self.judge.name, keys)
        return Judgement(reward, {**asdict(self.ledger.usage(keys)), "model": self.respondent.model})

    def _prepared(self, triplet: Triplet) -> tuple[str, list[Question]]:
        return reward_key(triplet, self.judge.fingerprint), self.judge.rubric.questions(triplet)

    async def _answered(self, question: Question) -> tuple[Answer | str, list[str]]:
        """The answer to a question, asked again if the first reply can't be read, and the keys of what was
        asked.
        """
        keys = []
        answer: Answer | str = ""
        for again in (0, 1):
            asked = replace(question, again=again)
            keys.append(asked.key(self.respondent.fingerprint))
            answer = await self._once(keys[-1], asked)
            if isinstance(answer, Answer) or self.ledger.reply(keys[-1]) is None:
                break
        return answer, keys

    async def _once(self, key: str, question: Question) -> Answer | str:
        """The answer to a question that may be asked by several triplets at the same time."""
        if key not in self.asked:
            self.asked[key] = asyncio.ensure_future(self._looked_up(key, question))
            self.asked[key].add_done_callback(lambda _: self.asked.pop(key))
        return await asyncio.shield(self.asked[key])

    async def _looked_up(self, key: str, question: Question) -> Answer | str:
        reply, given_up = self.ledger.reply(key), self.ledger.given_up(key)
        if reply is None and (given_up is None or self.judge.retry_failed):
            given_up = await self._attempted(key, question)
            reply = self.ledger.reply(key)
        return self.judge.read(question, reply, given_up)

    async def _attempted(self, key: str, question: Question) -> str | None:
        """Attempt a question until a reply is in the ledger (None) or it is given up (why).

        Raises:
            StoppedAskingError: there is no point in asking on.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception(
                lambda error: isinstance(error, Unanswered) and error.kind in ("busy", "transient")
            ),
            stop=stop_after_attempt(self.limits.attempts),
            wait=self._wait,
            reraise=True,
        )
        try:
            await retrying(self._called, key, question)
        except Unanswered as error:
            reason = f"{question.about}: {error}"
            self.ledger.record_given_up(key, reason)
            return reason
        return None

    def _wait(self, state: RetryCallState) -> float:
        """What the server asks for, or a random time up to a limit that doubles."""
        error = state.outcome.exception() if state.outcome else None
        drawn = wait_random_exponential(multiplier=FIRST_WAIT, max=self.limits.longest_wait)(state)
        asked = error.retry_after if isinstance(error, Unanswered) else None
        # a little later than asked for, so that all who were sent away don't come back in the same moment
        return drawn if asked is None else asked + min(drawn, FIRST_WAIT)

    async def _called(self, key: str, question: Question) -> None:
        """One attempt, recorded. The first of a run is made alone: it decides whether there is a point in
        others.
        """
        if not self.proven:
            async with self.first:
                if not self.proven:
                    await self._first_call(key, question)
                    return
        await self._call(key, question)

    async def _first_call(self, key: str, question: Question) -> None:
        for attempt in range(1, UNPROVEN_ATTEMPTS + 1):
            try:
                await self._call(key, question)
            except Unanswered as error:
                if error.kind == "refused":
                    # this image alone may be at fault; the next question is the first call then
                    self.refused.add(question.triplet)
                    if len(self.refused) >= UNPROVEN_ATTEMPTS:
                        raise self._stop(
                            f"{self.respondent.model} refuses whatever it is asked ({error})"
                        ) from error
                    raise
                if attempt == UNPROVEN_ATTEMPTS:
                    raise self._stop(
                        f"{self.respondent.model} can't be asked ({error}); tried {attempt} times, nothing was spent on it"
                    ) from error
                await asyncio.sleep(FIRST_WAIT if error.retry_after is None else error.retry_after)
            else:
                self.proven = True
                return

    async def _call(self, key: str, question: Question) -> None:
        tokens = self.respondent.tokens(question)
        estimate = self.judge.price.dollars(*tokens) if self.judge.price else 0.0
        async with self.calls:
            await self.requests.take()
            await self.tokens.take(sum(tokens))
            if self.stopped:
                raise self.stopped
            try:
                self.purse.reserve(estimate)
            except ValueError as error:
                self.stopped = error
                raise
            cost, start = 0.0, time.monotonic()
            try:
                reply = await self.respondent.ask(question)
                cost = (
                    self.judge.price.dollars(reply.input_tokens, reply.output_tokens)
                    if self.judge.price
                    else 0.0
                )
                self.ledger.record_reply(
                    key, question, self.respondent.model, self.respondent.fingerprint, reply, cost
                )
                self.in_vain = 0
            except Unanswered as error:
                seconds = time.monotonic() - start
                self.ledger.record_failure(
                    key,
                    question,
                    self.respondent.model,
                    self.respondent.fingerprint,
                    error.kind,
                    str(error),
                    seconds,
                )
                self._count_failure(error)
                raise
            finally:
                self.purse.settle(estimate, cost)

    def _count_failure(self, error: Unanswered) -> None:
        """Stop asking where nobody will answer."""
        if error.kind == "fatal":
            raise self._stop(str(error)) from error
        if error.kind == "transient":
            self.in_vain += 1
            most = max(20, 2 * self.limits.concurrency)
            if self.in_vain >= most:
                raise self._stop(
                    f"the last {most} calls to {self.respondent.model} were not answered ({error}); what was answered is kept, "
                    "the same command goes on"
                ) from error

    def _stop(self, reason: str) -> StoppedAskingError:
        stopped = StoppedAskingError(reason)
        self.stopped = self.stopped or stopped
        return stopped


class Flow:
    """Things worked on side by side, handed out as they are finished; new ones are taken from their source
    only as there is room.

    Args:
        source: read in a thread of its own, as reading may take long.
        work: on one thing.
        ahead: how many are worked on at once.
    """

    def __init__(
        self, source: Iterator[Triplet], work: Callable[[Triplet], Awaitable[Judgement]], ahead: int
    ) -> None:
        self.source: Iterator[Triplet] | None = source
        self.work = work
        self.ahead = ahead
        self.pending: set[asyncio.Future[Judgement]] = set()
        self.done: deque[Judgement] = deque()
        self.failure: BaseException | None = None

    async def next(self) -> Judgement | None:
        """The next finished one, or None when all are. If one fails, nothing new is begun, and what is under
        way is finished and handed out first.
        """
        while True:
            while self.source is not None and len(self.pending) < self.ahead:
                found = await asyncio.to_thread(next, self.source, None)
                if found is None:
                    self.source = None
                    break
                self.pending.add(asyncio.ensure_future(self.work(found)))
            if self.done:
                return self.done.popleft()
            if not self.pending:
                if self.failure is not None:
                    raise self.failure
                return None
            finished, self.pending = await asyncio.wait(self.pending, return_when=asyncio.FIRST_COMPLETED)
            for future in finished:
                if (error := future.exception()) is None:
                    self.done.append(future.result())
                else:
                    self.failure, self.source = self.failure or error, None
