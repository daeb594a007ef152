"""A resumed optimiser with the settings of the training that resumes it.

A checkpoint restores the state of the optimiser together with its settings, so that another learning rate in
the command would be told and recorded, and not used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

Settings = Mapping[str, Any]
"""Of a group of parameters: its rate, its decay, ..."""

RATE, INITIAL = "lr", "initial_lr"


def settings_of(optimizer: Optimizer) -> list[Settings]:
    """The settings of each group of parameters."""
    return [
        {name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups
    ]


def take_settings(
    optimizer: Optimizer, settings: Sequence[Settings], scheduler: LRScheduler | None, step: int
) -> None:
    """Give a restored optimiser these settings; with the ones that it has, nothing changes.

    Args:
        optimizer: with its state restored.
        settings: of each group, as it was built, before a schedule changed the rates.
        scheduler: of its rates, restored if the checkpoint had one.
        step: at which the training goes on.
    """
    if scheduler is not None and scheduler.last_epoch == 0:
        scheduler.last_epoch = step  # the checkpoint had no schedule
    for index, (group, own) in enumerate(zip(optimizer.param_groups, settings, strict=True)):
        base = group.pop(INITIAL, group[RATE])
        rate = group[RATE]
        group |= own
        if scheduler is None:
            continue
        group[INITIAL] = scheduler.base_lrs[index] = own[RATE]
        if isinstance(scheduler, LambdaLR):
            group[RATE] = own[RATE] * scheduler.lr_lambdas[index](scheduler.last_epoch)
        else:
            group[RATE] = rate if base == own[RATE] else rate * own[RATE] / base
