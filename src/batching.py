"""Batches of a sequence: consecutive ones of any iterable, and ones whose items have the same size."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batches_of(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` consecutive items, the last one possibly shorter.

    Raises:
        ValueError: size below 1.
    """
    if size < 1:
        raise ValueError(f"a batch holds at least one thing, got size {size}")
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def same_size_batches(items: Sequence[T], size: Callable[[T], object], batch_size: int) -> list[list[T]]:
    """Batches of items of one size, each in the order of `items`.

    Args:
        items: to be divided.
        size: item -> its size.
        batch_size: the most items in a batch.

    Raises:
        ValueError: batch_size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    by_size: dict[object, list[T]] = {}
    for item in items:
        by_size.setdefault(size(item), []).append(item)
    return [batch for group in by_size.values() for batch in batches_of(group, batch_size)]
