"""The error of a number that is none, without torch (finite_tensors.py has the checks of tensors)."""

from typing import final


@final
class NotFiniteError(ValueError):
    """NaN or infinity where a number belongs. The message says where it arose and what to try."""
