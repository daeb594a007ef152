"""The scores of a training triplet, from what is known to be wrong with it.

Measuring every picture would cost more than making it. What went wrong is known, so only the component that a flaw spoils is scored, with
the same formulas as in measure.py; a test keeps these scores near those of the oracle. Scores are rounded to half points.
"""

from collections.abc import Mapping

import numpy as np

from src.records import MAX_SCORE, Scores
from src.synthetic.corruptions import Corruption, Flaw
from src.synthetic.degradations import CAST_SHARE
from src.synthetic.edits import Edit
from src.synthetic.measure import CONTRAST_SHARE, MIN_CONTRAST, TOLERANCE, background_similarity, combine
from src.synthetic.scene import PALETTE, Scene, Stage, rgb

# What the oracle gives on average, of 5, to a right thing with a wrong result; a moved thing is at least gone from where it was.
WRONG_RESULT: Mapping[str, float] = {"move": 1.0, "reshape": 1.0}
OTHER_WRONG_RESULT = 0.5

# What the oracle gives on average to a picture with one flaw of these severities.
SEVERITIES = (0.0, 0.3, 0.5, 0.7, 1.0)
QUALITY: Mapping[str, tuple[float, ...]] = {
    "noise": (5.0, 3.5, 2.4, 1.5, 0.3),
    "blur": (5.0, 3.75, 2.8, 1.8, 0.2),
    "jpeg": (5.0, 4.3, 3.8, 2.75, 1.5),
    "banding": (5.0, 3.85, 3.0, 2.4, 2.0),
}

TOUCHED = 0.15
"""How much of an object is left after the edit meant for another one, on average."""


def scores(stage: Stage, scene: Scene, edit: Edit, corruption: Corruption) -> Scores:
    """Following, preserving and quality in [0, 5], in half points."""
    exact = (following(edit, corruption.following), preserving(stage, scene, edit, corruption), quality(corruption.quality))
    first, second, third = (round(2 * score) / 2 for score in exact)
    return first, second, third


def following(edit: Edit, flaw: Flaw | None) -> float:
    """5 without a flaw; half an edit is half the way."""
    if flaw is None:
        return MAX_SCORE
    if flaw.kind == "partial":
        return MAX_SCORE * (1 - flaw.severity)
    return WRONG_RESULT.get(edit.operation, OTHER_WRONG_RESULT) if flaw.kind == "wrong result" else 0.0


def preserving(stage: Stage, scene: Scene, edit: Edit, corruption: Corruption) -> float:
    """The worst and the average of what is kept, as in measure.py, when one component is spoiled and all others are whole."""
    flaw = corruption.preserving
    if flaw is None:
        return MAX_SCORE
    things = [1.0] * len(edit.kept(scene))
    background = [] if edit.type == "background" else [1.0]
    if flaw.kind in ("removed", "altered", "touched"):
        things[0] = thing_share(stage, edit, flaw)
    else:
        background[0] = background_share(stage, scene, flaw)
    return MAX_SCORE * combine(background, things)


def thing_share(stage: Stage, edit: Edit, flaw: Flaw) -> float:
    """How much of a kept thing is left."""
    if flaw.kind == "touched" or flaw.thing is None:
        return TOUCHED
    behind = stage.behind(edit.after.backdrop, flaw.thing.x, flaw.thing.y)
    contrast = colour_distance(PALETTE[flaw.thing.colour], behind)
    distance = contrast if flaw.changed is None else colour_distance(PALETTE[flaw.thing.colour], PALETTE[flaw.changed.colour])
    return max(0.0, 1 - max(0.0, flaw.severity * distance - TOLERANCE) / (CONTRAST_SHARE * max(contrast, MIN_CONTRAST)))


def colour_distance(first: tuple[float, float, float], second: tuple[float, float, float]) -> float:
    """Root of the mean squared difference."""
    return (sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) / 3) ** 0.5


def background_share(stage: Stage, scene: Scene, flaw: Flaw) -> float:
    """How much of the background is left; its blocks blend as the pictures do."""
    before = stage.rough(scene.backdrop)
    if flaw.kind == "cast":
        after = before + np.float32(CAST_SHARE * flaw.severity) * (rgb(flaw.tint) - before)
    elif flaw.backdrop is None:
        raise ValueError(f"a flaw of kind {flaw.kind!r} needs a background")
    else:
        share = np.float32(1.0 if flaw.kind == "shifted" else flaw.severity)
        after = before + share * (stage.rough(flaw.backdrop) - before)
    return background_similarity(after.reshape(-1, 3), before.reshape(-1, 3)).share


def quality(flaw: Flaw | None) -> float:
    """By the flaw's severity."""
    return MAX_SCORE if flaw is None else float(np.interp(flaw.severity, SEVERITIES, QUALITY[flaw.kind]))
