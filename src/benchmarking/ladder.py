"""Ladders of rungs, each measured in a process of its own, so that memory and compiled code are those of one
rung.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, final

from src.benchmarking.measurement import RungMeasurement
from src.benchmarking.report import Entry, entry

CONTEXT = multiprocessing.get_context("forkserver")
"""Rungs are forked from a server that has only imported: in a second, with no memory of the rungs before, and
on a GPU with no context of them.
"""


PRELOADED = [
    "src.benchmarking.rungs",
    "src.backbones.inspix2pix",
    "src.callbacks.ema",
    "torch.optim.adamw",
]
"""All that takes long to import."""


@final
@dataclass(frozen=True)
class Rung:
    """One step of a ladder.

    Attributes:
        ladder: which.
        name: of the change.
        changes: settings, as `name=value`.
    """

    ladder: str
    name: str
    changes: tuple[str, ...]


Work = Callable[[str, Mapping[str, Any]], Any]
"""Measures something, in another process: a name and settings -> a result that can be sent."""


class FailedError(Exception):
    """A process ended without a result; the message says why."""


def measure_ladder(
    ladder: Sequence[Rung],
    chosen: Sequence[str] | None,
    measure: Callable[[Rung, Sequence[str]], RungMeasurement],
) -> list[Entry]:
    """Measure every chosen rung, with its changes and those of all before it.

    A rung that fails is reported with its reason, and its change is left out of the rungs after it, so that
    they don't fail for the same reason. The first rung's changes are never left out: without them nothing
    could be compared.

    Args:
        ladder: all of its rungs.
        chosen: names; None for all.
        measure: a rung, and all changes.
    """
    changes, left_out, entries = [], [], []
    for place, rung in enumerate(ladder):
        together = [*changes, *rung.changes]
        if chosen is None or rung.name in chosen:
            try:
                measured = measure(rung, together)
            except FailedError as error:
                entries.append(entry(rung.name, rung.changes, None, str(error), left_out))
                if place:
                    left_out = [*left_out, rung.name]
                    continue
            else:
                entries.append(entry(rung.name, rung.changes, measured, "", left_out))
        changes = together
    return entries


def run_in_process(work: Work, name: str, settings: Mapping[str, Any], log: Path, minutes: float) -> Any:
    """What `work(name, settings)` returns, from a process of its own whose output goes to a file.

    Raises:
        FailedError: it raised, was killed, or took too long.
    """
    CONTEXT.set_forkserver_preload(PRELOADED)
    log.parent.mkdir(parents=True, exist_ok=True)
    ours, theirs = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_report, args=(theirs, work, name, settings, str(log)))
    process.start()
    theirs.close()
    try:
        if not ours.poll(60 * minutes):
            process.kill()
            raise FailedError(f"no result after {minutes:g} minutes (minutes_per_rung)")
        good, result = ours.recv()
    except EOFError:
        process.join()
        raise FailedError(_ending(process.exitcode)) from None
    finally:
        if process.is_alive():
            process.join(10)
        if process.is_alive():
            process.kill()
        process.join()
    if not good:
        raise FailedError(result)
    return result


def _ending(code: int | None) -> str:
    if code == -signal.SIGKILL:
        return "the system killed it, most likely for want of memory"
    return f"its process ended with exit code {code}"


def _report(pipe: Any, work: Work, name: str, settings: Mapping[str, Any], log: str) -> None:
    """The life of a rung's process."""
    multiprocessing.set_start_method("fork", force=True)  # as in a command that was not started by us
    threading.Thread(target=_end_with_the_command, daemon=True).start()
    with Path(log).open("wb") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    try:
        pipe.send((True, work(name, settings)))
    except Exception as error:  # noqa: BLE001  # whatever it is, it is this rung's result
        traceback.print_exc()
        message = " ".join(str(error).split())[:160]
        pipe.send(
            (
                False,
                message
                if isinstance(error, ValueError | FileNotFoundError)
                else f"{type(error).__name__}: {message}",
            )
        )
    pipe.close()
    sys.stdout.flush()


def _end_with_the_command() -> None:
    """A rung must not go on, with gigabytes of memory, for a command that was killed."""
    command = multiprocessing.parent_process()
    assert command is not None
    wait([command.sentinel])
    os._exit(1)


@final
class RungProgress:
    """Progress in words: one line a rung, with the time that is left if all take as long as those before."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.start = time.monotonic()

    def report(self, rung: Rung, said: str) -> None:
        """A rung is done."""
        self.done += 1
        spent = time.monotonic() - self.start
        left = spent / self.done * (self.total - self.done)
        print(
            f"{self.done}/{self.total} {rung.ladder} {rung.name}: {said}; {spent:.0f} s, about {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )
