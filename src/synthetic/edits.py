"""The seven edit types of Real-Edit, as maps from a scene to a scene with an instruction that has exactly one
right answer.
"""

from dataclasses import dataclass, replace
from random import Random

import numpy as np

from src.synthetic import filters, language
from src.synthetic.language import (
    COLOURS,
    FILLS,
    GLOBAL_LOOKS,
    HELD_OUT_PAIRS,
    PLACES,
    SHAPES,
    STYLES,
    TEXTURES,
)
from src.synthetic.scene import (
    RADII,
    GradientBackdrop,
    Scene,
    Stage,
    Thing,
    held_out_pairs,
    pick,
    rgb,
    visible_colours,
)

EDIT_TYPES = ("local", "remove", "add", "texture", "background", "global", "style")
"""In the order of Real-Edit; a benchmark's case number modulo seven is a position in it."""

VISIBLE_CHANGE = 0.08
"""The least mean change of a background by which a look is seen."""

LOCAL_OPERATIONS = ("recolor", "reshape", "move")


@dataclass(frozen=True)
class Edit:
    """One edit of one scene.

    Attributes:
        type: one of EDIT_TYPES.
        operation: what is done; for objects and backgrounds a key of language.INSTRUCTIONS, for whole
            images "global" or "style".
        instruction: the sentence.
        after: the scene that is the right answer.
        subject: what is edited, as feedback names it.
        wanted: what it should become ("blue", "top left", "striped red circle", "night").
        target: the edited thing before the edit, None if it is not there yet or no thing is edited.
        result: the edited thing after the edit, None if it is gone or no thing is edited.
    """

    type: str
    operation: str
    instruction: str
    after: Scene
    subject: str
    wanted: str
    target: Thing | None = None
    result: Thing | None = None

    @property
    def done(self) -> str:
        """The edit in the passive: "removed", "made blue"."""
        return language.fill(language.DONE[self.operation], wanted=self.wanted)

    def kept(self, scene: Scene) -> tuple[Thing, ...]:
        """The things of the scene before the edit that it must leave alone."""
        return tuple(thing for thing in scene.things if thing is not self.target)


def matches(things: tuple[Thing, ...], shape: str | None, colour: str | None, texture: str | None) -> int:
    """How many things a description fits; None leaves a property open."""
    wanted = (shape, colour, texture)
    return sum(
        all(
            want is None or want == has
            for want, has in zip(wanted, (thing.shape, thing.colour, thing.texture), strict=True)
        )
        for thing in things
    )


def describe(rng: Random, things: tuple[Thing, ...], thing: Thing) -> str:
    """Words that fit this thing and no other: mostly colour and shape, now and then fewer or other words that
    are enough.

    Raises:
        ValueError: another thing has the same colour and shape.
    """
    options = ((thing.shape, None, thing.texture), (thing.shape, None, None), (None, thing.colour, None))
    if rng.random() < 0.25:
        shape, colour, texture = pick(rng, options)
        if matches(things, shape, colour, texture) == 1:
            return " ".join(word for word in ("the", texture, colour, shape or "object") if word)
    if matches(things, thing.shape, thing.colour, None) != 1:
        raise ValueError(f"no words single out {thing} in {things}: two things share colour and shape")
    return f"the {thing.colour} {thing.shape}"


def sample_edit(
    rng: Random, stage: Stage, scene: Scene, free: str, edit_type: str, held_out: bool = False
) -> Edit:
    """An edit of this type; no object ever becomes one of HELD_OUT_PAIRS.

    Args:
        rng: decides operation, object, value and wording.
        stage: where the scene is looked at, so that every edit is visible.
        scene: before the edit, without a look.
        free: a place where one more object fits.
        edit_type: one of EDIT_TYPES.
        held_out: edit the first object of the scene, which is one of HELD_OUT_PAIRS, or add one of them.

    Raises:
        ValueError: an unknown edit type.
    """
    if edit_type in ("local", "texture", "remove"):
        operation = {"local": pick(rng, LOCAL_OPERATIONS), "texture": "texture", "remove": "remove"}[
            edit_type
        ]
        target = scene.things[0] if held_out else pick(rng, scene.things)
        return edit_thing(rng, stage, scene, free, edit_type, operation, target)
    if edit_type == "add":
        return add_thing(rng, stage, scene, free, held_out)
    if edit_type == "background":
        return change_background(rng, stage, scene)
    if edit_type in ("global", "style"):
        look = sample_look(rng, stage, scene, GLOBAL_LOOKS if edit_type == "global" else STYLES)
        instruction = language.choose(language.INSTRUCTIONS[look], rng)
        return Edit(edit_type, edit_type, instruction, replace(scene, look=look), "the picture", look)
    raise ValueError(f"unknown edit type {edit_type!r}: one of {', '.join(EDIT_TYPES)}")


def edit_thing(
    rng: Random, stage: Stage, scene: Scene, free: str, edit_type: str, operation: str, target: Thing
) -> Edit:
    """One of the edits of an object that is there."""
    subject = describe(rng, scene.things, target)
    others = tuple(thing for thing in scene.things if thing is not target)
    if operation == "remove":
        wanted, result = "", None
    elif operation == "move":
        x, y = PLACES[free]
        wanted, result = free, replace(target, x=x, y=y, radius=RADII[0])
    else:
        wanted, result = changed_thing(rng, stage, scene, target, operation)
    instruction = language.choose(language.INSTRUCTIONS[operation], rng, subject=subject, wanted=wanted)
    after = replace(
        scene,
        things=others
        if result is None
        else tuple(result if thing is target else thing for thing in scene.things),
    )
    return Edit(edit_type, operation, instruction, after, subject, wanted, target, result)


