"""Stack triplets and their rewards into a batch of tensors."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from src.batch import EditBatch
from src.finite import NotFiniteError
from src.records import Feedback, Image, Reward, Triplet


def to_tensor(images: Sequence[Image]) -> Float[Tensor, "b 3 h w"]:
    """Convert images 0..255 to a tensor in [-1, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def to_images(tensor: Float[Tensor, "b 3 h w"], names: Sequence[str] = ()) -> list[Image]:
    """Convert a tensor in [-1, 1] to images 0..255; the inverse of `to_tensor`.

    Args:
        tensor: of the images.
        names: of the images, for the error.

    Raises:
        NotFiniteError: an image with NaN or infinity, which would become black.
    """
    images = finite_images(tensor)
    wrong = [index for index, image in enumerate(images) if image is None]
    if wrong:
        named = ", ".join(names[index] if names else str(index) for index in wrong[:3])
        raise NotFiniteError(
            f"{len(wrong)} of {len(images)} images are not finite (NaN), {named}: the weights that made them "
            "are broken, or numbers overflow"
        )
    return [image for image in images if image is not None]


def finite_images(tensor: Float[Tensor, "b 3 h w"]) -> list[Image | None]:
    """`to_images`, with None for an image that is not finite."""
    finite = tensor.isfinite().flatten(1).all(1).tolist()
    levels = ((tensor.float().clamp(-1.0, 1.0) + 1.0) * 127.5).round().to(torch.uint8)
    images = levels.permute(0, 2, 3, 1).cpu().numpy()
    return [image if is_finite else None for image, is_finite in zip(images, finite, strict=True)]


def collate(rows: Sequence[tuple[Triplet, Reward | None]]) -> EditBatch:
    """Stack triplets of one image size; scores and feedback are None if none is rated.

    Raises:
        ValueError: images of several sizes, or what `stacked_rewards` raises.
    """
    check_equal_sizes([triplet for triplet, _ in rows])
    scores, feedback = stack_rewards([(triplet.case.id, reward) for triplet, reward in rows])
    answers = [triplet.answer for triplet, _ in rows]
    return EditBatch(
        ids=[triplet.case.id for triplet, _ in rows],
        original=to_tensor([triplet.case.original for triplet, _ in rows]),
        edited=to_tensor([triplet.edited for triplet, _ in rows]),
        instructions=[triplet.case.instruction for triplet, _ in rows],
        scores=scores,
        feedback=feedback,
        answers=answers if any(answer is not None for answer in answers) else None,
        edit_types=[triplet.case.edit_type for triplet, _ in rows],
    )


def stack_rewards(
    rewards: Sequence[tuple[str, Reward | None]],
) -> tuple[Float[Tensor, "b 3"] | None, Sequence[Feedback] | None]:
    """Stack scores and feedback of triplets, given as (id, reward); None and None if none is rated.

    Raises:
        ValueError: a failed verdict (such triplets must be dropped, and counted, before training), or only
            some triplets are rated.
    """
    scores, feedback = [], []
    rated = sum(reward is not None for _, reward in rewards)
    if 0 < rated < len(rewards):
        raise ValueError(
            f"only {rated} of {len(rewards)} triplets of a batch are rated: "
            "train on all with rewards, or on all without"
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
    """Raise ValueError naming the triplet, or two, whose images differ in size."""
    first = triplets[0].case
    for triplet in triplets:
        for image in (triplet.case.original, triplet.edited):
            if image.shape != first.original.shape:
                raise ValueError(
                    f"images of a batch have one size, but {first.id!r} has {size_text(first.original)} and "
                    f"{triplet.case.id!r} {size_text(image)} pixels: give the data a transform"
                )


def size_text(image: Image) -> str:
    """Format the size as "width x height"."""
    return f"{image.shape[1]}x{image.shape[0]}"
