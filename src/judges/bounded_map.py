"""Applies a coroutine to many items at once, in bounded memory."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def bounded_map(
    runner: asyncio.Runner, work: Callable[[T], Awaitable[R]], items: Iterator[T], at_once: int
) -> Iterator[R]:
    """Results as they are finished; a new item is taken only when there is room for it.

    If one item fails, no new one is started; what is under way is finished and handed out before the error is
    raised.

    Args:
        runner: whose event loop runs the work; it stands still while the caller uses a result.
        work: on one item.
        items: read in a thread of its own, as reading may take long.
        at_once: number of items in work.
    """
    source: Iterator[T] | None = items
    pending: set[asyncio.Future[R]] = set()
    finished: deque[R] = deque()
    failure: BaseException | None = None

    async def advance() -> None:
        """Fill the room, then wait for at least one result unless one is there."""
        nonlocal source, pending, failure
        while source is not None and len(pending) < at_once:
            item = await asyncio.to_thread(next, source, None)
            if item is None:
                source = None
            else:
                pending.add(asyncio.ensure_future(work(item)))
        if finished or not pending:
            return
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for future in done:
            if (error := future.exception()) is None:
                finished.append(future.result())
            else:
                failure, source = failure or error, None

    while True:
        runner.run(advance())
        if finished:
            yield finished.popleft()
        elif not pending:
            break
    if failure is not None:
        raise failure
