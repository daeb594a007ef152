"""Measures ladders of rungs, each rung in its own process, so that memory and compiled code are those of one
rung alone.
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
"""Rungs are forked from a server that has only imported modules: they start in a second, without memory or
GPU context of earlier rungs.
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
        ladder: its name.
        name: of the change.
        changes: settings, as `name=value`.
    """

    ladder: str
    name: str
    changes: tuple[str, ...]


Work = Callable[[str, Mapping[str, Any]], Any]
"""Measures something in another process: a name and settings -> a picklable result."""


@final
class FailedError(Exception):
    """Raised when a process ends without a result; the message says why."""


def measure_ladder(
    ladder: Sequence[Rung],
    chosen: Sequence[str] | None,
    measure: Callable[[Rung, Sequence[str]], RungMeasurement],
) -> list[Entry]:
    """Measure the chosen rungs, each with its own changes and those of all rungs before it.

    A rung that fails is reported with its reason, and its change is left out of later rungs, so that they
    don't fail for the same reason. The first rung's changes are always kept: without them nothing could be
    compared.

    Args:
        ladder: all of its rungs.
        chosen: names of rungs; None for all.
        measure: measures a rung with a list of changes.
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
    """Run `work(name, settings)` in a new process, whose output goes to a file, and return its result.

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
    """Main function of a rung's process: run the work and send its result."""
    multiprocessing.set_start_method("fork", force=True)  # as in a command that wasn't started by this one
    threading.Thread(target=_exit_with_parent, daemon=True).start()
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


def _exit_with_parent() -> None:
    """End this process, and free its gigabytes, when the command is killed."""
    command = multiprocessing.parent_process()
    assert command is not None
    wait([command.sentinel])
    os._exit(1)


@final
class RungProgress:
    """Prints a line per rung, with the time left if all rungs take as long as those before."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.start = time.monotonic()

    def report(self, rung: Rung, result: str) -> None:
        """Report that a rung is done."""
        self.done += 1
        spent = time.monotonic() - self.start
        left = spent / self.done * (self.total - self.done)
        print(
            f"{self.done}/{self.total} {rung.ladder} {rung.name}: {result}; {spent:.0f} s, about "
            f"{left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )
