"""The interface of benchmarks: cases, what is known of their ground truth, and rows that need no model."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from jaxtyping import Bool, UInt8

from src.records import Case, Feedback, Image, Triplet

if TYPE_CHECKING:  # pages and lists of cases need benchmarks and no torch
    from src.evaluation.field_protocol import FieldProtocol
    from src.evaluation.ideal import IdealEdits


@final
@dataclass(frozen=True, eq=False)
class Reference:
    """A row of the report that needs no model and puts the other rows into perspective.

    Attributes:
        name: the row's name ("copy input").
        triplets: maps the report's cases to as many triplets, possibly of other cases (training triplets).
    """

    name: str
    triplets: Callable[[Sequence[Case]], Iterable[Triplet]]


class Benchmark(ABC):
    """Cases to edit, in a fixed order, with what is known of their ground truth.

    To add one, write a file in this folder and a yaml in `conf/benchmark`.

    Attributes:
        judged_height: height in pixels to which photographs and edits are scaled for a judge; None keeps the
            size of the edit.
        ideals: edits of editors without limits; None if the distribution of its edits is unknown.
        protocol: its own questions to a judge, and how their answers are counted; None for the judge's own.
    """

    judged_height: int | None = None
    ideals: "IdealEdits | None" = None
    protocol: "FieldProtocol | None" = None

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name for paths and tables."""

    @abstractmethod
    def cases(self) -> Sequence[Case]:
        """All cases; ids are unique and the order never changes."""

    @abstractmethod
    def ground_truth(self, case: Case) -> Image | None:
        """The one right edit, or None if it is unknown."""

    @abstractmethod
    def failed_feedback(self, case: Case) -> Feedback | None:
        """What a judge would say of an edit of this case that failed in every perspective, or None if that is
        unknown.
        """

    @abstractmethod
    def captions(self, case: Case) -> Mapping[str, str]:
        """Captions of the ground truth by kind; empty if there are none.

        Kinds: "local" (what was edited), "global" (the whole image), "label" (the inside of the mask; only
        with a mask).
        """

    @abstractmethod
    def edit_region(self, case: Case) -> Bool[np.ndarray, "h w"] | None:
        """Where the edit may change the image, or None if that is unknown."""

    @abstractmethod
    def mask(self, case: Case) -> UInt8[np.ndarray, "mask_rows mask_columns"] | None:
        """The region with grey values from 0 (may not change) to 255 (may), at its own size, if the protocol
        weights pixels by them; else None.
        """

    @abstractmethod
    def references(self) -> Sequence[Reference]:
        """The rows that need no model, in the order of the report."""
