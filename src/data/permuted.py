"""A control: the same triplets in the same order, each with the reward of another one."""

from dataclasses import replace
from typing import final

import numpy as np
from jaxtyping import Int64

from src.data.dataset import RewardedTriplets
from src.records import Reward, Triplet
from src.seeds import fold_seed


@final
class PermutedRewards:
    """Another dataset with its rewards shuffled over the triplets: everything a reward module needs except
    information about the triplet.

    Whatever an editor gains over no reward when it is trained on this comes from its extra parameters or from
    the mere presence of tokens.

    Args:
        dataset: rated triplets; two of them are made for each one served.
        seed: of the permutation. It is one cycle through all triplets, so no triplet keeps its reward.
        share: of the triplets, drawn at random, that get another one's reward; below 1 the others keep
            theirs, as of a judge who now and then says nothing to the point, in scores and text alike.

    Raises:
        ValueError: a share outside [0, 1], or fewer than two triplets.
    """

    def __init__(self, dataset: RewardedTriplets, seed: int = 0, share: float = 1.0) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share={share} of the rewards can't be permuted: it is 0 to 1")
        if len(dataset) < 2:
            raise ValueError(f"rewards of {len(dataset)} triplets can't be permuted: at least 2 are needed")
        self.dataset = dataset
        self.source = partial_cycle(len(dataset), seed, share)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Triplet, Reward]:
        triplet, _ = self.dataset[index]
        source, reward = self.dataset[int(self.source[index])]
        if reward is None:
            raise ValueError(
                f"triplet {source.case.id!r} is unrated, so there is no reward to permute: say annotator=noisy"
            )
        return triplet, replace(reward, id=triplet.case.id, judge=f"permuted {reward.judge}")


def partial_cycle(length: int, seed: int, share: float) -> Int64[np.ndarray, " n"]:
    """A permutation of range(length) that moves a share of the elements, drawn at random, in a single random
    cycle; one element alone stays.
    """
    order = np.random.default_rng(fold_seed("permuted rewards", seed)).permutation(length)[
        : round(share * length)
    ]
    source = np.arange(length, dtype=np.int64)
    source[order] = np.roll(order, 1)
    return source
