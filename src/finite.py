"""The error of a number that is none; apart from finite_tensors.py, so that it can be raised without torch."""

from typing import final


@final
class NotFiniteError(ValueError):
    """NaN or infinity where a number belongs. The message says where it arose and what to try."""
