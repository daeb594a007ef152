"""The filters behind the edit types "global" and "style". Each maps an image in 0..1 to an image in 0..1."""

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
from jaxtyping import Float

FloatImage = Float[np.ndarray, "h w 3"]

LUMINANCE = np.asarray((0.299, 0.587, 0.114), dtype=np.float32)


def apply_filter(name: str, image: FloatImage) -> FloatImage:
    """The image through the filter of this name.

    Raises:
        KeyError: no such filter.
    """
    return np.clip(FILTERS[name](image), 0, 1, dtype=np.float32)


def colours(*values: float) -> Float[np.ndarray, "3"]:
    """Three numbers as float32."""
    return np.asarray(values, dtype=np.float32)


def luminance(image: FloatImage) -> Float[np.ndarray, "h w 1"]:
    """Lightness of each pixel, 0..1."""
    return (image @ LUMINANCE)[..., None]


@lru_cache(maxsize=256)
def blur_matrix(size: int, sigma: float) -> Float[np.ndarray, "n n"]:
    """A Gaussian blur of one axis as a matrix whose rows sum to one; at borders the weights inside are
    renormalised.

    Images are small, so two matrix products are the fastest exact blur.
    """
    position = np.arange(size)
    weights = np.exp(-0.5 * ((position[:, None] - position[None, :]) / sigma) ** 2)
    # Numbers below float32's normal range would make the products ten times slower.
    weights[weights < 1e-6] = 0
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def blur(image: Float[np.ndarray, "h w c"], sigma: float) -> Float[np.ndarray, "h w c"]:
    """Gaussian blur with sigma in pixels; values are kept in range."""
    # Rows, then columns as the rows of the transposed image: both are products of plain matrices.
    for _ in range(2):
        side, across, channels = image.shape
        blurred = blur_matrix(side, sigma) @ image.reshape(side, across * channels)
        image = blurred.reshape(side, across, channels).swapaxes(0, 1)
    return image


def sketch(image: FloatImage) -> FloatImage:
    """Dark pencil lines on white where lightness changes."""
    light = luminance(image)
    step = max(1, light.shape[0] // 64)
    edges = np.zeros_like(light)
    edges[step:] += np.abs(light[step:] - light[:-step])
    edges[:, step:] += np.abs(light[:, step:] - light[:, :-step])
    return np.repeat(1 - np.minimum(2.5 * edges, 0.9), 3, axis=2)


FILTERS: Mapping[str, Callable[[FloatImage], FloatImage]] = {
    "night": lambda image: image * colours(0.32, 0.38, 0.62),
    "sepia": lambda image: luminance(image) * colours(1.0, 0.8, 0.5) + colours(0.08, 0.04, 0.0),
    "gray": lambda image: np.repeat(luminance(image), 3, axis=2),
    "foggy": lambda image: 0.35 * image + np.float32(0.57),
    "sunset": lambda image: image * colours(0.8, 0.55, 0.35) + colours(0.25, 0.08, 0.0),
    "underwater": lambda image: image * colours(0.3, 0.7, 0.75) + colours(0.0, 0.14, 0.22),
    "sketch": sketch,
    "poster": lambda image: np.floor(np.clip(image * np.float32(1.15), 0, 0.999) * 3) / 2,
    "negative": lambda image: 1 - image,
    "stencil": lambda image: np.repeat(
        np.clip((luminance(image) - np.float32(0.42)) * 10 + np.float32(0.5), 0, 1), 3, axis=2
    ),
}
