"""Measured exceptions to the laws of the measures: how often, and by how much at most, a flaw breaks a law.

The tests (tests/synthetic/test_laws.py) hold each law to this table, and to DEFAULT where it says nothing.
"""

from dataclasses import dataclass

PERSPECTIVE = ("following", "preserving", "quality")


@dataclass(frozen=True)
class Exceptions:
    """What is beyond a law: `share` of the pictures, the worst by so many points."""

    share: float
    worst: float


DEFAULT = Exceptions(0.02, 1.0)
MEASURED: dict[tuple[str, str, int], Exceptions] = {}


def exceptions_of(law: str, flaw: str, size: int) -> Exceptions:
    """What is declared for a law, a flaw and a picture size."""
    return MEASURED.get((law, flaw, size), DEFAULT)
