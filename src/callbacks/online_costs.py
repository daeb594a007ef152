"""Where the time of an online training goes, and what it bought; printed at its end."""

import sys
import time
from typing import final

from pytorch_lightning import Callback, LightningModule, Trainer

from src.algorithms.online import Online


@final
class OnlineCosts(Callback):
    """Prints edits, seconds and shares of drawing, judging and learning, of this process since it started."""

    def __init__(self) -> None:
        self.begun = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.begun = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the costs."""
        if not isinstance(pl_module, Online) or not trainer.is_global_zero:
            return
        costs, seconds = pl_module.costs, time.perf_counter() - self.begun
        if not costs.edits:
            return
        drawing, judging = (100 * part / seconds for part in (costs.rollout_s, costs.judge_s))
        print(
            f"{costs.edits * trainer.world_size} edits drawn and judged in {seconds:.0f} s "
            f"({costs.edits * trainer.world_size / seconds:.1f}/s): drawing {drawing:.0f} %, judging "
            f"{judging:.0f} %, learning and the rest {100 - drawing - judging:.0f} %",
            file=sys.stderr,
        )
