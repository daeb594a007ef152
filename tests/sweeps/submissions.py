"""Jobs that count their starts, and jobs that go on where they were stopped, for schedulers."""

import sys
import time
from pathlib import Path

from src.sweeps.processes import Outcome, Step
from src.sweeps.record import Job
from src.sweeps.running import RunningJob


def ended(running: RunningJob) -> list[Outcome]:
    limit = time.monotonic() + 120
    while (outcomes := running.poll()) is None:
        assert time.monotonic() < limit
        time.sleep(0.05)
    return list(outcomes)


def job(number: int = 0) -> Job:
    return Job(number, [], [], {}, "", "")


def python(folder: Path, kind: str, program: str, *arguments: str) -> Step:
    return Step(kind, (sys.executable, "-SEc", program, *arguments), folder / f"{kind}.log", {})  # pyright: ignore[reportArgumentType]


def steps(folder: Path) -> list[Step]:
    """Two that count how often they ran; the second fails."""
    counting = (
        "import os, sys; open(sys.argv[1], 'a').write('x'); sys.exit('error: not this one' if sys.argv[2] "
        "== '1' else 0)"
    )
    return [
        python(folder, kind, counting, str(folder / kind), fails)
        for kind, fails in (("train", "0"), ("evaluate", "1"))
    ]


STOPPABLE = """
import os, pathlib, signal, sys, time
place = pathlib.Path(sys.argv[1])
def save(number, frame):
    with place.open("a") as file: file.write("saved ")
    sys.exit("error: stopped")
signal.signal(signal.SIGTERM, save)
with place.open("a") as file: file.write(f"{os.getppid()} ")
time.sleep(0 if "saved" in place.read_text() else 600)
"""
"""Ends when it is asked to, and goes on where it was."""


def written(file: Path) -> list[str]:
    limit = time.monotonic() + 60
    while not file.exists() or not file.read_text().endswith(" "):
        assert time.monotonic() < limit
        time.sleep(0.02)
    return file.read_text().split()
