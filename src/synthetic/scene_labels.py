"""What the world knows of an edit, patch by patch: which object stands there, which shall stand there and
where its centre lies. Labels for the tokens of an editor in stage 1 (src/algorithms/supervision.py).

They come from the world and not from the triplet, so they are the same for every arm of a comparison and
belong to the stage before it.
"""

from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from src.synthetic.edits import Edit
from src.synthetic.language import COLOURS, FILLS, PLACES, SHAPES, TEXTURES
from src.synthetic.scene import (
    GRID,
    RADII,
    GradientBackground,
    SceneObject,
    object_box,
    shape_coverage,
)
from src.synthetic.world import CaseSpec

OPERATIONS = (
    "recolor",
    "reshape",
    "move",
    "remove",
    "add",
    "texture",
    "background",
    "global",
    "style",
)

NONE = -100
"""Where there is nothing to say; torch's cross-entropy ignores it."""

MARGIN = 2
"""Steps of the world's grid by which the patches of an object reach beyond it."""


def attribute_sizes() -> dict[str, int]:
    """Number of values of each attribute of an object."""
    return {"shape": len(SHAPES), "colour": len(COLOURS), "texture": len(TEXTURES), "radius": len(RADII)}


def reading_sizes() -> dict[str, int]:
    """Number of values of everything that an instruction says."""
    look = {"shape": len(SHAPES), "colour": len(COLOURS), "texture": len(TEXTURES)}
    return (
        {"operation": len(OPERATIONS)}
        | {f"target {name}": size for name, size in look.items()}
        | {f"result {name}": size for name, size in look.items()}
        | {"place": len(PLACES)}
    )


def fill_sizes() -> dict[str, int]:
    """Number of values of everything that is said of a new background."""
    return {"first colour": len(FILLS), "last colour": len(FILLS), "direction": 2}


@final
class SceneLabels(NamedTuple):
    """Labels of a batch; NONE where there is nothing to say.

    Attributes:
        before: (b, 3, n), shape, colour and texture of the object at every patch of the original.
        after: (b, 4, n), shape, colour, texture and radius of the object that shall stand there. Where one
            goes away and none comes, its radius alone.
        presence: (b, n), whether an object shall stand there.
        centre: (b, 2, n), of the same objects as the radius: right and down, in pixels from the patch's
            centre, counted from -reach.
        reading: (b, 8), what the instruction says, in the order of `reading_sizes`.
        fill: (b, 3), the new background, in the order of `fill_sizes`; a plain one runs from a colour to the
            same, in no direction.
        painted: (b, 1, H, W), in [0, 1], where something must be painted: the object before and after,
            everything under a look, all but the objects under a new background.
    """

    before: Int[Tensor, "b 3 n"]
    after: Int[Tensor, "b 4 n"]
    presence: Bool[Tensor, "b n"]
    centre: Int[Tensor, "b 2 n"]
    reading: Int[Tensor, "b 8"]
    fill: Int[Tensor, "b 3"]
    painted: Float[Tensor, "b 1 H W"]


def scene_labels(specs: Sequence[CaseSpec], size: int, patch: int, reach: int) -> SceneLabels:
    """Labels of cases, for images of `size` pixels in patches of `patch`, with centres up to `reach` pixels
    away.
    """
    each = [_labels(spec, size, patch, reach) for spec in specs]
    return SceneLabels(*(torch.stack(parts) for parts in zip(*each, strict=True)))


def _labels(spec: CaseSpec, size: int, patch: int, reach: int) -> SceneLabels:
    """The labels of one case, without the batch's dimension."""
    edit = spec.edit
    came, gone = ([] if obj is None else [obj] for obj in (edit.result, edit.target))
    before, after, new, old = (
        _described(objects, size, patch)
        for objects in (spec.scene.objects, edit.kept(spec.scene), came, gone)
    )
    comes = new[0] != NONE
    after = np.where(comes, new, after)  # what comes wins against what stays, as far as it reaches
    leaves = (old[0] != NONE) & ~comes
    located = np.where(leaves, old, after)
    looks = np.where(leaves, NONE, after[:3])
    middle = (np.arange(size // patch) + 0.5) * patch
    down, right = (axis.ravel() for axis in np.meshgrid(middle, middle, indexing="ij"))
    distance = np.rint(located[4:] * size / GRID) - np.rint(np.stack([right, down]))
    centre = np.where(located[:1] == NONE, NONE, distance.clip(-reach, reach) + reach)
    return SceneLabels(
        _whole(before[:3]),
        _whole(np.concatenate([looks, located[3:4]])),
        torch.from_numpy(looks[0] != NONE),
        _whole(centre),
        torch.tensor(_reading(edit)),
        torch.tensor(_fill(edit)),
        _painted(spec, size)[None],
    )


def _described(objects: Sequence[SceneObject], size: int, patch: int) -> Float[np.ndarray, "6 n"]:
    """For every patch, row by row, the nearest object that reaches into it or lies within MARGIN of it: its
    shape, colour, texture, radius and centre (x, y) in steps of the world's grid. NONE where there is none.
    """
    count = size // patch
    middle = (np.arange(count) + 0.5) * patch * GRID / size
    y, x = (axis.ravel() for axis in np.meshgrid(middle, middle, indexing="ij"))
    if not objects:
        return np.full((6, count**2), NONE, dtype=float)
    rows = np.array(
        [(*_look(o), RADII.index(o.radius), o.x * GRID, o.y * GRID) for o in objects], dtype=float
    )
    half = np.array([obj.radius * GRID for obj in objects])[:, None]
    away = np.maximum(abs(rows[:, 4:5] - x), abs(rows[:, 5:6] - y)) - half + 0.5
    nearest = away.argmin(0)
    return np.where(away.min(0) < MARGIN + 0.25, rows[nearest].T, NONE)


def _whole(values: Float[np.ndarray, "k n"]) -> Int[Tensor, "k n"]:
    return torch.from_numpy(values.astype(np.int64))


def _look(obj: SceneObject | None) -> tuple[int, int, int]:
    if obj is None:
        return NONE, NONE, NONE
    return SHAPES.index(obj.shape), list(COLOURS).index(obj.colour), TEXTURES.index(obj.texture)


def _reading(edit: Edit) -> list[int]:
    place = list(PLACES).index(edit.wanted) if edit.operation in ("move", "add") else NONE
    return [OPERATIONS.index(edit.operation), *_look(edit.target), *_look(edit.result), place]


def _fill(edit: Edit) -> list[int]:
    background = edit.after.background
    if edit.operation != "background" or not isinstance(background, GradientBackground):
        return [NONE, NONE, NONE]
    first, last = (list(FILLS).index(colour) for colour in (background.first, background.second))
    return [first, last, NONE if first == last else int(background.vertical)]


def _painted(spec: CaseSpec, size: int) -> Float[Tensor, "H W"]:
    edit = spec.edit
    if edit.filters_image:
        return torch.ones(size, size)
    if edit.operation == "background":
        return 1.0 - _coverage(spec.scene.objects, size)
    return _coverage([obj for obj in (edit.target, edit.result) if obj is not None], size)


def _coverage(objects: Sequence[SceneObject], size: int) -> Float[Tensor, "H W"]:
    """The share of every pixel that any of the objects covers."""
    covered = torch.zeros(size, size)
    for obj in objects:
        rows, columns = object_box(obj.x, obj.y, obj.radius, size)
        own = torch.from_numpy(shape_coverage(obj.shape, obj.radius, size).copy())
        covered[rows, columns] = covered[rows, columns].maximum(own)
    return covered
