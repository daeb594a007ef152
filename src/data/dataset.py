"""What training data looks like: a sequence of triplets with their rewards, and how they are stacked into a
batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from src.batch import EditBatch
from src.records import Case, Feedback, Image, Reward, Triplet


@runtime_checkable
class RewardedTriplets(Protocol):
    """A map-style dataset; index -> triplet and reward, the same at every call. The rewards of a dataset that
    nobody rated are None.
    """

    def __len__(self) -> int:
        """Number of triplets."""
        ...

    def __getitem__(self, index: int) -> tuple[Triplet, Reward | None]:
        """One triplet with its reward."""
        ...


def to_tensor(images: Sequence[Image]) -> Float[Tensor, "b 3 h w"]:
    """Images 0..255 as a tensor in [-1, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def to_images(tensor: Float[Tensor, "b 3 h w"]) -> list[Image]:
    """A tensor in [-1, 1] as images 0..255; inverse of `to_tensor`."""
    levels = ((tensor.float().clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
    return list(levels.permute(0, 2, 3, 1).cpu().numpy())


def collate(rows: Sequence[tuple[Triplet, Reward | None]]) -> EditBatch:
    """Stack triplets of one image size; scores and feedback are None if nobody rated any of them.

    Raises:
        ValueError: images of several sizes, or what `stacked_rewards` raises.
    """
    check_equal_sizes([triplet for triplet, _ in rows])
    scores, feedback = stack_rewards([(triplet.case.id, reward) for triplet, reward in rows])
    return EditBatch(
        ids=[triplet.case.id for triplet, _ in rows],
        original=to_tensor([triplet.case.original for triplet, _ in rows]),
        edited=to_tensor([triplet.edited for triplet, _ in rows]),
        instructions=[triplet.case.instruction for triplet, _ in rows],
        scores=scores,
        feedback=feedback,
        answers=[triplet.answer for triplet, _ in rows]
        if any(triplet.answer is not None for triplet, _ in rows)
        else None,
    )


def stack_rewards(
    rewards: Sequence[tuple[str, Reward | None]],
) -> tuple[Float[Tensor, "b 3"] | None, Sequence[Feedback] | None]:
    """Scores and feedback of triplets, given with their ids; None and None if nobody rated any of them.

    Raises:
        ValueError: a failed verdict, as such triplets must be dropped (and counted) before training; or only
            some are rated.
    """
    scores, feedback = [], []
    rated = sum(reward is not None for _, reward in rewards)
    if 0 < rated < len(rewards):
        raise ValueError(
            f"only {rated} of {len(rewards)} triplets of a batch are rated: train on all with rewards, or on all without"
        )
    for id, reward in rewards:
        if reward is None:
            continue
        answered = [verdict.score for verdict in reward.verdicts if verdict.score is not None]
        if len(answered) != len(reward.verdicts):
            raise ValueError(
                f"triplet {id!r} has a failed reward by {reward.judge!r} and can't train a model"
            )
        scores.append(answered)
        feedback.append(tuple(verdict.feedback for verdict in reward.verdicts))
    return (torch.tensor(scores, dtype=torch.float32), feedback) if rated else (None, None)


def check_equal_sizes(triplets: Sequence[Triplet]) -> None:
    """Raise ValueError naming two triplets, or one, with images of different sizes."""
    first = triplets[0].case
    for triplet in triplets:
        for image in (triplet.case.original, triplet.edited):
            if image.shape != first.original.shape:
                raise ValueError(
                    f"pictures of a batch have one size, but {first.id!r} has {size_text(first.original)} and {triplet.case.id!r} {size_text(image)} "
                    "pixels: give the data a transform"
                )


def size_text(image: Image) -> str:
    """The size as "width x height"."""
    return f"{image.shape[1]}x{image.shape[0]}"


@dataclass(frozen=True, eq=False)
class Example:
    """A case to show during training, with the answer to compare with.

    Attributes:
        case: to be edited.
        answer: the exact target, or whatever edited image the dataset has.
        title: what the answer is.
    """

    case: Case
    answer: Image
    title: str = "exact"
