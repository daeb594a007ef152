"""Rows of a dataset to show in previews during training."""

from collections.abc import Iterator
from itertools import islice

from src.data.dataset import Example
from src.data.rows import RowSource
from src.data.transforms import Transform


def first_rows(dataset: RowSource, transform: Transform | None, count: int = 7) -> list[Example]:
    """Take the first usable rows, each with its edited image; the exact answer is unknown.

    Raises:
        ValueError: no row can be used.
    """
    examples = list(islice(_usable(dataset, transform), count))
    if not examples:
        raise ValueError(
            f"none of {len(dataset)} rows can be shown in previews: python -m src.check_data says why"
        )
    return examples


def _usable(dataset: RowSource, transform: Transform | None) -> Iterator[Example]:
    for index in range(len(dataset)):
        try:
            triplet, reward = dataset[index]
            example = triplet if transform is None else transform(triplet, reward, 0)
        except (ValueError, FileNotFoundError):
            continue  # the check before training lists them
        if example.answer is None:
            yield Example(example.case, example.edited, "edited image")
