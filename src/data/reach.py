"""Which files the rows of a dataset may name: those in its folder, unless the user says otherwise.

A dataset from somewhere else could name any picture on this disk, whose pixels would then be sent to a judge.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

ALLOWANCES = ("outside", "source", "words")
"""Settings that say what rows may name, or what words they hold. They change no row, so no cache, checkpoint
or annotation depends on them.
"""

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def rows_settings(node: Any) -> Any:
    """The tree of a data config without the settings that change no row."""
    if not isinstance(node, dict):
        return node
    return {name: rows_settings(child) for name, child in node.items() if name not in ALLOWANCES}


@final
@dataclass(frozen=True)
class Reach:
    """Where the files of a dataset's rows may lie.

    Attributes:
        folder: where relative paths start.
        outside: whether files may lie elsewhere, or be links to elsewhere (data.outside).
        besides: further folders, where a library keeps what it has downloaded.
        remedy: what the user may do, for errors.
    """

    folder: Path
    outside: bool = False
    besides: Sequence[Path] = ()
    remedy: str = "say data.outside=true if its rows may name any file"

    def file(self, name: str, where: str) -> Path:
        """The file that a row names.

        Raises:
            ValueError: it lies elsewhere; the message begins with `where`.
        """
        if ADDRESS.match(name):
            raise ValueError(
                f"{where} names the address {name[:80]}: images are read from files, so download them "
                "(img2dataset) and name the files"
            )
        path = self.folder / name
        if self.outside:
            return path
        try:
            real = path.resolve()
        except (ValueError, OSError, RuntimeError) as error:
            raise ValueError(f"{where} names a file that can't be ({name[:80]!r}: {error})") from error
        if not any(real.is_relative_to(folder) for folder in self._allowed):
            linked = "" if real == path.absolute() else f", that is {real},"
            raise ValueError(
                f"{where} names {name}{linked} outside of the dataset's folder {self.folder}; {self.remedy}"
            )
        return path

    @cached_property
    def _allowed(self) -> list[Path]:
        return [folder.resolve() for folder in (self.folder, *self.besides)]
