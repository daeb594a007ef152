"""Measured exceptions to the laws of the measures: the share of images that breaks a law under a flaw, and by
how much at most.

Except for the two entries that WHY explains, nothing here is as it should be: it says how good the measures
are. It was found on cases that they were not made with: the worse share of the world's seeds 7 and 11, each
with three cases of each edit type, split and size, and of 42 edits of a half-trained editor. test_laws.py
holds each law to this table, and to DEFAULT where it has no entry.
"""

from dataclasses import dataclass

PERSPECTIVE = ("following", "preserving", "quality")

WHY = {
    (
        "following stays",
        "replaced",
    ): "what is left where an object was is the wrong background, so less of a removal or move was done",
    ("following stays", "shifted"): "the same",
}


@dataclass(frozen=True)
class KnownExceptions:
    """Exceptions to a law: the share of images, the points of the worst one, and the most frequent edit
    types.
    """

    share: float
    worst: float
    mostly: tuple[str, ...] = ()


DEFAULT = KnownExceptions(0.02, 1.0)

MEASURED: dict[tuple[str, str, int], KnownExceptions] = {
    ("JPEG 95 moves nothing", "blur", 32): KnownExceptions(0.41, 0.3, ("add",)),
    ("JPEG 95 moves nothing", "blur", 64): KnownExceptions(0.03, 0.1, ("style",)),
    ("JPEG 95 moves nothing", "half-trained", 32): KnownExceptions(0.10, 0.6, ("remove", "texture", "local")),
    ("a wrong edit does not follow", "wrong result", 32): KnownExceptions(0.10, 4.0, ("style", "local")),
    ("a wrong edit does not follow", "wrong result", 64): KnownExceptions(0.09, 4.0, ("style", "local")),
    ("banding after it is no better", "blur", 32): KnownExceptions(
        0.05, 1.8, ("style", "background", "remove")
    ),
    ("banding after it is no better", "blur", 64): KnownExceptions(0.04, 0.4, ("texture", "global")),
    ("banding after it is no better", "noise", 32): KnownExceptions(0.04, 0.4, ("style",)),
    ("blur after it is no better", "banding", 32): KnownExceptions(0.07, 3.8, ("global", "background")),
    ("blur after it is no better", "banding", 64): KnownExceptions(0.05, 2.6, ("style", "background")),
    ("blur after it is no better", "jpeg", 32): KnownExceptions(0.04, 2.8, ("global", "background")),
    ("blur after it is no better", "noise", 32): KnownExceptions(0.05, 2.3, ("global", "background")),
    ("following stays", "altered", 32): KnownExceptions(0.05, 4.5, ("local", "background")),
    ("following stays", "altered", 64): KnownExceptions(0.04, 4.5, ("background", "remove")),
    ("following stays", "banding", 32): KnownExceptions(0.04, 2.8, ("style",)),
    ("following stays", "banding", 64): KnownExceptions(0.05, 3.3, ("style",)),
    ("following stays", "blur", 32): KnownExceptions(0.03, 2.4, ("local", "global", "texture")),
    ("following stays", "jpeg", 32): KnownExceptions(0.06, 4.5, ("style", "texture")),
    ("following stays", "noise", 32): KnownExceptions(0.03, 0.7, ("style", "local")),
    ("following stays", "noise", 64): KnownExceptions(0.02, 1.3, ("style",)),
    ("following stays", "removed", 64): KnownExceptions(0.02, 4.5, ("style",)),
    ("following stays", "replaced", 32): KnownExceptions(0.19, 4.5, ("remove",)),
    ("following stays", "replaced", 64): KnownExceptions(0.19, 4.5, ("remove",)),
    ("following stays", "shifted", 32): KnownExceptions(0.14, 4.5, ("remove",)),
    ("following stays", "shifted", 64): KnownExceptions(0.07, 4.5, ("remove",)),
    ("jpeg after it is no better", "banding", 32): KnownExceptions(0.10, 2.3, ("global", "background")),
    ("jpeg after it is no better", "banding", 64): KnownExceptions(0.07, 3.0, ("style", "background")),
    ("jpeg after it is no better", "blur", 32): KnownExceptions(0.04, 2.4, ("background", "remove")),
    ("jpeg after it is no better", "noise", 32): KnownExceptions(0.16, 3.9, ("global", "style")),
    ("jpeg after it is no better", "noise", 64): KnownExceptions(0.07, 0.3, ("style",)),
    ("noise after it is no better", "banding", 32): KnownExceptions(
        0.04, 1.7, ("background", "global", "style")
    ),
    ("noise after it is no better", "banding", 64): KnownExceptions(0.07, 2.5, ("background", "style")),
    ("noise after it is no better", "blur", 32): KnownExceptions(
        0.04, 0.7, ("background", "remove", "global")
    ),
    ("preserving falls", "altered", 64): KnownExceptions(0.02, 1.1, ("remove", "background")),
    ("preserving falls", "replaced", 32): KnownExceptions(0.03, 1.0, ("local", "remove")),
    ("preserving falls", "shifted", 32): KnownExceptions(0.05, 1.9, ("style", "remove")),
    ("preserving falls", "shifted", 64): KnownExceptions(0.04, 2.2, ("global", "local")),
    ("preserving stays", "banding", 32): KnownExceptions(0.03, 1.8, ("global", "style")),
    ("preserving stays", "banding", 64): KnownExceptions(0.04, 0.7, ("global", "style")),
    ("preserving stays", "blur", 32): KnownExceptions(0.07, 1.8, ("background", "global")),
    ("preserving stays", "jpeg", 32): KnownExceptions(0.05, 1.3, ("background", "style")),
    ("preserving stays", "noise", 32): KnownExceptions(0.03, 1.0, ("global", "local")),
    ("preserving tells", "wrong object", 32): KnownExceptions(0.14, 2.5, ("local",)),
    ("preserving tells", "wrong object", 64): KnownExceptions(0.14, 2.5, ("local",)),
    ("preserving tells", "wrong result", 32): KnownExceptions(0.06, 2.3, ("add",)),
    ("preserving tells", "wrong result", 64): KnownExceptions(0.06, 4.5, ("add", "local")),
    ("quality falls", "banding", 32): KnownExceptions(0.02, 3.6, ("style",)),
    ("quality falls", "banding", 64): KnownExceptions(0.02, 4.3, ("style",)),
    ("quality falls", "jpeg", 32): KnownExceptions(0.02, 2.4, ("global",)),
    ("quality falls", "jpeg", 64): KnownExceptions(0.02, 2.0, ("style", "global", "texture")),
    ("quality is lost", "banding", 32): KnownExceptions(0.04, 2.5, ("style",)),
    ("quality is lost", "banding", 64): KnownExceptions(0.04, 2.5, ("style",)),
    ("quality is lost", "blur", 32): KnownExceptions(0.05, 2.5, ("global", "background")),
    ("quality of a half-trained edit never rises", "blur", 32): KnownExceptions(0.22, 2.6, ("background",)),
    ("quality stays", "altered", 32): KnownExceptions(0.10, 1.6, ("background", "local")),
    ("quality stays", "altered", 64): KnownExceptions(0.06, 2.4, ("background",)),
    ("quality stays", "another filter", 32): KnownExceptions(0.01, 1.8, ("global", "add", "remove")),
    ("quality stays", "removed", 32): KnownExceptions(0.04, 0.7, ("background", "style", "local")),
    ("quality stays", "removed", 64): KnownExceptions(0.03, 1.8, ("style", "add")),
    ("quality stays", "replaced", 32): KnownExceptions(0.04, 1.7, ("remove", "texture")),
    ("quality stays", "replaced", 64): KnownExceptions(0.15, 1.4, ("add", "texture", "local")),
    ("quality stays", "shifted", 32): KnownExceptions(0.11, 3.9, ("style", "texture")),
    ("quality stays", "shifted", 64): KnownExceptions(0.12, 4.5, ("remove", "texture")),
    ("quality stays", "wrong object", 32): KnownExceptions(0.09, 0.6, ("local", "remove")),
    ("quality stays", "wrong object", 64): KnownExceptions(0.04, 1.9, ("local",)),
    ("quality stays", "wrong result", 32): KnownExceptions(0.06, 2.9, ("texture", "background", "style")),
    ("quality stays", "wrong result", 64): KnownExceptions(0.06, 4.5, ("local", "background")),
}


def exceptions_of(law: str, flaw: str, size: int) -> KnownExceptions:
    """The exceptions declared for a law, a flaw and an image size."""
    return MEASURED.get((law, flaw, size), DEFAULT)
