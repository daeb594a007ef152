"""Which edits a command has to make; found without a model."""

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
    """What a command has to do, found without a model.

    Attributes:
        photographs: all that can be edited, in the order in which they were asked for.
        made: ids of the edits that are there already.
        framing: image size -> size of the edit.
        common: what all edits depend on (see `edit_metadata`).
        output: folder of the edits.
        table: where edits are listed; None without a list.
        skipped: where photographs that can't be edited are listed; None where they are an error.
    """

    photographs: Sequence[SourceImage]
    made: set[str]
    framing: Framing
    common: Mapping[str, object]
    output: Path
    table: Path | None
    skipped: Path | None

    def missing(self, photograph: SourceImage) -> bool:
        """Whether an edit has to be made."""
        return photograph.request.id not in self.made

    def batches(self, batch_size: int) -> list[list[SourceImage]]:
        """Photographs of one size, wherever they stand, in batches of which at least one edit is missing.

        The others of such a batch are edited again, though not written: the last bits of an edit depend on
        the number of images beside it, and a command that was stopped is to end with the files of one that
        was not.
        """
        batches = same_size_batches(self.photographs, lambda photograph: photograph.size, batch_size)
        return [batch for batch in batches if any(map(self.missing, batch))]
