"""Measures time by phase, floating point operations, memory, and the matrix rate of a device, on CPUs and
GPUs alike.
"""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch.utils.flop_counter import FlopCounterMode

CUDA_SIDE, CPU_SIDE = 8192, 4096
"""Sides of matrices large enough that only the multiplication takes time."""


@final
class Clock:
    """Assigns the time between marks to phases. On a GPU, where calls return before the work is done, events
    are recorded and read at the end.

    Args:
        device: on which the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._marks: list[tuple[str | None, Any]] = []

    def restart(self) -> None:
        """Discard all marks and start timing."""
        self._marks.clear()
        self.mark(None)

    def mark(self, phase: str | None) -> None:
        """Assign the time since the last mark to a phase; None discards it."""
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
    """A context that counts floating point operations of matrix products, convolutions and attention; a
    multiply-add counts as two.

    torch's table lacks CPU attention, which is added here.
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
    """Five products: the weights again, and two for each of the two forward products."""
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[2] * (3 * width + 2 * value[3])


def matrix_rate(
    device: torch.device, dtype: torch.dtype, side: int | None = None, seconds: float = 2.0
) -> float:
    """Operations per second of a device in products of two large square matrices: the best of at least three.

    Args:
        device, dtype: of the matrices.
        side: of the matrices; None for a size that suits the kind of device.
        seconds: how long to measure.
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
    return 2 * side**3 / min(times[1:])  # the first product includes set-up


def peak_memory(device: torch.device) -> float:
    """Peak memory in bytes: of the GPU since `reset_peak_memory`, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring peak memory; the peak of a process on a CPU can't be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


@contextmanager
def timed(clock: Clock, phase: str) -> Iterator[None]:
    """Assign the time inside to a phase."""
    clock.mark(None)
    yield
    clock.mark(phase)


def mark_calls(network: Callable[..., Any], clock: Clock, before: str, after: str) -> Callable[..., Any]:
    """Wrap a function so that the time before each call goes to one phase and the call itself to another."""

    def call(*inputs: Any) -> Any:
        clock.mark(before)
        output = network(*inputs)
        clock.mark(after)
        return output

    return call
