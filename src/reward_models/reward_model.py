"""The interface of reward models: networks that say how good edits are, in each of the three perspectives.

What a network says are utilities: numbers without bounds that only compare, and where labels were scores,
with the network's own uncertainty. `calibration.py` makes scores of 0 to 5 of them, `judge.py` a Judge.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from src.batch import ModelInputs
from src.hub import weights_digest
from src.records import Triplet
from src.reward_models.calibration import Calibration

LEAST_LOG_DEVIATION, MOST_LOG_DEVIATION = -4.0, 2.0
"""Bounds of what a network says of its uncertainty: without, it grows or shrinks for ever on hard edits."""


@final
@dataclass(frozen=True, eq=False)
class Estimates:
    """What a reward model says of n edits; float32 whatever it computes in.

    Attributes:
        mean: utilities of following, preserving and quality; higher is better, without bounds.
        log_deviation: of each, log of the standard deviation, in [-4, 2]; None for a network that says none.
    """

    mean: Float[Tensor, "n 3"]
    log_deviation: Float[Tensor, "n 3"] | None = None


def bounded(log_deviation: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Within the bounds of what a network may say of its uncertainty."""
    return log_deviation.float().clamp(LEAST_LOG_DEVIATION, MOST_LOG_DEVIATION)


@runtime_checkable
class OwnWords(Protocol):
    """A reward model whose tokenizer does not come with pretrained weights."""

    def learn_texts(self, texts: Sequence[str]) -> None:
        """Let the tokenizer learn from the instructions of a training, if it learns at all."""
        ...


class RewardModel(nn.Module, ABC):
    """A network: triplets in, utilities out. One edit's utilities don't depend on the others of its batch.

    To add one, write a file in this folder and a yaml in `conf/reward_model`.
    """

    @property
    @abstractmethod
    def has_deviation(self) -> bool:
        """Whether its estimates come with a deviation."""

    @property
    @abstractmethod
    def at_once(self) -> int:
        """Edits that a device of the usual size looks at together, where nobody says how many."""

    @abstractmethod
    def prepare(self, triplets: Sequence[Triplet]) -> ModelInputs:
        """What `forward` takes, on the CPU, from pictures of any size. Runs in the processes that load data,
        so it uses no weights.

        Raises:
            ValueError: an instruction or picture that it can't read; names the triplet.
        """

    @abstractmethod
    def forward(self, inputs: ModelInputs) -> Estimates:
        """The estimates of the prepared edits, on the network's device, in their order."""

    @final
    def base(self) -> str | None:
        """Tells the frozen weights apart, which no checkpoint holds; None without any."""
        frozen = {name: each for name, each in self.named_parameters() if not each.requires_grad}
        return weights_digest(frozen) if frozen else None

    @final
    def trained_state(self) -> dict[str, Tensor]:
        """What an optimiser changes, and buffers: the content of a checkpoint. Frozen weights are loaded from
        where the config says.
        """
        frozen = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}
        return {name: value for name, value in self.state_dict().items() if name not in frozen}


@final
@dataclass(frozen=True, eq=False)
class TrainedRewardModel:
    """A reward model with all that judging by it needs.

    Attributes:
        network: in evaluation mode.
        calibration: of its utilities.
        identified: the aspects (see records.ASPECTS) that its labels told apart.
        digest: sha256 of weights, config and calibration; the fingerprint of its judge.
    """

    network: RewardModel
    calibration: Calibration
    identified: Sequence[str]
    digest: str
