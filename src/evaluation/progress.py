"""How far a long step is: a bar with rate and remaining time on a terminal, a plain line every few seconds in a log file."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 10.0


def counted(batches: Iterable[Sequence[T]], total: int, what: str, unit: str) -> Iterator[Sequence[T]]:
    """The batches, unchanged; what has been worked off is shown on stderr as "what 128/560, 35.2 unit/s, 12 s left".

    Args:
        batches: sequences of things; a batch counts as done when the next one is asked for.
        total: number of things in all batches.
        what: what is being done ("5/5/5").
        unit: what is counted ("edits").
    """
    if sys.stderr.isatty():
        yield from _with_bar(batches, total, what, unit)
    else:
        yield from _with_lines(batches, total, what, unit)


def _with_bar(batches: Iterable[Sequence[T]], total: int, what: str, unit: str) -> Iterator[Sequence[T]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task, start = progress.add_task(what, total=total, rate=""), time.monotonic()
        done = 0
        for batch in batches:
            yield batch
            done += len(batch)
            progress.update(task, completed=done, rate=f"{done / (time.monotonic() - start):.1f} {unit}/s")


def _with_lines(batches: Iterable[Sequence[T]], total: int, what: str, unit: str) -> Iterator[Sequence[T]]:
    start = spoken = time.monotonic()
    done = 0
    for batch in batches:
        yield batch
        done += len(batch)
        now = time.monotonic()
        if done == total or now - spoken >= SECONDS_BETWEEN_LINES:
            spoken = now
            rate = done / max(now - start, 1e-9)
            print(f"{what} {done}/{total}, {rate:.1f} {unit}/s, {(total - done) / rate:.0f} s left", file=sys.stderr, flush=True)
