"""Writes the files that the benchmark reads: an InstructPix2Pix tree with rewards, and precomputed
conditions. Reading them costs what reading real ones costs.

Images are photographs, because detail decides how long a JPEG takes to decode. Latents and tokens are noise
of the right shape: networks take the same time for them, and no full-size encoder has to run.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, final

import PIL.Image
import torch
from torch import Tensor

from src.data.precomputed import (
    FORMAT,
    LATENTS,
    REQUEST,
    ROWS,
    TEXTS,
    checksum,
    describe_transform,
    feedback_texts,
    file_identity,
    identity_lines,
    rows_digest,
    shard_name,
    texts_to_encode,
    write_shard,
)
from src.data.rows import RowSource
from src.data.transforms import Transform
from src.images import centre_crop, resize_short_side
from src.records import Image, Reward, Verdict
from src.reward_file import append_rewards
from src.synthetic.photos import read_photograph, wheel_files

ROWS_PER_SHARD = 256
DISTINCT = 32
"""Number of distinct images, instructions and feedbacks; the rest are links and repetitions, which cost a
loader the same.
"""

JUDGE = "benchmark"

WORDS = 16
"""Tokens of a text that are words; the rest is padding."""


@final
class Shapes(NamedTuple):
    """Shapes of precomputed tensors: a latent (c, h, w) and a text's tokens (l, d)."""

    latent: tuple[int, int, int]
    tokens: tuple[int, int]


def photograph_squares(side: int, count: int) -> list[Image]:
    """Square crops of photographs."""
    images = [read_photograph(file).pixels for file in wheel_files()]
    return [
        centre_crop(resize_short_side(images[index % len(images)], side), side, side)
        for index in range(count)
    ]


def write_image_tree(folder: Path, rows: int, side: int) -> Path:
    """An InstructPix2Pix tree of JPEG images with `rewards.jsonl` beside its seeds.json."""
    images = photograph_squares(side, DISTINCT)
    rewards = []
    for row in range(rows):
        prompt, names = folder / f"{row:07d}", ("0_0.jpg", "0_1.jpg")
        prompt.mkdir(parents=True)
        for name in names:
            if row < DISTINCT:
                PIL.Image.fromarray(images[row % len(images)]).save(prompt / name, quality=95)
            else:
                os.link(folder / f"{row % DISTINCT:07d}" / name, prompt / name)
        edit = f"make the sky {row % DISTINCT} shades darker and add a small boat on the horizon"
        (prompt / "prompt.json").write_text(
            json.dumps({"input": "a photograph", "edit": edit, "output": "a photograph"})
        )
        feedback = f"the boat is {row % DISTINCT} metres too small and the sky was not changed"
        verdict = Verdict(float(row % 6), feedback=feedback)
        rewards.append(Reward(f"{prompt.name}/0", JUDGE, "key", verdict, Verdict(4.0), Verdict(3.0)))
    (folder / "seeds.json").write_text(json.dumps([[f"{row:07d}", ["0"]] for row in range(rows)]))
    append_rewards(folder / "rewards.jsonl", rewards)
    return folder


def write_conditions(folder: Path, rows: RowSource, transform: Transform | None, shapes: Shapes) -> Path:
    """Write what src.precompute would write for these rows, one crop of each, in fp32."""
    known = [rows.row(index) for index in range(len(rows))]
    prints = [file_identity(row) for row in known]
    windows = ["joined", "per_perspective"]
    texts = texts_to_encode(
        [(row.instruction, feedback_texts(row.reward)) for row in known], ["joined", "per_perspective"]
    )
    request = {
        "format": FORMAT,
        "rows": {"count": len(prints), "sha256": rows_digest(prints)},
        "augmentations": 1,
        "transform": describe_transform(transform),
        "encoders": {},
        "windows": windows,
        "dtype": "float32",
        "rows_per_shard": ROWS_PER_SHARD,
    }
    folder.mkdir()
    (folder / REQUEST).write_text(json.dumps(request))
    (folder / ROWS).write_text("".join(identity_lines(prints)))
    (folder / TEXTS).write_text(json.dumps(texts))
    random = torch.Generator().manual_seed(0)
    for number, first in enumerate(range(0, len(known), ROWS_PER_SHARD)):
        count = min(ROWS_PER_SHARD, len(known) - first)
        latents = {name: torch.randn(count, 1, *shapes.latent, generator=random) for name in LATENTS}
        checks = _checks([tensor[:, 0] for tensor in latents.values()])
        write_shard(folder / shard_name("latents", number), {**latents, "check": checks[:, None]}, request)
    for number, first in enumerate(range(0, len(texts), ROWS_PER_SHARD)):
        count = min(ROWS_PER_SHARD, len(texts) - first)
        mask = (torch.arange(shapes.tokens[0]) < WORDS).expand(count, -1).clone()
        tokens = {"tokens": torch.randn(count, *shapes.tokens, generator=random), "mask": mask}
        write_shard(
            folder / shard_name("texts", number), {**tokens, "check": _checks(list(tokens.values()))}, request
        )
    return folder


def _checks(parts: Sequence[Tensor]) -> Tensor:
    return torch.tensor([checksum(*entry) for entry in zip(*parts, strict=True)])
