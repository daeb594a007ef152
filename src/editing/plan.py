"""The edits that a command has to make, determined without a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from src.batching import same_size_batches
from src.editing.source_images import SourceImage
from src.images import Framing


@final
@dataclass(frozen=True)
class EditPlan:
    """What a command has to do, determined without a model.

    Attributes:
        photographs: the images that can be edited, in the order of the request.
        made: ids of the edits that exist already.
        framing: image size -> size of the edit.
        common: what all edits depend on (see `edit_metadata`).
        output: folder for the edits.
        table: where edits are listed; None without a list.
        skipped: where images that can't be edited are listed; None if they are an error.
    """

    photographs: Sequence[SourceImage]
    made: set[str]
    framing: Framing
    common: Mapping[str, object]
    output: Path
    table: Path | None
    skipped: Path | None

    def missing(self, photograph: SourceImage) -> bool:
        """Whether the edit has to be made."""
        return photograph.request.id not in self.made

    def batches(self, batch_size: int) -> list[list[SourceImage]]:
        """Batches of images of one size in which at least one edit is missing.

        The others of such a batch are edited again without being written: the last bits of an edit depend on
        the number of images beside it, and a command that was stopped must end with the same files as one
        that was not.
        """
        batches = same_size_batches(self.photographs, lambda photograph: photograph.size, batch_size)
        return [batch for batch in batches if any(map(self.missing, batch))]
