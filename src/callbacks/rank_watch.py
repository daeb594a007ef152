"""Ends a training on several processes when one of them is gone.

Lightning's own watcher kills the first process by SIGKILL, which can neither say why nor leave a record; and
until a collective times out, the first process waits without a word.
"""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, final

from pytorch_lightning import Callback, LightningModule, Trainer

LIGHTNINGS = "child-process-observer"
"""Name of the thread that this one replaces."""

LOOK_S = 1.0
GRACE_S = 5.0
"""How long the first process may take to end by itself, with an error of its own that says more."""


@final
class RankWatch(Callback):
    """Watches the processes that Lightning started for the other ranks, from the first.

    Args:
        end: ends this process at once, with a message; called from a thread, as the process itself may hang.
        look_s: seconds between looks.
        grace_s: seconds between seeing that a process is gone and ending.
    """

    def __init__(self, end: Callable[[str], None], look_s: float = LOOK_S, grace_s: float = GRACE_S) -> None:
        self.end = end
        self.look_s, self.grace_s = look_s, grace_s
        self.processes: Sequence[subprocess.Popen[Any]] = ()
        self.over = threading.Event()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin, where there are processes to watch."""
        self.processes = getattr(trainer.strategy.launcher, "procs", ())
        if self.processes:
            _silence_lightnings()
            threading.Thread(target=self._watch, daemon=True).start()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Processes may end now."""
        self.over.set()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """The first process ends by itself."""
        self.over.set()

    def gone(self, within_s: float = 0.0) -> str | None:
        """Which process is gone, in words; None if all are there or ended well.

        Args:
            within_s: wait this long for one to be: its sockets close a moment before.
        """
        deadline = time.monotonic() + within_s
        while self.processes and time.monotonic() < deadline and self._describe() is None:
            time.sleep(0.05)
        return self._describe()

    def _describe(self) -> str | None:
        for rank, process in enumerate(self.processes, start=1):
            code = process.poll()
            if code:
                how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"it ended with code {code}"
                return (
                    f"the process of rank {rank} is gone ({how}), so the training stopped; what it said is "
                    "above, and a kill is often the machine's for want of memory: the same command goes on "
                    "from the last checkpoint"
                )
        return None

    def _watch(self) -> None:
        while not self.over.wait(self.look_s):
            message = self.gone()
            if message is not None:
                if self.over.wait(self.grace_s):
                    return
                for process in self.processes:
                    process.kill()
                self.end(message)
                return


def _silence_lightnings() -> None:
    """Let Lightning's watcher find that there is nothing left to watch."""
    for thread in threading.enumerate():
        if thread.name == LIGHTNINGS and hasattr(thread, "_child_processes"):
            thread._child_processes = []  # pyright: ignore[reportAttributeAccessIssue]
