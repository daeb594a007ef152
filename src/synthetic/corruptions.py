"""Edits spoiled on purpose, in the three ways of the paper, each with a severity in (0, 1].

Following and preserving are spoiled in the scene: another scene is rendered, and severity is its share in a blend, or the length of a
shift. Quality is spoiled in the picture. So any combination can be made, and what a flaw spoils is known.
"""

import io
from dataclasses import dataclass, replace
from random import Random

import numpy as np
from PIL import Image as Pillow

from src.records import NO_FAILURE, PERSPECTIVES, Feedback
from src.seeds import fold_seed
from src.synthetic import filters, language
from src.synthetic.edits import EDIT_TYPES, Edit, change_background, changed_thing, describe, edit_thing, other_colour, visible_looks
from src.synthetic.language import GLOBAL_LOOKS, PLACES, STYLES
from src.synthetic.scene import PhotoBackdrop, Picture, Scene, Stage, Thing, pick, rgb, sample_backdrop, to_image, to_picture

FAILURE_RATE = 0.55
"""How often each perspective fails, independently: more than half of the triplets score below 5 in each, and 9 % are entirely clean."""

QUALITY_FLAWS = ("noise", "blur", "jpeg", "banding")
MAX_SHIFT = 0.18
"""Length of a full shift of the background along each axis, in picture widths."""

CAST_TINTS = ("red", "green", "blue", "yellow", "purple", "cyan")


@dataclass(frozen=True)
class Flaw:
    """One thing that went wrong.

    Attributes:
        kind: a key of language.FEEDBACK.
        severity: in (0, 1].
        feedback: what failed and where.
        scene: for following, the scene in place of the right answer.
        thing: for preserving, the kept thing that suffers, None if it is the background or the colours.
        changed: what that thing becomes, None if it disappears.
        backdrop: for preserving, the background in place of the right one.
        tint: for a colour cast, the name of its colour.
    """

    kind: str
    severity: float
    feedback: str
    scene: Scene | None = None
    thing: Thing | None = None
    changed: Thing | None = None
    backdrop: PhotoBackdrop | None = None
    tint: str = ""

    def spoil(self, scene: Scene) -> Scene:
        """The scene with this preserving flaw in full."""
        if self.backdrop is not None:
            return replace(scene, backdrop=self.backdrop)
        replacement = () if self.changed is None else (self.changed,)
        things = tuple(new for thing in scene.things for new in (replacement if thing == self.thing else (thing,)))
        return replace(scene, things=things)


@dataclass(frozen=True)
class Corruption:
    """What goes wrong with one edit; None where nothing does. `seed` decides the noise."""

    following: Flaw | None = None
    preserving: Flaw | None = None
    quality: Flaw | None = None
    seed: int = 0

    @property
    def feedback(self) -> Feedback:
        """One text per perspective, "None" where nothing failed."""
        following, preserving, quality = (NO_FAILURE if flaw is None else flaw.feedback for flaw in (self.following, self.preserving, self.quality))
        return following, preserving, quality


def sample_corruption(rng: Random, stage: Stage, scene: Scene, edit: Edit, free: str, rate: float = FAILURE_RATE) -> Corruption:
    """Each perspective fails with probability `rate`, whatever the others do."""
    fails = [rng.random() < rate for _ in PERSPECTIVES]
    following = sample_following(rng, stage, scene, edit, free) if fails[0] else None
    spoiled_by_mistake = following is not None and following.kind == "wrong object"
    preserving = sample_preserving(rng, stage, scene, edit, following) if fails[1] and not spoiled_by_mistake else None
    quality = sample_quality(rng) if fails[2] else None
    seed = int(rng.random() * 2**53)
    return Corruption(following, preserving, quality, seed)


def sample_following(rng: Random, stage: Stage, scene: Scene, edit: Edit, free: str, kind: str | None = None) -> Flaw:
    """The edit not done, half done, done to another object, or done with another result.

    Args:
        rng: decides what is left open.
        stage: where the scene is looked at.
        scene: before the edit.
        edit: the edit that goes wrong.
        free: the place that was free before the edit.
        kind: one of "missing", "partial", "wrong object", "wrong result"; None for any that is possible.

    Raises:
        ValueError: this kind of failure is not possible for this edit.
    """
    kinds = following_kinds(scene, edit)
    if kind is not None and kind not in kinds:
        raise ValueError(f"{edit.instruction!r} can't fail by {kind!r}; possible: {', '.join(kinds)}")
    kind = pick(rng, kinds) if kind is None else kind
    other, got, wrong = "", "", scene
    severity = 1.0
    if kind == "partial":
        severity = 0.3 + 0.5 * rng.random()
    elif kind == "wrong object":
        victim = pick(rng, edit.kept(scene))
        other = f"the {victim.colour} {victim.shape}"
        wrong = wrong_object(rng, stage, scene, edit, free, victim)
    elif kind == "wrong result":
        got, wrong = wrong_result(rng, stage, scene, edit)
    wordings = language.FEEDBACK[kind]
    parts = {"subject": edit.subject, "done": edit.done, "other": other, "got": got, "property": language.PROPERTY[edit.operation]}
    usable = tuple(wording for wording in wordings if got or "{got}" not in wording)
    return Flaw(kind, severity, language.choose(usable, rng, **parts), scene=wrong)


