"""What previews show during training: cases that the dataset knows to be good examples, or its first rows."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol, runtime_checkable

from src.data.dataset import Example, RewardedTriplets
from src.data.transforms import CentreCrop, RandomCrop, Transform
from src.records import Reward, Triplet


@runtime_checkable
class KnowsExamples(Protocol):
    """A dataset that has better examples than its own first triplets, such as cases held out of training."""

    def examples(self, transform: Transform | None, count: int) -> Sequence[Example]:
        """At most `count` examples, of one size if there is a transform."""
        ...


def examples_of(dataset: RewardedTriplets, transform: Transform | None, count: int) -> Sequence[Example]:
    """The examples of a dataset that is trained on with a transform.

    Raises:
        ValueError: no triplet can be shown.
    """
    if isinstance(dataset, KnowsExamples):
        return dataset.examples(without_chance(transform), count)
    return first_rows(dataset, without_chance(transform), count)


def without_chance(transform: Transform | None) -> Transform | None:
    """The transform that shows the middle of what a random crop is cut from; others as they are."""
    return CentreCrop(transform.size) if isinstance(transform, RandomCrop) else transform


def first_rows(dataset: RewardedTriplets, transform: Transform | None, count: int = 7) -> list[Example]:
    """Take the first usable rows, each with its edited image; the exact answer is unknown.

    Raises:
        ValueError: no row can be used.
    """
    return as_examples(_readable(dataset), transform, count, f"{len(dataset)} rows")


def as_examples(
    triplets: Iterator[tuple[Triplet, Reward | None]], transform: Transform | None, count: int, of: str
) -> list[Example]:
    """The first triplets that can be shown, of as many as `of` says. Raises ValueError if there are none."""
    examples = list(islice(_usable(triplets, transform), count))
    if not examples:
        raise ValueError(
            f"none of {of} can be shown in previews: python -m src.check_data says why, and "
            "~callbacks.previews trains without them"
        )
    return examples


def _readable(dataset: RewardedTriplets) -> Iterator[tuple[Triplet, Reward | None]]:
    for index in range(len(dataset)):
        try:
            yield dataset[index]
        except (ValueError, FileNotFoundError):
            continue  # the check before training lists them


def _usable(
    triplets: Iterator[tuple[Triplet, Reward | None]], transform: Transform | None
) -> Iterator[Example]:
    for triplet, reward in triplets:
        try:
            shown = triplet if transform is None else transform(triplet, reward, 0)
        except ValueError:
            continue
        if shown.answer is None:
            yield Example(shown.case, shown.edited, "edited image")
