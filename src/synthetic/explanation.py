"""How the scene should look in an image, whatever is wrong with it: as far as the edit is done, or through
another filter that explains the image better.
"""

from dataclasses import dataclass, replace
from typing import final

import numpy as np

from src.synthetic import filters, quality
from src.synthetic.attributes import Similarity, object_similarities
from src.synthetic.background import (
    background_known,
    best_filter,
    colour_map,
    extend_behind_objects,
    filter_and_blur,
    ramp,
    undo_cast,
)
from src.synthetic.following import share_done
from src.synthetic.ground_truth import BlockColours, Blocks, GroundTruth, blend, compare_blocks
from src.synthetic.observation import Observation
from src.synthetic.scene import BLOCKS, FloatImage, PhotoBackground, block_means

EXPLAINED = 0.05
"""Up to this root mean square of what differs, original and right answer explain an image, and no other
filter is considered.
"""

FEW_LEVELS = 6
"""An image with at most this many levels is probably a poster, whose averages are close to those of the
image before.
"""

FAINT = 0.01
"""Root mean square of a background's fine structure at which structure says as much as colour about whether
the background is still there.
"""


@final
@dataclass(frozen=True)
class Expectation:
    """How the scene should look.

    Attributes:
        image: through the blur and coding of the image seen.
        background: the same without objects.
        blocks: mean colours of `image` in BLOCKS x BLOCKS blocks.
        sharp: neither blurred nor coded.
        filter_name: a filter other than the edit's that explains the image, None if none is needed.
    """

    image: FloatImage
    background: FloatImage
    blocks: Blocks
    sharp: FloatImage
    filter_name: str | None = None

    def recoloured(self, blocks: Blocks) -> "Expectation":
        """The same with its colours mapped linearly as near as possible to those of the blocks seen."""
        matrix, offset = colour_map(self.blocks, blocks)
        image, background, expected = (
            part @ matrix + offset for part in (self.image, self.background, self.blocks)
        )
        return replace(self, image=image, background=background, blocks=expected)


@final
@dataclass(frozen=True)
class Explanation:
    """The scene that explains an image.

    Attributes:
        done: the share of the edit that is done, 0..1.
        colours: blocks of the image, the original and the right answer.
        expected: how the scene should look.
        recoloured: the same with the image's colours where the edit filters the whole image, as such an edit
            changes colours on purpose.
        known: 0 if the background is another one, 1 if it is the expected one.
        grain: standard deviation of what was added to the expected image.
        is_filtered: whether the edit or the explanation filters the whole image.
    """

    done: float
    colours: BlockColours
    expected: Expectation
    recoloured: Expectation
    known: float
    grain: float
    is_filtered: bool

    @property
    def block_noise(self) -> float:
        """Standard deviation of `grain` in blocks."""
        return self.grain * BLOCKS / self.expected.image.shape[0]


def explain(seen: Observation) -> Explanation:
    """Find the share of the edit that is done, or the filter, that explains an image best."""
    colours = compare_blocks(seen.as_seen, seen.blocks, seen.free_blocks)
    done = edit_share(seen, colours)
    expected = expected_scene(seen, colours, done)
    known = background_known(seen.blocks, expected.blocks, seen.free_blocks, seen.block_noise)
    everywhere = np.ones((seen.size, seen.size), dtype=bool)
    grain = quality.measure_grain(seen.image, expected.image, seen.blur_width, everywhere, known).seen
    filters_image = seen.truth.edit.filters_image
    return Explanation(
        done,
        colours,
        expected,
        expected.recoloured(seen.blocks) if filters_image else expected,
        known,
        grain,
        filters_image or expected.filter_name is not None,
    )


