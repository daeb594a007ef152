"""Real processes that are killed with SIGKILL, cheaply: they are forked from a server that has imported
everything, and done in a second or two.
"""

import importlib
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from src import launch

PRELOADED = (
    "train",
    "evaluate",
    "write_dataset",
    "precompute",
    "annotate",
    "edit",
    "convert",
    "backbones.tiny",
)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([*(f"src.{name}" for name in PRELOADED), "torch.optim.adamw", "tensorboard"])


def command(
    module: str, arguments: Sequence[str], log: str, environment: Mapping[str, str], largest_file: int | None
) -> None:
    """What `python -m <module> <arguments>` does, in a process group of its own, with its output in a file."""
    os.setpgrp()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell ignores it for what it starts in the background, and so do all children
    os.environ.update(environment)
    multiprocessing.set_start_method("fork", force=True)  # as in a command that was not started by us
    with Path(log).open("ab") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    if largest_file is not None:
        # a disk on which there is room for this many bytes in a file; needs no privilege, as a real full disk
        # would
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    sys.argv = [module, *arguments]
    loaded = importlib.import_module(module)
    launch.entry_point(loaded.main, module.removeprefix("src."), getattr(loaded, "SWEPT", None))


class Command:
    """A running command. `log` is appended to; files larger than `largest_file` bytes can't be written."""

    def __init__(
        self,
        module: str,
        *arguments: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
        largest_file: int | None = None,
    ) -> None:
        self.log = log
        self.process = CONTEXT.Process(
            target=command, args=(module, arguments, str(log), environment or {}, largest_file)
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
