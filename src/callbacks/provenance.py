"""Logs what a training depends on and produces: settings to Weights & Biases and TensorBoard, input files and
the exported editor to Weights & Biases.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from pytorch_lightning import Callback, LightningModule, Trainer

from src import checkpoint
from src.tracking.tensorboard_run import TensorBoardRun
from src.tracking.wandb_run import WandbRun, editor_artifact, rewards_artifact


@final
class Provenance(Callback):
    """Other loggers get nothing, as the run folder holds all of it.

    Args:
        folder: the run folder, whose `editor/` is the result; the callback that exports it must come before
            this one.
        settings: shown with the run, without secrets.
        start: the checkpoint or export that the training starts from.
        rewards: the reward file that it reads.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: Mapping[str, Any],
        start: str | Path | None = None,
        rewards: str | Path | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.settings = dict(settings)
        self.start = start
        self.rewards = rewards

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Settings and inputs."""
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardRun):
                logger.log_training(self.settings)
        for run in runs_of(trainer):
            run.log_hyperparams(self.settings)
            if run.artifacts != "none" and self.start is not None:
                run.use_files(editor_artifact(Path(self.start), checkpoint.content_hash(Path(self.start))))
            if run.artifacts != "none" and self.rewards is not None:
                run.use_files(rewards_artifact(Path(self.rewards)))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The exported editor."""
        for run in runs_of(trainer):
            if run.artifacts != "none":
                editor = self.folder / "editor"
                run.log_files(editor_artifact(editor, checkpoint.content_hash(editor)))


def runs_of(trainer: Trainer) -> list[WandbRun]:
    """The trainer's runs on Weights & Biases, on the first of several processes."""
    return (
        [logger for logger in trainer.loggers if isinstance(logger, WandbRun)]
        if trainer.is_global_zero
        else []
    )
