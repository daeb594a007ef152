"""Where a sweep's command looks for yamls besides conf/: its jobs and their evaluations must know, too."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

SEARCH_PATH = "hydra.searchpath="


@final
@dataclass(frozen=True)
class Sources:
    """What Hydra is told of further yamls.

    Attributes:
        folder: of --config-dir; None without.
        name: of --config-name, the entry point's own yaml; None for that of conf/.
        search_path: overrides of hydra.searchpath.
    """

    folder: str | None = None
    name: str | None = None
    search_path: tuple[str, ...] = ()

    @property
    def of_jobs(self) -> tuple[str, ...]:
        """Arguments for the sweep's own entry point."""
        return (*([] if self.name is None else ["--config-name", self.name]), *self.of_evaluations)

    @property
    def of_evaluations(self) -> tuple[str, ...]:
        """Arguments for another entry point."""
        return (*([] if self.folder is None else ["--config-dir", self.folder]), *self.search_path)


def sources_of(arguments: Sequence[str]) -> Sources:
    """What a command's arguments say of further yamls."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--config-name", "-cn")
    known, others = parser.parse_known_args(list(arguments))
    folder = None if known.config_dir is None else str(Path(known.config_dir).absolute())
    given = tuple(argument for argument in others if argument.lstrip("+").startswith(SEARCH_PATH))
    return Sources(folder, known.config_name, given)