def following_kinds(scene: Scene, edit: Edit) -> tuple[str, ...]:
    """The ways in which this edit can go wrong."""
    kinds = ["missing", "partial"]
    if edit.operation != "remove":
        kinds.append("wrong result")
    if edit.target is not None and len(scene.things) > 1:
        kinds.append("wrong object")
    return tuple(kinds)


def wrong_object(rng: Random, stage: Stage, scene: Scene, edit: Edit, free: str, victim: Thing) -> Scene:
    """The scene in which the edit was done to the victim."""
    if edit.result is None or edit.operation == "move":
        return edit_thing(rng, stage, scene, free, edit.type, edit.operation, victim).after
    attribute = {"recolor": "colour", "reshape": "shape", "texture": "texture"}[edit.operation]
    changed = replace(victim, **{attribute: edit.wanted})
    if changed == victim:  # it has the wanted value already, so it gets another one
        changed = changed_thing(rng, stage, scene, victim, edit.operation)[1]
    return replace(scene, things=tuple(changed if thing is victim else thing for thing in scene.things))


def wrong_result(rng: Random, stage: Stage, scene: Scene, edit: Edit) -> tuple[str, Scene]:
    """The scene in which the right thing got another value, and that value in words ("" where a word alone would not be clear)."""
    if edit.operation in ("recolor", "reshape", "texture") and edit.target is not None:
        got, changed = changed_thing(rng, stage, scene, edit.target, edit.operation, but=edit.wanted)
        return ("" if edit.operation == "reshape" else got), replace(scene, things=tuple(changed if thing is edit.target else thing for thing in scene.things))
    if edit.result is not None:
        return "", misplaced(rng, scene, edit, edit.result)
    if edit.type == "background":
        return "", change_background(rng, stage, scene, but=edit.wanted.split()[-1]).after
    looks = [look for look in visible_looks(stage, scene, GLOBAL_LOOKS if edit.type == "global" else STYLES) if look != edit.wanted]
    got = pick(rng, looks or [look for look in (GLOBAL_LOOKS if edit.type == "global" else STYLES) if look != edit.wanted])
    return got, replace(scene, look=got)


def misplaced(rng: Random, scene: Scene, edit: Edit, result: Thing) -> Scene:
    """The added or moved thing at another free place, or, where no other is free, in another colour."""
    others = edit.kept(scene)
    occupied = (*others, result) if edit.target is None else (*others, result, edit.target)
    places = [place for place in PLACES.values() if not any(thing.overlaps(*place, result.radius) for thing in occupied)]
    if places:
        x, y = pick(rng, places)
        return replace(scene, things=(*others, replace(result, x=x, y=y)))
    return replace(scene, things=(*others, replace(result, colour=other_colour(rng, result.colour))))


def preserving_kinds(scene: Scene, edit: Edit, following: Flaw | None) -> tuple[str, ...]:
    """The ways in which the rest of this scene can suffer; under a look only losses and shifts can be told from the look itself."""
    kinds = []
    if edit.kept(scene):
        kinds += ["removed"] if edit.type in ("global", "style") else ["removed", "altered"]
    if edit.type != "background" and isinstance(scene.backdrop, PhotoBackdrop):
        kinds += ["shifted"] if edit.type in ("global", "style") else ["shifted", "replaced"]
    if edit.type not in ("background", "global", "style"):
        kinds.append("cast")
    return tuple(kinds)


def sample_preserving(rng: Random, stage: Stage, scene: Scene, edit: Edit, following: Flaw | None, kind: str | None = None) -> Flaw:
    """A kept object removed or recoloured, the background shifted or replaced, or a colour cast over everything.

    Raises:
        ValueError: this kind of failure is not possible for this scene and edit.
    """
    kinds = preserving_kinds(scene, edit, following)
    if kind is not None and kind not in kinds:
        raise ValueError(f"{edit.instruction!r} can't spoil the rest by {kind!r}; possible: {', '.join(kinds)}")
    kind = pick(rng, kinds) if kind is None else kind
    severity = 0.25 + 0.75 * rng.random()
    thing = changed = backdrop = None
    tint = other = ""
    if kind in ("removed", "altered"):
        thing = pick(rng, edit.kept(scene))
        other = describe(rng, scene.things, thing)
        if kind == "altered":
            changed = changed_thing(rng, stage, scene, thing, "recolor")[1]
    elif kind == "shifted":
        backdrop = shifted(rng, stage, scene.backdrop, severity)
    elif kind == "replaced":
        backdrop = replaced(rng, stage, scene.backdrop)
    elif kind == "cast":
        tint = pick(rng, CAST_TINTS)
    return Flaw(kind, severity, language.choose(language.FEEDBACK[kind], rng, other=other), thing=thing, changed=changed, backdrop=backdrop, tint=tint)
