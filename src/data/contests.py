"""The interface of where contests come from: several edits of one case with what people, or the exact world,
said of them.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from src.data.problems import Problem
from src.records import ASPECTS, Contest
from src.seeds import fold_seed


@final
@dataclass(frozen=True)
class RatingScale:
    """The scale on which a source rates edits.

    Attributes:
        lowest, highest: its ends.
        step: between its levels; 0 where ratings are any number in between.

    Raises:
        ValueError: ends in the wrong order, or a step that doesn't lead from one to the other.
    """

    lowest: float
    highest: float
    step: float = 1.0

    def __post_init__(self) -> None:
        span = self.highest - self.lowest
        if not span > 0.0 or self.step < 0.0 or (self.step > 0.0 and abs(span / self.step % 1.0) > 1e-9):
            raise ValueError(
                f"a scale from {self.lowest:g} to {self.highest:g} in steps of {self.step:g} is none: the "
                "highest must lie above the lowest, a whole number of steps away (step 0: any number)"
            )

    @property
    def middle(self) -> float:
        """Half way between the ends."""
        return (self.lowest + self.highest) / 2.0

    @property
    def unit(self) -> float:
        """A fifth of the whole: ratings become -2.5 to 2.5, about the size of utilities."""
        return (self.highest - self.lowest) / 5.0

    @property
    def levels(self) -> int:
        """The number of levels; 0 where any number is one."""
        return round((self.highest - self.lowest) / self.step) + 1 if self.step else 0

    def position(self, rating: float) -> float:
        """A rating as a share of the scale, 0 to 1."""
        return (rating - self.lowest) / (self.highest - self.lowest)


class ContestSource(ABC):
    """Contests by index, the same at every call; two or more edits of one case each.

    To add one, write a file in this folder and a yaml in `conf/contests`.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name, used in metrics and cards; equal to the `source` of its contests."""

    @property
    @abstractmethod
    def aspects(self) -> Sequence[str]:
        """The aspects (records.ASPECTS) that its rankings and ratings label; a source labels nothing else."""

    @property
    @abstractmethod
    def scales(self) -> Mapping[str, RatingScale]:
        """The scale of its ratings by aspect; none where it has rankings alone."""

    @property
    @abstractmethod
    def licence(self) -> str:
        """Under which its labels may be used, for the card of a model that learnt from them."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """sha256 of its ids and labels, or of everything that they depend on."""

    @property
    @abstractmethod
    def problems(self) -> Sequence[Problem]:
        """What it was to read and left out, since it can't be used or contradicts something."""

    @abstractmethod
    def counts(self) -> Mapping[str, int]:
        """How its contests came about, in words -> number; nothing where all is as it was asked for."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of contests."""

    @abstractmethod
    def __getitem__(self, index: int) -> Contest:
        """One contest. Raises ValueError, with the row, for one that can't be used."""

    @abstractmethod
    def original_of(self, index: int) -> str:
        """Names the photograph or scene of a contest (`Case.photograph`), without reading pictures: contests
        that share one are never on both sides of a split.
        """


def check_aspects(aspects: Sequence[str], where: str) -> None:
    """Raise ValueError for a name that is no aspect, or for none at all."""
    unknown = [aspect for aspect in aspects if aspect not in ASPECTS]
    if unknown or not aspects:
        raise ValueError(f"{where}={list(aspects)}: one or more of {', '.join(ASPECTS)} are needed")


@final
class ContestMixture(ContestSource):
    """Several sources, one after the other.

    Args:
        members: by any name; their own names must differ.

    Raises:
        ValueError: none, or two of one name.
    """

    def __init__(self, members: Mapping[str, ContestSource]) -> None:
        self.members = list(members.values())
        names = [member.name for member in self.members]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"contests.source.members={names}: one or more sources of different names")
        self.starts = np.cumsum([0, *map(len, self.members)])

    @property
    def name(self) -> str:
        return "+".join(member.name for member in self.members)

    @property
    def aspects(self) -> Sequence[str]:
        labelled = {aspect for member in self.members for aspect in member.aspects}
        return [aspect for aspect in ASPECTS if aspect in labelled]

    @property
    def scales(self) -> Mapping[str, RatingScale]:
        """Each member has its own."""
        return {}

    @property
    def licence(self) -> str:
        return "; ".join(f"{member.name}: {member.licence}" for member in self.members)

    @property
    def digest(self) -> str:
        return hashlib.sha256(" ".join(member.digest for member in self.members).encode()).hexdigest()

    @property
    def problems(self) -> Sequence[Problem]:
        return [problem for member in self.members for problem in member.problems]

    def counts(self) -> Mapping[str, int]:
        return {
            f"{member.name}: {what}": number
            for member in self.members
            for what, number in member.counts().items()
        }

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> Contest:
        member, place = self._place(index)
        return member[place]

    def original_of(self, index: int) -> str:
        member, place = self._place(index)
        return member.original_of(place)

    def _place(self, index: int) -> tuple[ContestSource, int]:
        number = int(np.searchsorted(self.starts, index, side="right")) - 1
        return self.members[number], index - int(self.starts[number])


def members_of(source: ContestSource) -> list[ContestSource]:
    """The sources of a mixture, or the one itself: who compared, and on which scales."""
    return list(source.members) if isinstance(source, ContestMixture) else [source]


def is_held_out(original: str, share: float) -> bool:
    """Whether the contests of an original are held out: a share of all originals, the same in every
    training.
    """
    return fold_seed("held out", original) / 2**63 < share
