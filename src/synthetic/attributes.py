"""Attributes of an object read from an image: whether it is present, its colour, texture and shape, and how
similar it is to what it should be.

An object is described by linear averages over its box (mean colours of its cells, responses of each texture),
so noise averages out and a half-done edit lies half-way. It is recognised as the nearest of all descriptions
that the language has names for.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
from jaxtyping import Float

from src.synthetic.edits import Edit
from src.synthetic.language import COLOURS, SHAPES, TEXTURES
from src.synthetic.scene import (
    FloatImage,
    SceneObject,
    half_box,
    object_box,
    object_patch,
    shape_coverage,
    texture_cells,
)

CELLS = 4
"""Number of cells a side in which an object's box is described."""

TOLERANCE = 0.02
"""Descriptions that differ by at most this are equal: rounding, mild compression, averaged noise."""

CONTRAST_SHARE, MIN_CONTRAST = 0.9, 0.15
"""An object is lost when it differs by this share of its contrast to what is behind it, or of the least
contrast that counts.
"""

UNSURE = 3 * 0.03**2
"""Squared distances that differ by less than this are equal: the object gets the benefit of the doubt."""

SURE = 1.5
"""Multiple of the noise's root mean square that may add to a difference without counting."""

TEXTURED = ("striped", "dotted", "checkered")

Description = Float[np.ndarray, "k 3"]


@final
@dataclass(frozen=True)
class Similarity:
    """How much of something is left, 0..1, the kind of feedback that names its loss, and its own name ("" for
    the background).
    """

    share: float
    kind: str
    name: str = ""


