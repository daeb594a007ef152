"""The processes that torchrun started, and the device of each; without torchrun there is one process."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple, TypeVar, cast, final

import torch
import torch.distributed as dist

T = TypeVar("T")

SLOWEST_RANK = timedelta(hours=12)
"""How long the first rank to finish waits for the last; gloo's default of half an hour is too short for a
large generation.
"""


@final
class Ranks(NamedTuple):
    """The number of this process and the number of processes."""

    rank: int
    world: int

    def wait(self) -> None:
        """Return when all processes have arrived here."""
        if self.world > 1:
            dist.barrier()

    def gather(self, value: T) -> list[T]:
        """The values of all processes in the order of their ranks, on every process."""
        if self.world == 1:
            return [value]
        values: list[T | None] = [None] * self.world
        dist.all_gather_object(values, value)
        return cast(list[T], values)

    def run_on_first(self, work: Callable[[], T]) -> T:
        """Run `work` on the first process and return its result on all, so that a shared check runs, and
        fails, once.

        Raises:
            SystemExit: on the other processes if it fails on the first, which raises its error.
        """
        if self.world == 1:
            return work()
        results: list[T | None] = [None]
        try:
            if self.rank == 0:
                results = [work()]
        finally:
            dist.broadcast_object_list(results)
        if results[0] is None:
            raise SystemExit(1)
        return results[0]


def this_rank() -> Ranks:
    """The place of this process among those that torchrun started, from the environment alone."""
    return Ranks(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def join_ranks() -> Ranks:
    """Connect the processes that torchrun started."""
    ranks = this_rank()
    if ranks.world > 1:
        # gloo works without a GPU, and only small objects are exchanged
        dist.init_process_group("gloo", timeout=SLOWEST_RANK)
    return ranks


def leave_ranks() -> None:
    """Disconnect from the other processes, if there are any."""
    if dist.is_initialized():
        dist.destroy_process_group()


def device_of(name: str) -> torch.device:
    """The device of a name: "auto" is this process's GPU if there is one, else the CPU; "gpu" is "cuda".

    Raises:
        ValueError: no such device, or a GPU on a machine without one.
    """
    gpus = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if gpus else torch.device("cpu")
    try:
        device = torch.device("cuda" if name == "gpu" else name)
    except RuntimeError as error:
        raise ValueError(f"no device {name!r}; device is auto, cpu or cuda") from error
    if device.type == "cuda" and not gpus:
        raise ValueError(f"device={name} was asked for and this machine has no GPU; say device=auto")
    return device
