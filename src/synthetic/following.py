"""How far an image went from the original towards the right answer."""

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
from src.synthetic.ground_truth import BlockColours, GroundTruth
from src.synthetic.scene import BLOCKS, FloatImage

ASIDE = 2.2
"""How much more it counts to leave the way from the original to the right answer than to stop short on it."""


def filter_description(blocks: Float[np.ndarray, "n 3"], before: Float[np.ndarray, "n 3"]) -> Description:
    """What a filter does to any background: mean, spread, colourfulness, and whether light stayed light."""
    mean, spread = blocks.mean(axis=0), blocks.std(axis=0)
    start = before - before.mean(axis=0)
    signed = ((blocks - mean) * start).mean(axis=0) / (np.sqrt((start * start).mean(axis=0)) + 0.02)
    colourful = np.abs(blocks - blocks.mean(axis=1, keepdims=True)).mean(axis=0)
    return np.stack((mean, spread, signed, colourful)).astype(np.float32)


def transitions(
    truth: GroundTruth, image: FloatImage, colours: BlockColours
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Descriptions of what the edit changes, as (in the image, in the original, in the right answer).

    A filter changes the background, which comes first, and every object.
    """
    edit, free = truth.edit, colours.free
    seen, before, after = colours.image[free], colours.original[free], colours.exact[free]
    if edit.type == "background":
        scale = np.float32(1 / np.sqrt(free.sum()))
        return [(seen * scale, before * scale, after * scale)]
    if edit.filters_image:
        places = [(obj, (obj.shape,)) for obj in truth.scene.objects]
    else:
        places = edited_places(edit)
    described = [
        tuple(describe_place(pixels, obj, shapes) for pixels in (image, truth.original, truth.exact))
        for obj, shapes in places
    ]
    if edit.filters_image:
        background = tuple(filter_description(blocks, before) for blocks in (seen, before, after))
        return [(first, second, third) for first, second, third in (background, *described)]
    first, second, third = (np.concatenate(parts) for parts in zip(*described, strict=True))
    return [(first, second, third)]


def edit_progress(truth: GroundTruth, image: FloatImage, colours: BlockColours, noise: float) -> float:
    """How near the image came to the right answer, 0..1, on the way from the original.

    For filters it is the median over background and objects.
    """
    shares, weights = [], []
    floor = (
        noise_floor(basis(("circle",), 5 / 32, image.shape[0]), noise)
        if truth.edit.type != "background"
        else noise * BLOCKS / image.shape[0]
    )
    for seen, start, end in transitions(truth, image, colours):
        whole = distance(start, end)
        left = max(0.0, remaining_distance(seen, start, end, floor) - TOLERANCE)
        shares.append(1 - left / max(whole - TOLERANCE, TOLERANCE))
        weights.append(whole)
    # The background of a filter counts as much as two objects, so that one missing object does not decide.
    weights[0] *= 2
    return max(0.0, weighted_median(shares, weights))


def remaining_distance(seen: Description, start: Description, end: Description, noise: float) -> float:
    """Distance to the right answer; the part beside the way from the original counts ASIDE-fold.

    A half-done edit lies on the way. A wrong colour lies beside it, and is wrong even where it is nearer to
    the right colour than the old one was.
    """
    off, way = (seen - end).ravel(), (end - start).ravel()
    along = float(off @ way) ** 2 / max(float(way @ way), 1e-6)
    aside = max(0.0, float(off @ off) - along - 3 * noise**2)
    return float(np.sqrt((along + (ASIDE * max(0.0, aside**0.5 - TOLERANCE)) ** 2) / 3))


def share_done(truth: GroundTruth, image: FloatImage, colours: BlockColours) -> float:
    """The share of the edit that the image shows, 0..1, by projection.

    Whatever else is wrong, the rest of the image is compared with this blend of original and right answer.
    """
    if truth.edit.filters_image:
        compared = [(colours.image, colours.original, colours.exact)]
    else:
        compared = transitions(truth, image, colours)
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
