"""The right answer to an edit: its scene, the edit, and how everything should look before and after."""

from dataclasses import dataclass, replace
from typing import final

import numpy as np
from jaxtyping import Bool, Float

from src.synthetic import filters
from src.synthetic.compression_traces import NO_TRACES, CompressionTraces
from src.synthetic.edits import Edit
from src.synthetic.scene import (
    BLOCKS,
    FloatImage,
    Renderer,
    Scene,
    SceneObject,
    block_means,
    object_box,
    shape_coverage,
)

Blocks = Float[np.ndarray, "b b 3"]
Mask = Bool[np.ndarray, "b b"]


@final
@dataclass(frozen=True)
class GroundTruth:
    """Scene, edit, and renderings before and after it.

    Attributes:
        scene: before the edit.
        edit: what the instruction asks for.
        original, exact: the whole image before and after.
        background_before, background_after: the same without objects.
        transmittance_before, transmittance_after: the share of the background that the objects let through,
            0..1.
    """

    scene: Scene
    edit: Edit
    original: FloatImage
    exact: FloatImage
    background_before: FloatImage
    background_after: FloatImage
    transmittance_before: FloatImage
    transmittance_after: FloatImage

    def blurred(self, sigma: float) -> "GroundTruth":
        """The same through a blur of this many pixels."""
        if sigma == 0:
            return self
        return replace(
            self,
            original=filters.blur(self.original, sigma),
            exact=filters.blur(self.exact, sigma),
            background_before=filters.blur(self.background_before, sigma),
            background_after=filters.blur(self.background_after, sigma),
            transmittance_before=filters.blur(self.transmittance_before, sigma),
            transmittance_after=filters.blur(self.transmittance_after, sigma),
        )

    def coded(self, traces: CompressionTraces) -> "GroundTruth":
        """The same after the coding that left these traces."""
        if traces == NO_TRACES:
            return self
        return replace(
            self,
            original=traces.apply(self.original),
            exact=traces.apply(self.exact),
            background_before=traces.apply(self.background_before),
            background_after=traces.apply(self.background_after),
        )

    def on_background(self, difference: FloatImage) -> "GroundTruth":
        """The same on a background that differs by this much; objects hide their share of the difference."""
        return replace(
            self,
            original=self.original + self.transmittance_before * difference,
            exact=self.exact + self.transmittance_after * difference,
            background_before=self.background_before + difference,
            background_after=self.background_after + difference,
        )

    def shifted(self, shift: tuple[int, int]) -> "GroundTruth":
        """The same with the background shifted by (down, right) pixels behind the objects.

        What leaves the image on one side enters on the other.
        """
        if shift == (0, 0):
            return self
        background = np.roll(self.background_before, shift, axis=(0, 1))
        moved, filter_name = (
            self.on_background(background - self.background_before),
            self.edit.after.filter_name,
        )
        if filter_name is None:
            return moved
        return replace(
            moved,
            exact=filters.apply_filter(filter_name, moved.original),
            background_after=filters.apply_filter(filter_name, background),
        )


def render_ground_truth(renderer: Renderer, scene: Scene, edit: Edit) -> GroundTruth:
    """Render everything that measuring an answer to the edit needs."""
    after = edit.after
    background_after = (
        renderer.background(after.background)
        if after.filter_name is None
        else renderer.render(Scene(after.background, (), after.filter_name))
    )
    return GroundTruth(
        scene,
        edit,
        renderer.render(scene),
        renderer.render(after),
        renderer.background(scene.background),
        background_after,
        transmittance(scene.objects, renderer.size),
        transmittance(after.objects, renderer.size),
    )


@final
@dataclass(frozen=True)
class BlockColours:
    """Mean colours of an image and of what it is compared with, in BLOCKS x BLOCKS blocks.

    Attributes:
        image, original, exact: the image, the original and the right answer.
        free: blocks that show nothing but background, before and after the edit.
    """

    image: Blocks
    original: Blocks
    exact: Blocks
    free: Mask


def compare_blocks(truth: GroundTruth, blocks: Blocks, free: Mask) -> BlockColours:
    """The blocks of an image beside those of original and right answer."""
    return BlockColours(blocks, block_means(truth.original), block_means(truth.exact), free)


def transmittance(objects: tuple[SceneObject, ...], size: int) -> FloatImage:
    """The share of the background that the objects let through, per pixel."""
    share = np.ones((size, size, 3), dtype=np.float32)
    for obj in objects:
        rows, columns = object_box(obj.x, obj.y, obj.radius, size)
        share[rows, columns] *= 1 - shape_coverage(obj.shape, obj.radius, size)[..., None]
    return share


def blend(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """From the first (0) to the second (1)."""
    return first if share == 0 else second if share == 1 else first + np.float32(share) * (second - first)


def background_blocks(scene: Scene, edit: Edit, size: int) -> Bool[np.ndarray, "b b"]:
    """Blocks that show nothing but background, before and after the edit."""
    free = np.ones((BLOCKS, BLOCKS), dtype=bool)
    side = size // BLOCKS
    for obj in (*scene.objects, *(() if edit.result is None else (edit.result,))):
        rows, columns = object_box(obj.x, obj.y, obj.radius, size)
        top, bottom = rows.start // side, -(-rows.stop // side)
        left, right = columns.start // side, -(-columns.stop // side)
        free[top:bottom, left:right] = False
    return free
