"""Real photographs for backgrounds: which ones there are, how the splits share them, and fast crops.

The photographs in scikit-image's wheel are read as files, so nothing is downloaded. Training, validation and
benchmark never share a photograph, and the two images of a stereo pair count as one. Each photograph is
resized once per zoom; after that a crop is a slice.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image as Pillow

from src.image_files import SUFFIXES, images_in
from src.images import load_image
from src.seeds import fold_seed

SPLITS = ("train", "validation", "benchmark")
ZOOMS = (1.4, 1.8, 2.4)
"""Short side of a photograph in image widths, above 1 so that a crop has room to be shifted."""

DECODING = b"2"
"""Raised whenever files of a folder would give other pixels. 2: profiles, orientation, transparency."""

# The benchmark has eight photographs: intervals are clustered by photograph, and fewer clusters could not
# reach the 5 % level.
WHEEL: Mapping[str, tuple[str, ...]] = {
    "train": (
        "astronaut.png",
        "brick.png",
        "grass.png",
        "hubble_deep_field.jpg",
        "ihc.png",
        "motorcycle_left.png",
        "motorcycle_right.png",
    ),
    "validation": ("cell.png", "clock_motion.png"),
    "benchmark": (
        "camera.png",
        "chelsea.png",
        "coffee.png",
        "coins.png",
        "gravel.png",
        "moon.png",
        "retina.jpg",
        "rocket.jpg",
    ),
}
# The part of a photograph that shows something, as fractions (left, top, right, bottom): the retina, for one,
# is a disc on black.
WINDOWS: Mapping[str, tuple[float, float, float, float]] = {
    "retina.jpg": (0.16, 0.16, 0.84, 0.84),
    "clock_motion.png": (0.2, 0.15, 0.85, 0.85),
}


@final
@dataclass(frozen=True, eq=False)
class Photograph:
    """One readable photograph.

    Attributes:
        name: what Case.photograph says; the two images of a stereo pair share it.
        pixels: the whole image, RGB.
    """

    name: str
    pixels: UInt8[np.ndarray, "h w 3"]


@final
class PhotoLibrary:
    """Photographs of the three splits, ready to be cropped at one image size.

    Args:
        size: side of an image in pixels.
        folder: photographs to use in place of those in scikit-image's wheel; a hash of their names assigns
            them to splits.

    Attributes:
        digest: 8 hex digits over the files in the folder, "" for the wheel.

    Raises:
        ValueError: the folder is missing, holds no photograph or too few for three splits, or a file in it
            can't be read.
    """

    def __init__(self, size: int, folder: Path | None) -> None:
        self.size = size
        self.photographs: Mapping[str, tuple[Photograph, ...]]
        if folder is None:
            self.digest = ""
            data = wheel_folder()
            self.photographs = {
                split: tuple(read_photograph(data / name) for name in names) for split, names in WHEEL.items()
            }
        else:
            files = photo_files(folder)
            self.photographs = split_photographs([read_photograph(file) for file in files], folder)
            self.digest = digest_photographs(files)
        self._scaled: dict[tuple[str, int, int], Float[np.ndarray, "h w 3"]] = {}

    def scaled(self, split: str, photo: int, zoom: int) -> Float[np.ndarray, "h w 3"]:
        """The photograph in [0, 1] with a short side of ZOOMS[zoom] image widths; read-only, made once."""
        key = (split, photo, zoom)
        if key not in self._scaled:
            pixels = self.photographs[split][photo].pixels
            scale = self.size * ZOOMS[zoom] / min(pixels.shape[:2])
            width, height = (
                max(self.size, round(side * scale)) for side in (pixels.shape[1], pixels.shape[0])
            )
            resized = Pillow.fromarray(pixels).resize(
                (width, height), Pillow.Resampling.BOX if scale < 1 else Pillow.Resampling.BICUBIC
            )
            array = np.asarray(resized, dtype=np.float32) / np.float32(255)
            array.setflags(write=False)
            self._scaled[key] = array
        return self._scaled[key]


def wheel_folder() -> Path:
    """The folder of scikit-image's photographs."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise ValueError(
            "scikit-image, whose photographs are the default, is missing: run `make setup` or give photos=DIR"
        )
    return Path(spec.origin).parent / "data"


def wheel_files() -> list[Path]:
    """The photographs of scikit-image's wheel that are used; it holds other images, too."""
    return sorted(wheel_folder() / name for names in WHEEL.values() for name in names)


def photo_files(folder: Path) -> list[Path]:
    """The photographs in a folder, sorted by name.

    Raises:
        ValueError: there is no such folder, or no photograph in it.
    """
    if not folder.is_dir():
        raise ValueError(
            f"photos={folder} is not a folder: give one of photographs, or leave it out for scikit-image's"
        )
    files = images_in(folder)
    if not files:
        raise ValueError(
            f"photos={folder} holds no photograph ({', '.join(SUFFIXES)}): add some, or leave it out for "
            "scikit-image's"
        )
    return files


def read_photograph(file: Path) -> Photograph:
    """Read a file as RGB, cropped to the part that shows something.

    Raises:
        ValueError: the file is missing or broken; the message names it.
    """
    pixels = load_image(file)
    left, top, right, bottom = WINDOWS.get(file.name, (0.0, 0.0, 1.0, 1.0))
    height, width = pixels.shape[:2]
    return Photograph(
        photograph_name(file.name),
        pixels[int(top * height) : int(bottom * height), int(left * width) : int(right * width)],
    )


def photograph_name(name: str) -> str:
    """A file's name without _left or _right, so that both images of a stereo pair count as one photograph."""
    return name.replace("_left", "").replace("_right", "")


def split_photographs(photographs: list[Photograph], folder: Path) -> dict[str, tuple[Photograph, ...]]:
    """Assign photographs to splits by a hash of their names: about 10 % to validation, 30 % to the benchmark.

    Raises:
        ValueError: fewer than three distinct photographs.
    """
    names = sorted(
        {photograph.name for photograph in photographs}, key=lambda name: fold_seed("photograph", name)
    )
    if len(names) < len(SPLITS):
        raise ValueError(
            f"photos={folder} holds {len(names)} photographs: add some, {len(SPLITS)} or more are needed, as "
            "no two splits share one"
        )
    validation, benchmark = max(1, len(names) // 10), max(1, 3 * len(names) // 10)
    split_of = {
        name: "validation" if rank < validation else "benchmark" if rank < validation + benchmark else "train"
        for rank, name in enumerate(names)
    }
    return {
        split: tuple(photograph for photograph in photographs if split_of[photograph.name] == split)
        for split in SPLITS
    }


def digest_photographs(files: list[Path]) -> str:
    """8 hex digits over names and contents of files, in their order."""
    digest = hashlib.sha256(DECODING)
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:8]
