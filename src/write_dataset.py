"""Write training triplets of the synthetic world to disk, for other training scripts.

    python -m src.write_dataset format=parquet output=DIR count=20000

parquet and imagefolder have the ecosystem's columns (original_image, edit_prompt, edited_image) and the
reward's, and load with `datasets.load_dataset("parquet", data_files="DIR/*.parquet")` and
`datasets.load_dataset("imagefolder", data_dir="DIR")`; pix2pix_tree is the folder tree of InstructPix2Pix,
with PNG files and a reward file beside it.

After a kill at any moment, the same command continues and ends with the same files; `request.json` says which
command that is.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src import files, launch
from src.differences import unlike_request
from src.files import not_written, remove_leftovers, replacing, whole_lines, write_atomically
from src.images import encode_png, save_png
from src.missing_settings import check_complete
from src.progress import with_progress
from src.records import PERSPECTIVES, Reward, Triplet
from src.reward_file import append_rewards, read_rewards
from src.synthetic.world import World

FORMATS = ("parquet", "imagefolder", "pix2pix_tree")
TEXT_COLUMNS = ("edit_prompt", *(f"feedback_{perspective}" for perspective in PERSPECTIVES), "id")
SCORE_COLUMNS = tuple(f"reward_{perspective}" for perspective in PERSPECTIVES)
IMAGE_COLUMNS = ("original_image", "edited_image")
REQUEST = "request.json"
UNFINISHED = ".metadata.jsonl.unfinished"
"""Rows of an unfinished imagefolder; metadata.jsonl is always complete."""


def main(cfg: DictConfig) -> None:
    """Write `cfg.count` triplets to the folder `cfg.output`, or those that a killed command left open.

    Raises:
        ValueError: an unknown format, a count below one, or a output that holds something else already.
    """
    check_complete(cfg)
    output = Path(cfg.output)
    if cfg.format not in FORMATS:
        raise ValueError(f"unknown format {cfg.format!r}: one of {', '.join(FORMATS)}")
    if cfg.count < 1 or cfg.start < 0 or cfg.rows_per_file < 1:
        raise ValueError(
            f"count={cfg.count} start={cfg.start} rows_per_file={cfg.rows_per_file} is not possible: "
            "count and rows_per_file are at least 1, start at least 0"
        )
    world: World = instantiate(cfg.world)
    world.case_id(cfg.split, cfg.seed, cfg.start)  # a wrong split is an error before anything is written
    claim_folder(output, dataset_request(cfg))
    indices = range(cfg.start, cfg.start + cfg.count)
    if cfg.format == "parquet":
        write_parquet(world, cfg.split, cfg.seed, indices, cfg.rows_per_file, output)
    elif cfg.format == "imagefolder":
        write_imagefolder(world, cfg.split, cfg.seed, indices, output)
    else:
        write_pix2pix_tree(world, cfg.split, cfg.seed, indices, output)
    print(output)


def dataset_request(cfg: DictConfig) -> dict[str, Any]:
    """Everything the files depend on."""
    request = {name: cfg[name] for name in ("format", "count", "split", "seed", "start")}
    if cfg.format == "parquet":
        request["rows_per_file"] = cfg.rows_per_file
    return request | {"world": OmegaConf.to_container(cfg.world, resolve=True)}


def claim_folder(output: Path, request: Mapping[str, Any]) -> None:
    """Make a new or empty folder ours, or check that what it holds was written for the same request.

    Raises:
        ValueError: other files, or another request; the message names what differs.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"output={output} is a file: give a new or an empty folder")
    different = unlike_request(files.claim(output / REQUEST, request), request)
    if different:
        raise ValueError(
            f"output={output} holds the triplets of another command ({'; '.join(different)}); "
            "give another folder, or the same command"
        )
    remove_leftovers(output, below=True)


def row_columns(triplet: Triplet, reward: Reward) -> dict[str, Any]:
    """A row without its images."""
    row: dict[str, Any] = {"edit_prompt": triplet.case.instruction, "id": triplet.case.id}
    for perspective, verdict in zip(PERSPECTIVES, reward.verdicts, strict=True):
        row[f"reward_{perspective}"] = verdict.score
        row[f"feedback_{perspective}"] = verdict.feedback
    return row


