"""What all trainings of an Editor share, beside what all trainings do."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import final

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from src.algorithms.optimised import Optimised
from src.editor import Editor


class EditorModule(Optimised, ABC):
    """A LightningModule around an editor; subclasses define the loss in `training_step`.

    Args:
        editor: the editor to train.
        seed, optimizer, scheduler: as in `Optimised`.
    """

    def __init__(
        self,
        editor: Editor,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler] | None,
        seed: int,
    ) -> None:
        super().__init__(editor, optimizer, scheduler, seed)
        self.editor = editor

    @property
    @final
    def model(self) -> Editor:
        return self.editor

    @property
    @abstractmethod
    def supports_chat(self) -> bool:
        """Whether it can learn from chat samples, which have an answer and no edit."""
