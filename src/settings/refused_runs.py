"""A refused command leaves no folder, and one that is there as it was: Hydra makes the run folder and writes
`.hydra` into it before a command has looked at its arguments.
"""

import shutil
from pathlib import Path
from typing import Any, ClassVar, final

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from src.files import LOCK

SWEEP = "multirun.yaml"
"""That Hydra writes into the folder of a sweep."""


@final
class RunFolder(Callback):
    """Remembers a run folder as it was before the command began."""

    current: ClassVar["RunFolder | None"] = None
    """That of this process; None before a run."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Look at the folder that the run will have."""
        subfolder = config.hydra.output_subdir
        self._look(Path(str(config.hydra.run.dir)), None if subfolder is None else str(subfolder))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """The same of a sweep."""
        self._look(Path(str(config.hydra.sweep.dir)), None)

    def restore(self) -> None:
        """Undo what Hydra made, if the command has written nothing."""
        if self._content() != self.content:
            return
        if self.parents:
            shutil.rmtree(self.folder, ignore_errors=True)
            for parent in self.parents[1:]:
                if parent.is_dir() and not any(parent.iterdir()):
                    parent.rmdir()
            return
        for file in self._records():
            if file in self.recorded:
                file.write_bytes(self.recorded[file])
            else:
                file.unlink()

    def _look(self, folder: Path, subfolder: str | None) -> None:
        self.folder, self.subfolder = folder.absolute(), subfolder
        self.parents = [each for each in (self.folder, *self.folder.parents) if not each.exists()]
        self.content = self._content()
        self.recorded = {file: file.read_bytes() for file in self._records()}
        RunFolder.current = self

    def _records(self) -> list[Path]:
        """The files that Hydra writes."""
        folder = None if self.subfolder is None else self.folder / self.subfolder
        return [] if folder is None or not folder.is_dir() else list(folder.iterdir())

    def _content(self) -> dict[str, int]:
        """When each entry was last written, but for what is made before a command begins."""
        made = (LOCK, SWEEP, self.subfolder)
        there = self.folder.iterdir() if self.folder.is_dir() else ()
        return {entry.name: entry.stat().st_mtime_ns for entry in there if entry.name not in made}
