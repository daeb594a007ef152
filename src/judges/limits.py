"""How fast and how far a judge may be asked: calls at once, requests and tokens per minute, attempts, money."""

import asyncio
import time
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Limits:
    """What a run may use.

    Attributes:
        concurrency: calls at once; also the most that a kill can waste.
        requests_per_minute, tokens_per_minute: as the provider allows them; None for no limit. Tokens are
            estimated before a call.
        attempts: per question, the first one included.
        longest_wait: seconds between two attempts at most; the server's own Retry-After goes before.
        budget_usd: for all that stands in the ledger, earlier runs included; None for no limit.

    Raises:
        ValueError: a number below its least.
    """

    concurrency: int = 32
    requests_per_minute: float | int | None = None
    tokens_per_minute: float | int | None = None
    attempts: int = 6
    longest_wait: float | int = 60.0
    budget_usd: float | int | None = None

    def __post_init__(self) -> None:
        for name, least in (("concurrency", 1), ("attempts", 1), ("longest_wait", 0.0), ("budget_usd", 0.0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name}={value}: at least {least:g}")
        for name in ("requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name}={value}: more than 0, or null for no limit")


@final
class Pace:
    """Hands out starting times so that never more than `per_minute` units are begun in a minute; evenly,
    without bursts. None: at once.

    Used by the tasks of one event loop.
    """

    def __init__(self, per_minute: float | int | None) -> None:
        self.per_minute = per_minute
        self.free = 0.0

    async def take(self, units: float = 1.0) -> None:
        """Return when so many units may be begun."""
        if self.per_minute is None:
            return
        start = max(time.monotonic(), self.free)
        self.free = start + units * 60.0 / self.per_minute
        await asyncio.sleep(start - time.monotonic())


class OverBudgetError(ValueError):
    """The next call would pass the budget."""


@final
class Purse:
    """What may be spent: a call is paid in advance by its estimate, and settled when it is done.

    Args:
        budget: dollars; None for no limit.
        spent: dollars spent before.
    """

    def __init__(self, budget: float | int | None, spent: float) -> None:
        self.budget = budget
        self.spent = spent
        self.reserved = 0.0

    def reserve(self, estimate: float) -> None:
        """Put dollars aside for a call.

        Raises:
            OverBudgetError: spent, put aside and this together pass the budget.
        """
        if self.budget is not None and self.spent + self.reserved + estimate > self.budget:
            raise OverBudgetError(
                f"the budget of ${self.budget:.2f} would be passed: ${self.spent:.4f} are spent and the next call costs about ${estimate:.4f}; "
                "what was answered is kept, the same command with a larger budget_usd goes on"
            )
        self.reserved += estimate

    def settle(self, estimate: float, dollars: float) -> None:
        """A call is done and cost so much."""
        self.reserved -= estimate
        self.spent += dollars
