"""A control: the same triplets in the same order, each with the reward of another triplet."""

from dataclasses import replace
from typing import final

import numpy as np
from jaxtyping import Int64

from src.data.dataset import RewardedTriplets
from src.records import Reward, Triplet
from src.seeds import fold_seed


@final
class PermutedRewards:
    """Another dataset with its rewards shuffled over the triplets: they carry everything except information
    about the triplet.

    Whatever an editor trained on this gains over no reward comes from its extra parameters or from the mere
    presence of tokens.

    Args:
        dataset: rated triplets; two of them are made for each one returned.
        seed: of the permutation, which is one cycle, so no triplet in it keeps its reward.
        share: of the triplets, drawn at random, that get another one's reward. The others keep theirs, as if
            the judge were sometimes unrelated to the triplet, in scores and text alike.

    Raises:
        ValueError: a share outside [0, 1], or fewer than two triplets.
    """

    def __init__(self, dataset: RewardedTriplets, seed: int = 0, share: float = 1.0) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share={share} of the rewards can't be permuted: give a share from 0 to 1")
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
                f"triplet {source.case.id!r} is unrated and has no reward to permute: give annotator=noisy"
            )
        return triplet, replace(reward, id=triplet.case.id, judge=f"permuted {reward.judge}")


def partial_cycle(length: int, seed: int, share: float) -> Int64[np.ndarray, " n"]:
    """A permutation of range(length) that moves a random share of the elements in a single random cycle; a
    cycle of one element moves nothing.
    """
    order = np.random.default_rng(fold_seed("permuted rewards", seed)).permutation(length)[
        : round(share * length)
    ]
    source = np.arange(length, dtype=np.int64)
    source[order] = np.roll(order, 1)
    return source
