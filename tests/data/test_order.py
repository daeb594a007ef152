"""Batches are a function of step and rank: complete, disjoint, and the same for any number of ranks."""

from itertools import islice

import pytest

from src.data.order import GlobalBatchOrder


def batches(count: int, **arguments) -> list[list[int]]:
    settings = {"length": 10, "batch_size": 4, "rank": 0, "world_size": 1, "seed": 0} | arguments
    return list(islice(GlobalBatchOrder(**settings), count))


def test_every_triplet_comes_once_per_pass() -> None:
    stream = [index for batch in batches(5) for index in batch]
    assert sorted(stream[:10]) == list(range(10))
    assert sorted(stream[10:]) == list(range(10))
    assert stream[:10] != stream[10:]


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_the_global_batch(world_size: int) -> None:
    whole = batches(6)
    parts = [
        batches(6, batch_size=4 // world_size, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    assert whole == [[index for part in parts for index in part[step]] for step in range(6)]


def test_starting_later_continues_the_stream() -> None:
    assert batches(3, start=4) == batches(7)[4:]


def test_seeds_shuffle_differently() -> None:
    assert batches(2) != batches(2, seed=1)


def test_no_triplets_are_refused() -> None:
    with pytest.raises(ValueError, match="got 0 triplets"):
        GlobalBatchOrder(0, 4, 0, 1, 0)