def write_parquet(
    world: World, split: str, seed: int, indices: range, rows_per_file: int, output: Path
) -> None:
    """Write files `<split>-00000-of-00020.parquet` with the images inside, as PNG. A present file is complete
    and is kept.
    """
    import pyarrow
    import pyarrow.parquet
    from datasets import Features, Value
    from datasets import Image as ImageColumn

    kinds = {column: ImageColumn() for column in IMAGE_COLUMNS}
    kinds |= {column: Value("string") for column in TEXT_COLUMNS} | {
        column: Value("float32") for column in SCORE_COLUMNS
    }
    schema = Features(kinds).arrow_schema
    parts = [indices[first : first + rows_per_file] for first in range(0, len(indices), rows_per_file)]
    files = {
        part: output / f"{split}-{number:05d}-of-{len(parts):05d}.parquet"
        for number, part in enumerate(parts)
    }
    missing = [part for part in parts if not files[part].exists()]
    for part in with_progress(missing, sum(len(part) for part in missing), "write", "triplets"):
        assert isinstance(part, range)
        rows = []
        for index in part:
            triplet, reward = world.rewarded_triplet(split, seed, index)
            images = zip(IMAGE_COLUMNS, (triplet.case.original, triplet.edited), strict=True)
            rows.append(
                row_columns(triplet, reward)
                | {column: {"bytes": encode_png(image), "path": None} for column, image in images}
            )
        with replacing(files[part]) as partial:
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), partial)


def write_imagefolder(world: World, split: str, seed: int, indices: range, output: Path) -> None:
    """Write PNG files, and a metadata.jsonl whose columns `original_image_file_name` and
    `edited_image_file_name` `datasets` turns into images.

    All files are in a folder named after the split, from which `datasets` takes the split; a split's name in
    the file names would hide the metadata. Rows are appended after their images, so the number of whole rows
    says where to continue.
    """
    folder = output / split
    if (folder / "metadata.jsonl").exists():
        return
    folder.mkdir(exist_ok=True)
    unfinished = folder / UNFINISHED
    open_indices = indices[whole_lines(unfinished) :]
    try:
        with unfinished.open("a", encoding="utf-8") as metadata:
            for part in with_progress(
                list(_parts(open_indices, 100)), len(open_indices), "write", "triplets"
            ):
                for index in part:
                    triplet, reward = world.rewarded_triplet(split, seed, index)
                    row = row_columns(triplet, reward)
                    for column, image in zip(
                        IMAGE_COLUMNS, (triplet.case.original, triplet.edited), strict=True
                    ):
                        row[f"{column}_file_name"] = f"{column}/{index:08d}.png"
                        save_png(image, folder / row[f"{column}_file_name"])
                    metadata.write(json.dumps(row) + "\n")
                    metadata.flush()
            os.fsync(metadata.fileno())
    except OSError as error:
        raise not_written(folder, error) from error
    unfinished.replace(folder / "metadata.jsonl")


def write_pix2pix_tree(world: World, split: str, seed: int, indices: range, output: Path) -> None:
    """Write `<index>/{prompt.json,0_0.png,0_1.png}` for each triplet, `rewards.jsonl` with ids `<index>/0`,
    and finally `seeds.json`.

    Rewards are appended after the images of a hundred triplets, so their number says where to continue. The
    triplets belong to no split of the original's .9/.05/.05: read them with split=all.
    """
    rewards, prompts = output / "rewards.jsonl", [f"{index:07d}" for index in indices]
    open_indices = indices[len(read_rewards(rewards)) :]
    for part in with_progress(list(_parts(open_indices, 100)), len(open_indices), "write", "triplets"):
        given = []
        for index in part:
            triplet, reward = world.rewarded_triplet(split, seed, index)
            folder = output / f"{index:07d}"
            for number, image in enumerate((triplet.case.original, triplet.edited)):
                save_png(image, folder / f"0_{number}.png")
            with replacing(folder / "prompt.json", durable=False) as partial:
                partial.write_text(
                    json.dumps({"input": "", "edit": triplet.case.instruction, "output": ""}) + "\n"
                )
            given.append(replace(reward, id=f"{index:07d}/0"))
        append_rewards(rewards, given)
    write_atomically(output / "seeds.json", json.dumps([[prompt, ["0"]] for prompt in prompts]) + "\n")


def _parts(indices: range, size: int) -> Iterator[range]:
    for first in range(0, len(indices), size):
        yield indices[first : first + size]


if __name__ == "__main__":
    launch.entry_point(main, "write_dataset")
