"""Several corrupted edits of each synthetic case with their exact scores, kept on disk: rendering and
measuring one takes tens of milliseconds, and a reward model looks at each dozens of times.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import final

import numpy as np
from jaxtyping import Float, UInt8

from src.files import replacing
from src.progress import with_progress
from src.records import Case
from src.seeds import fold_seed
from src.synthetic.corruptions import corrupt, sample_corruption
from src.synthetic.measure import measure
from src.synthetic.scene import to_uint8
from src.synthetic.world import World, code_digest

BLOCK = 100
"""Cases in a file: a stopped measuring goes on there."""

MARK = "#"
"""Between the id of a case and the number of an edit of it."""


@final
@dataclass(frozen=True, eq=False)
class MeasuredEdits:
    """n cases with k edits each.

    Attributes:
        cases: with their originals.
        edits: the pictures.
        scores: the oracle's, in [0, 5].
    """

    cases: Sequence[Case]
    edits: UInt8[np.ndarray, "n k h w 3"]
    scores: Float[np.ndarray, "n k 3"]


@final
@dataclass(frozen=True)
class EditSet:
    """Which edits: `number` of each of the cases 0 to `length` - 1 of a split.

    Attributes:
        world: renders and measures them.
        split, seed: of the cases.
        length: number of cases.
        number: of edits of each.
    """

    world: World
    split: str
    seed: int
    length: int
    number: int

    @property
    def name(self) -> str:
        """Everything that pictures and scores depend on, but the length."""
        variant = "never_all_good" if self.world.never_all_good else "any"
        parts = (self.world.version(self.split), self.world.size, variant, self.split, self.seed, self.number)
        return f"edits {' '.join(map(str, parts))} {code_digest()}"

    def measured(self, indices: Sequence[int]) -> MeasuredEdits:
        """Render and measure the edits of some cases."""
        cases = [self.world.case(self.split, self.seed, index) for index in indices]
        edits, scores = zip(*(self._of_case(index) for index in indices), strict=True)
        return MeasuredEdits(cases, np.stack(edits), np.stack(scores))

    def _of_case(self, index: int) -> tuple[UInt8[np.ndarray, "k h w 3"], Float[np.ndarray, "k 3"]]:
        case_id = self.world.case_id(self.split, self.seed, index)
        spec, truth = self.world.case_spec(case_id), self.world.ground_truth(case_id)
        pictures = []
        for number in range(self.number):
            rng = Random(fold_seed("candidate", self.split, self.seed, index, number))
            wrong = sample_corruption(
                rng, self.world.renderer, spec.scene, spec.edit, spec.free_place, self.world.never_all_good
            )
            pictures.append(to_uint8(corrupt(self.world.renderer, spec.edit, wrong)))
        scores = [measure(truth, picture).scores for picture in pictures]
        return np.stack(pictures), np.array(scores, dtype=np.float32)


def kept_edits(wanted: EditSet, folder: Path | None) -> MeasuredEdits:
    """The edits of a set, from files in the folder where they are there.

    Several processes may do this at once: each writes whole files, and all write the same.

    Args:
        wanted: the set.
        folder: of the files; None keeps none.
    """
    blocks = [range(first, min(first + BLOCK, wanted.length)) for first in range(0, wanted.length, BLOCK)]
    place = None if folder is None else folder / hashlib.sha256(wanted.name.encode()).hexdigest()[:16]
    what = f"edits{'' if place is None else f', kept in {place}'}:"
    lacking = [block for block in blocks if place is None or not _file(place, block).exists()]
    found: dict[int, MeasuredEdits] = {}
    for block in with_progress(lacking, sum(map(len, lacking)), what, "cases") if lacking else ():
        if place is None or not _file(place, block).exists():
            found[block[0]] = wanted.measured(block)
            if place is not None:
                _write(_file(place, block), found[block[0]])
    return _joined([found.get(block[0]) or _read(wanted, place, block) for block in blocks])


def _file(place: Path, block: Sequence[int]) -> Path:
    return place / f"{block[0]}-{block[-1]}.npz"


def _write(file: Path, edits: MeasuredEdits) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    columns = {
        "originals": np.stack([case.original for case in edits.cases]),
        "instructions": np.array([case.instruction for case in edits.cases]),
        "types": np.array([case.edit_type for case in edits.cases]),
        "photographs": np.array([case.photograph for case in edits.cases]),
    }
    with replacing(file) as partial, partial.open("wb") as opened:
        np.savez(opened, allow_pickle=False, edits=edits.edits, scores=edits.scores, **columns)


def _read(wanted: EditSet, place: Path | None, block: Sequence[int]) -> MeasuredEdits:
    assert place is not None
    with np.load(_file(place, block), allow_pickle=False) as saved:
        texts = zip(saved["instructions"], saved["types"], saved["photographs"], strict=True)
        ids = [wanted.world.case_id(wanted.split, wanted.seed, index) for index in block]
        cases = [
            Case(id, original, str(instruction), str(edit_type), str(photograph))
            for id, original, (instruction, edit_type, photograph) in zip(
                ids, saved["originals"], texts, strict=True
            )
        ]
        return MeasuredEdits(cases, saved["edits"], saved["scores"])


def _joined(parts: Sequence[MeasuredEdits]) -> MeasuredEdits:
    return MeasuredEdits(
        [case for part in parts for case in part.cases],
        np.concatenate([part.edits for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def edit_ids(cases: Sequence[Case], number: int) -> Iterator[str]:
    """The ids of all edits, case by case."""
    return (f"{case.id}{MARK}{each}" for case in cases for each in range(number))
