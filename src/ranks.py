"""The processes among which torchrun divides a generation; without torchrun there is one."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple, TypeVar, cast

import torch
import torch.distributed as dist

T = TypeVar("T")

SLOWEST_RANK = timedelta(hours=12)
"""How long the first rank to finish waits for the last; gloo's own default of half an hour is shorter than a
large generation.
"""


class Ranks(NamedTuple):
    """The number of this process and how many there are."""

    rank: int
    world: int

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.world > 1:
            dist.barrier()

    def gather(self, value: T) -> list[T]:
        """What each process has, in the order of their numbers, handed to all."""
        if self.world == 1:
            return [value]
        values: list[T | None] = [None] * self.world
        dist.all_gather_object(values, value)
        return cast(list[T], values)

    def run_on_first(self, work: Callable[[], T]) -> T:
        """What `work` returns on the first process, handed to all; so that what concerns all is looked at,
        and complained of, once.

        Raises:
            SystemExit: on the others, where it fails on the first, which raises its error.
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
        # gloo, because only a barrier is needed and it works without a GPU
        dist.init_process_group("gloo", timeout=SLOWEST_RANK)
    return ranks


def leave_ranks() -> None:
    """Part from the other processes, if there are any."""
    if dist.is_initialized():
        dist.destroy_process_group()


def device_of(name: str) -> torch.device:
    """The device to work on: "auto" is this process's GPU if there is one, else the CPU.

    Raises:
        ValueError: no such device, or a GPU where there is none.
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
