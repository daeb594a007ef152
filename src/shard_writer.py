"""Writes the shards of precomputed conditions; what src.precompute runs and src/data/precomputed.py reads."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from src import files
from src.backbones.frozen import FrozenEncoders
from src.conditioning.reward_encoder import Windows
from src.data.collate import collate
from src.data.datamodule import EditData
from src.data.order import SampleIndex
from src.data.precomputed import (
    FORMAT,
    LATENTS,
    REQUEST,
    RERUN,
    FileIdentity,
    checksum,
    describe_transform,
    entry_names,
    feedback_texts,
    file_identity,
    identity_lines,
    open_shard,
    read_texts,
    request_differences,
    request_digest,
    rows_digest,
    shard_name,
    texts_to_encode,
    write_shard,
)
from src.data.rows import RowSource
from src.data.training_loader import ignore_interrupts
from src.data.transformed_dataset import TransformedDataset
from src.data.transforms import Size
from src.files import write_atomically
from src.finite import NotFiniteError
from src.progress import with_progress

DTYPES = {"float32": torch.float32, "float16": torch.float16}


def identify_rows(
    rows: RowSource, known: Mapping[str, FileIdentity], windows: Sequence[Windows]
) -> tuple[list[FileIdentity], list[str]]:
    """The file identities of all rows, and their distinct texts. Raises ValueError or FileNotFoundError for
    an unusable row.
    """
    prints, said = [], []
    for part in with_progress(list(chunks(range(len(rows)), 1000)), len(rows), "read", "rows"):
        for index in part:
            row = rows.row(index)  # one at a time, as a row may hold its images
            if row.answer is not None:
                raise ValueError(
                    f"row {row.id!r} is a conversation, which can't be precomputed: leave conversations out "
                    "of this dataset"
                )
            prints.append(file_identity(row, known.get(row.id)))
            said.append((row.instruction, feedback_texts(row.reward)))
    return prints, texts_to_encode(said, windows)


def loaded_encoder_digests(backbone: FrozenEncoders, image_size: Size) -> dict[str, str | None]:
    """The encoders' digests, taken after their first use, which downloads what comes from a hub.

    Raises:
        ValueError: the weights can't be found.
    """
    backbone.encode_moments(torch.zeros(1, 3, *image_size, device=next(backbone.parameters()).device))
    backbone.encode_text([""])
    encoders = dict(backbone.encoder_digests())
    unknown = [name for name, digest in encoders.items() if digest is None]
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)} can't be told: the pipeline has no file of a known name there"
        )
    return encoders


def example_entry(backbone: FrozenEncoders, image_size: Size) -> tuple[Tensor, ...]:
    """The cached tensors of a blank image; those of every image have their shapes."""
    blank = torch.zeros(1, 3, *image_size, device=next(backbone.parameters()).device)
    return encode_for_cache(backbone, blank, blank, [""])


def describe_cache(
    backbone: FrozenEncoders,
    data: EditData,
    identities: Sequence[FileIdentity],
    example: Sequence[Tensor],
    windows: Sequence[Windows],
    dtype: str,
    rows_per_shard: int,
) -> dict[str, Any]:
    """The request that a cache answers: everything that its contents depend on."""
    request = {
        "format": FORMAT,
        "rows": {"count": len(identities), "sha256": rows_digest(identities)},
        "augmentations": data.augmentations,
        "transform": describe_transform(data.transform),
        "encoders": loaded_encoder_digests(backbone, data.image_size),
        "windows": list(windows),
        "dtype": dtype,
        "rows_per_shard": rows_per_shard,
    }
    return request | ({"reading": True} if len(example) > len(LATENTS) else {})


def describe_bytes(
    crops: int, example: Sequence[Tensor], texts: int, example_text: Tensor, dtype: str
) -> str:
    """The number of crops and texts of a cache, and their bytes."""
    per_crop = sum(part.numel() for part in example) * DTYPES[dtype].itemsize
    per_text = example_text.numel() * DTYPES[dtype].itemsize
    total = (crops * per_crop + texts * per_text) / 1e6
    return f"{crops} crops of {per_crop} bytes, {texts} texts of {per_text} bytes, {total:.1f} MB"


def claim_cache(output: Path, request: Mapping[str, Any], row_change: str | None) -> None:
    """Make a new or empty folder ours, or check that what it holds was written for the same request. Ranks
    may do this at once: all write the same.

    Raises:
        ValueError: somebody else's files, or another request; the message names what differs.
    """
    different = request_differences(files.claim(output / REQUEST, request), json.loads(json.dumps(request)))
    if different:
        what = [row_change] if row_change is not None else []
        what += [each for each in different if row_change is None or not each.startswith("rows.")]
        raise ValueError(
            f"output={output} holds the conditions of something else: {'; '.join(what[:3])}; give another "
            "folder, or the same command"
        )


def write_once(path: Path, text: str) -> None:
    """Write a text file atomically unless it exists."""
    if not path.exists():
        write_atomically(path, text)


def write_rows(path: Path, identities: Sequence[FileIdentity]) -> None:
    """Write the file identities of the rows unless they are there."""
    write_once(path, "".join(identity_lines(identities)))


def write_distinct_texts(path: Path, texts: list[str]) -> None:
    """Write the distinct texts unless they are there.

    Raises:
        ValueError: the file holds other texts.
    """
    write_once(path, json.dumps(texts, ensure_ascii=False))
    if read_texts(path) != texts:
        raise ValueError(f"{path} is broken, it doesn't hold the {len(texts)} texts of these rows: {RERUN}")


def chunks(things: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Slices of this size; the last one may be shorter."""
    return (things[first : first + size] for first in range(0, len(things), size))


