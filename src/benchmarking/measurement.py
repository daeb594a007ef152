"""The result of a rung."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final


@final
@dataclass(frozen=True)
class RungMeasurement:
    """What one rung cost.

    Attributes:
        samples_per_s: the rate.
        batch_size: samples at a time.
        phases: seconds per sample by phase; they sum to 1 / samples_per_s.
        tflop_per_sample: 10^12 floating point operations that were executed, including repeated and unused
            ones; None where they mean nothing.
        peak_memory_gb: 10^9 bytes.
        extrapolated: what was actually measured, if the rate is extrapolated from it; else empty.
        first_call_s: seconds of the first compiled call, not part of the rate; 0 if nothing was compiled.
    """

    samples_per_s: float
    batch_size: int
    phases: Mapping[str, float]
    tflop_per_sample: float | None = None
    peak_memory_gb: float = 0.0
    extrapolated: str = ""
    first_call_s: float = field(default=0.0)