def changed_thing(
    rng: Random, stage: Stage, scene: Scene, target: Thing, operation: str, but: str = ""
) -> tuple[str, Thing]:
    """A new colour, shape or texture for a thing and the thing that has it: not `but`, and still no twin of
    another thing in colour and shape.
    """
    taken = {(thing.shape, thing.colour) for thing in scene.things}
    if operation == "recolor":
        visible = visible_colours(stage, scene.backdrop, target.x, target.y)
        options = [
            name for name in visible if (target.shape, name) not in taken | HELD_OUT_PAIRS and name != but
        ]
        # Hardly ever all of them are taken; as below, a twin is harmless then.
        wanted = pick(
            rng,
            options
            or [
                name
                for name in COLOURS
                if name not in (target.colour, but) and (target.shape, name) not in HELD_OUT_PAIRS
            ],
        )
        return wanted, replace(target, colour=wanted)
    if operation == "reshape":
        options = [
            name for name in SHAPES if (name, target.colour) not in taken | HELD_OUT_PAIRS and name != but
        ]
        # Every shape may exist in this colour already; then a twin is unavoidable, and harmless: only the
        # scene before the edit is described.
        wanted = pick(
            rng,
            options
            or [
                name
                for name in SHAPES
                if name not in (target.shape, but) and (name, target.colour) not in HELD_OUT_PAIRS
            ],
        )
        return wanted, replace(target, shape=wanted)
    wanted = pick(rng, [name for name in TEXTURES if name not in (target.texture, but)])
    return wanted, replace(target, texture=wanted)


def add_thing(rng: Random, stage: Stage, scene: Scene, free: str, held_out: bool = False) -> Edit:
    """A new object at a named place that is free, one of HELD_OUT_PAIRS or none of them; every property is
    said.
    """
    x, y = PLACES[free]
    shape, texture = pick(rng, SHAPES), pick(rng, TEXTURES)
    taken = {(thing.shape, thing.colour) for thing in scene.things}
    visible = visible_colours(stage, scene.backdrop, x, y)
    if held_out:
        shape, colour = pick(rng, held_out_pairs(visible))
    else:
        free_colours = [name for name in visible if (shape, name) not in taken | HELD_OUT_PAIRS]
        colour = pick(rng, free_colours or [name for name in visible if (shape, name) not in HELD_OUT_PAIRS])
    result = Thing(shape, colour, texture, x, y, RADII[0])
    instruction = language.choose(
        language.INSTRUCTIONS["add"], rng, wanted=f"{texture} {colour} {shape}", place=free
    )
    return Edit(
        "add",
        "add",
        instruction,
        replace(scene, things=(*scene.things, result)),
        f"the {colour} {shape}",
        free,
        None,
        result,
    )


def change_background(rng: Random, stage: Stage, scene: Scene, but: str = "") -> Edit:
    """A plain colour or a gradient, in colours that no object has, so that none vanishes, and unlike the
    background there is.
    """
    worn = {thing.colour for thing in scene.things}
    before = stage.rough(scene.backdrop).mean(axis=(0, 1))
    fresh = [name for name in FILLS if name not in worn and name != but]
    options = [name for name in fresh if np.abs(rgb(name) - before).sum() > 0.5]
    first = pick(rng, options)
    if rng.random() < 0.5:
        backdrop, wanted = GradientBackdrop(first, first, True), f"plain {first}"
    else:
        second, vertical = pick(rng, [name for name in fresh if name != first]), rng.random() < 0.5
        backdrop, wanted = (
            GradientBackdrop(first, second, vertical),
            language.gradient_words(first, second, vertical),
        )
    instruction = language.choose(language.INSTRUCTIONS["background"], rng, wanted=wanted)
    return Edit(
        "background", "background", instruction, replace(scene, backdrop=backdrop), "the background", wanted
    )


def sample_look(rng: Random, stage: Stage, scene: Scene, looks: tuple[str, ...]) -> str:
    """A look that visibly changes this background, or the one that does most (night hardly shows among the
    stars).
    """
    before = stage.rough(scene.backdrop)
    changes: dict[str, float] = {}
    while len(changes) < len(looks):
        look = pick(rng, [look for look in looks if look not in changes])
        changes[look] = float(np.abs(filters.apply(look, before) - before).sum()) / before.size
        if changes[look] > VISIBLE_CHANGE:
            return look
    return max(changes, key=lambda look: changes[look])


def other_colour(rng: Random, thing: Thing) -> str:
    """A colour that the thing doesn't have and may get."""
    return pick(
        rng, [name for name in COLOURS if name != thing.colour and (thing.shape, name) not in HELD_OUT_PAIRS]
    )


def reworded(rng: Random, edit: Edit) -> Edit:
    """The same edit, asked for in one of the held-out wordings."""
    operation = edit.wanted if edit.operation in ("global", "style") else edit.operation
    parts = {"subject": edit.subject, "wanted": edit.wanted}
    if edit.operation == "add" and edit.result is not None:
        parts = {
            "wanted": f"{edit.result.texture} {edit.result.colour} {edit.result.shape}",
            "place": edit.wanted,
        }
    return replace(edit, instruction=language.choose(language.HELD_OUT_INSTRUCTIONS[operation], rng, **parts))
