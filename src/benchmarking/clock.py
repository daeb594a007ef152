"""What is measured: time by phase, floating point operations, memory, and how fast this device multiplies
matrices. The same on CPUs and GPUs.
"""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

CUDA_SIDE, CPU_SIDE = 8192, 4096
"""Matrices so large that nothing but the multiplication takes time."""


class Clock:
    """Shares the time between marks out to phases. On a GPU, where calls return before the work is done,
    events are recorded and read at the end.

    Args:
        device: where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._marks: list[tuple[str | None, Any]] = []

    def restart(self) -> None:
        """Forget everything; time runs from here."""
        self._marks.clear()
        self.mark(None)

    def mark(self, phase: str | None) -> None:
        """The time since the last mark belongs to this phase."""
        if self.device.type != "cuda":
            self._marks.append((phase, time.perf_counter()))
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._marks.append((phase, event))

    def seconds(self) -> dict[str, float]:
        """Total time of every phase since `restart`."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        phases: dict[str, float] = {}
        for (_, before), (phase, after) in zip(self._marks, self._marks[1:], strict=False):
            elapsed = before.elapsed_time(after) / 1000.0 if self.device.type == "cuda" else after - before
            if phase is not None:
                phases[phase] = phases.get(phase, 0.0) + elapsed
        return phases


def operation_counter() -> FlopCounterMode:
    """Counts floating point operations of matrix products, convolutions and attention, while it is entered;
    two per multiplication and addition.

    torch's table lacks the attention of CPUs, which is added here.
    """
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(
        display=False,
        custom_mapping={
            attention: _attention_operations,
            torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _backward_operations,
        },
    )


def _attention_operations(
    query: torch.Size, key: torch.Size, value: torch.Size, *rest: Any, out_shape: Any = None, **named: Any
) -> int:
    """Two products: of queries and keys, of weights and values."""
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[2] * (width + value[3])


def _backward_operations(
    gradient: torch.Size,
    query: torch.Size,
    key: torch.Size,
    value: torch.Size,
    *rest: Any,
    out_shape: Any = None,
    **named: Any,
) -> int:
    """Five products: the weights once more, and two for each of the two products."""
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[2] * (3 * width + 2 * value[3])


def matrix_rate(
    device: torch.device, dtype: torch.dtype, side: int | None = None, seconds: float = 2.0
) -> float:
    """Operations per second of this device in products of two large square matrices: the best of as many as
    fit into the time, at least three.

    Args:
        device, dtype: of the matrices.
        side: their size; None for one that is large enough for this kind of device.
        seconds: how long to go on.
    """
    side = side or (CUDA_SIDE if device.type == "cuda" else CPU_SIDE)
    left, right = torch.randn(2, side, side, device=device).to(dtype).unbind()
    clock, times = Clock(device), []
    end = time.monotonic() + seconds
    while len(times) < 4 or time.monotonic() < end:
        clock.restart()
        torch.mm(left, right)
        clock.mark("product")
        times.append(clock.seconds()["product"])
    return 2 * side**3 / min(times[1:])  # the first one also prepares


def peak_memory(device: torch.device) -> float:
    """Most bytes in use so far: of the GPU since `forget_peak`, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def reset_peak_memory(device: torch.device) -> None:
    """What is to be measured begins now; a process on a CPU can't forget."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


@contextmanager
def timed(clock: Clock, phase: str) -> Iterator[None]:
    """The time inside belongs to the phase."""
    clock.mark(None)
    yield
    clock.mark(phase)


def mark_calls(network: Callable[..., Any], clock: Clock, before: str, after: str) -> Callable[..., Any]:
    """The same function; what came before a call belongs to one phase, the call itself to another."""

    def call(*inputs: Any) -> Any:
        clock.mark(before)
        output = network(*inputs)
        clock.mark(after)
        return output

    return call
