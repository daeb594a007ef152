"""A scene and its image: objects of known shape, colour, texture and place on a background, seen through a
filter.

A scene is a value. An edit maps a scene to another one, so the exact edited image is rendered like any
other, and removing an object reveals what is behind it. Lengths are fractions of the image's side: the same
scene renders at any size. Objects are drawn from cached patches whose anti-aliasing comes from supersampling,
which makes their masks exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import TypeVar, final

import numpy as np
from jaxtyping import Bool, Float

from src.records import Image
from src.synthetic import filters
from src.synthetic.language import COLOURS, FILLS, HELD_OUT_PAIRS, PLACES, SHAPES, TEXTURES
from src.synthetic.photos import ZOOMS, PhotoLibrary

T = TypeVar("T")
RGB = tuple[float, float, float]
FloatImage = Float[np.ndarray, "h w 3"]
"""An image while it is being made: float32, 0..1."""

GRID = 32
"""Steps of the grid that objects stand on. At 32 px every centre is a pixel corner, so the smallest images
are as sharp as possible.
"""

RADII = (5 / GRID, 6 / GRID)
"""Half the side of an object's box: at least 10 px across at 32 px."""

PALETTE = {name: (red / 255, green / 255, blue / 255) for name, (red, green, blue) in COLOURS.items()}

BLOCKS = 16
"""Blocks a side, where only rough colours of an image matter."""

COARSE = BLOCKS // 2
"""Blocks a side while a scene is planned: an object covers about two by two of them."""

CLEAR, MIN_COLOURS = 0.6, 5
"""A colour stands out if its channels differ by this much in total. If fewer than MIN_COLOURS do, the
clearest MIN_COLOURS are taken.
"""

SUPERSAMPLING = 8
TEXTURE_PERIOD = 1 / 8


@final
@dataclass(frozen=True)
class SceneObject:
    """One object. (x, y) is its centre, y from above; shape, colour and texture are words of language.py."""

    shape: str
    colour: str
    texture: str
    x: float
    y: float
    radius: float

    def overlaps(self, x: float, y: float, radius: float) -> bool:
        """Whether its box is closer than one grid step to the box with this centre and radius."""
        reach = self.radius + radius + 0.99 / GRID
        return abs(self.x - x) < reach and abs(self.y - y) < reach


@final
@dataclass(frozen=True)
class PhotoBackground:
    """A crop of a photograph: (left, top) in image widths, mirrored or not, channels multiplied by gain."""

    split: str
    photo: int
    zoom: int
    left: float
    top: float
    mirrored: bool
    gain: tuple[float, float, float]


@final
@dataclass(frozen=True)
class GradientBackground:
    """A linear gradient from one colour to another, downwards or to the right; a plain colour is a gradient
    to itself.
    """

    first: str
    second: str
    vertical: bool


Background = PhotoBackground | GradientBackground


@final
@dataclass(frozen=True)
class Scene:
    """Everything in an image. `filter_name` is that of a filter over the whole image, None for none."""

    background: Background
    objects: tuple[SceneObject, ...]
    filter_name: str | None = None


@final
@dataclass(frozen=True)
class Patch:
    """The pixels of an object's box.

    Attributes:
        transmittance: the share of the background that it lets through, 0..1. It is the same in all channels
            but stored three times, as numpy multiplies equal shapes several times faster than it broadcasts.
        colour: the object's colour, weighted by the rest.
    """

    through: Float[np.ndarray, "p p 3"]
    colour: Float[np.ndarray, "p p 3"]


