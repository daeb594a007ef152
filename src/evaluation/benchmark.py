"""What a benchmark is: Cases, what is known about their right answers, and rows that need no model."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from src.records import Case, Feedback, Image, Triplet


@dataclass(frozen=True, eq=False)
class Reference:
    """A row of the report that needs no model; it says what a number is worth.

    Attributes:
        name: the row's name ("copy input").
        triplets: given the report's cases, the row's triplets, as many; they may be of other cases (training
            triplets).
    """

    name: str
    triplets: Callable[[Sequence[Case]], Iterable[Triplet]]


class Benchmark(ABC):
    """Cases to be edited, in a fixed order, and how good their edits can be.

    A benchmark is one file in this folder and one yaml in `conf/benchmark`.

    Attributes:
        judged_height: pixels to which photographs and their edits are scaled for a judge; None for the size
            of the edit.
    """

    judged_height: int | None = None

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name used in paths and tables."""

    @abstractmethod
    def cases(self) -> Sequence[Case]:
        """All cases; ids are unique and the order never changes."""

    @abstractmethod
    def ground_truth(self, case: Case) -> Image | None:
        """The one right answer, or None where nobody knows it."""

    @abstractmethod
    def failed_feedback(self, case: Case) -> Feedback | None:
        """What a judge would say of an edit of this case that failed in every perspective, or None where
        nobody knows it.
        """

    @abstractmethod
    def captions(self, case: Case) -> Mapping[str, str]:
        """What the right answer shows, in words, by the kind of caption; empty where nobody knows it.

        Kinds: "local" (what was edited), "global" (the whole image), "label" (what the inside of the mask
        shows; only with a mask).
        """

    @abstractmethod
    def edit_region(self, case: Case) -> Bool[np.ndarray, "h w"] | None:
        """Where the edit may change the image, or None where nobody knows it."""

    @abstractmethod
    def mask(self, case: Case) -> UInt8[np.ndarray, "mask_rows mask_columns"] | None:
        """The region with its grey values, 0 (may not change) to 255 (may), at its own size, where the
        protocol weighs pixels by them; else None.
        """

    @abstractmethod
    def references(self) -> Sequence[Reference]:
        """The rows that need no model, in the order in which the report shows them."""