def open_shards(
    kind: str, count: int, output: Path, request: Mapping[str, Any], rank: int, world_size: int
) -> dict[Path, range]:
    """The missing shards of this rank, and the range of rows or texts in each.

    Raises:
        ValueError: an existing shard can't be read, or is of another request.
    """
    of_rank = list(enumerate(chunks(range(count), request["rows_per_shard"])))[rank::world_size]
    mine = {output / shard_name(kind, number): range(part[0], part[-1] + 1) for number, part in of_rank}
    for path in mine:
        if path.exists():
            open_shard(path, request_digest(request))
    return {path: part for path, part in mine.items() if not path.exists()}


@torch.no_grad()
def write_latents(
    backbone: FrozenEncoders,
    data: EditData,
    output: Path,
    request: Mapping[str, Any],
    rank: int,
    world_size: int,
    batch_size: int,
) -> None:
    """Write shards of latents. A batch never spans two shards, so that a shard has the same bytes whichever
    process writes it, also after a kill.
    """
    missing = open_shards("latents", len(data.dataset), output, request, rank, world_size)
    augmentations, dtype, device = (
        request["augmentations"],
        DTYPES[request["dtype"]],
        next(backbone.parameters()).device,
    )
    turns = {
        path: [SampleIndex(index, turn) for index in part for turn in range(augmentations)]
        for path, part in missing.items()
    }
    visits = {path: [list(batch) for batch in chunks(each, batch_size)] for path, each in turns.items()}
    batches = iter(
        DataLoader(
            TransformedDataset(  # pyright: ignore[reportArgumentType]
                data.dataset, data.transform, data.seed, frozenset(), None, augmentations
            ),
            batch_sampler=[batch for each in visits.values() for batch in each],
            collate_fn=collate,
            num_workers=data.num_workers,
            worker_init_fn=ignore_interrupts,
        )
    )
    for path in shards_with_progress(missing, "encode images", "rows"):
        parts_of: dict[str, list[Tensor]] = {name: [] for name in entry_names(request)}
        for _ in visits[path]:
            batch = next(batches).to(device)
            for name, part in zip(
                parts_of,
                encode_for_cache(backbone, batch.original, batch.edited, batch.instructions),
                strict=True,
            ):
                parts_of[name].append(part.to(dtype).cpu())
                check_entries(name, parts_of[name][-1], batch.ids, request["dtype"])
        whole = {name: torch.cat(each) for name, each in parts_of.items()}
        check = torch.tensor([checksum(*entry) for entry in zip(*whole.values(), strict=True)])
        shaped = {
            name: latent.unflatten(0, (-1, augmentations))
            for name, latent in {**whole, "check": check}.items()
        }
        write_shard(path, shaped, request)


def check_entries(name: str, entries: Tensor, of: Sequence[str], dtype: str) -> None:
    """Raise NotFiniteError, naming the rows or texts, if an entry to be kept is NaN or infinite."""
    finite = entries.isfinite().flatten(1).all(1).tolist()
    wrong = [whose for whose, is_finite in zip(of, finite, strict=True) if not is_finite]
    if wrong:
        raise NotFiniteError(
            f"{name} of {len(wrong)} entries is not finite (NaN or infinity) in {dtype}, such as of "
            f"{wrong[0][:120]!r}, and is not kept: look at the images, or say dtype=float32"
        )


@torch.no_grad()
def encode_for_cache(
    backbone: FrozenEncoders, originals: Tensor, edited: Tensor, instructions: Sequence[str]
) -> tuple[Tensor, ...]:
    """The cached tensors of images (b, 3, H, W) in [-1, 1], in the order of `entry_names`."""
    original, result = backbone.encode_moments(originals), backbone.encode_moments(edited)
    reading = backbone.read(originals, instructions)
    latents = (original.mean, result.mean, result.std)
    return latents if reading is None else (*latents, reading.instruction.tokens, reading.stem_bias)


@torch.no_grad()
def write_texts(
    backbone: FrozenEncoders,
    texts: Sequence[str],
    output: Path,
    request: Mapping[str, Any],
    rank: int,
    world_size: int,
    batch_size: int,
) -> None:
    """Write shards of tokens, each text once."""
    missing = open_shards("texts", len(texts), output, request, rank, world_size)
    for path in shards_with_progress(missing, "encode texts", "texts"):
        part = missing[path]
        found = [backbone.encode_text(batch) for batch in chunks(texts[part.start : part.stop], batch_size)]
        tokens = torch.cat([each.tokens.to(DTYPES[request["dtype"]]).cpu() for each in found])
        mask = torch.cat([each.mask.cpu() for each in found])
        check_entries("tokens", tokens, texts[part.start : part.stop], request["dtype"])
        check = torch.tensor([checksum(*entry) for entry in zip(tokens, mask, strict=True)])
        write_shard(path, {"tokens": tokens, "mask": mask, "check": check}, request)


def shards_with_progress(missing: Mapping[Path, range], what: str, unit: str) -> Iterator[Path]:
    """Yields the shards to write, with a progress bar."""
    paths = iter(missing)
    for _ in with_progress(list(missing.values()), sum(map(len, missing.values())), what, unit):
        yield next(paths)
