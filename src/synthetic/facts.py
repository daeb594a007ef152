"""What is known about the right answer to an edit: the scene, the edit, and how everything should look before
and after.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from src.synthetic import filters
from src.synthetic.edits import Edit
from src.synthetic.scene import BLOCKS, FloatImage, Scene, Stage, Thing, box, shape_coverage
from src.synthetic.traces import Traces

Blocks = Float[np.ndarray, "b b 3"]
Mask = Bool[np.ndarray, "b b"]


@dataclass(frozen=True)
class Facts:
    """Scene, edit, four renderings (with and without objects, before and after), and what the objects let
    through of the background, 0..1.
    """

    scene: Scene
    edit: Edit
    original: FloatImage
    exact: FloatImage
    bare_before: FloatImage
    bare_after: FloatImage
    through_before: FloatImage
    through_after: FloatImage


def facts_of(stage: Stage, scene: Scene, edit: Edit) -> Facts:
    """Everything about the right answer that measuring needs."""
    after = edit.after
    bare_after = (
        stage.backdrop(after.backdrop)
        if after.look is None
        else stage.render(Scene(after.backdrop, (), after.look))
    )
    size = stage.size
    return Facts(
        scene,
        edit,
        stage.render(scene),
        stage.render(after),
        stage.backdrop(scene.backdrop),
        bare_after,
        through(scene.things, size),
        through(after.things, size),
    )


def through(things: tuple[Thing, ...], size: int) -> FloatImage:
    """The share of the background that things let through, per pixel."""
    seen = np.ones((size, size, 3), dtype=np.float32)
    for thing in things:
        rows, columns = box(thing.x, thing.y, thing.radius, size)
        seen[rows, columns] *= 1 - shape_coverage(thing.shape, thing.radius, size)[..., None]
    return seen


def blur_facts(facts: Facts, sigma: float) -> Facts:
    """The same facts seen through a blur of so many pixels."""
    names = ("original", "exact", "bare_before", "bare_after", "through_before", "through_after")
    return replace(facts, **{name: filters.blur(getattr(facts, name), sigma) for name in names})


def coded_facts(facts: Facts, traces: Traces) -> Facts:
    """The same facts, coded alike."""
    names = ("original", "exact", "bare_before", "bare_after")
    return replace(facts, **{name: traces.on(getattr(facts, name)) for name in names})


def on_background(facts: Facts, difference: FloatImage) -> Facts:
    """The same facts on a background that differs by so much: objects let it through."""
    return replace(
        facts,
        original=facts.original + facts.through_before * difference,
        exact=facts.exact + facts.through_after * difference,
        bare_before=facts.bare_before + difference,
        bare_after=facts.bare_after + difference,
    )


def shift_facts(facts: Facts, shift: tuple[int, int]) -> Facts:
    """The same facts with the photograph shifted by so many pixels (down, to the right) behind the objects;
    what enters comes from the far side.
    """
    bare = np.roll(facts.bare_before, shift, axis=(0, 1))
    difference = bare - facts.bare_before
    shifted, look = on_background(facts, difference), facts.edit.after.look
    if look is None:
        return shifted
    return replace(shifted, exact=filters.apply(look, shifted.original), bare_after=filters.apply(look, bare))


def blend(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """From the first (0) to the second (1)."""
    return first if share == 0 else second if share == 1 else first + np.float32(share) * (second - first)


def background_blocks(scene: Scene, edit: Edit, size: int) -> Bool[np.ndarray, "b b"]:
    """Blocks in which only background is seen, before and after."""
    free = np.ones((BLOCKS, BLOCKS), dtype=bool)
    for thing in (*scene.things, *(() if edit.result is None else (edit.result,))):
        rows, columns = box(thing.x, thing.y, thing.radius, size)
        side = size // BLOCKS
        free[rows.start // side : -(-rows.stop // side), columns.start // side : -(-columns.stop // side)] = (
            False
        )
    return free
