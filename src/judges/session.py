"""The questions of one run: each is looked up in the ledger or asked, with retries, within the limits, until
it is answered or given up. Nothing that was answered is lost.

A question goes through five layers, outermost first: a second try where the reply can't be read, sharing of
equal questions, the ledger, retries, and the single attempt, which is in the ledger before anything is
derived from it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from typing import final

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from src.judges.judge import reward_key
from src.judges.ledger import Ledger
from src.judges.limits import Budget, Limits, RateLimiter
from src.judges.parsing import UnusableReply
from src.judges.price import Price
from src.judges.question import Answer, CallFailed, Question, Reply, VLMClient
from src.judges.rubric import Rubric
from src.records import Reward, Triplet
from src.reward_file import UsageFields

Attempt = Callable[[], Awaitable[None]]

FIRST_WAIT = 0.5
"""Most seconds before the second attempt; doubled with each further one."""

PROBE_ATTEMPTS = 3
"""Attempts at the very first call, and triplets refused before any is answered: an unusable server should
show within seconds.
"""


@final
class JudgingStoppedError(ValueError):
    """Further calls are pointless; all answers so far are in the ledger."""


@final
@dataclass(frozen=True)
class Judgement:
    """A reward and what it cost, all attempts counted, those of earlier runs included."""

    reward: Reward
    usage: UsageFields


def answer_or_reason(
    rubric: Rubric, question: Question, reply: Reply | None, given_up: str | None
) -> Answer | str:
    """The answer to a question, or why there is none."""
    if reply is None:
        return given_up or "not asked"
    try:
        return rubric.read(question, reply)
    except UnusableReply as error:
        return f"{question.about}: {error}"


@final
class Health:
    """A circuit breaker: stops a run whose server will answer nothing.

    The first call is made alone and decides whether others are worth making. Afterwards, failures in a row
    are counted, and a fatal one stops at once.

    Args:
        model: for messages.
        most_failures: calls in a row without an answer that stop the run.
    """

    def __init__(self, model: str, most_failures: int) -> None:
        self.model, self.most_failures = model, most_failures
        self.is_proven = False
        self.stopped: Exception | None = None
        self._first = asyncio.Lock()
        self._failures = 0
        self._refused: set[str] = set()

    async def call(self, attempt: Attempt, triplet: str) -> None:
        """Make a call, or wait until the first one has shown that the server answers.

        Args:
            attempt: makes the call.
            triplet: id of the triplet in question.

        Raises:
            CallFailed: the call failed.
            JudgingStoppedError: no call has a chance.
        """
        if not self.is_proven:
            async with self._first:
                if not self.is_proven:
                    await self._probe(attempt, triplet)
                    return
        await attempt()

    async def _probe(self, attempt: Attempt, triplet: str) -> None:
        for number in range(1, PROBE_ATTEMPTS + 1):
            try:
                await attempt()
            except CallFailed as error:
                if error.kind == "refused":
                    # these images alone may be at fault; the next question is the first call then
                    self._refused.add(triplet)
                    if len(self._refused) >= PROBE_ATTEMPTS:
                        raise self._stop(f"{self.model} refuses every question ({error})") from error
                    raise
                if number == PROBE_ATTEMPTS:
                    raise self._stop(
                        f"{self.model} can't be reached ({error}); tried {number} times, nothing was spent"
                    ) from error
                await asyncio.sleep(FIRST_WAIT if error.retry_after is None else error.retry_after)
            else:
                self.is_proven = True
                return

    def count_success(self) -> None:
        """The server answers."""
        self._failures = 0

    def count_failure(self, error: CallFailed) -> None:
        """Raise JudgingStoppedError if this failure shows that no further call has a chance."""
        if error.kind == "fatal":
            raise self._stop(str(error)) from error
        if error.kind == "transient":
            self._failures += 1
            if self._failures >= self.most_failures:
                raise self._stop(
                    f"the last {self.most_failures} calls to {self.model} were not answered ({error}); "
                    "all answers are kept, the same command continues"
                ) from error

    def raise_if_stopped(self) -> None:
        """Raise what stopped the run, if anything did."""
        if self.stopped is not None:
            raise self.stopped

    def _stop(self, reason: str) -> JudgingStoppedError:
        error = JudgingStoppedError(reason)
        self.stopped = self.stopped or error
        return error


@final
class JudgingSession:
    """One run of a judge, in one event loop.

    Args:
        judge, fingerprint: name and fingerprint of the judge, for its rewards.
        rubric, client, ledger, limits, price, retry_failed: see VLMJudge.
    """

    def __init__(
        self,
        judge: str,
        fingerprint: str,
        rubric: Rubric,
        client: VLMClient,
        ledger: Ledger,
        limits: Limits,
        price: Price | None,
        retry_failed: bool,
    ) -> None:
        self.judge, self.fingerprint, self.rubric, self.client = judge, fingerprint, rubric, client
        self.ledger, self.limits, self.price, self.retry_failed = ledger, limits, price, retry_failed
        self.health = Health(client.model, max(20, 2 * limits.concurrency))
        self.budget = Budget(limits.budget_usd, ledger.total().dollars)
        self._calls = asyncio.Semaphore(limits.concurrency)
        self._requests = RateLimiter(limits.requests_per_minute)
        self._tokens = RateLimiter(limits.tokens_per_minute)
        self._in_flight: dict[str, asyncio.Future[Answer | str]] = {}

    async def judgement(self, triplet: Triplet) -> Judgement:
        """The reward of a triplet, all of whose questions are asked at once."""
        # images are encoded in a thread, so that the event loop keeps serving replies
        key, questions = await asyncio.to_thread(self._prepare, triplet)
        outcomes = await asyncio.gather(
            *(self._with_second_try(question) for question in questions), return_exceptions=True
        )
        answered: list[tuple[Answer | str, list[str]]] = []
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            answered.append(outcome)
        keys = [key for _, keys in answered for key in keys]
        verdicts = self.rubric.verdicts([answer for answer, _ in answered])
        self.ledger.record_reward(key, triplet.case.id, self.judge, keys)
        usage = {**asdict(self.ledger.usage(keys)), "model": self.client.model}
        return Judgement(Reward(triplet.case.id, self.judge, key, *verdicts), usage)

    def _prepare(self, triplet: Triplet) -> tuple[str, list[Question]]:
        return reward_key(triplet, self.fingerprint), self.rubric.questions(triplet)

    async def _with_second_try(self, question: Question) -> tuple[Answer | str, list[str]]:
        """The answer to a question, which is asked again if its first reply can't be read, and the keys of
        the questions asked.
        """
        keys = []
        answer: Answer | str = ""
        for again in (0, 1):
            variant = replace(question, again=again)
            keys.append(variant.key(self.client.fingerprint))
            answer = await self._shared(keys[-1], variant)
            if isinstance(answer, Answer) or self.ledger.reply(keys[-1]) is None:
                break
        return answer, keys

    async def _shared(self, key: str, question: Question) -> Answer | str:
        """The answer to a question that several triplets may ask at the same time."""
        if key not in self._in_flight:
            self._in_flight[key] = asyncio.ensure_future(self._from_ledger_or_asked(key, question))
            self._in_flight[key].add_done_callback(lambda _: self._in_flight.pop(key))
        return await asyncio.shield(self._in_flight[key])

    async def _from_ledger_or_asked(self, key: str, question: Question) -> Answer | str:
        """The answer from the ledger, or else from the model."""
        reply, given_up = self.ledger.reply(key), self.ledger.given_up(key)
        if reply is None and (given_up is None or self.retry_failed):
            given_up = await self._with_retries(key, question)
            reply = self.ledger.reply(key)
        return answer_or_reason(self.rubric, question, reply, given_up)

    async def _with_retries(self, key: str, question: Question) -> str | None:
        """Attempt a question until its reply is in the ledger (None) or it is given up (the reason).

        Raises:
            JudgingStoppedError: no call has a chance.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception(
                lambda error: isinstance(error, CallFailed) and error.kind in ("busy", "transient")
            ),
            stop=stop_after_attempt(self.limits.attempts),
            wait=self._wait,
            reraise=True,
        )
        try:
            await retrying(self.health.call, lambda: self._one_attempt(key, question), question.triplet)
        except CallFailed as error:
            reason = f"{question.about}: {error}"
            self.ledger.record_given_up(key, reason)
            return reason
        return None

    def _wait(self, state: RetryCallState) -> float:
        """Seconds that the server asks for, or a random time below a limit that doubles."""
        error = state.outcome.exception() if state.outcome else None
        backoff = wait_random_exponential(multiplier=FIRST_WAIT, max=self.limits.longest_wait)(state)
        requested = error.retry_after if isinstance(error, CallFailed) else None
        # a little later than requested, so that rejected calls don't all come back in the same moment
        return backoff if requested is None else requested + min(backoff, FIRST_WAIT)

    async def _one_attempt(self, key: str, question: Question) -> None:
        """One call within the limits, recorded in the ledger whatever comes of it."""
        tokens = self.client.tokens(question)
        estimate = self._dollars(*tokens)
        async with self._calls:
            await self._requests.acquire()
            await self._tokens.acquire(sum(tokens))
            self.health.raise_if_stopped()
            try:
                self.budget.reserve(estimate)
            except ValueError as error:
                self.health.stopped = error
                raise
            cost, start = 0.0, time.monotonic()
            model, fingerprint = self.client.model, self.client.fingerprint
            try:
                reply = await self.client.ask(question)
                cost = self._dollars(reply.input_tokens, reply.output_tokens)
                self.ledger.record_reply(key, question, model, fingerprint, reply, cost)
                self.health.count_success()
            except CallFailed as error:
                seconds = time.monotonic() - start
                self.ledger.record_failure(key, question, model, fingerprint, error.kind, str(error), seconds)
                self.health.count_failure(error)
                raise
            finally:
                self.budget.settle(estimate, cost)

    def _dollars(self, input_tokens: int, output_tokens: int) -> float:
        return self.price.dollars(input_tokens, output_tokens) if self.price is not None else 0.0
