"""Which flaw moves which other score, and why: the exceptions to "a corruption lowers its own score only", declared narrowly.

The laws of the measures (tests/synthetic/test_laws.py) hold outside this table. Each entry is something that was looked at and is so: the
picture really lost what the other perspective asks for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

PERSPECTIVE = ("following", "preserving", "quality")


@dataclass(frozen=True)
class Coupling:
    """A flaw that moves another score by more than 0.5.

    Attributes:
        flaw: the kind of flaw.
        perspective: the score that it moves.
        edits: edit types (for "partial": the wanted look); empty for all.
        least: severity from which on.
        largest: picture size up to which it happens.
        reason: why it can't be otherwise.
    """

    flaw: str
    perspective: str
    edits: tuple[str, ...]
    least: float
    largest: int
    reason: str


@dataclass(frozen=True)
class Slack:
    """What the law of one kind of flaw leaves to 95 % of the cases.

    Attributes:
        rise: by how much its own score may rise from one severity to the next.
        aside: by how much other scores may move up to severity 0.7.
        hidden: by how much a second flaw may hide it, beyond 0.25.
    """

    rise: float = 0.1
    aside: float = 0.5
    hidden: Mapping[str, float] = field(default_factory=dict)


COUPLING = (
    Coupling("wrong object", "preserving", (), 0.0, 256, "an object that should have been left alone was changed"),
    Coupling("replaced", "following", ("local", "remove"), 0.3, 256, "what is left where an object was is the wrong background"),
    Coupling("shifted", "following", ("local", "remove"), 0.3, 256, "what is left where an object was is the wrong background"),
    Coupling(
        "altered", "following", ("background",), 0.3, 256, "with the only object changed and the background new, nothing shows which scene it is"
    ),
    Coupling("noise", "preserving", ("style",), 0.3, 256, "noise is cut off at black and white, which a stencil or sketch is made of"),
    Coupling("noise", "following", ("style",), 0.5, 256, "noise is cut off at black and white, which a stencil or sketch is made of"),
    Coupling("jpeg", "following", ("local", "add", "texture", "global"), 0.5, 32, "blocks of 8 pixels are as large as an object of 10"),
    Coupling("jpeg", "preserving", (), 0.3, 32, "blocks of 8 pixels are as large as an object of 10"),
    Coupling("banding", "following", (), 0.3, 256, "colours are changed by up to half the distance between two levels"),
    Coupling("banding", "preserving", (), 0.5, 256, "colours are changed by up to half the distance between two levels"),
    Coupling("partial", "preserving", ("negative",), 0.3, 256, "half a negative is plain grey: nothing of the scene is left"),
)


def coupled(flaw: str, edit: str, size: int, severity: float, perspective: str) -> bool:
    """Whether the table says that this flaw moves this score."""
    return any(
        (each.flaw, each.perspective) == (flaw, perspective)
        and (not each.edits or edit in each.edits)
        and severity >= each.least
        and size <= each.largest
        for each in COUPLING
    )


UNAVOIDABLE: Mapping[str, Slack] = {
    "noise": Slack(hidden={"jpeg": 0.8}),
    "blur": Slack(),
    "jpeg": Slack(rise=0.25, hidden={"blur": 0.4}),
    "banding": Slack(rise=0.45, hidden={"jpeg": 0.5, "blur": 0.2}),
    "removed": Slack(),
    "altered": Slack(),
    "shifted": Slack(aside=1.5),
    "replaced": Slack(aside=1.0),
    "cast": Slack(),
}
