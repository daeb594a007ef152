"""A run in TensorBoard that says its settings, and counts steps as previews and the progress line do."""

from collections.abc import Mapping
from typing import Any, final

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only


@final
class TensorBoardRun(TensorBoardLogger):
    """Lightning's logger.

    Attributes:
        before: steps that were done when Lightning says step 0. It counts those of a training from 0, so the
            first step's loss stood at 0 and its preview at 1.
    """

    before = 0

    @rank_zero_only
    def log_training(self, settings: Mapping[str, Any]) -> None:
        """Say what is trained, on the page HPARAMS and in hparams.yaml; scalars count from 1 from here on."""
        self.log_hyperparams(dict(settings))
        self.before = 1

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add scalars at a step."""
        super().log_metrics(dict(metrics), None if step is None else step + self.before)