@final
class Renderer:
    """Renders scenes at one size. Backgrounds are cached, as a case is rendered several times in a row.

    Args:
        library: the photographs, already bound to an image size.
    """

    def __init__(self, library: PhotoLibrary) -> None:
        self.library = library
        self.size = library.size
        self._backgrounds = lru_cache(maxsize=32)(self._make_background)
        self._rough = lru_cache(maxsize=32)(self._make_rough)
        self._coarse = lru_cache(maxsize=32)(self._make_coarse)

    def background(self, background: Background) -> FloatImage:
        """The background alone, read-only."""
        return self._backgrounds(background)

    def block_colours(self, background: Background) -> Float[np.ndarray, "b b 3"]:
        """Mean colours of the background in BLOCKS x BLOCKS blocks, read-only."""
        return self._rough(background)

    def behind(self, background: Background, x: float, y: float) -> RGB:
        """Mean colour of the background around (x, y), over about the smallest object's box."""
        row, column = round(y * COARSE), round(x * COARSE)
        coarse = self._coarse(background)
        above, below = coarse[row - 1], coarse[row]
        (r0, g0, b0), (r1, g1, b1), (r2, g2, b2), (r3, g3, b3) = (
            above[column - 1],
            above[column],
            below[column - 1],
            below[column],
        )
        return (r0 + r1 + r2 + r3) / 4, (g0 + g1 + g2 + g3) / 4, (b0 + b1 + b2 + b3) / 4

    def render(self, scene: Scene) -> FloatImage:
        """The scene's image."""
        image = self.background(scene.background).copy()
        for obj in scene.objects:
            draw_object(image, obj)
        return image if scene.filter_name is None else filters.apply_filter(scene.filter_name, image)

    def _make_background(self, background: Background) -> FloatImage:
        size = self.size
        if isinstance(background, GradientBackground):
            run = np.linspace(0, 1, size, dtype=np.float32)
            ramp = np.broadcast_to(
                run[:, None, None] if background.vertical else run[None, :, None], (size, size, 1)
            )
            image = (1 - ramp) * rgb(background.first) + ramp * rgb(background.second)
        else:
            scaled = self.library.scaled(background.split, background.photo, background.zoom)
            top, left = round(background.top * size), round(background.left * size)
            crop = scaled[top : top + size, left : left + size]
            crop = crop[:, ::-1] if background.mirrored else crop
            # One row of gains as long as a row of the image: broadcasting over three channels is several
            # times slower.
            gains = np.tile(np.asarray(background.gain, dtype=np.float32), size)
            image = np.minimum(crop.reshape(size, size * 3) * gains, np.float32(1)).reshape(size, size, 3)
        image.setflags(write=False)
        return image

    def _make_rough(self, background: Background) -> Float[np.ndarray, "b b 3"]:
        rough = block_means(self.background(background))
        rough.setflags(write=False)
        return rough

    def _make_coarse(self, background: Background) -> list[list[list[float]]]:
        # Plain numbers, as a handful of them is faster outside numpy.
        rough = self.block_colours(background)
        return (0.25 * (rough[::2, ::2] + rough[1::2, ::2] + rough[::2, 1::2] + rough[1::2, 1::2])).tolist()


