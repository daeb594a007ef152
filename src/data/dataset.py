"""The interface of training data (triplets with their rewards), and the examples that previews show."""

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from src.records import Case, Image, Reward, Triplet


@runtime_checkable
class RewardedTriplets(Protocol):
    """A map-style dataset: index -> triplet and reward, the same at every call. Rewards of an unrated dataset
    are None.
    """

    def __len__(self) -> int:
        """Number of triplets."""
        ...

    def __getitem__(self, index: int) -> tuple[Triplet, Reward | None]:
        """One triplet with its reward."""
        ...


@final
@dataclass(frozen=True, eq=False)
class Example:
    """A case to show during training, with the answer to compare with.

    Attributes:
        case: to be edited.
        answer: the exact target, or the dataset's edited image.
        title: what the answer is.
    """

    case: Case
    answer: Image
    title: str = "exact"
