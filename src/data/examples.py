"""Rows of a dataset to show during training."""

from collections.abc import Iterator
from itertools import islice

from src.data.dataset import Example
from src.data.rows import RowSource
from src.data.transforms import Transform


def first_rows(dataset: RowSource, transform: Transform | None, count: int = 7) -> list[Example]:
    """The first rows that can be used, each with its edited image; nobody knows the exact one.

    Raises:
        ValueError: no row can be used.
    """
    found = list(islice(_usable(dataset, transform), count))
    if not found:
        raise ValueError(
            f"none of {len(dataset)} rows can be shown in previews: python -m src.check_data says why"
        )
    return found


def _usable(dataset: RowSource, transform: Transform | None) -> Iterator[Example]:
    for index in range(len(dataset)):
        try:
            triplet, reward = dataset[index]
            shown = triplet if transform is None else transform(triplet, reward, 0)
        except (ValueError, FileNotFoundError):
            continue  # the check before training lists them
        if shown.answer is None:
            yield Example(shown.case, shown.edited, "edited picture")
