"""Limits on asking a judge: calls at once, requests and tokens per minute, attempts, money."""

import asyncio
import math
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import final

TOLD_WAIT = 5.0
"""Longer waits are told, in seconds."""


def tell(message: str) -> None:
    """Say on stderr why nothing happens."""
    print(message, file=sys.stderr, flush=True)


@final
@dataclass(frozen=True)
class Limits:
    """What a run may use.

    Attributes:
        concurrency: calls at once; also the most that a kill can waste.
        requests_per_minute, tokens_per_minute: the provider's limits; None for no limit. Tokens are estimated
            before a call.
        attempts: per question, the first one included.
        longest_wait: most seconds between two attempts; the server's own Retry-After takes precedence.
        longest_retry_after: most seconds that a server may ask to wait; a longer wait ends the run.
        budget_usd: for everything in the ledger, earlier runs included; None for no limit.

    Raises:
        ValueError: a number below its minimum.
    """

    concurrency: int = 32
    requests_per_minute: float | int | None = None
    tokens_per_minute: float | int | None = None
    attempts: int = 6
    longest_wait: float | int = 60.0
    longest_retry_after: float | int = 600.0
    budget_usd: float | int | None = None

    def __post_init__(self) -> None:
        for name, least in (
            ("concurrency", 1),
            ("attempts", 1),
            ("longest_wait", 0.0),
            ("longest_retry_after", 0.0),
            ("budget_usd", 0.0),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value < math.inf:
                raise ValueError(f"{name}={value}: at least {least:g}")
        for name in ("requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name}={value}: more than 0, or null for no limit")


@final
class RateLimiter:
    """Spaces units evenly, without bursts, so that at most `per_minute` start in any minute.

    Used by the tasks of one event loop.

    Args:
        per_minute: units; None for no limit.
        name: of the setting, for messages.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        per_minute: float | int | None,
        name: str = "",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.per_minute, self.name, self.sleep = per_minute, name, sleep
        self.free_at = 0.0
        self._is_told = False

    async def acquire(self, units: float = 1.0) -> None:
        """Return when `units` may start."""
        if self.per_minute is None:
            return
        start, spacing = max(time.monotonic(), self.free_at), units * 60.0 / self.per_minute
        self.free_at = start + spacing
        if spacing > TOLD_WAIT and not self._is_told:
            self._is_told = True
            tell(f"judge.limits.{self.name}={self.per_minute:g} makes {spacing:.0f} s between two calls")
        await self.sleep(start - time.monotonic())


@final
class OverBudgetError(ValueError):
    """The next call would exceed the budget."""


@final
class Budget:
    """What may be spent. Dollars are reserved for a call before it and replaced by its cost afterwards.

    A call costs its estimate, or as much as the dearest so far. While others are under way, twice that is
    reserved, as they may all turn out dearer. What is under way is not yet spent: a call for which too little
    is left waits for it.

    Used by the tasks of one event loop.

    Args:
        budget: dollars; None for no limit.
        spent: dollars spent before.
        dearest: dollars of the dearest call before.
    """

    def __init__(self, budget: float | int | None, spent: float, dearest: float = 0.0) -> None:
        self.budget, self.spent, self.dearest = budget, spent, dearest
        self.reserved: list[float] = []
        self._settled = asyncio.Event()

    async def reserve(self, estimate: float, most: float) -> float:
        """Reserve the dollars of a call, and return them, once the budget has room.

        Args:
            estimate: of its cost.
            most: that it can cost.

        Raises:
            OverBudgetError: what is spent and the call exceed the budget.
        """
        while not self._has_room(held := min(most, 2 * max(estimate, self.dearest))):
            if not self.reserved:
                held = min(most, max(estimate, self.dearest))
                self._check(held)
                break
            self._settled.clear()
            await self._settled.wait()
        self.reserved.append(held)
        return held

    def settle(self, held: float, dollars: float) -> None:
        """Replace what was reserved for a finished call by its cost."""
        self.reserved.remove(held)
        self.spent += dollars
        self.dearest = max(self.dearest, dollars)
        self._settled.set()

    def _has_room(self, dollars: float) -> bool:
        return self.budget is None or self.spent + math.fsum(self.reserved) + dollars <= self.budget

    def _check(self, dollars: float) -> None:
        if self.budget is not None and self.spent + dollars > self.budget:
            raise OverBudgetError(
                f"the budget of ${self.budget:.2f} would be exceeded: ${self.spent:.4f} are spent and the "
                f"next call costs about ${dollars:.4f}; all answers are kept, the same command with a larger "
                "budget_usd continues"
            )
