"""Reference rows that any benchmark can have."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from src.evaluation.benchmark import Reference
from src.evaluation.case_images import decode_case
from src.images import load_image
from src.records import Case, Triplet


def copy_of_input() -> Reference:
    """`copy input`: the original returned unedited. It preserves perfectly, so it shows what following is
    worth.
    """
    return Reference("copy input", _copies)


def stored_edits(paths: Sequence[Path], cases: Sequence[Case]) -> Iterator[Triplet]:
    """The cases with edits from files, read lazily.

    Args:
        paths: one per case.
        cases: those of the report.

    Raises:
        FileNotFoundError, ValueError: an edit that is gone or broken; not one path per case.
    """
    for path, case in zip(paths, cases, strict=True):
        yield Triplet(case, load_image(path))


def _copies(cases: Sequence[Case]) -> Iterator[Triplet]:
    for case in map(decode_case, cases):
        yield Triplet(case, case.original)
