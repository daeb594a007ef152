"""Triplets whose truth is known, to try a judge on: everyday ones, spoiled in the three ways of the paper,
and probes with one thing wrong with them.

The truth is the oracle's measurement. A judge under trial sees none of it: `hidden` takes away ids, edit
types and the names of the photographs.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from src.judges.judge import reward_key
from src.records import Image, Triplet
from src.seeds import fold_seed
from src.synthetic.degradations import degrade
from src.synthetic.edits import EDIT_TYPES
from src.synthetic.scene import to_float, to_uint8
from src.synthetic.world import BENCHMARK_ORIGINALS, World

EVERYDAY, EXACT, UNEDITED, SHUFFLED, SWAPPED = (
    "everyday",
    "exact",
    "unedited",
    "shuffled instruction",
    "swapped pictures",
)
GROWING = ("blur", "noise", "jpeg")
LEVELS = (0.33, 0.67, 1.0)
"""Severities of a growing flaw, besides none at all."""

PROBES = 4 + len(GROWING) * len(LEVELS)
"""Of each case."""

SPLIT = "benchmark"


@dataclass(frozen=True, eq=False)
class Probe:
    """One triplet to ask about.

    Attributes:
        case: index of its case in the split.
        kind: EVERYDAY, EXACT, UNEDITED, SHUFFLED, SWAPPED or one of GROWING.
        severity: of a growing flaw, in (0, 1]; 0 for the other kinds.
        triplet: under its true id, by which the oracle knows it.
    """

    case: int
    kind: str
    severity: float
    triplet: Triplet


def everyday(world: World, count: int) -> Iterator[Probe]:
    """Triplets as in training: each perspective is spoiled in more than half of them.

    Raises:
        ValueError: more than the split has cases, or fewer than 8, of which no correlation can be told.
    """
    most = BENCHMARK_ORIGINALS * len(EDIT_TYPES)
    if not 8 <= count <= most:
        raise ValueError(f"count={count}: a judge is tried on 8 to {most} everyday triplets")
    return (Probe(index, EVERYDAY, 0.0, world.triplet(SPLIT, 0, index)) for index in range(count))


def probes(world: World, cases: int) -> Iterator[Probe]:
    """Each case in all the ways that a judge must tell apart.

    - exact: what was asked for, and nothing else.
    - unedited: the original once more.
    - shuffled instruction: the exact edit that another instruction asked for.
    - swapped images: the exact edit taken for the original, and the original for the edit. The oracle,
      which measures the edited image against
      the scene of the id, sees an original where the edit should be: nothing followed, everything kept.
    - growing blur, noise and compression on the exact edit.

    Raises:
        ValueError: fewer than 2 cases, or more than the split has.
    """
    most = BENCHMARK_ORIGINALS * len(EDIT_TYPES)
    if not 2 <= cases <= most:
        raise ValueError(f"cases={cases}: a judge is probed on 2 to {most} cases")
    return (probe for index in range(cases) for probe in probes_of(world, index))


def probes_of(world: World, index: int) -> list[Probe]:
    """All probes of one case."""
    case = world.case(SPLIT, 0, index)
    original, kind = divmod(index, len(EDIT_TYPES))
    other = original * len(EDIT_TYPES) + (kind + 1) % len(EDIT_TYPES)
    exact = world.exact_edit(case.id)
    found = [
        Probe(index, EXACT, 0.0, Triplet(case, exact)),
        Probe(index, UNEDITED, 0.0, Triplet(case, case.original)),
        Probe(index, SHUFFLED, 0.0, Triplet(case, world.exact_edit(world.case_id(SPLIT, 0, other)))),
        Probe(index, SWAPPED, 0.0, Triplet(replace(case, image=exact), case.original)),
    ]
    for flaw in GROWING:
        found += [
            Probe(index, flaw, level, Triplet(case, spoiled(exact, flaw, level, index))) for level in LEVELS
        ]
    return found


def spoiled(image: Image, flaw: str, severity: float, index: int) -> Image:
    """The image with a flaw of quality; the noise grows, it isn't drawn anew."""
    return to_uint8(degrade(to_float(image), flaw, severity, fold_seed("probe", flaw, index)))


def hidden(triplet: Triplet) -> Triplet:
    """The triplet as a judge under trial sees it: under a name that says nothing but that it is this one."""
    name = hashlib.sha256(reward_key(triplet, "judge battery").encode()).hexdigest()[:24]
    return Triplet(replace(triplet.case, id=name, edit_type="", photograph=""), triplet.edited, triplet.files)
