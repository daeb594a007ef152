"""`run.json`: what ran where, on which commit, for how long, and whether all ranks ended with one model."""

import hashlib
import json
import time
from pathlib import Path
from typing import Any, final

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from src.callbacks.last_checkpoint import TrainingStopped
from src.environment import commit, hardware, package_versions
from src.files import write_atomically


@final
class RunRecord(Callback):
    """Writes `<folder>/run.json` at the start, at the end and when a run fails.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.file = Path(folder) / "run.json"
        self.start = time.monotonic()
        self.earlier_seconds = 0.0
        self.resumed_at_steps: list[int] = []
        self.facts: dict[str, object] = {}

    def state_dict(self) -> dict[str, Any]:
        """Counts that a resumed training continues."""
        return {"seconds": self._seconds(), "resumed_at_steps": self.resumed_at_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the count of a checkpoint."""
        self.earlier_seconds = state_dict["seconds"]
        self.resumed_at_steps = list(state_dict["resumed_at_steps"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the step at which a resumed training continues.

        Raises:
            ValueError: the ranks begin at different steps.
        """
        step = torch.tensor(trainer.global_step, device=pl_module.device)
        steps = pl_module.all_gather(step).reshape(-1).tolist()  # pyright: ignore[reportAttributeAccessIssue]
        if len(set(steps)) > 1:
            raise ValueError(
                f"the ranks go on at different steps, {steps}: the run folder must lie on a disk that all "
                "machines share"
            )
        if trainer.global_step:
            self.resumed_at_steps.append(trainer.global_step)
            self.facts["resumed_at_steps"] = self.resumed_at_steps
            self._write(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the start."""
        self.facts = {
            "status": "running",
            "world_size": trainer.world_size,
            "precision": str(trainer.precision),
            "commit": commit(),
            "versions": package_versions(),
            "hardware": hardware(),
            "parameters": sum(p.numel() for p in pl_module.parameters()),
            "resumed_at_steps": self.resumed_at_steps,
        }
        self._write(trainer)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the end; every rank takes part in the comparison of weights."""
        digests = pl_module.all_gather(torch.tensor(_digest(pl_module), device=pl_module.device))
        equal = bool((digests == digests.reshape(-1)[0]).all())  # pyright: ignore[reportAttributeAccessIssue]
        self.facts |= {"status": "finished", "ranks_equal": equal, "steps": trainer.global_step}
        self._write(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Record the failure."""
        status = (
            "interrupted"
            if isinstance(exception, KeyboardInterrupt | SystemExit | TrainingStopped)
            else "failed"
        )
        self.facts |= {
            "status": status,
            "error": f"{type(exception).__name__}: {exception}",
            "steps": trainer.global_step,
        }
        self._write(trainer)

    def fail(self, trainer: Trainer, message: str) -> None:
        """Record a failure that is no exception in this process."""
        self.facts |= {"status": "failed", "error": message, "steps": trainer.global_step}
        self._write(trainer)

    def _seconds(self) -> float:
        """Seconds of work that is kept: up to the resumed checkpoint, and since this process began."""
        return self.earlier_seconds + time.monotonic() - self.start

    def _write(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            self.facts["seconds"] = round(self._seconds(), 1)
            write_atomically(self.file, json.dumps(self.facts, indent=2) + "\n")


def _digest(module: LightningModule) -> int:
    """62 bits of sha256 over all trainable weights, bit for bit."""
    digest = hashlib.sha256()
    for parameter in module.parameters():
        if parameter.requires_grad:
            digest.update(parameter.detach().float().cpu().contiguous().numpy().tobytes())
    return int.from_bytes(digest.digest()[:8], "big") >> 2
