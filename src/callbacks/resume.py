"""The checkpoint that a training resumes from, and whether it may."""

import sys
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import final

from src import checkpoint
from src.command_line import pasteable

HELD = ("start", "algorithm._target_", "algorithm.optimizer._target_", "algorithm.balanced")
"""Settings that a checkpoint's weights and states belong to: a training that goes on can't change them."""


def checkpoint_to_resume(resume: str | None, folder: Path) -> Path | None:
    """The checkpoint to resume from: `resume`, or for "auto" the one in the run folder if there is one."""
    if resume != "auto":
        return None if resume is None else Path(resume)
    last = folder / "checkpoints" / "last.ckpt"
    return last if last.exists() else None


@final
@dataclass(frozen=True)
class Steps:
    """How long a training is meant to be.

    Attributes:
        wanted: trainer.max_steps; below 0 for no end.
        followed_by: settings that are set to it, such as the length of a schedule.
    """

    wanted: int = -1
    followed_by: AbstractSet[str] = frozenset()


def check_resumable(
    path: Path, model_config: str, settings: str, found_by_itself: bool, steps: Steps | None = None
) -> None:
    """Check, before any model is built, that a checkpoint comes from the same configuration.

    Args:
        path: the checkpoint.
        model_config: of the training that would resume it, as YAML.
        settings: other settings of that training, as YAML.
        found_by_itself: the checkpoint was found in the run folder, so that other settings are an error; if
            the user named it, they are a warning.
        steps: of the training that would resume it. What follows them may differ: only more steps are wanted.

    Raises:
        ValueError: another model, other settings, or fewer steps than are done; names what differs.
    """
    steps = steps or Steps()
    saved = checkpoint.read_training(path)
    differences = checkpoint.config_differences(checkpoint.config_of(saved), model_config)
    if differences:
        raise ValueError(f"{path} can't be resumed, its model differs: {'; '.join(differences[:5])}")
    if 0 <= steps.wanted < saved["global_step"]:
        raise ValueError(
            f"{path} is at step {saved['global_step']} and trainer.max_steps={steps.wanted}: give more "
            "steps, or resume=null to start over"
        )
    found = checkpoint.config_differences(saved.get("settings") or settings, settings)
    longer = [each for each in found if each.partition(" is ")[0] in steps.followed_by]
    differences = [each for each in found if each not in longer]
    fixed = [each for each in differences if each.partition(" is ")[0] in HELD]
    if fixed:
        raise ValueError(
            f"{path} can't be resumed with {'; '.join(fixed[:5])}: what it holds belongs to the one and is "
            f"no use to the other; begin anew from its weights, {pasteable('start', path)} elsewhere"
        )
    if differences and found_by_itself:
        raise ValueError(
            f"{path} is of a training with other settings: {'; '.join(differences[:5])}; "
            "take another run folder, "
            f"or give {pasteable('resume', path)} to continue with these all the same, or resume=null to "
            "start over"
        )
    if differences:
        print(
            f"warning: {path} is of a training with other settings, and those of this command are used from "
            f"here on: {'; '.join(differences)}",
            file=sys.stderr,
        )
    if longer:
        print(
            f"trainer.max_steps={steps.wanted}: {'; '.join(longer)}; from here on the learning rate is that "
            "of the new length, and may rise where the old schedule had let it fall",
            file=sys.stderr,
        )
    print(f"continuing {path} at step {saved['global_step']}", file=sys.stderr)
