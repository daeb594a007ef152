"""Applies a coroutine to many items at once, in bounded memory."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def bounded_map(
    runner: asyncio.Runner, work: Callable[[T], Awaitable[R]], items: Iterator[T], at_once: int
) -> Iterator[R]:
    """Results as they are finished; a new item is taken only when there is room for it.

    If one item fails, or can't be read, no new one is started; what is under way is finished and handed out
    before the error is raised, which doesn't wait for an item that is being read.

    Args:
        runner: whose event loop runs the work; it stands still while the caller uses a result.
        work: on one item.
        items: read in a thread of its own, as reading may take long; results don't wait for it.
        at_once: number of items in work.
    """
    source: Iterator[T] | None = items
    reading: asyncio.Future[T | None] | None = None
    pending: set[asyncio.Future[R]] = set()
    finished: deque[R] = deque()
    failure: BaseException | None = None
    reader = ThreadPoolExecutor(1)  # not the loop's own, which is waited for when the loop ends

    async def advance() -> None:
        """Wait for at least one result unless one is there; keep the room filled meanwhile."""
        nonlocal source, reading, pending, failure
        while not finished:
            if reading is None and source is not None and len(pending) < at_once:
                reading = asyncio.get_running_loop().run_in_executor(reader, next, source, None)
            under_way: set[asyncio.Future[Any]] = {*pending, *([] if reading is None else [reading])}
            if not under_way or (failure is not None and not pending):
                return
            done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for future in [each for each in pending if each in done]:
                pending.remove(future)
                if (error := future.exception()) is None:
                    finished.append(future.result())
                else:
                    failure, source = failure or error, None
            if reading is not None and reading.done():
                read, reading = reading, None
                if (error := read.exception()) is not None:
                    failure, source = failure or error, None
                elif (item := read.result()) is None:
                    source = None
                elif failure is None:
                    pending.add(asyncio.ensure_future(work(item)))

    try:
        while True:
            runner.run(advance())
            if not finished:
                break
            yield finished.popleft()
    finally:
        reader.shutdown(wait=False)
    if failure is not None:
        raise failure
