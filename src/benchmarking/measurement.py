"""The result of a rung, and what can be said of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final


@final
@dataclass(frozen=True)
class RungMeasurement:
    """What one rung took.

    Attributes:
        samples_per_s: the rate.
        batch_size: samples at a time.
        phases: seconds per sample by phase; they sum to 1 / samples_per_s.
        tflop_per_sample: 10^12 floating point operations that were carried out, also those done twice or in
            vain; None where they mean nothing.
        peak_memory_gb: 10^9 bytes.
        extrapolated: what was really measured, where the rate is not; else empty.
        first_call_s: of it, seconds that compiling took before; 0 where nothing was compiled.
    """

    samples_per_s: float
    batch_size: int
    phases: Mapping[str, float]
    tflop_per_sample: float | None = None
    peak_memory_gb: float = 0.0
    extrapolated: str = ""
    first_call_s: float = field(default=0.0)