def edit_share(seen: Observation, colours: BlockColours) -> float:
    """The share of the edit that is done, 0..1.

    A photograph that should be replaced is gone as far as its structure is, whatever colours it got; where it
    has hardly any structure, as far as its colours are.
    """
    truth = seen.as_seen
    done = share_done(truth, seen.image, colours)
    if truth.edit.type != "background" or not isinstance(truth.scene.background, PhotoBackground):
        return done
    left, there = (
        quality.detail_bands((image - truth.exact) @ filters.LUMINANCE)[1][seen.free_pixels]
        for image in (seen.image, truth.original)
    )
    energy = float(np.vdot(there, there)) + 1e-9
    telling = energy / (energy + FAINT**2 * there.size)
    return telling * (1 - ramp(float(np.vdot(left, there)) / energy, 0.03, 0.97)) + (1 - telling) * done


def expected_scene(seen: Observation, colours: BlockColours, done: float) -> Expectation:
    """The blend of original and right answer, or the filtered original if that explains the image better."""
    truth, blurred, as_seen = seen.truth, seen.blurred, seen.as_seen
    expected = Expectation(
        image=seen.traces.apply(blend(blurred.original, blurred.exact, done)),
        background=blend(as_seen.background_before, as_seen.background_after, done),
        blocks=blend(colours.original, colours.exact, done),
        sharp=blend(truth.original, truth.exact, done),
    )
    off = seen.blocks - expected.blocks
    is_strange = float(np.vdot(off, off)) / off.size > EXPLAINED**2 + seen.block_noise**2
    if not is_strange and seen.levels > FEW_LEVELS:
        return expected
    name = best_filter(truth, seen.image, expected.image, seen.blur_width, seen.noise)
    if name is None:
        return expected
    image = seen.traces.apply(filter_and_blur(name, truth.original, seen.blur_width))
    return Expectation(
        image,
        background=filter_and_blur(name, truth.background_before, seen.blur_width),
        blocks=block_means(image),
        sharp=filter_and_blur(name, truth.original, 0.0),
        filter_name=name,
    )


@final
@dataclass(frozen=True)
class View:
    """An image and what its objects are compared with.

    Attributes:
        image: as it is, or with a colour cast of the background undone.
        truth: the right answer on the background of this image.
        reference: how the scene should look on that background.
        background: the same without objects.
        objects: how much of each kept object is there.
    """

    image: FloatImage
    truth: GroundTruth
    reference: FloatImage
    background: FloatImage
    objects: list[Similarity]


def best_view(seen: Observation, explained: Explanation) -> View:
    """The view of the image in which the kept objects look most as they should.

    A colour cast is a flaw of the background's colours and counts once, there. The objects tell whether there
    is one: under a cast they look right once it is undone, on another background they look right as they are.
    """
    if explained.is_filtered:
        expected = explained.recoloured
        return view_of(seen.image, seen.as_seen, expected.image, expected.background, explained.grain)
    images = [seen.image]
    if seen.truth.edit.type != "background":
        free = seen.free_blocks
        images.insert(0, undo_cast(seen.image, seen.blocks[free], explained.recoloured.blocks[free]))
    views = [view_on_background(image, seen, explained) for image in images]
    return max(views, key=lambda view: sum(obj.share for obj in view.objects))


def view_on_background(image: FloatImage, seen: Observation, explained: Explanation) -> View:
    """The view whose objects are compared on the background that the image shows."""
    difference = extend_behind_objects(
        image - explained.recoloured.image, seen.free_pixels.astype(np.float32)
    )
    truth, done = seen.as_seen.on_background(difference), explained.done
    reference = blend(truth.original, truth.exact, done)
    background = blend(truth.background_before, truth.background_after, done)
    return view_of(image, truth, reference, background, explained.grain)


def view_of(
    image: FloatImage, truth: GroundTruth, reference: FloatImage, background: FloatImage, grain: float
) -> View:
    """The view with its objects compared."""
    kept = truth.edit.kept(truth.scene)
    objects = object_similarities(kept, image, reference, background, grain)
    return View(image, truth, reference, background, objects)
