"""A training whose other process is gone ends with one line and a record."""

import subprocess
import sys
import threading
import time
from typing import Any
from unittest.mock import Mock

import pytest
from pytorch_lightning import LightningModule, Trainer

from src.callbacks import rank_watch
from src.callbacks.rank_watch import RankWatch

MODULE = Mock(spec=LightningModule)


def child(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-S", "-c", code])


def watching(grace_s: float, *processes: subprocess.Popen[bytes]) -> tuple[RankWatch, list[str], Any]:
    said: list[str] = []
    watch = RankWatch(said.append, look_s=0.02, grace_s=grace_s)
    trainer = Mock(spec=Trainer)
    trainer.strategy.launcher.procs = list(processes)
    watch.on_fit_start(trainer, MODULE)
    return watch, said, trainer


def until(done: Any) -> None:
    deadline = time.monotonic() + 20
    while not done() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_killed_process_ends_the_training_and_the_others() -> None:
    one, other = child("import time; time.sleep(60)"), child("import time; time.sleep(60)")
    _, said, _ = watching(0.05, one, other)
    other.kill()
    until(lambda: said and one.poll() is not None)
    assert len(said) == 1
    assert "the process of rank 2 is gone (killed by SIGKILL)" in said[0]
    assert one.poll() is not None


def test_an_error_of_its_own_says_more() -> None:
    one = child("raise SystemExit(3)")
    watch, said, trainer = watching(60.0, one)
    until(lambda: one.poll() is not None)
    watch.on_exception(trainer, MODULE, ValueError())
    time.sleep(0.1)
    assert said == []
    assert "rank 1 is gone (it ended with code 3)" in str(watch.gone(within_s=1.0))


def test_a_process_that_ends_well_is_none_that_is_gone() -> None:
    one = child("")
    watch, said, _ = watching(0.0, one)
    assert one.wait() == 0
    time.sleep(0.1)
    assert (said, watch.gone()) == ([], None)
    watch.over.set()


def test_lightning_no_longer_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its watcher is found by its name, and has nothing to watch any more."""
    from lightning_fabric.strategies.launchers.subprocess_script import _ChildProcessObserver

    killed: list[int] = []
    one = child("raise SystemExit(3)")
    monkeypatch.setattr(_ChildProcessObserver, "_terminate_all", lambda self: killed.append(1))
    observer = _ChildProcessObserver(one.pid, [one], sleep_period=1)
    observer.start()
    assert rank_watch.LIGHTNINGS in {thread.name for thread in threading.enumerate()}
    watching(60.0, one)[0].over.set()
    observer.join(20)
    assert killed == []
