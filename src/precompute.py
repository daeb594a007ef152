"""Encode the images and texts of a dataset once, to train without autoencoder and text encoder in memory.

    python -m src.precompute +experiment=reward_inspix2pix data.dataset.folder=DIR output=CACHE
    torchrun --nproc-per-node 8 -m src.precompute ...      # the same files; each process writes its share
    python -m src.train +experiment=reward_inspix2pix data.dataset.folder=DIR data.precomputed=CACHE

Takes the same data and backbone as the training, in fp32. If it is killed, the same command continues.
data/precomputed.py describes the files.
"""

import os
import sys
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from src import launch
from src.files import remove_leftovers
from src.missing_settings import check_complete

DTYPES = ("float32", "float16")


def main(cfg: DictConfig) -> None:
    """Check the arguments, then write the missing shards of this rank.

    Raises:
        ValueError: data that is not on disk, a backbone whose encoders are trained, an option outside its
            values, or an output folder that holds the conditions of something else.
        FileNotFoundError: an image is missing.
    """
    check_complete(cfg)
    if cfg.dtype not in DTYPES:
        raise ValueError(f"dtype is {' or '.join(DTYPES)}, not {cfg.dtype!r}")
    if min(cfg.batch_size, cfg.rows_per_shard) < 1:
        raise ValueError(
            f"batch_size={cfg.batch_size} and rows_per_shard={cfg.rows_per_shard} must be at least 1"
        )
    precompute(cfg)


def precompute(cfg: DictConfig) -> None:
    """Describe the cache of these data and this backbone, claim its folder, and write into it."""
    import torch

    from src import shard_writer
    from src.data.precomputed import ROWS, TEXTS, read_identities, row_difference
    from src.ranks import device_of, this_rank

    torch.manual_seed(cfg.seed)
    rank, world_size = this_rank()
    data = load_data(cfg)
    backbone = load_backbone(cfg).eval().to(device_of(cfg.device))
    output = Path(cfg.output)
    old = {each.id: each for each in read_identities(output / ROWS)} if (output / ROWS).is_file() else {}
    identities, texts = shard_writer.identify_rows(data.dataset, old, cfg.windows)
    example = shard_writer.example_entry(backbone, data.image_size)
    request = shard_writer.describe_cache(
        backbone, data, identities, example, cfg.windows, cfg.dtype, cfg.rows_per_shard
    )
    if rank == 0:
        example_text = backbone.encode_text([""]).tokens
        crops = len(identities) * data.augmentations
        size = shard_writer.describe_bytes(crops, example, len(texts), example_text, cfg.dtype)
        print(size, file=sys.stderr)
    row_change = row_difference(list(old.values()), identities) if old else None
    shard_writer.claim_cache(output, request, row_change)
    # processes of other machines can't be seen and would count as dead
    if world_size == int(os.environ.get("LOCAL_WORLD_SIZE", "1")):
        remove_leftovers(output)
    shard_writer.write_rows(output / ROWS, identities)
    shard_writer.write_distinct_texts(output / TEXTS, texts)
    shard_writer.write_latents(backbone, data, output, request, rank, world_size, cfg.batch_size)
    shard_writer.write_texts(backbone, texts, output, request, rank, world_size, cfg.batch_size)
    if rank == 0:
        print(output)


def load_data(cfg: DictConfig) -> Any:
    """An `EditData` with a dataset on disk and a number of crops.

    Raises:
        ValueError: other data, which can't be precomputed.
    """
    from src.data.datamodule import EditData
    from src.data.rewards import WithRewards

    data = instantiate(cfg.data)
    if not isinstance(data, EditData) or not isinstance(data.dataset, WithRewards):
        raise ValueError("only datasets on disk can be precomputed: data=pix2pix_tree, table or json_list")
    if data.precomputed is not None or data.augmentations is None or data.on_error != "fail":
        raise ValueError(
            "precomputing needs data.precomputed=null, a number for data.augmentations, and "
            "data.on_error=fail"
        )
    return data


def load_backbone(cfg: DictConfig) -> Any:
    """A backbone with `FrozenEncoders`.

    Raises:
        ValueError: the backbone's encoders are trained.
    """
    from src.backbones.frozen import FrozenEncoders

    backbone = instantiate(cfg.model.backbone)
    if not isinstance(backbone, FrozenEncoders):
        raise ValueError(
            f"{type(backbone).__name__} trains its text encoder, so that its conditions change at every step "
            "and can't be computed once"
        )
    return backbone


if __name__ == "__main__":
    launch.entry_point(main, "precompute")
