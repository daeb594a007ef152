"""The checkpoint that a training resumes from, and whether it may."""

import sys
from pathlib import Path

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


def check_resumable(path: Path, model_config: str, settings: str, found_by_itself: bool) -> None:
    """Check, before any model is built, that a checkpoint comes from the same configuration.

    Args:
        path: the checkpoint.
        model_config: of the training that would resume it, as YAML.
        settings: other settings of that training, as YAML.
        found_by_itself: the checkpoint was found in the run folder, so that other settings are an error; if
            the user named it, they are a warning.

    Raises:
        ValueError: another model, or other settings; names what differs.
    """
    saved = checkpoint.read(path)
    differences = checkpoint.config_differences(saved["editor_config"], model_config)
    if differences:
        raise ValueError(f"{path} can't be resumed, its model differs: {'; '.join(differences[:5])}")
    differences = checkpoint.config_differences(saved.get("settings") or settings, settings)
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
    print(f"continuing {path} at step {saved['global_step']}", file=sys.stderr)
