"""Which triplets make up which batch: a pure function of (seed, step, rank), so that training resumes
anywhere and ranks never overlap.
"""

from collections.abc import Iterator
from typing import NamedTuple, final

import numpy as np
from torch.utils.data import Sampler

from src.seeds import fold_seed


class SampleIndex(NamedTuple):
    """One use of a triplet: its index and the pass over all triplets (epoch) in which it is used."""

    index: int
    epoch: int


@final
class GlobalBatchOrder(Sampler[list[int]]):
    """Endless batches of indices. The global batch of a step is a slice of a reshuffled stream; each rank
    takes a contiguous part of it.

    Args:
        length: number of triplets; every pass over them has its own shuffle.
        batch_size: per rank.
        rank, world_size: of this process.
        seed: of the shuffles.
        start: number of batches already consumed (resume).
    """

    def __init__(
        self, length: int, batch_size: int, rank: int, world_size: int, seed: int, start: int = 0
    ) -> None:
        if length < 1 or batch_size < 1:
            raise ValueError(
                f"an order needs triplets and a batch size, got {length} triplets and batch size {batch_size}"
            )
        self.length = length
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.seed = seed
        self.start = start

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches():
            yield [sample.index for sample in batch]

    def batches(self) -> Iterator[list[SampleIndex]]:
        """Iterate over the same batches, with the pass of each index."""
        step, epoch, shuffle = self.start, -1, np.empty(0, dtype=np.int64)
        while True:
            first = (step * self.world_size + self.rank) * self.batch_size
            batch = []
            for position in range(first, first + self.batch_size):
                if position // self.length != epoch:
                    epoch = position // self.length
                    shuffle = np.random.default_rng(fold_seed("order", self.seed, epoch)).permutation(
                        self.length
                    )
                batch.append(SampleIndex(int(shuffle[position % self.length]), epoch))
            yield batch
            step += 1


@final
class SampleIndexSampler(Sampler[list[SampleIndex]]):
    """Gives a DataLoader the batches of an order, for datasets indexed by SampleIndex.

    Args:
        order: the batches.
    """

    def __init__(self, order: GlobalBatchOrder) -> None:
        self.order = order

    def __iter__(self) -> Iterator[list[SampleIndex]]:
        return self.order.batches()
