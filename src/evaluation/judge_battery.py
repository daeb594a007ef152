"""Triplets of known truth for testing a judge: everyday ones, degraded in the three ways of the paper, and
probes with a single flaw.

The truth is the oracle's measurement. `anonymized` hides it from the judge under test: ids, edit types and
names of photographs are removed.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

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
"""Severities of a growing flaw, besides 0."""

PROBES_PER_CASE = 4 + len(GROWING) * len(LEVELS)
"""Probes of each case."""

SPLIT = "benchmark"


@final
@dataclass(frozen=True, eq=False)
class JudgeProbe:
    """One triplet to ask about.

    Attributes:
        case: index of its case in the split.
        kind: EVERYDAY, EXACT, UNEDITED, SHUFFLED, SWAPPED or one of GROWING.
        severity: of a growing flaw, in (0, 1]; 0 for other kinds.
        triplet: under its true id, which the oracle needs.
    """

    case: int
    kind: str
    severity: float
    triplet: Triplet


def everyday_probes(world: World, count: int) -> Iterator[JudgeProbe]:
    """Triplets as in training: each perspective is degraded in more than half of them.

    Raises:
        ValueError: more than the split has cases, or fewer than 8, which give no correlation.
    """
    most = BENCHMARK_ORIGINALS * len(EDIT_TYPES)
    if not 8 <= count <= most:
        raise ValueError(f"count={count}: a judge is tested on 8 to {most} everyday triplets")
    return (JudgeProbe(index, EVERYDAY, 0.0, world.triplet(SPLIT, 0, index)) for index in range(count))


def targeted_probes(world: World, cases: int) -> Iterator[JudgeProbe]:
    """Each case in all variants that a judge must distinguish.

    - exact: the edit that was asked for, and nothing else.
    - unedited: the original.
    - shuffled instruction: the exact edit of another instruction.
    - swapped images: the exact edit as the original, and the original as the edit. The oracle measures the
      edited image against the scene of the id, so it sees an unedited image: nothing followed, everything
      kept.
    - growing blur, noise and compression on the exact edit.

    Raises:
        ValueError: fewer than 2 cases, or more than the split has.
    """
    most = BENCHMARK_ORIGINALS * len(EDIT_TYPES)
    if not 2 <= cases <= most:
        raise ValueError(f"cases={cases}: a judge is probed on 2 to {most} cases")
    return (probe for index in range(cases) for probe in probes_of(world, index))


def probes_of(world: World, index: int) -> list[JudgeProbe]:
    """All probes of one case."""
    case = world.case(SPLIT, 0, index)
    original, kind = divmod(index, len(EDIT_TYPES))
    other = original * len(EDIT_TYPES) + (kind + 1) % len(EDIT_TYPES)
    exact = world.exact_edit(case.id)
    found = [
        JudgeProbe(index, EXACT, 0.0, Triplet(case, exact)),
        JudgeProbe(index, UNEDITED, 0.0, Triplet(case, case.original)),
        JudgeProbe(index, SHUFFLED, 0.0, Triplet(case, world.exact_edit(world.case_id(SPLIT, 0, other)))),
        JudgeProbe(index, SWAPPED, 0.0, Triplet(replace(case, image=exact), case.original)),
    ]
    for flaw in GROWING:
        found += [
            JudgeProbe(index, flaw, level, Triplet(case, degraded(exact, flaw, level, index)))
            for level in LEVELS
        ]
    return found


def degraded(image: Image, flaw: str, severity: float, index: int) -> Image:
    """The image with a flaw of quality; noise of a larger severity is the same noise, scaled."""
    return to_uint8(degrade(to_float(image), flaw, severity, fold_seed("probe", flaw, index)))


def anonymized(triplet: Triplet) -> Triplet:
    """The triplet as a judge under test sees it: its id is a digest that reveals nothing."""
    name = hashlib.sha256(reward_key(triplet, "judge battery").encode()).hexdigest()[:24]
    return Triplet(replace(triplet.case, id=name, edit_type="", photograph=""), triplet.edited, triplet.files)
