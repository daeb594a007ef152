"""How far the image went from the original to the right answer."""

import numpy as np
from jaxtyping import Float

from src.synthetic.attributes import (
    TOLERANCE,
    Description,
    basis,
    describe_place,
    distance,
    edited_places,
    noise_floor,
)
from src.synthetic.ground_truth import Blocks, GroundTruth, Mask
from src.synthetic.scene import BLOCKS, FloatImage

ASIDE = 2.2
"""How much more it counts to leave the way from the original to the right answer than not to go all of it."""


def filter_description(blocks: Float[np.ndarray, "n 3"], before: Float[np.ndarray, "n 3"]) -> Description:
    """What a look does to a background whatever is on it: mean, spread, colourfulness, and whether light
    stayed light.
    """
    mean, spread = blocks.mean(axis=0), blocks.std(axis=0)
    start = before - before.mean(axis=0)
    signed = ((blocks - mean) * start).mean(axis=0) / (np.sqrt((start * start).mean(axis=0)) + 0.02)
    colourful = np.abs(blocks - blocks.mean(axis=1, keepdims=True)).mean(axis=0)
    return np.stack((mean, spread, signed, colourful)).astype(np.float32)


def transitions(
    truth: GroundTruth, image: FloatImage, blocks: Blocks, before: Blocks, after: Blocks, free: Mask
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """What the edit changes, as descriptions in (the image, the original, the right answer); the background
    comes first for looks.
    """
    edit = truth.edit
    if edit.type == "background":
        scale = np.float32(1 / np.sqrt(free.sum()))
        return [(blocks[free] * scale, before[free] * scale, after[free] * scale)]
    if edit.type in ("global", "style"):
        start = before[free]
        compared = [
            (
                filter_description(blocks[free], start),
                filter_description(start, start),
                filter_description(after[free], start),
            )
        ]
        places = [(obj, (obj.shape,)) for obj in truth.scene.objects]
    else:
        compared, places = [], edited_places(edit)
    described = [
        tuple(describe_place(each, obj, shapes) for each in (image, truth.original, truth.exact))
        for obj, shapes in places
    ]
    if edit.type in ("global", "style"):
        return [*compared, *((seen, start, end) for seen, start, end in described)]
    seen, start, end = (np.concatenate(parts) for parts in zip(*described, strict=True))
    return [(seen, start, end)]


def edit_progress(
    truth: GroundTruth,
    image: FloatImage,
    blocks: Blocks,
    before: Blocks,
    after: Blocks,
    free: Mask,
    noise: float,
) -> float:
    """How near the image came to the right answer, 0..1, from where the original is; for looks the median
    over background and objects.
    """
    shares, weights = [], []
    floor = (
        noise_floor(basis(("circle",), 5 / 32, image.shape[0]), noise)
        if truth.edit.type != "background"
        else noise * BLOCKS / image.shape[0]
    )
    for seen, start, end in transitions(truth, image, blocks, before, after, free):
        whole = distance(start, end)
        shares.append(
            1
            - max(0.0, remaining_distance(seen, start, end, floor) - TOLERANCE)
            / max(whole - TOLERANCE, TOLERANCE)
        )
        weights.append(whole)
    # The background of a look counts as much as two objects: one object that is gone must not decide.
    weights[0] *= 2
    return max(0.0, weighted_median(shares, weights))


def remaining_distance(seen: Description, start: Description, end: Description, noise: float) -> float:
    """Distance from the right answer, where what lies beside the way from the original counts ASIDE-fold.

    A half-done edit lies on the way. A wrong colour lies beside it, and is wrong even where it is nearer to
    the right one than the old colour was.
    """
    off, way = (seen - end).ravel(), (end - start).ravel()
    along = float(off @ way) ** 2 / max(float(way @ way), 1e-6)
    aside = max(0.0, float(off @ off) - along - 3 * noise**2)
    return float(np.sqrt((along + (ASIDE * max(0.0, aside**0.5 - TOLERANCE)) ** 2) / 3))


def share_done(
    truth: GroundTruth, image: FloatImage, blocks: Blocks, before: Blocks, after: Blocks, free: Mask
) -> float:
    """How much of the edit is in the image, 0..1, by projection.

    Whatever else is wrong, this is the blend of original and right answer that the rest of the image is
    compared with.
    """
    whole_image = truth.edit.type in ("global", "style")
    compared = (
        [(blocks, before, after)] if whole_image else transitions(truth, image, blocks, before, after, free)
    )
    product = whole = 0.0
    for seen, start, end in compared:
        change = end - start
        product += float(np.vdot(seen - start, change))
        whole += float(np.vdot(change, change))
    share = min(1.0, max(0.0, product / max(whole, 1e-6)))
    return 0.0 if share < 0.02 else 1.0 if share > 0.98 else share


def weighted_median(values: list[float], weights: list[float]) -> float:
    """The value at which half of the weight is reached, from the lowest."""
    reached = 0.0
    for value, weight in sorted(zip(values, weights, strict=True)):
        reached += weight
        if 2 * reached >= sum(weights):
            return value
    raise ValueError("the median of nothing")