@lru_cache(maxsize=16)
def pooling(size: int) -> Float[np.ndarray, "b n"]:
    """The matrix that averages one axis of an image over BLOCKS blocks; its products are far faster than
    means.
    """
    return np.repeat(np.eye(BLOCKS, dtype=np.float32), size // BLOCKS, axis=1) * np.float32(BLOCKS / size)


def block_means(image: FloatImage) -> Float[np.ndarray, "b b 3"]:
    """Mean colours of BLOCKS x BLOCKS blocks."""
    size = image.shape[0]
    rows = (pooling(size) @ image.reshape(size, size * 3)).reshape(BLOCKS, size, 3)
    return np.matmul(pooling(size), rows)


@lru_cache(maxsize=64)
def rgb(colour: str) -> Float[np.ndarray, "3"]:
    """A named colour, 0..1."""
    return np.asarray(FILLS[colour], dtype=np.float32) / np.float32(255)


def draw_object(image: FloatImage, obj: SceneObject) -> None:
    """Draw an object over the image, in place."""
    size = image.shape[0]
    patch = object_patch(obj.shape, obj.colour, obj.texture, obj.radius, size)
    rows, columns = object_box(obj.x, obj.y, obj.radius, size)
    region = image[rows, columns]
    region *= patch.through
    region += patch.colour


def object_box(x: float, y: float, radius: float, size: int) -> tuple[slice, slice]:
    """Rows and columns of an object's box. Centres are rounded to pixel corners, so one patch serves all
    places.
    """
    row, column, half = round(y * size), round(x * size), half_box(radius, size)
    return slice(row - half, row + half), slice(column - half, column + half)


def half_box(radius: float, size: int) -> int:
    """Half the side of an object's box in pixels."""
    return int(np.ceil(radius * size - 1e-6))


@lru_cache(maxsize=4096)
def object_patch(shape: str, colour: str, texture: str, radius: float, size: int) -> Patch:
    """The pixels of an object: two colours, blended where the texture's cells end inside a pixel."""
    coverage = shape_coverage(shape, radius, size)[..., None]
    second = texture_cells(texture, half_box(radius, size), size)[..., None]
    return Patch(
        np.repeat(1 - coverage, 3, axis=2),
        coverage * ((1 - second) * rgb(colour) + second * second_colour(colour)),
    )


def second_colour(colour: str) -> Float[np.ndarray, "3"]:
    """The second colour of a texture: near black on light colours, near white on dark ones."""
    luminance = float(rgb(colour) @ filters.LUMINANCE)
    return np.full(3, 0.08 if luminance > 0.5 else 0.95, dtype=np.float32)


@lru_cache(maxsize=256)
def shape_coverage(shape: str, radius: float, size: int) -> Float[np.ndarray, "p p"]:
    """The share of each pixel of the box that the shape covers, 0..1: its exact mask."""
    half = half_box(radius, size)
    y, x = fine_coordinates(half)
    x, y = x / (radius * size), y / (radius * size)
    inside = {
        "circle": lambda: x**2 + y**2 <= 1,
        "square": lambda: np.maximum(abs(x), abs(y)) <= 0.86,
        "triangle": lambda: (y <= 0.9) & (2 * abs(x) - y <= 1),
        "cross": lambda: (np.minimum(abs(x), abs(y)) <= 0.36) & (np.maximum(abs(x), abs(y)) <= 1),
    }[shape]()
    return pool_fine(inside)


@lru_cache(maxsize=256)
def texture_cells(texture: str, half: int, size: int) -> Float[np.ndarray, "p p"]:
    """The share of each pixel that has the texture's second colour, 0..1; periods scale with the image."""
    y, x = fine_coordinates(half)
    u, v = x / (size * TEXTURE_PERIOD), y / (size * TEXTURE_PERIOD)
    second = {
        "plain": lambda: np.zeros_like(u + v, dtype=bool),
        "striped": lambda: (u + 0 * v) % 1 < 0.5,
        "dotted": lambda: (u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.32**2,
        "checkered": lambda: (u % 1 < 0.5) ^ (v % 1 < 0.5),
    }[texture]()
    return pool_fine(second)


def fine_coordinates(half: int) -> tuple[Float[np.ndarray, "f 1"], Float[np.ndarray, "1 f"]]:
    """Centres of the supersampled points of a box as (y, x), in pixels from its middle."""
    points = (np.arange(2 * half * SUPERSAMPLING) + 0.5) / SUPERSAMPLING - half
    return points[:, None], points[None, :]


def pool_fine(inside: Bool[np.ndarray, "f f"]) -> Float[np.ndarray, "p p"]:
    """The share of supersampled points that are inside, per pixel."""
    side = inside.shape[0] // SUPERSAMPLING
    return inside.reshape(side, SUPERSAMPLING, side, SUPERSAMPLING).mean(axis=(1, 3)).astype(np.float32)


def to_uint8(image: FloatImage) -> Image:
    """An image as it is stored, rounded to 0..255. All images are made within 0..1, so nothing is clipped."""
    scaled = image * np.float32(255)
    scaled += np.float32(0.5)
    return scaled.astype(np.uint8)


def to_float(image: Image) -> FloatImage:
    """A stored image in 0..1."""
    return image * np.float32(1 / 255)


def sample_scene(
    rng: Random, renderer: Renderer, split: str, photo: int | None = None, held_out: bool = False
) -> tuple[Scene, str]:
    """A scene of 1 to 4 objects and the name of a place that is free for one more.

    No two objects share both colour and shape, so the two together always name exactly one object. Objects
    often share one of them, so that one alone does not. Colours stand out from what is behind them.

    Args:
        rng: decides everything.
        renderer: shows which colours stand out.
        split: whose photographs to use; only training backgrounds are mirrored, tinted, or gradients.
        photo: index of the photograph, None for any.
        held_out: whether the first object is one of HELD_OUT_PAIRS; no other object ever is.
    """
    background = sample_background(rng, renderer, split, photo)
    free_place = pick(rng, tuple(PLACES))
    objects: list[SceneObject] = []
    count = 1 + (rng.random() > 0.1) + (rng.random() > 0.35) + (rng.random() > 0.6)
    radius = pick(rng, RADII) if count < 3 else RADII[0]
    room = free_centres(radius)
    block_centres(room, *PLACES[free_place], RADII[0] + radius)
    for _ in range(count):
        spots = np.flatnonzero(room)
        # A crowded scene gets fewer objects; the first one always fits beside the free place.
        if len(spots) == 0:
            break
        row, column = divmod(int(spots[int(rng.random() * len(spots))]), GRID)
        x, y = column / GRID, row / GRID
        block_centres(room, x, y, 2 * radius)
        visible = visible_colours(renderer, background, x, y)
        shape, colour = sample_shape_and_colour(rng, visible, objects, held_out and not objects)
        objects.append(SceneObject(shape, colour, pick(rng, TEXTURES), x, y, radius))
    return Scene(background, tuple(objects)), free_place


def sample_shape_and_colour(
    rng: Random, visible: Sequence[str], objects: Sequence[SceneObject], held_out: bool
) -> tuple[str, str]:
    """Shape and colour of one more object beside these, of the visible colours: a held-out pair, or none."""
    if held_out:
        return pick(rng, held_out_pairs(visible))
    # Every third object repeats a shape or a colour that is there already: a distractor.
    shape = pick(rng, objects).shape if objects and rng.random() < 0.35 else pick(rng, SHAPES)
    taken = {(obj.shape, obj.colour) for obj in objects} | HELD_OUT_PAIRS
    colours = [name for name in visible if (shape, name) not in taken]
    shared = [obj.colour for obj in objects if obj.colour in colours]
    return shape, pick(rng, shared) if shared and rng.random() < 0.35 else pick(rng, colours)


def held_out_pairs(colours: Sequence[str]) -> list[tuple[str, str]]:
    """The held-out (shape, colour) pairs of these colours; any MIN_COLOURS colours have one."""
    return [pair for pair in sorted(HELD_OUT_PAIRS) if pair[1] in colours]


def free_centres(radius: float) -> Bool[np.ndarray, "g g"]:
    """Where on the grid (row, column) the centre of an object of this radius fits in an empty scene."""
    room = np.zeros((GRID, GRID), dtype=bool)
    edge = round(radius * GRID)
    room[edge : GRID - edge + 1, edge : GRID - edge + 1] = True
    return room


def block_centres(room: Bool[np.ndarray, "g g"], x: float, y: float, reach: float) -> None:
    """Remove, in place, centres within `reach` of (x, y) along both axes; boxes stay one grid step apart."""
    row, column, steps = round(y * GRID), round(x * GRID), round(reach * GRID)
    room[max(0, row - steps) : row + steps + 1, max(0, column - steps) : column + steps + 1] = False


def pick(rng: Random, options: Sequence[T]) -> T:
    """One of the options. Faster than Random.choice, which matters at a thousand scenes a second."""
    return options[int(rng.random() * len(options))]


def sample_background(rng: Random, renderer: Renderer, split: str, photo: int | None = None) -> Background:
    """A background. In training one in eight is a gradient, and photographs are mirrored and slightly tinted
    for variety.
    """
    training = split == "train"
    if training and photo is None and rng.random() < 0.125:
        names = tuple(FILLS)
        return GradientBackground(pick(rng, names), pick(rng, names), rng.random() < 0.5)
    photographs = renderer.library.photographs[split]
    photo = int(rng.random() * len(photographs)) if photo is None else photo
    zoom = int(rng.random() * len(ZOOMS))
    height, width = (
        side / renderer.size - 1 for side in renderer.library.scaled(split, photo, zoom).shape[:2]
    )
    left, top = rng.random() * width, rng.random() * height
    mirrored = training and rng.random() < 0.5
    light = 0.8 + 0.35 * rng.random()
    gain = tuple(light * (0.9 + 0.2 * rng.random()) for _ in range(3)) if training else (1.0, 1.0, 1.0)
    return PhotoBackground(split, photo, zoom, left, top, mirrored, (gain[0], gain[1], gain[2]))


def visible_colours(renderer: Renderer, background: Background, x: float, y: float) -> list[str]:
    """Names of the colours that stand out from the background around (x, y), at least MIN_COLOURS of them."""
    red, green, blue = renderer.behind(background, x, y)
    distances = [(abs(r - red) + abs(g - green) + abs(b - blue), name) for name, (r, g, b) in PALETTE.items()]
    clear = [name for distance, name in distances if distance > CLEAR]
    return (
        clear
        if len(clear) >= MIN_COLOURS
        else [name for _, name in sorted(distances, reverse=True)[:MIN_COLOURS]]
    )
