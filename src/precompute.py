"""Encode the images and texts of a dataset once, to train without autoencoder and text encoder in memory.

    python -m src.precompute +experiment=reward_inspix2pix data.dataset.folder=DIR output=CACHE
    torchrun --nproc-per-node 8 -m src.precompute ...      # the same files; each process writes its share
    python -m src.train +experiment=reward_inspix2pix data.dataset.folder=DIR data.precomputed=CACHE

Takes the same data and backbone as the training, in fp32. If it is killed, the same command continues.
data/precomputed.py describes the files.
"""

import json
import os
import sys
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from src import launch
from src.files import remove_leftovers
from src.missing_settings import check_complete

DTYPES = ("float32", "float16")


def main(cfg: DictConfig) -> None:
    """Write the missing shards of this rank.

    Raises:
        ValueError: data that is not on disk, a backbone whose encoders are trained, an option outside its
            values, or an output folder that holds the conditions of something else.
        FileNotFoundError: an image is missing.
    """
    check_complete(cfg)
    output, dtype = Path(cfg.output), cfg.dtype
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {' or '.join(DTYPES)}, not {dtype!r}")
    if min(cfg.batch_size, cfg.rows_per_shard) < 1:
        raise ValueError(
            f"batch_size={cfg.batch_size} and rows_per_shard={cfg.rows_per_shard} must be at least 1"
        )
    import torch

    from src import shard_writer
    from src.backbones.frozen import FrozenEncoders
    from src.data.datamodule import EditData
    from src.data.precomputed import (
        FORMAT,
        LATENTS,
        RERUN,
        ROWS,
        TEXTS,
        describe_transform,
        identity_lines,
        read_identities,
        read_texts,
        row_difference,
        rows_digest,
    )
    from src.data.rewards import WithRewards
    from src.ranks import device_of, this_rank

    torch.manual_seed(cfg.seed)
    rank, world_size = this_rank()
    data = instantiate(cfg.data)
    if not isinstance(data, EditData) or not isinstance(data.dataset, WithRewards):
        raise ValueError("only datasets on disk can be precomputed: data=pix2pix_tree, table or json_list")
    if data.precomputed is not None or data.augmentations is None or data.on_error != "fail":
        raise ValueError(
            "precomputing needs data.precomputed=null, a number for data.augmentations, and "
            "data.on_error=fail"
        )
    backbone = instantiate(cfg.model.backbone)
    if not isinstance(backbone, FrozenEncoders):
        raise ValueError(
            f"{type(backbone).__name__} trains its text encoder, so that its conditions change at every step "
            "and can't be computed once"
        )
    backbone = backbone.eval().to(device_of(cfg.device))
    old = {each.id: each for each in read_identities(output / ROWS)} if (output / ROWS).is_file() else {}
    prints, texts = shard_writer.identify_rows(data.dataset, old, cfg.windows)
    request = {
        "format": FORMAT,
        "rows": {"count": len(prints), "sha256": rows_digest(prints)},
        "augmentations": data.augmentations,
        "transform": describe_transform(data.transform),
        "encoders": shard_writer.loaded_encoder_digests(backbone, data.image_size),
        "windows": list(cfg.windows),
        "dtype": dtype,
        "rows_per_shard": cfg.rows_per_shard,
    }
    blank = torch.zeros(1, 3, *data.image_size, device=next(backbone.parameters()).device)
    example = shard_writer.encode_for_cache(backbone, blank, blank, [""])
    request |= {"reading": True} if len(example) > len(LATENTS) else {}
    if rank == 0:
        numbers = sum(part.numel() for part in example), backbone.encode_text([""]).tokens.numel()
        each, text = (number * shard_writer.DTYPES[dtype].itemsize for number in numbers)
        crops = len(prints) * data.augmentations
        total = (crops * each + len(texts) * text) / 1e6
        print(
            f"{crops} crops of {each} bytes, {len(texts)} texts of {text} bytes, {total:.1f} MB",
            file=sys.stderr,
        )
    shard_writer.claim_cache(output, request, row_difference(list(old.values()), prints) if old else None)
    if world_size == int(
        os.environ.get("LOCAL_WORLD_SIZE", "1")
    ):  # processes of other machines can't be seen and would count as dead
        remove_leftovers(output)
    shard_writer.write_once(output / ROWS, "".join(identity_lines(prints)))
    shard_writer.write_once(output / TEXTS, json.dumps(texts, ensure_ascii=False))
    if read_texts(output / TEXTS) != texts:
        raise ValueError(
            f"{output / TEXTS} is broken, it doesn't hold the {len(texts)} texts of these rows: {RERUN}"
        )
    shard_writer.write_latents(backbone, data, output, request, rank, world_size, cfg.batch_size)
    shard_writer.write_texts(backbone, texts, output, request, rank, world_size, cfg.batch_size)
    if rank == 0:
        print(output)


if __name__ == "__main__":
    launch.entry_point(main, "precompute")
