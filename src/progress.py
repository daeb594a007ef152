"""Progress of a long step: a bar with rate and remaining time on a terminal, a line every few seconds in a
log file.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0


def with_progress(
    batches: Iterable[Sequence[T]], total: int | None, what: str, unit: str, note: Callable[[], str] = str
) -> Iterator[Sequence[T]]:
    """Yield the batches unchanged and show progress on stderr: "what 128/560, 35.2 unit/s, 12 s left".

    Args:
        batches: a batch counts as done when the next one is requested.
        total: number of items in all batches; None if unknown.
        what: the step ("edit 5/5/5").
        unit: of the items ("edits").
        note: returns further text for each update ("3 failed").
    """
    if sys.stderr.isatty():
        yield from _with_bar(batches, total, what, unit, note)
    else:
        yield from _with_lines(batches, total, what, unit, note)


def _with_bar(
    batches: Iterable[Sequence[T]], total: int | None, what: str, unit: str, note: Callable[[], str]
) -> Iterator[Sequence[T]]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task, start = progress.add_task(what, total=total, rate=""), time.monotonic()
        done = 0
        for batch in batches:
            yield batch
            done += len(batch)
            progress.update(
                task,
                completed=done,
                rate=_joined(f"{done / (time.monotonic() - start):.1f} {unit}/s", note()),
            )


def _with_lines(
    batches: Iterable[Sequence[T]], total: int | None, what: str, unit: str, note: Callable[[], str]
) -> Iterator[Sequence[T]]:
    start = spoken = time.monotonic()
    done = 0
    for batch in batches:
        yield batch
        done += len(batch)
        now = time.monotonic()
        if done == total or now - spoken >= SECONDS_BETWEEN_LINES:
            spoken = now
            rate = done / max(now - start, 1e-9)
            count = f"{what} {done}" if total is None else f"{what} {done}/{total}"
            left = "" if total is None else f"{(total - done) / rate:.0f} s left"
            print(_joined(count, f"{rate:.1f} {unit}/s", left, note()), file=sys.stderr, flush=True)


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)
