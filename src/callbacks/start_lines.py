"""What a training says when it begins: where it runs, what it trains, on what, for how long, with how much
memory, and where it writes.
"""

import sys
from pathlib import Path
from typing import Any, final

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from src.environment import hardware

GIB = 2**30
COPIES = 4
"""Of a trained weight, besides itself: gradient, two moments of Adam, moving average."""


@final
class StartLines(Callback):
    """Prints the lines at the first step, on the first rank.

    Args:
        folder: of the run.
        data: the data module.
    """

    def __init__(self, folder: str | Path, data: Any) -> None:
        self.folder, self.data = Path(folder), data

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print them."""
        if trainer.is_global_zero:
            print(described(trainer, pl_module, self.data, self.folder), file=sys.stderr, flush=True)


def described(trainer: Trainer, module: LightningModule, data: Any, folder: Path) -> str:
    """The lines."""
    ranks, batch, accumulated = trainer.world_size, data.batch_size, trainer.accumulate_grad_batches
    trained = [each for each in module.parameters() if each.requires_grad]
    frozen = [each for each in module.parameters() if not each.requires_grad]
    of_them = f" of {len(data.dataset):,}" if hasattr(data, "dataset") else ""
    held = _bytes(trained) * (1 + COPIES) + _bytes(frozen)
    processes = f", {ranks} processes" if ranks > 1 else ""
    lines = {
        "device": f"{module.device.type} ({hardware()}){processes}, {trainer.precision}",
        "weights": f"{_count(trained):,} trained, {_count(frozen):,} frozen",
        "step": f"{batch * ranks * accumulated:,} samples{of_them}: {batch} a batch"
        + f" x {ranks} processes" * (ranks > 1)
        + f" x {accumulated} batches" * (accumulated > 1),
        "steps": f"{trainer.global_step:,} to {trainer.max_steps:,}",
        "memory": f"{held / GIB:.2g} GiB of weights, gradients and averages, and the activations of a batch; "
        f"{free_memory(module.device) / GIB:.0f} GiB are free",
        "folder": str(folder),
    }
    return "\n".join(f"{name:<8} {text}" for name, text in lines.items())


def free_memory(device: torch.device) -> int:
    """Bytes that can still be had, of a GPU or of this machine; 0 where that can't be known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    file = Path("/proc/meminfo")
    lines = file.read_text().splitlines() if file.exists() else []
    kib = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(kib[0]) * 1024 if kib else 0


def _count(parameters: list[torch.nn.Parameter]) -> int:
    return sum(each.numel() for each in parameters)


def _bytes(parameters: list[torch.nn.Parameter]) -> int:
    return sum(each.numel() * each.element_size() for each in parameters)
