"""Reference rows that any benchmark can have."""

from collections.abc import Iterator, Sequence

from src.evaluation.benchmark import Reference
from src.evaluation.case_images import decode_case
from src.records import Case, Triplet


def copy_of_input() -> Reference:
    """`copy input`: the original returned unedited. It preserves perfectly, so it shows what following is
    worth.
    """
    return Reference("copy input", _copies)


def _copies(cases: Sequence[Case]) -> Iterator[Triplet]:
    for case in map(decode_case, cases):
        yield Triplet(case, case.original)
