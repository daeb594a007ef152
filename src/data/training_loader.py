"""The loader of every training whose rows can be read in any order: endless batches that are a function of
(seed, step, rank), prepared by processes that outlive a Ctrl-C.
"""

import signal
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from src.data.order import GlobalBatchOrder

if TYPE_CHECKING:
    from pytorch_lightning import Trainer


def order_from_here(trainer: "Trainer | None", length: int, batch_size: int, seed: int) -> GlobalBatchOrder:
    """The batches of this rank, from the step that training has reached.

    Args:
        trainer: of the data module; it is there as soon as Lightning asks for a loader.
        length: number of rows.
        batch_size: per rank.
        seed: of the order.
    """
    assert trainer is not None
    start = trainer.global_step * trainer.accumulate_grad_batches
    return GlobalBatchOrder(length, batch_size, trainer.global_rank, trainer.world_size, seed, start=start)


def training_loader(
    rows: Any, order: Any, collate: Callable[[Sequence[Any]], Any], num_workers: int
) -> DataLoader[Any]:
    """Serve batches of rows in an order.

    Args:
        rows: anything that an item of the order is an index into.
        order: lists of indices.
        collate: makes a batch of rows.
        num_workers: processes that prepare batches; 0 prepares them in the training process.
    """
    return DataLoader(
        rows,
        batch_sampler=order,
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        worker_init_fn=ignore_interrupts,
    )


def ignore_interrupts(worker: int) -> None:
    """Ignore Ctrl-C and a scheduler's SIGTERM in a worker: they reach every process of the group, but workers
    must live until the training has finished its step. They end with it, as each checks every few seconds
    whether its parent is alive.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
