"""Limits on asking a judge: calls at once, requests and tokens per minute, attempts, money."""

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
        requests_per_minute, tokens_per_minute: the provider's limits; None for no limit. Tokens are estimated
            before a call.
        attempts: per question, the first one included.
        longest_wait: most seconds between two attempts; the server's own Retry-After takes precedence.
        budget_usd: for everything in the ledger, earlier runs included; None for no limit.

    Raises:
        ValueError: a number below its minimum.
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
class RateLimiter:
    """Spaces units evenly, without bursts, so that at most `per_minute` start in any minute; None: no limit.

    Used by the tasks of one event loop.
    """

    def __init__(self, per_minute: float | int | None) -> None:
        self.per_minute = per_minute
        self.free_at = 0.0

    async def acquire(self, units: float = 1.0) -> None:
        """Return when `units` may start."""
        if self.per_minute is None:
            return
        start = max(time.monotonic(), self.free_at)
        self.free_at = start + units * 60.0 / self.per_minute
        await asyncio.sleep(start - time.monotonic())


@final
class OverBudgetError(ValueError):
    """The next call would exceed the budget."""


@final
class Budget:
    """What may be spent: the estimate of a call is reserved before it and replaced by its cost afterwards.

    Args:
        budget: dollars; None for no limit.
        spent: dollars spent before.
    """

    def __init__(self, budget: float | int | None, spent: float) -> None:
        self.budget = budget
        self.spent = spent
        self.reserved = 0.0

    def reserve(self, estimate: float) -> None:
        """Reserve the dollars of a call.

        Raises:
            OverBudgetError: what is spent, reserved and estimated exceeds the budget.
        """
        if self.budget is not None and self.spent + self.reserved + estimate > self.budget:
            raise OverBudgetError(
                f"the budget of ${self.budget:.2f} would be exceeded: "
                f"${self.spent:.4f} are spent and the next "
                f"call costs about ${estimate:.4f}; all answers are kept, the same command with a larger "
                "budget_usd continues"
            )
        self.reserved += estimate

    def settle(self, estimate: float, dollars: float) -> None:
        """Replace the estimate of a finished call by its cost."""
        self.reserved -= estimate
        self.spent += dollars
