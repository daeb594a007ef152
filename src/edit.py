"""Edit one photograph, or every photograph of a folder, with an instruction and a target reward.

    python -m src.edit checkpoint=runs/.../last.ckpt image=photo.jpg instruction="make the sky purple" output=edited
    python -m src.edit checkpoint=... image=photos/ instruction="..." target_reward.scores=[5,0,5] seed=3

Leaves `<name>.png` with instruction, seed and reward in its text metadata, and for a single photograph `<name>_strip.png`, original beside edit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from src import checkpoint, launch
from src.data.dataset import to_pictures, to_tensor
from src.editor import Editor
from src.evaluation.ranks import device_of
from src.pictures import centre_crop, contact_sheet, load_image, resize_long_side_64, resize_short_side, save_png
from src.records import Image, TargetReward
from src.seeds import fold_seed

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True, eq=False)
class Photograph:
    """A picture to be edited, already at the size asked for, and where its edit goes."""

    source: Path
    output: Path
    image: Image


def main(cfg: DictConfig) -> None:
    """Check everything that was asked for, then load the model and edit."""
    for name in ("checkpoint", "image", "instruction"):
        if not cfg[name]:
            raise ValueError(f"{name}=... is missing; see the head of src/edit.py for a command")
    target: TargetReward = instantiate(cfg.target_reward)
    sampler = instantiate(cfg.sampler)
    path = Path(cfg.checkpoint)
    sources = photographs_of(Path(cfg.image))
    resize = resizer(cfg.resize, min(checkpoint.read(path)["picture_size"]))
    photographs = prepared(sources, Path(cfg.output), resize)
    device = device_of(cfg.device)

    editor = instantiate(cfg.execution).prepare(checkpoint.load_editor(path, cfg.weights).to(device))
    metadata = {"instruction": cfg.instruction, "seed": str(cfg.seed), "checkpoint": checkpoint.content_hash(path), "weights": cfg.weights}
    metadata |= {"target_scores": "/".join(f"{score:g}" for score in target.scores), "target_feedback": "; ".join(target.feedback)}
    for photograph in photographs:
        original = centre_crop(photograph.image, *size_to_edit(editor, *photograph.image.shape[:2]))
        seed = fold_seed("noise", photograph.source.name, cfg.seed)
        with torch.inference_mode():
            edited = to_pictures(editor.edit(to_tensor([original]).to(device), [cfg.instruction], [target], [seed], sampler))[0]
        save_png(edited, photograph.output, metadata)
        print(f"{photograph.source} -> {photograph.output}, {edited.shape[1]}x{edited.shape[0]} pixels")
        if len(photographs) == 1:
            strip = photograph.output.with_name(f"{photograph.output.stem}_strip.png")
            title = f"{metadata['target_scores']}\n{cfg.instruction}"
            save_png(contact_sheet([[original, edited]], ["original", "edit"], [title], cell=256), strip, metadata)
            print(strip)


def photographs_of(path: Path) -> list[Path]:
    """The picture itself, or the pictures in a folder (not in its subfolders), by name.

    Raises:
        FileNotFoundError: nothing there, or a folder without pictures.
    """
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not found:
            raise FileNotFoundError(f"no pictures in {path}; image= takes a picture or a folder with {', '.join(SUFFIXES)}")
        return found
    if not path.exists():
        raise FileNotFoundError(f"no picture {path}; image= takes a picture or a folder of pictures")
    return [path]


def resizer(resize: str | int, trained: int) -> Callable[[Image], Image]:
    """What brings a picture to the size that `resize` asks for.

    Raises:
        ValueError: neither "trained", "keep", a number of pixels, nor "long_side_64:<pixels>".
    """
    if resize == "keep":
        return lambda image: image
    if resize == "trained":
        return partial(resize_short_side, short_side=trained)
    name, _, pixels = str(resize).rpartition(":")
    if pixels.isdecimal() and int(pixels) >= 1 and name in ("", "long_side_64"):
        return partial(resize_long_side_64, long_side=int(pixels)) if name else partial(resize_short_side, short_side=int(pixels))
    raise ValueError(f"resize={resize}: say trained, keep, the short side in pixels, or long_side_64:512")


def prepared(sources: Sequence[Path], output: Path, resize: Callable[[Image], Image]) -> list[Photograph]:
    """The pictures read, turned upright, resized, each with a file of its own to go to.

    Raises:
        ValueError: a broken picture, two pictures with one output file, or an output file that is one of the pictures.
    """
    photographs: list[Photograph] = []
    taken: dict[Path, Path] = {}
    originals = {source.resolve() for source in sources}
    for source in sources:
        file = output / f"{source.stem}.png"
        if file.resolve() in originals:
            raise ValueError(f"the edit would overwrite {file}; choose another output=DIR")
        if file in taken:
            raise ValueError(f"{taken[file]} and {source} would both be edited into {file}; rename one")
        taken[file] = source
        photographs.append(Photograph(source, file, resize(load_image(source))))
    return photographs


def size_to_edit(editor: Editor, height: int, width: int) -> tuple[int, int]:
    """The size nearest below (height, width) that the editor's latent can hold: multiples of 1, 2, 4, ... 64 are tried.

    Raises:
        ValueError: there is none.
    """
    for multiple in (1, 2, 4, 8, 16, 32, 64):
        size = (height // multiple * multiple, width // multiple * multiple)
        if min(size) == 0:
            break
        try:
            editor.check_resolution(*size)
        except ValueError:
            continue
        return size
    raise ValueError(f"the editor's latent holds no picture of about {width}x{height}; say resize=... with a larger short side")


if __name__ == "__main__":
    launch.entry_point(main, "edit")
