"""The questions of one run: each is looked up in the ledger or asked, with retries, within the limits, until
it is answered or given up. Nothing that was answered is lost.

A question goes through five layers, outermost first: a second try where the reply can't be read, sharing of
equal questions, the ledger, retries, and the single attempt, which is in the ledger before anything is
derived from it.
"""

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import final

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from src.judges.health import FIRST_WAIT, Health
from src.judges.judge import reward_key
from src.judges.ledger import Ledger
from src.judges.limits import Budget, Limits, RateLimiter
from src.judges.parsing import UnusableReply
from src.judges.price import Charge, Price, charge_estimate, charge_reply
from src.judges.question import Answer, CallFailed, Question, Reply, VLMClient
from src.judges.rubric import Rubric
from src.judges.streaming import Judgement
from src.records import Reward, Triplet


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
class JudgingSession:
    """One run of a judge, in one event loop.

    Args:
        judge, fingerprint: name and fingerprint of the judge, for its rewards.
        rubric, client, ledger, limits, price, retry_failed: see VLMJudge.
        health: what earlier sessions have shown about the client.
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
        health: Health,
    ) -> None:
        self.judge, self.fingerprint, self.rubric, self.client = judge, fingerprint, rubric, client
        self.ledger, self.limits, self.price, self.retry_failed = ledger, limits, price, retry_failed
        self.health, self._alone = health, asyncio.Lock()
        self.budget = Budget(limits.budget_usd, ledger.total().dollars, ledger.dearest())
        self._calls = asyncio.Semaphore(limits.concurrency)
        self._requests = RateLimiter(limits.requests_per_minute, "requests_per_minute", self._sleep)
        self._tokens = RateLimiter(limits.tokens_per_minute, "tokens_per_minute", self._sleep)
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
        usage = {**self.ledger.usage(keys).fields(), "model": self.client.model}
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
            sleep=self._sleep,
            reraise=True,
        )
        try:
            attempt = partial(self._one_attempt, key, question)
            await retrying(self.health.call, attempt, question.triplet, self._alone)
        except CallFailed as error:
            reason = f"{question.about}: {error}"
            self.ledger.record_given_up(key, reason)
            self.health.count_given_up(question.about, error, question.triplet)
            return reason
        return None

    def _wait(self, state: RetryCallState) -> float:
        """Seconds that the server asks for, or a random time below a limit that doubles."""
        error = state.outcome.exception() if state.outcome else None
        backoff = wait_random_exponential(multiplier=FIRST_WAIT, max=self.limits.longest_wait)(state)
        requested = error.retry_after if isinstance(error, CallFailed) else None
        # a little later than requested, so that rejected calls don't all come back in the same moment
        seconds = backoff if requested is None else requested + min(backoff, FIRST_WAIT)
        self.health.tell_wait(seconds, error)
        return seconds

    async def _sleep(self, seconds: float) -> None:
        """Return after so many seconds, or soon after the run is stopped."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and self.health.stopped is None:
            await asyncio.sleep(min(left, 1.0))

    async def _one_attempt(self, key: str, question: Question) -> None:
        """One call within the limits, recorded in the ledger whatever comes of it."""
        expected, most = self.client.tokens(question), self.client.most_tokens(question)
        estimate, dearest = (self._dollars(tokens) for tokens in (expected, most))
        async with self._calls:
            await self._requests.acquire()
            await self._tokens.acquire(sum(expected))
            self.health.raise_if_stopped()
            held = await self._reserved(estimate, dearest)
            charge = Charge()
            try:
                self.health.raise_if_stopped()
                start = time.monotonic()
                try:
                    reply = await self.client.ask(question)
                except CallFailed as error:
                    charge = charge_estimate(self.price, expected) if error.may_cost else Charge()
                    self._record_failure(key, question, error, charge, time.monotonic() - start)
                    raise
                charge = charge_reply(self.price, reply, expected, most)
                self._record_reply(key, question, reply, charge)
            finally:
                self.budget.settle(held, charge.dollars)

    async def _reserved(self, estimate: float, most: float) -> float:
        try:
            return await self.budget.reserve(estimate, most)
        except ValueError as error:
            self.health.stopped = self.health.stopped or error
            raise

    def _record_failure(
        self, key: str, question: Question, error: CallFailed, charge: Charge, seconds: float
    ) -> None:
        model, fingerprint = self.client.model, self.client.fingerprint
        self.ledger.record_failure(key, question, model, fingerprint, error.kind, str(error), seconds, charge)
        self.health.count_failure(error)

    def _record_reply(self, key: str, question: Question, reply: Reply, charge: Charge) -> None:
        self.ledger.record_reply(key, question, self.client.model, self.client.fingerprint, reply, charge)
        try:
            self.rubric.read(question, reply)
        except UnusableReply as error:
            self.health.count_unusable(question.about, error.cause, str(error), question.triplet)
        else:
            self.health.count_answer(question.about)

    def _dollars(self, tokens: tuple[int, int]) -> float:
        return self.price.dollars(*tokens) if self.price is not None else 0.0
