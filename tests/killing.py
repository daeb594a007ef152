"""Real processes that start cheaply, to be run, signalled or killed with SIGKILL: they are forked from a
server that has imported everything, and done in a second or two.
"""

import os
import resource
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

from warm import CONTEXT, become_command, interpreter

Result = TypeVar("Result")


def command(
    module: str,
    arguments: Sequence[str],
    log: str,
    errors: str,
    environment: Mapping[str, str],
    executable: str,
    largest_file: int | None,
) -> None:
    """What `python -m <module> <arguments>` does, in a process group of its own, with its output in files."""
    os.setpgrp()
    with Path(log).open("ab") as sink, Path(errors).open("ab") as errors_sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(errors_sink.fileno(), 2)
    if largest_file is not None:
        # a disk with room for this many bytes in a file; unlike a real full disk it needs no privilege
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    become_command(module, arguments, environment, executable)


class Command:
    """A running command.

    Args:
        module: such as src.train.
        arguments: of the command line.
        log: file to which its output is appended.
        errors: file to which its stderr is appended; default: `log`.
        environment: variables besides those of this process.
        largest_file: in bytes; larger files can't be written.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        log: Path,
        errors: Path | None = None,
        environment: Mapping[str, str] | None = None,
        largest_file: int | None = None,
    ) -> None:
        self.log = log
        variables = {**os.environ, **(environment or {})}
        files = (str(log), str(errors or log))
        self.process = CONTEXT.Process(
            target=command, args=(module, arguments, *files, variables, interpreter(), largest_file)
        )
        self.process.start()

    def ended(self, seconds: float = 300.0) -> int:
        """Its exit code."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, (
            f"still running after {seconds} s\n{self.log.read_text()[-3000:]}"
        )
        return self.process.exitcode

    def killed_when(self, moment: Callable[[], bool], seconds: float = 120.0) -> bool:
        """Kill -9 at a moment; False if it ended before."""
        assert self.process.pid is not None
        limit = time.monotonic() + seconds
        while self.process.exitcode is None:
            if moment():
                os.kill(self.process.pid, signal.SIGKILL)
                self.process.join()
                return self.process.exitcode == -signal.SIGKILL
            assert time.monotonic() < limit, self.log.read_text()[-3000:]
            time.sleep(0.0005)
        return False

    def signalled_when(self, moment: Callable[[], bool], number: int) -> int:
        """Send a signal at a moment; the exit code."""
        assert self.process.pid is not None
        while not moment():
            assert self.process.exitcode is None, self.log.read_text()[-3000:]
            time.sleep(0.002)
        os.kill(self.process.pid, number)
        return self.ended()


def in_own_process(function: Callable[..., Result], *arguments: object) -> Result:
    """The result of a function of a test file in a forked process, where code is as in a command: without the
    shape checks that tests run with.
    """
    with ProcessPoolExecutor(1, mp_context=CONTEXT) as pool:
        return pool.submit(function, *arguments).result()


def finished(module: str, *arguments: str, log: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a command to its end, which must be a good one; what it printed."""
    before = log.stat().st_size if log.exists() else 0
    code = Command(module, *arguments, log=log, environment=environment).ended()
    text = log.read_bytes()[before:].decode(errors="replace")
    assert code == 0, text[-3000:]
    return text


def after(seconds: float) -> Callable[[], bool]:
    """A moment so many seconds from now."""
    limit = time.monotonic() + seconds
    return lambda: time.monotonic() >= limit


def lines_in(file: Path, count: int) -> Callable[[], bool]:
    """The moment at which a text file has so many lines."""
    return lambda: file.exists() and file.read_bytes().count(b"\n") >= count


def being_written(folder: Path, name: str = "*", bytes: int = 0) -> Callable[[], bool]:
    """A moment at which a file in a folder is half-written, with at least so many bytes."""

    def moment() -> bool:
        try:
            return any(partial.stat().st_size >= bytes for partial in folder.glob(f".{name}.*.partial"))
        except FileNotFoundError:
            return False

    return moment
