"""Tokens of an image by the rule of the model's provider, so that an estimate needs no network and costs
nothing.

Pure functions hold the arithmetic; small frozen classes hold the numbers of a rule for the config
(`image_tokens: {_target_: ...TileTokens, ...}`). Sources: OpenAI, "Images and vision", section "Calculating
costs" (platform.openai.com/docs/guides/images-vision), with the rounding seen on real bills
(community.openai.com/t/1281361 and /t/1262691); Qwen: `smart_resize` of transformers and the models'
preprocessor_config.json.
"""

import math
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable


@runtime_checkable
class ImageTokens(Protocol):
    """A rule that counts the tokens of an image."""

    def tokens(self, height: int, width: int, detail: str | None) -> int:
        """Tokens of one image.

        Args:
            height: in pixels.
            width: in pixels.
            detail: "low", "high", "auto" or None, as in the request; anything but "low" counts as "high", the
                upper bound.
        """
        ...


@final
@dataclass(frozen=True)
class TileTokens:
    """OpenAI's gpt-4o, gpt-4.1, gpt-4.5, o1, o3, gpt-5: tokens per 512-pixel tile, plus a base.

    Attributes:
        base: tokens of the image as a whole, and its full cost in low detail: 85 for gpt-4o and gpt-4.1, 2833
            for gpt-4o-mini, 75 for o1 and o3, 70 for gpt-5.
        per_tile: 170, 5667, 150 and 140.
    """

    base: int = 85
    per_tile: int = 170

    def tokens(self, height: int, width: int, detail: str | None) -> int:
        return self.base if detail == "low" else self.base + self.per_tile * count_tiles(height, width)


@final
@dataclass(frozen=True)
class PatchTokens:
    """OpenAI's gpt-4.1-mini, gpt-4.1-nano, gpt-5-mini, gpt-5-nano, o4-mini: one token per patch, times a
    billing factor. No config of ours uses it; set `judge.client.image_tokens` to it for one of these models.

    Attributes:
        patch: side of a patch in pixels.
        max_patches: larger images are downsized to this number.
        multiplier: billing factor; gpt-4.1-mini and gpt-5-mini: 1.62, gpt-4.1-nano and gpt-5-nano: 2.46,
            o4-mini: 1.72.
    """

    patch: int = 32
    max_patches: int = 1536
    multiplier: float = 1.0

    def tokens(self, height: int, width: int, detail: str | None) -> int:
        return math.ceil(count_patches(height, width, self.patch, self.max_patches) * self.multiplier)


@final
@dataclass(frozen=True)
class MergedPatchTokens:
    """Qwen-VL and its relatives: the image is resized to whole patches, `merge` x `merge` patches make a
    token, and a start and an end token are added.

    Attributes:
        patch: side of a patch in pixels (Qwen2.5-VL: 14, Qwen3-VL: 16).
        merge: patches per token and side.
        min_pixels: smaller images are enlarged (3,136 and 65,536 in the released configs).
        max_pixels: larger images are downsized (12,845,056 and 16,777,216).
    """

    patch: int = 14
    merge: int = 2
    min_pixels: int = 3_136
    max_pixels: int = 12_845_056

    def tokens(self, height: int, width: int, detail: str | None) -> int:
        unit = self.patch * self.merge
        rows, columns = resized_grid(height, width, unit, self.min_pixels, self.max_pixels)
        return rows * columns + 2


def most_image_tokens(height: int, width: int) -> int:
    """More tokens than any provider counts for an image: those of gpt-4o-mini, without its resizing."""
    return 3000 + 6000 * math.ceil(height / 512) * math.ceil(width / 512)


def count_tiles(height: int, width: int, box: int = 2048, short_side: int = 768, tile: int = 512) -> int:
    """Tiles of an image that is shrunk into a square box, then to a shorter side of at most `short_side`; it
    is never enlarged.

    Sides are rounded to whole pixels after each step: 513 x 2049 becomes 513 x 2048 (8 tiles), 513 x 2050
    becomes 512 x 2048 (4 tiles).
    """
    for limit, side in ((box, max), (short_side, min)):
        scale = limit / side(height, width)
        if scale < 1:
            height, width = max(1, round(height * scale)), max(1, round(width * scale))
    return math.ceil(height / tile) * math.ceil(width / tile)


def count_patches(height: int, width: int, patch: int = 32, max_patches: int = 1536) -> int:
    """Patches that cover an image; if they are too many, it is shrunk until they fit and one side is whole
    patches.

    This is the published rule. The bill for one such large image was 6 % higher: 1536 instead of 1449 patches
    for 4000 x 1474 (community.openai.com/t/1281361).
    """
    needed = math.ceil(height / patch) * math.ceil(width / patch)
    if needed <= max_patches:
        return needed
    scale = math.sqrt(max_patches * patch**2 / (height * width))
    rows, columns = height * scale / patch, width * scale / patch
    scale *= min(
        math.floor(rows) / rows if rows >= 1 else 1.0, math.floor(columns) / columns if columns >= 1 else 1.0
    )
    # a rounding error must not push the side that is whole patches to the next patch
    rows, columns = (math.ceil(side * scale / patch - 1e-9) for side in (height, width))
    return min(rows * columns, max_patches)


def resized_grid(height: int, width: int, unit: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Rows and columns of units of an image resized to whole units within a range of pixels, aspect ratio
    nearly kept.

    Raises:
        ValueError: an aspect ratio above 200, which these models refuse.
    """
    if max(height, width) > 200 * min(height, width):
        raise ValueError(
            f"an image of {width} x {height} pixels is too long for this model, "
            "whose limit is an aspect ratio of 200"
        )
    rows, columns = round(height / unit), round(width / unit)
    pixels = rows * columns * unit**2
    if pixels > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        rows, columns = (max(1, math.floor(side / shrink / unit)) for side in (height, width))
    elif pixels < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        rows, columns = (math.ceil(side * grow / unit) for side in (height, width))
    return rows, columns
