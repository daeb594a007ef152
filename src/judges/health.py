"""A circuit breaker: stops a run whose model will answer nothing, or nothing that can be read, with what to
do about it.
"""

import asyncio
import itertools
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import final

from src.judges.limits import TOLD_WAIT, Limits, tell
from src.judges.question import CallFailed

Attempt = Callable[[], Awaitable[None]]

FIRST_WAIT = 0.5
"""Most seconds before the second attempt; doubled with each further one."""

PROBE_ATTEMPTS = 3
"""Attempts at the very first call, and triplets refused before any is answered: an unusable server should
show within seconds. One that says it is busy is there, and gets `limits.attempts`.
"""

ALL_KINDS = "anything"
MOST_UNUSABLE = 20
"""Replies in a row to one kind of question without a usable answer, or questions in a row given up, that stop
a run: they have one cause, and the rows to come would be paid for in vain.
"""

LEAST_TRIPLETS = 4
"""Of which they are: a rubric may ask eight times about one that no model answers."""

REMEDIES = {
    "cut_off": "raise judge.client.max_tokens (max_new_tokens of a local judge), or let the model think less "
    "(judge.client.extra_body={...})",
    "form": "read the replies (src.annotate steps=[export] export.format=ledger), then try "
    "judge.client.structured=json_schema, other prompts (judge.rubric.prompts) or another model",
    "refused": "take another model, or leave these rows out",
    "unanswered": "wait until the server answers again, or lower judge.limits.requests_per_minute and "
    "judge.limits.concurrency",
}
OTHER_JUDGE = "all answers are kept; a judge with other settings needs another output="


@final
class JudgingStoppedError(ValueError):
    """Further calls are pointless; all answers so far are in the ledger."""


@final
class Health:
    """What the calls of a judge have shown about its server, over all of its sessions.

    Calls are made alone until one brings a usable answer. Afterwards, failures in a row are counted, and a
    fatal one stops at once.

    Args:
        model: for messages.
        limits: of the calls.
    """

    def __init__(self, model: str, limits: Limits) -> None:
        self.model, self.limits = model, limits
        self.most_failures = max(20, 2 * limits.concurrency)
        self.is_proven = False
        self.stopped: Exception | None = None
        self._failures = 0
        self._refused: set[str] = set()
        # causes and triplets by kind of question; until an answer can be used, of all kinds together, too
        self._unusable: dict[str, list[tuple[str, str]]] = {}
        self._told_until = -math.inf

    async def call(self, attempt: Attempt, triplet: str, alone: asyncio.Lock) -> None:
        """Make a call, or wait until others have shown that the server gives usable answers.

        Args:
            attempt: makes the call.
            triplet: id of the triplet in question.
            alone: of the event loop.

        Raises:
            CallFailed: the call failed.
            JudgingStoppedError: no call has a chance.
        """
        if not self.is_proven:
            async with alone:
                self.raise_if_stopped()
                if not self.is_proven:
                    await self._probe(attempt, triplet)
                    return
        await attempt()

    async def _probe(self, attempt: Attempt, triplet: str) -> None:
        for number in itertools.count(1):
            try:
                await attempt()
            except CallFailed as error:
                if error.kind == "refused":
                    # these images alone may be at fault; the next question is the first call then
                    self._refused.add(triplet)
                    if len(self._refused) >= PROBE_ATTEMPTS:
                        raise self.stop(f"{self.model} refuses every question ({error})") from error
                    raise
                is_busy = error.kind == "busy"
                most = self.limits.attempts if is_busy else PROBE_ATTEMPTS
                if number >= most:
                    trouble = "is too busy" if is_busy else "gives no usable answer"
                    raise self.stop(f"{self.model} {trouble} ({error}); tried {number} times") from error
                backoff = min(FIRST_WAIT * 2 ** (number - 1), max(FIRST_WAIT, self.limits.longest_wait))
                seconds = backoff if error.retry_after is None else error.retry_after
                tell(f"{error}; trying again in {duration(seconds)} ({number + 1} of {most})")
                await asyncio.sleep(seconds)
            else:
                return

    def count_answer(self, about: str) -> None:
        """The server gave a usable answer to a question of this kind."""
        self.is_proven = True
        self._failures = 0
        self._unusable.pop(about, None)

    def count_unusable(self, about: str, cause: str, reason: str, triplet: str) -> None:
        """Raise JudgingStoppedError if this reply is one of too many in a row without a usable answer.

        Args:
            about: kind of question.
            cause: key of REMEDIES.
            reason: of this one, in words.
            triplet: id of the triplet in question.
        """
        self._failures = 0
        self._count_in_vain(about, cause, reason, triplet)

    def _count_in_vain(self, about: str, cause: str, reason: str, triplet: str) -> None:
        for kind in (about,) if self.is_proven else (about, ALL_KINDS):
            causes = self._unusable.setdefault(kind, [])
            causes.append((cause, triplet))
            if len(causes) >= MOST_UNUSABLE and len({name for _, name in causes}) >= LEAST_TRIPLETS:
                most_common = Counter(each for each, _ in causes).most_common(1)[0][0]
                raise self.stop(
                    f"the last {len(causes)} calls to {self.model} about {kind} brought no usable answer "
                    f"({reason}); {REMEDIES[most_common]}; {OTHER_JUDGE}"
                )

    def count_given_up(self, about: str, error: CallFailed, triplet: str) -> None:
        """Raise JudgingStoppedError if this question is one of too many in a row that are given up."""
        cause = "refused" if error.kind == "refused" else "unanswered"
        self._count_in_vain(about, cause, str(error), triplet)

    def count_failure(self, error: CallFailed) -> None:
        """Raise JudgingStoppedError if this failure shows that no further call has a chance."""
        if error.kind == "fatal":
            raise self.stop(str(error)) from error
        longest = self.limits.longest_retry_after
        if error.retry_after is not None and error.retry_after > longest:
            raise self.stop(
                f"{self.model} asks to wait {duration(error.retry_after)}, until {clock(error.retry_after)} "
                f"({error}); all answers are kept, the same command goes on then, or waits if "
                f"judge.limits.longest_retry_after ({longest:g} s) is raised"
            ) from error
        if error.kind == "transient":
            self._failures += 1
            if self._failures >= self.most_failures:
                raise self.stop(
                    f"the last {self.most_failures} calls to {self.model} were not answered ({error}); "
                    "all answers are kept, the same command continues"
                ) from error

    def tell_wait(self, seconds: float, error: BaseException | None) -> None:
        """Say that nothing will happen for so long; many calls that wait for one reason say it once."""
        until = time.monotonic() + seconds
        if seconds > TOLD_WAIT and until > self._told_until + TOLD_WAIT:
            self._told_until = until
            tell(f"waiting {duration(seconds)}, until {clock(seconds)}: {error}")

    def raise_if_stopped(self) -> None:
        """Raise what stopped the run, if anything did."""
        if self.stopped is not None:
            raise self.stopped

    def stop(self, reason: str) -> JudgingStoppedError:
        """The error that ends the run."""
        error = JudgingStoppedError(reason)
        self.stopped = self.stopped or error
        return error


def duration(seconds: float | int) -> str:
    """A time span for people."""
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"


def clock(seconds: float | int) -> str:
    """The local time in so many seconds."""
    try:
        return datetime.fromtimestamp(time.time() + seconds).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return "the end of time"
