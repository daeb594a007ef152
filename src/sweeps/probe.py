"""Runs a few steps of one training to estimate, before a sweep starts, how long it takes and how much disk it
fills.
"""

import re
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from src.sweeps.processes import Share, Step, StepProcess

STEPS = 8
WARM_UP = 2
"""Steps left out of the rate: they compile and fill caches."""
LONGEST = 300.0
"""Seconds after which a probe ends, finished or not."""
PAUSE = 0.02


@final
@dataclass(frozen=True)
class Probe:
    """What a few steps cost.

    Attributes:
        around: seconds that a training takes besides its steps: start, checkpoint, export.
        step: seconds per optimiser step.
        bytes: size of a run folder; None if the probe didn't finish.
    """

    around: float
    step: float
    bytes: int | None

    def seconds(self, steps: int) -> float:
        """Estimated duration of a training with this number of steps."""
        return self.around + steps * self.step


def probe(program: Sequence[str], folder: Path, share: Share, overrides: Sequence[str]) -> Probe:
    """Train a few steps in a folder that is removed afterwards.

    Args:
        program: the entry point's module, and arguments before the overrides.
        folder: of the sweep.
        share: of the machine.
        overrides: of the job.

    Raises:
        ValueError: the training failed, or took too long for two steps.
    """
    place = folder / ".probe"
    shutil.rmtree(place, ignore_errors=True)
    fewer = (
        f"trainer.max_steps={STEPS}",
        "++callbacks.progress.every_seconds=0",
        "hydra.mode=RUN",
        f"hydra.run.dir={place}",
    )
    log = place / "log.txt"
    process = StepProcess(Step("train", (sys.executable, "-m", *program, *overrides, *fewer), log, {}), share)
    begun, seen, outcome = time.monotonic(), dict[int, float](), None
    try:
        while outcome is None and time.monotonic() - begun < LONGEST:
            time.sleep(PAUSE)
            now = time.monotonic()
            for found in re.findall(rb"^step (\d+)/", log.read_bytes(), re.MULTILINE):
                seen.setdefault(int(found), now)
            outcome = process.poll()
        if outcome is not None and outcome.error is not None:
            raise ValueError(outcome.error)
        later = sorted(step for step in seen if step > WARM_UP)
        if len(later) < 2:
            raise ValueError(f"fewer than {WARM_UP + 2} steps in {time.monotonic() - begun:.0f} s")
        step = (seen[later[-1]] - seen[later[0]]) / (later[-1] - later[0])
        total = (time.monotonic() if outcome is not None else seen[later[-1]]) - begun
        size = bytes_in(place) if outcome is not None else None
        return Probe(max(0.0, total - later[-1] * step), step, size)
    finally:
        if outcome is None:
            process.ask_to_stop()
            process.stop()
        shutil.rmtree(place, ignore_errors=True)


def bytes_in(folder: Path) -> int:
    """Size of all files below a folder; links aren't followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
