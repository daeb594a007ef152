"""A run on Weights & Biases that records which files it read and made, so that the lineage of a number can be
followed there.

Editors, reward files and reports are artifacts. Names of editors and reward files contain a hash of their
content: the editor that one run logs is the same artifact that another run evaluates, wherever either found
it. No file leaves the machine unless `artifacts=upload` is set; a reference holds path, size and checksum.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final

import wandb
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from src.files import digest

HASH_LENGTH = 12
"""Hexadecimal digits of the content hash in an artifact's name."""

MODES = ("none", "reference", "upload")


@final
@dataclass(frozen=True)
class Artifact:
    """Files that belong together.

    Attributes:
        name: the same for the same content; letters, digits, dashes, underscores and dots.
        type: "model", "rewards" or "report".
        files: by their names in the artifact, which don't depend on where they lie.
        metadata: JSON-able.
    """

    name: str
    type: Literal["model", "rewards", "report"]
    files: Mapping[str, Path]
    metadata: Mapping[str, Any] = field(default_factory=dict)


def editor_artifact(path: Path, content_hash: str) -> Artifact:
    """An editor: an exported folder, or a .ckpt.

    Args:
        path: the folder or file.
        content_hash: `checkpoint.content_hash` of it.
    """
    files = (
        {path.name: path}
        if path.is_file()
        else {file.relative_to(path).as_posix(): file for file in sorted(path.rglob("*")) if file.is_file()}
    )
    return Artifact(f"editor-{content_hash[:HASH_LENGTH]}", "model", files, {"content_hash": content_hash})


def rewards_artifact(path: Path, metadata: Mapping[str, Any] | None = None) -> Artifact:
    """A reward file as it is now.

    Raises:
        FileNotFoundError: no such file.
    """
    content_hash = digest(path)
    name = f"rewards-{content_hash[:HASH_LENGTH]}"
    return Artifact(
        name, "rewards", {f"rewards{path.suffix}": path}, {"content_hash": content_hash, **(metadata or {})}
    )


def report_artifact(folder: Path, benchmark: str, judge: str) -> Artifact:
    """The report of a benchmark and a judge: every file in its folder. A later report is a later version."""
    files = {
        file.name: file
        for file in sorted(folder.iterdir())
        if file.is_file() and not file.name.startswith(".")
    }
    name = re.sub(r"[^\w.-]+", "-", f"report-{benchmark}-{judge}")
    return Artifact(name, "report", files, {"benchmark": benchmark, "judge": judge})


@final
class WandbRun(WandbLogger):
    """Lightning's logger with artifacts.

    Args:
        artifacts: "reference" records path, size and checksum of each file, "upload" sends the files, "none"
            records nothing.
        settings: passed to Lightning's logger and `wandb.init`.

    Raises:
        ValueError: an unknown kind of `artifacts`.
    """

    def __init__(self, artifacts: str = "reference", **settings: Any) -> None:
        if artifacts not in MODES:
            raise ValueError(f"logger.wandb.artifacts={artifacts}: choose from {', '.join(MODES)}")
        # Lightning says so by the environment, which wandb reads once in a process: one that used it before
        # would be asked to log in
        offline = {"mode": "offline"} if settings.get("offline") else {}
        super().__init__(**{**settings, **offline})
        self.artifacts = artifacts
        # the images of tables wait for `wandb sync` beside the run file, not in the home directory
        os.environ.setdefault("WANDB_DATA_DIR", str(Path(self.save_dir or ".", "wandb").resolve()))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Finish the run, so that its file is whole when this returns; what is logged afterwards resumes it.

        wandb's own exit hook writes nothing more where a parent process has used wandb: its service is
        inherited through the environment and outlives this process.

        Args:
            status: "success", or what else Lightning says; the run's exit code is then 1.
        """
        super().finalize(status)
        if self._experiment is not None:
            self.experiment.finish(exit_code=0 if status == "success" else 1)
            self._experiment = None

    @rank_zero_only
    def log_files(self, artifact: Artifact) -> None:
        """Record files that this run made."""
        if self.artifacts != "none":
            self.experiment.log_artifact(self._as_wandb(artifact))

    @rank_zero_only
    def use_files(self, artifact: Artifact) -> None:
        """Record files that this run read. The run that made them may not be uploaded yet: the artifact has
        the same name and content there.
        """
        if self.artifacts == "none":
            return
        if self.offline:
            # wandb's use_artifact needs an answer from the server; this is what it does before it waits, and
            # `wandb sync` does the rest
            self.experiment._log_artifact(
                self._as_wandb(artifact), is_user_created=True, use_after_commit=True
            )
        else:
            self.experiment.use_artifact(self._as_wandb(artifact))

    @property
    def offline(self) -> bool:
        """Whether the run is written to this machine only."""
        return bool(self._offline or self.experiment.offline)

    def _as_wandb(self, artifact: Artifact) -> wandb.Artifact:
        noted = wandb.Artifact(artifact.name, artifact.type, metadata=dict(artifact.metadata))
        for name, file in artifact.files.items():
            if self.artifacts == "upload":
                # an editor is written once and may be large; reward files grow, and `wandb sync` comes later
                noted.add_file(str(file), name, policy="immutable" if artifact.type == "model" else "mutable")
            else:
                noted.add_reference(file.resolve().as_uri(), name)
        return noted