@lru_cache(maxsize=1024)
def basis(shapes: tuple[str, ...], radius: float, size: int) -> Float[np.ndarray, "k pixels"]:
    """The description of an object's box as rows of weights over its pixels: means of the cells inside the
    shapes, then texture responses.

    Cells that the shapes hardly touch are left out, so the description ignores the background beside the
    object.
    """
    half = half_box(radius, size)
    covered = np.max([shape_coverage(shape, radius, size) for shape in shapes], axis=0)
    side = 2 * half
    cell = np.arange(side) * CELLS // side
    rows = []
    for index in range(CELLS**2):
        weights = covered * ((cell[:, None] == index // CELLS) & (cell[None, :] == index % CELLS))
        if weights.sum() > 0.3 * (side / CELLS) ** 2:
            rows.append(weights / weights.sum())
    if len(shapes) > 1:
        # Only places covered by just one of two shapes tell which one is there.
        covers = [shape_coverage(shape, radius, size) for shape in shapes]
        alone = [
            np.maximum(cover - np.max([other for other in covers if other is not cover], axis=0), 0)
            for cover in covers
        ]
        rows = [cover / cover.sum() for cover in alone if cover.sum() > 0.5]
    rows = [row / np.sqrt(len(rows)) for row in rows]
    inside = shape_coverage("circle", 0.8 * radius, size)
    inside = np.pad(inside, half - inside.shape[0] // 2) * np.min(
        [shape_coverage(shape, radius, size) for shape in shapes], axis=0
    )
    for texture in TEXTURED:
        cells = texture_cells(texture, half, size)
        pattern = inside * (cells - (inside * cells).sum() / inside.sum())
        rows.append(0.6 * pattern / (pattern * cells).sum())
    return np.stack([row.ravel() for row in rows]).astype(np.float32)


def describe_place(image: FloatImage, obj: SceneObject, shapes: tuple[str, ...]) -> Description:
    """The description of an object's place in an image; linear in the image."""
    size = image.shape[0]
    rows, columns = object_box(obj.x, obj.y, obj.radius, size)
    return basis(shapes, obj.radius, size) @ image[rows, columns].reshape(-1, 3)


def distance(first: Description, second: Description, noise: float = 0.0) -> float:
    """Distance of two descriptions: 0 for the same, about 1 between black and white.

    `noise`, the root mean square that noise adds to it, is subtracted.
    """
    difference = (first - second).ravel()
    return float(np.sqrt(max(0.0, float(difference @ difference) / 3 - noise**2)))


def noise_floor(weights: Float[np.ndarray, "k pixels"], noise: float) -> float:
    """What noise of this standard deviation may add to a distance of descriptions. SURE makes up for blocks
    and bands, whose pixels are not independent.
    """
    return SURE * noise * float(np.sqrt(np.vdot(weights, weights)))


def object_similarity(
    obj: SceneObject, image: FloatImage, reference: FloatImage, background: FloatImage, noise: float
) -> Similarity | None:
    """How much of a kept object is there: 1 if it is as it should be, 0 if it is as different as if it were
    gone.

    None if it hardly shows even in the reference, where nothing can be said.
    """
    shapes = (obj.shape,)
    seen, wanted, gone = (describe_place(pixels, obj, shapes) for pixels in (image, reference, background))
    contrast = distance(wanted, gone)
    if contrast < 0.05:
        return None
    floor = noise_floor(basis(shapes, obj.radius, image.shape[0]), noise)
    off = max(0.0, distance(seen, wanted, floor) - TOLERANCE)
    share = 1 - off / (CONTRAST_SHARE * max(contrast, MIN_CONTRAST))
    kind = "removed" if distance(seen, gone) < 0.6 * distance(seen, wanted) else "altered"
    return Similarity(max(0.0, share), kind, f"the {obj.colour} {obj.shape}")


def object_similarities(
    objects: tuple[SceneObject, ...],
    image: FloatImage,
    reference: FloatImage,
    background: FloatImage,
    noise: float,
) -> list[Similarity]:
    """How much of each object is there; objects that hardly show in the reference are left out."""
    found = (object_similarity(obj, image, reference, background, noise) for obj in objects)
    return [similarity for similarity in found if similarity is not None]


def edited_places(edit: Edit) -> list[tuple[SceneObject, tuple[str, ...]]]:
    """The places where an edit of objects changes the image, with the shapes that are or should be there."""
    target, result = edit.target, edit.result
    if (
        target is not None
        and result is not None
        and (target.x, target.y, target.radius) == (result.x, result.y, result.radius)
    ):
        return [(target, tuple(sorted({target.shape, result.shape})))]
    return [(obj, (obj.shape,)) for obj in (target, result) if obj is not None]


@final
@dataclass(frozen=True)
class RecognisedObject:
    """What an object is recognised as: whether it is there, and the nearest colour and texture."""

    present: bool
    colour: str
    texture: str


@lru_cache(maxsize=256)
def known_descriptions(shape: str, radius: float, size: int) -> Float[np.ndarray, "n k 3"]:
    """Descriptions of this shape in all colours and textures, colour by colour, without the background that
    shows through.
    """
    weights = basis((shape,), radius, size)
    patches = (
        object_patch(shape, colour, texture, radius, size).colour
        for colour in COLOURS
        for texture in TEXTURES
    )
    return np.stack([weights @ patch.reshape(-1, 3) for patch in patches])


def recognise(obj: SceneObject, image: FloatImage, background: FloatImage) -> RecognisedObject:
    """Recognise what is in an object's place, given its shape."""
    size, shapes = image.shape[0], (obj.shape,)
    rows, columns = object_box(obj.x, obj.y, obj.radius, size)
    behind = background[rows, columns]
    patch = object_patch(obj.shape, obj.colour, obj.texture, obj.radius, size)
    weights = basis(shapes, obj.radius, size)
    seen, gone = weights @ image[rows, columns].reshape(-1, 3), weights @ behind.reshape(-1, 3)
    off = (
        known_descriptions(obj.shape, obj.radius, size)
        + weights @ (patch.through * behind).reshape(-1, 3)
        - seen
    )
    misses = np.einsum("nkc,nkc->n", off, off)
    colour, texture = divmod(int(misses.argmin()), len(TEXTURES))
    own = list(COLOURS).index(obj.colour) * len(TEXTURES) + TEXTURES.index(obj.texture)
    if misses[own] < misses.min() + UNSURE:
        colour, texture = divmod(own, len(TEXTURES))
    return RecognisedObject(
        bool(misses.min() < float(((gone - seen) ** 2).sum())), tuple(COLOURS)[colour], TEXTURES[texture]
    )


def recognise_shape(obj: SceneObject, image: FloatImage, background: FloatImage) -> str:
    """The nearest shape in an object's place, given its colour and texture; "" if the background alone is
    nearer.
    """
    size = image.shape[0]
    rows, columns = object_box(obj.x, obj.y, obj.radius, size)
    weights, behind = basis(SHAPES, obj.radius, size), background[rows, columns]
    seen = weights @ image[rows, columns].reshape(-1, 3)
    misses = {"": float(((weights @ behind.reshape(-1, 3) - seen) ** 2).sum())}
    for shape in SHAPES:
        patch = object_patch(shape, obj.colour, obj.texture, obj.radius, size)
        misses[shape] = float(
            ((weights @ (patch.through * behind + patch.colour).reshape(-1, 3) - seen) ** 2).sum()
        )
    return (
        obj.shape
        if misses[obj.shape] < min(misses.values()) + UNSURE
        else min(misses, key=lambda shape: misses[shape])
    )


def lacks_object(obj: SceneObject, image: FloatImage, there: FloatImage, background: FloatImage) -> bool:
    """Whether an object's place looks more like the background than like the object."""
    shapes = (obj.shape,)
    seen, with_it, without = (describe_place(pixels, obj, shapes) for pixels in (image, there, background))
    return distance(seen, without) < distance(seen, with_it)


def shows_object(obj: SceneObject, image: FloatImage, background: FloatImage) -> bool:
    """Whether an object is recognised in its place with its colour, texture and shape."""
    found = recognise(obj, image, background)
    return (
        found == RecognisedObject(True, obj.colour, obj.texture)
        and recognise_shape(obj, image, background) == obj.shape
    )
