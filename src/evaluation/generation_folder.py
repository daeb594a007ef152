"""The edits of one row on disk, and the record of how they were made.

<run>/evaluation/<benchmark>/<generation>/generation.json
<run>/evaluation/<benchmark>/<generation>/edits/<case id>.png
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import final

from src.evaluation.case_images import prepare_for_judge
from src.images import Framing, framing_for, load_image
from src.records import Case, Triplet, Turn

SETTINGS = "generation.json"

Settings = Mapping[str, object]
"""Everything that the edits of a generation depend on, as JSON."""


@final
@dataclass(frozen=True)
class Generation:
    """One row's edits on disk.

    Attributes:
        name: the row's name ("0/0/0+text").
        folder: holds generation.json and a folder per judge.
        edits: holds the images; outside of `folder` if they were made elsewhere.
    """

    name: str
    folder: Path
    edits: Path

    def edit_path(self, case: Case | Turn) -> Path:
        """The file of the edit of a case, or of one of its turns.

        Raises:
            ValueError: a case id that leads out of the folder.
        """
        relative = PurePosixPath(case.id)
        if relative.is_absolute() or ".." in relative.parts:
            raise ValueError(f"case id {case.id!r} leads out of {self.edits}; rename the case")
        return self.edits / f"{case.id}.png"

    def triplets(self, cases: Sequence[Case]) -> Iterator[Triplet]:
        """The cases with their edits, read lazily.

        Raises:
            FileNotFoundError: an edit is missing.
            ValueError: an edit is broken.
        """
        return (Triplet(case, load_image(self.edit_path(case))) for case in cases)

    def judged_triplets(self, cases: Sequence[Case], height: int | None) -> Iterator[Triplet]:
        """The triplets as a judge sees them: original and edit show the same part of the photograph at one
        size. Raises as `triplets` and `prepare_for_judge`.

        Args:
            cases: those to judge.
            height: the benchmark's `judged_height`.
        """
        framing = self.framing()
        return (prepare_for_judge(triplet, height, framing) for triplet in self.triplets(cases))

    def framing(self) -> Framing | None:
        """How photographs were resized and cropped before editing; None if that is unknown or there are none.
        Raises as `read_settings`.
        """
        resize = read_settings(self.folder / SETTINGS).get("resize")
        return None if resize is None else framing_for(str(resize), trained=0)


def folder_name(row: str) -> str:
    """The folder of a row: "0/0/0+text" becomes "0-0-0+text", "copy input" becomes "copy_input"."""
    return row.replace("/", "-").replace(" ", "_")


def read_settings(path: Path) -> Settings:
    """The content of a generation.json.

    Raises:
        ValueError: the file is not a JSON object with a name.
    """
    try:
        settings = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(
            f"{path} is not JSON ({error}); say overwrite=true to make its edits again"
        ) from error
    if not isinstance(settings, dict) or "name" not in settings:
        raise ValueError(
            f"{path} does not say how its edits were made; say overwrite=true to make them again"
        )
    return settings


def generations_in(folder: Path) -> list[Generation]:
    """The generations below a benchmark's folder, in order of their folder names."""
    found = []
    for path in sorted(folder.glob("*/generation.json")):
        settings = read_settings(path)
        found.append(
            Generation(
                str(settings["name"]), path.parent, Path(str(settings.get("edits", path.parent / "edits")))
            )
        )
    return found
