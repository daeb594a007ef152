"""Pareto fronts of a million rows: those that no other row beats, then those that only the first front beats,
and so on.
"""

from array import array
from bisect import bisect_left

import numpy as np
from jaxtyping import Float, Int


def fronts_until(scores: Float[np.ndarray, "n 3"], count: int) -> Int[np.ndarray, " n"]:
    """The number of each row's front, 0 the best; rows behind the front with which `count` is reached share
    the number after it.

    Each different row of scores, from the highest on, is put into the first front of which no member beats
    it, found by bisection (ENS-BS, Zhang et al. 2015). As members precede it in following, only preserving
    and quality are compared, with the front's staircase: O(n log^2 n).
    """
    values, inverse, sizes = np.unique(scores, axis=0, return_inverse=True, return_counts=True)
    front_of = np.empty(len(values), np.int64)
    stairs: list[_Staircase] = []
    for place in range(len(values) - 1, -1, -1):  # unique ones are in rising order
        _, preserving, quality = values[place].tolist()
        front = _first_open(stairs, preserving, quality)
        if front == len(stairs):
            stairs.append(_Staircase())
        stairs[front].add(preserving, quality)
        front_of[place] = front
    filled = np.cumsum(np.bincount(front_of, weights=sizes, minlength=1))
    last = int(np.searchsorted(filled, count))
    return np.minimum(front_of, last + 1)[inverse.ravel()]


def _first_open(stairs: "list[_Staircase]", preserving: float, quality: float) -> int:
    """The first front without a member that is at least as good; what one front beats, all before it do."""
    low, high = 0, len(stairs)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if stairs[middle].covers(preserving, quality) else (low, middle)
    return low


class _Staircase:
    """The highest quality at each preserving, kept where no member with more preserving has as much: rising
    in preserving, falling in quality.
    """

    def __init__(self) -> None:
        self.preserving, self.quality = array("d"), array("d")

    def covers(self, preserving: float, quality: float) -> bool:
        """Whether a member has at least as much of both."""
        place = bisect_left(self.preserving, preserving)
        return place < len(self.preserving) and self.quality[place] >= quality

    def add(self, preserving: float, quality: float) -> None:
        """Add a member that none covers, in place of those it covers."""
        end = bisect_left(self.preserving, preserving)
        if end < len(self.preserving) and self.preserving[end] == preserving:
            end += 1
        begin = end
        while begin and self.quality[begin - 1] <= quality:
            begin -= 1
        self.preserving[begin:end] = array("d", [preserving])
        self.quality[begin:end] = array("d", [quality])
