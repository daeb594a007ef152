"""Measured exceptions to the laws of the measures: in which share of the pictures, and by how much at most, a flaw breaks a law.

Nothing here is right to be so, but for the two entries that WHY explains: it is how good the measures are, found on cases that they were not
made with (seeds 7 and 11 of the world, five cases of each edit type, split and size). The tests (tests/synthetic/test_laws.py) hold each law to
this table, and to DEFAULT where it says nothing.
"""

from dataclasses import dataclass

PERSPECTIVE = ("following", "preserving", "quality")

WHY = {
    ("following stays", "replaced"): "what is left where an object was is the wrong background, so less of a removal or move was done",
    ("following stays", "shifted"): "the same",
}


@dataclass(frozen=True)
class Exceptions:
    """What is beyond a law: `share` of the pictures, the worst by so many points, mostly of these edit types."""

    share: float
    worst: float
    mostly: tuple[str, ...] = ()


DEFAULT = Exceptions(0.02, 1.0)

MEASURED: dict[tuple[str, str, int], Exceptions] = {
    ("a wrong edit does not follow", "wrong result", 32): Exceptions(0.09, 4.0, ("style", "local")),
    ("a wrong edit does not follow", "wrong result", 64): Exceptions(0.08, 4.0, ("style", "local")),
    ("banding after it is no better", "blur", 64): Exceptions(0.04, 1.8, ("texture", "global", "style")),
    ("banding after it is no better", "jpeg", 32): Exceptions(0.20, 2.7, ("style", "local")),
    ("banding after it is no better", "jpeg", 64): Exceptions(0.24, 2.6, ("texture",)),
    ("banding after it is no better", "noise", 32): Exceptions(0.02, 2.2, ("style",)),
    ("blur after it is no better", "banding", 32): Exceptions(0.36, 3.8, ("background",)),
    ("blur after it is no better", "banding", 64): Exceptions(0.27, 4.0, ("style",)),
    ("blur after it is no better", "jpeg", 32): Exceptions(0.32, 2.8, ()),
    ("blur after it is no better", "jpeg", 64): Exceptions(0.40, 2.1, ("texture",)),
    ("blur after it is no better", "noise", 32): Exceptions(0.05, 2.0, ("global", "background")),
    ("following stays", "altered", 32): Exceptions(0.05, 4.5, ("background", "local", "remove")),
    ("following stays", "altered", 64): Exceptions(0.04, 4.5, ("background", "remove")),
    ("following stays", "banding", 32): Exceptions(0.04, 2.8, ("style",)),
    ("following stays", "banding", 64): Exceptions(0.05, 3.3, ("style",)),
    ("following stays", "blur", 32): Exceptions(0.03, 2.4, ("global", "texture", "local")),
    ("following stays", "jpeg", 32): Exceptions(0.06, 4.5, ("style", "texture")),
    ("following stays", "noise", 32): Exceptions(0.03, 0.7, ("style", "local")),
    ("following stays", "noise", 64): Exceptions(0.02, 1.3, ("style",)),
    ("following stays", "removed", 64): Exceptions(0.02, 4.5, ("style",)),
    ("following stays", "replaced", 32): Exceptions(0.19, 4.5, ("remove",)),
    ("following stays", "replaced", 64): Exceptions(0.18, 4.5, ("remove",)),
    ("following stays", "shifted", 32): Exceptions(0.10, 4.5, ("remove", "texture")),
    ("following stays", "shifted", 64): Exceptions(0.05, 4.5, ("remove", "local")),
    ("jpeg after it is no better", "banding", 32): Exceptions(0.47, 3.9, ("style",)),
    ("jpeg after it is no better", "banding", 64): Exceptions(0.31, 3.8, ("style",)),
    ("jpeg after it is no better", "blur", 32): Exceptions(0.01, 2.4, ("background",)),
    ("jpeg after it is no better", "noise", 32): Exceptions(0.34, 3.9, ("global", "style")),
    ("jpeg after it is no better", "noise", 64): Exceptions(0.13, 0.3, ("style",)),
    ("noise after it is no better", "banding", 32): Exceptions(0.24, 1.7, ("background", "style")),
    ("noise after it is no better", "banding", 64): Exceptions(0.28, 2.7, ()),
    ("noise after it is no better", "blur", 32): Exceptions(0.04, 0.7, ("remove", "global")),
    ("noise after it is no better", "jpeg", 32): Exceptions(0.08, 1.8, ("background", "global")),
    ("noise after it is no better", "jpeg", 64): Exceptions(0.15, 0.8, ("background", "texture")),
    ("preserving falls", "altered", 64): Exceptions(0.02, 1.1, ("remove", "background")),
    ("preserving falls", "replaced", 32): Exceptions(0.03, 1.0, ("remove", "local")),
    ("preserving falls", "shifted", 32): Exceptions(0.05, 1.9, ("style", "local", "remove")),
    ("preserving falls", "shifted", 64): Exceptions(0.04, 2.2, ("local", "global")),
    ("preserving stays", "banding", 32): Exceptions(0.03, 1.8, ("global", "style")),
    ("preserving stays", "banding", 64): Exceptions(0.03, 0.7, ("style", "global")),
    ("preserving stays", "blur", 32): Exceptions(0.07, 1.8, ("background", "global")),
    ("preserving stays", "jpeg", 32): Exceptions(0.04, 1.3, ("background", "style")),
    ("preserving stays", "noise", 32): Exceptions(0.03, 1.0, ("global", "local")),
    ("preserving tells", "wrong object", 32): Exceptions(0.13, 2.4, ("local", "texture")),
    ("preserving tells", "wrong object", 64): Exceptions(0.13, 2.5, ("local", "texture")),
    ("preserving tells", "wrong result", 32): Exceptions(0.06, 2.3, ("add", "local", "texture")),
    ("preserving tells", "wrong result", 64): Exceptions(0.04, 2.4, ("add", "local")),
    ("quality falls", "banding", 32): Exceptions(0.01, 4.2, ("style",)),
    ("quality falls", "banding", 64): Exceptions(0.01, 4.2, ("style", "background", "global")),
    ("quality falls", "blur", 64): Exceptions(0.01, 3.2, ("style",)),
    ("quality falls", "jpeg", 32): Exceptions(0.04, 3.6, ("style", "background", "global")),
    ("quality falls", "jpeg", 64): Exceptions(0.05, 3.1, ("background", "style")),
    ("quality is lost", "banding", 32): Exceptions(0.02, 2.5, ("style",)),
    ("quality is lost", "banding", 64): Exceptions(0.02, 2.5, ("style",)),
    ("quality is lost", "blur", 32): Exceptions(0.05, 2.5, ("global", "background")),
    ("quality is lost", "jpeg", 32): Exceptions(0.10, 2.5, ("background", "style", "global")),
    ("quality is lost", "jpeg", 64): Exceptions(0.07, 2.1, ("global", "background")),
    ("quality stays", "altered", 32): Exceptions(0.05, 1.6, ("local", "background")),
    ("quality stays", "altered", 64): Exceptions(0.02, 2.4, ("background", "add")),
    ("quality stays", "another look", 32): Exceptions(0.02, 4.5, ("global", "remove")),
    ("quality stays", "removed", 32): Exceptions(0.04, 0.7, ("style", "background", "local")),
    ("quality stays", "removed", 64): Exceptions(0.03, 1.8, ("style", "add")),
    ("quality stays", "replaced", 32): Exceptions(0.05, 3.2, ("remove",)),
    ("quality stays", "replaced", 64): Exceptions(0.14, 3.4, ("add", "remove", "local")),
    ("quality stays", "shifted", 32): Exceptions(0.09, 3.9, ("texture", "style")),
    ("quality stays", "shifted", 64): Exceptions(0.12, 4.5, ("remove", "texture")),
    ("quality stays", "wrong object", 32): Exceptions(0.08, 0.6, ("remove", "local")),
    ("quality stays", "wrong result", 32): Exceptions(0.03, 2.9, ("texture",)),
    ("quality stays", "wrong result", 64): Exceptions(0.03, 0.5, ("local",)),
}


def exceptions_of(law: str, flaw: str, size: int) -> Exceptions:
    """What is declared for a law, a flaw and a picture size."""
    return MEASURED.get((law, flaw, size), DEFAULT)
