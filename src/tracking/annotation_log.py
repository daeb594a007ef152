"""What a logger learns of an annotation: counts, cost, and on Weights & Biases the reward file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from src.tracking.wandb_run import WandbRun, rewards_artifact

LOGGED = ("rows", "scored", "failed", "calls", "input_tokens", "output_tokens", "dollars", "seconds")
"""Numbers of the record that are logged."""


def log_annotation(
    logger: Logger, rewards: Path, record: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """Log counts and cost, and the reward file as the artifact that trainings and evaluations refer to.

    Args:
        logger: finalized afterwards.
        rewards: the reward file; need not exist.
        record: of the annotation.
        settings: of the command, without secrets.
    """
    numbers = {f"annotation/{name}": float(record[name]) for name in LOGGED if record.get(name) is not None}
    logger.log_metrics(numbers, step=0)
    if isinstance(logger, WandbRun):
        logger.log_hyperparams(dict(settings))
        if logger.artifacts != "none" and rewards.exists():
            about = {name: record[name] for name in ("judge", "rows", "failed")}
            logger.log_files(rewards_artifact(rewards, about))
    logger.finalize("success")
