"""Triplets with their rewards as a `datasets` dataset: parquet files with the images inside, and a card,
ready for the hub.

Columns: original_image, edit_prompt, edited_image, id, reward_{following,preserving,quality}, feedback_{...},
judge. Loads with `datasets.load_dataset("parquet", data_files="DIR/data/*.parquet")`, and as `data=table
data.dataset.table.path=DIR` here.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from datasets import Features, Value
from datasets import Image as ImageColumn

from src.data.rows import DatasetRow
from src.files import replacing, write_atomically
from src.records import MAX_SCORE, PERSPECTIVES, Reward

ROWS_PER_FILE = 1000

FEATURES = Features(
    {
        "original_image": ImageColumn(),
        "edit_prompt": Value("string"),
        "edited_image": ImageColumn(),
        "id": Value("string"),
    }
    | {f"reward_{perspective}": Value("float32") for perspective in PERSPECTIVES}
    | {f"feedback_{perspective}": Value("string") for perspective in PERSPECTIVES}
    | {"judge": Value("string")}
)


def write_reward_dataset(
    rows: Iterator[tuple[DatasetRow, Reward]], folder: Path, total: int, about: Mapping[str, Any]
) -> int:
    """Write rows to `folder/data/train-*.parquet` and `folder/README.md`, images as they are stored; return
    the number of rows.

    Args:
        rows: with rewards that didn't fail.
        folder: new, or written by the same command before.
        total: number of rows.
        about: further facts for the card: name -> value.

    Raises:
        FileNotFoundError: an image is missing.
        ValueError: there is no row.
        NotWrittenError: no disk space.
    """
    files = max(1, -(-total // ROWS_PER_FILE))
    histogram = {perspective.value: [0] * (int(MAX_SCORE) + 1) for perspective in PERSPECTIVES}
    part: list[dict[str, Any]] = []
    count = written = 0
    for row, reward in rows:
        part.append(parquet_row(row, reward))
        for perspective, verdict in zip(PERSPECTIVES, reward.verdicts, strict=True):
            histogram[perspective.value][round(verdict.score or 0.0)] += 1
        count += 1
        if len(part) == ROWS_PER_FILE:
            write_part(part, folder, written, files)
            part, written = [], written + 1
    if part:
        write_part(part, folder, written, files)
    if not count:
        raise ValueError("no row has a reward that didn't fail, so there is no dataset to write")
    write_atomically(folder / "README.md", dataset_card(folder.name, count, histogram, about))
    return count


def write_part(part: Sequence[dict[str, Any]], folder: Path, number: int, files: int) -> None:
    """Write one parquet file atomically."""
    with replacing(part_path(folder, number, files)) as partial:
        pyarrow.parquet.write_table(
            pyarrow.Table.from_pylist(list(part), schema=FEATURES.arrow_schema), partial
        )


def part_path(folder: Path, number: int, files: int) -> Path:
    """One of several parquet files."""
    return folder / "data" / f"train-{number:05d}-of-{files:05d}.parquet"


def parquet_row(row: DatasetRow, reward: Reward) -> dict[str, Any]:
    """Build a row of the table. Raises FileNotFoundError."""
    columns: dict[str, Any] = {"edit_prompt": row.instruction, "id": row.id, "judge": reward.judge}
    columns |= {
        f"{name}_image": {"bytes": image.read(), "path": None}
        for name, image in (("original", row.original), ("edited", row.edited))
    }
    for perspective, verdict in zip(PERSPECTIVES, reward.verdicts, strict=True):
        columns |= {f"reward_{perspective}": verdict.score, f"feedback_{perspective}": verdict.feedback}
    return columns


def dataset_card(
    name: str,
    count: int,
    histogram: Mapping[str, Sequence[int]],
    about: Mapping[str, Any],
    command: str = "annotate",
    licence: str | None = None,
) -> str:
    """Write the dataset card: front matter for the hub, counts, provenance.

    Args:
        name, count: of the dataset, and its rows.
        histogram: number of rows at each whole score, by perspective.
        about: further facts: name -> value.
        command: of src that made it.
        licence: of the images, as the hub names it; None where it is not known.
    """
    size = next(
        (
            label
            for most, label in ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"))
            if count < most
        ),
        "n>1M",
    )
    head = [
        "---",
        *([f"license: {licence}"] if licence else []),
        "task_categories:",
        "- image-to-image",
        "tags:",
        "- image-editing",
        "- reward",
        "size_categories:",
        f"- {size}",
    ]
    head += [
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: train",
        "    path: data/train-*.parquet",
        "---",
    ]
    lines = []
    for perspective, counts in histogram.items():
        mean = sum(score * number for score, number in enumerate(counts)) / sum(counts)
        lines.append(f"| {perspective} | {' | '.join(str(number) for number in counts)} | {mean:.2f} |")
    scores = "\n".join(lines)
    facts = "\n".join(f"- {what}: {value}" for what, value in about.items())
    training = (
        "python -m src.train +experiment=reward_inspix2pix data=table data.dataset.table.path=THIS_FOLDER"
    )
    columns = " | ".join(str(score) for score in range(int(MAX_SCORE) + 1))
    body = f"""
# {name}

{count:,} edits (original, instruction, edited), each scored from 0 to 5 for following the instruction, for
preserving the rest and for quality, with a text on what failed ("None" where nothing did). Made with the
multi-reward-editing framework, `python -m src.{command}`.

{facts}

| rounded score | {columns} | mean |
|---|{"---:|" * (int(MAX_SCORE) + 2)}
{scores}

Train on it: `{training}`.
The licence of the images is that of the dataset they come from{f": {licence}" if licence else ""}.
"""
    return "\n".join(head) + "\n" + body
