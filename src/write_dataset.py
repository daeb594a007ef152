"""Training triplets of the synthetic world written to disk, for other people's training scripts.

    python -m src.write_dataset format=parquet target=DIR count=20000

Both formats have the ecosystem's columns (original_image, edit_prompt, edited_image) and the reward's, and load with
`datasets.load_dataset("parquet", data_files=...)` and `datasets.load_dataset("imagefolder", data_dir=...)`.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Value
from datasets import Image as ImageColumn
from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image as Pillow
from rich.progress import track

from src import launch
from src.records import PERSPECTIVES, Reward, Triplet
from src.synthetic.world import World

FORMATS = ("parquet", "imagefolder")
TEXT_COLUMNS = ("edit_prompt", *(f"feedback_{perspective}" for perspective in PERSPECTIVES), "id")
SCORE_COLUMNS = tuple(f"reward_{perspective}" for perspective in PERSPECTIVES)
IMAGE_COLUMNS = ("original_image", "edited_image")


def main(cfg: DictConfig) -> None:
    """Write `cfg.count` triplets to the folder `cfg.target`.

    Raises:
        ValueError: an unknown format, a count below one, or a target that holds something already.
    """
    target = Path(cfg.target)
    if cfg.format not in FORMATS:
        raise ValueError(f"unknown format {cfg.format!r}: one of {', '.join(FORMATS)}")
    if cfg.count < 1 or cfg.start < 0:
        raise ValueError(f"count={cfg.count} start={cfg.start} is not possible: count is at least 1, start at least 0")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"target={target} holds something already: give a new or an empty folder")
    world: World = instantiate(cfg.world)
    world.case_id(cfg.split, cfg.seed, cfg.start)  # a wrong split is an error before anything is written
    target.mkdir(parents=True, exist_ok=True)
    indices = range(cfg.start, cfg.start + cfg.count)
    if cfg.format == "parquet":
        write_parquet(world, cfg.split, cfg.seed, indices, target)
    else:
        write_imagefolder(world, cfg.split, cfg.seed, indices, target)
    print(target)


def triplets(world: World, split: str, seed: int, indices: range) -> Iterator[tuple[Triplet, Reward]]:
    """The triplets in order, with progress on the terminal."""
    for index in track(indices, "writing"):
        yield world.rewarded_triplet(split, seed, index)


def columns_of(triplet: Triplet, reward: Reward) -> dict[str, Any]:
    """A row without its pictures."""
    row: dict[str, Any] = {"edit_prompt": triplet.case.instruction, "id": triplet.case.id}
    for perspective, verdict in zip(PERSPECTIVES, reward.verdicts, strict=True):
        row[f"reward_{perspective}"] = verdict.score
        row[f"feedback_{perspective}"] = verdict.feedback
    return row


def write_parquet(world: World, split: str, seed: int, indices: range, target: Path) -> None:
    """One parquet file with the pictures inside, as PNG."""

    def rows() -> Iterator[dict[str, Any]]:
        for triplet, reward in triplets(world, split, seed, indices):
            yield columns_of(triplet, reward) | {"original_image": triplet.case.original, "edited_image": triplet.edited}

    kinds = {column: ImageColumn() for column in IMAGE_COLUMNS}
    kinds |= {column: Value("string") for column in TEXT_COLUMNS} | {column: Value("float32") for column in SCORE_COLUMNS}
    # The rows are a function of the arguments, so datasets' own cache, which hashes generators, has nothing to add; it stays beside the target.
    cache = target / "cache"
    dataset = Dataset.from_generator(rows, features=Features(kinds), cache_dir=str(cache))
    dataset.to_parquet(target / f"{split}.parquet")
    shutil.rmtree(cache)


def write_imagefolder(world: World, split: str, seed: int, indices: range, target: Path) -> None:
    """PNG files and a metadata.jsonl whose `original_image_file_name` and `edited_image_file_name` datasets turns into pictures.

    All lies in a folder named after the split, by which datasets knows the split; a split's name in the files' own names would hide the metadata.
    """
    folder = target / split
    for column in IMAGE_COLUMNS:
        (folder / column).mkdir(parents=True)
    with (folder / "metadata.jsonl").open("w") as metadata:
        for index, (triplet, reward) in zip(indices, triplets(world, split, seed, indices), strict=True):
            row = columns_of(triplet, reward)
            for column, picture in zip(IMAGE_COLUMNS, (triplet.case.original, triplet.edited), strict=True):
                name = f"{column}/{index:08d}.png"
                Pillow.fromarray(picture).save(folder / name)
                row[f"{column}_file_name"] = name
            metadata.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    launch.entry_point(main, "write_dataset")
