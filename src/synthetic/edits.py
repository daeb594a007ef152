"""The seven edit types of Real-Edit, as maps from scene to scene, each with an instruction that has exactly
one right answer.
"""

from dataclasses import dataclass, replace
from random import Random
from typing import final

import numpy as np

from src.synthetic import filters, language
from src.synthetic.language import (
    COLOURS,
    FILLS,
    GLOBAL_FILTERS,
    HELD_OUT_PAIRS,
    PLACES,
    SHAPES,
    STYLE_FILTERS,
    TEXTURES,
)
from src.synthetic.scene import (
    RADII,
    GradientBackground,
    Renderer,
    Scene,
    SceneObject,
    held_out_pairs,
    pick,
    rgb,
    visible_colours,
)

EDIT_TYPES = ("local", "remove", "add", "texture", "background", "global", "style")
"""In the order of Real-Edit; the number of a benchmark case modulo seven is its position here."""

OBJECT_TYPES = ("local", "remove", "add", "texture")
"""Edits of a single object."""

VISIBLE_CHANGE = 0.08
"""The least mean change of a background at which a filter is visible."""

LOCAL_OPERATIONS = ("recolor", "reshape", "move")


@final
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
        target: the edited object before the edit, None if it is new or no object is edited.
        result: the edited object after the edit, None if it is gone or no object is edited.
    """

    type: str
    operation: str
    instruction: str
    after: Scene
    subject: str
    wanted: str
    target: SceneObject | None = None
    result: SceneObject | None = None

    @property
    def done(self) -> str:
        """The edit in the passive: "removed", "made blue"."""
        return language.fill_template(language.DONE[self.operation], wanted=self.wanted)

    @property
    def filters_image(self) -> bool:
        """Whether the edit is a filter over the whole image."""
        return self.type in ("global", "style")

    def kept(self, scene: Scene) -> tuple[SceneObject, ...]:
        """Objects of the scene before the edit that it must leave alone."""
        return tuple(obj for obj in scene.objects if obj is not self.target)


def matches(
    objects: tuple[SceneObject, ...], shape: str | None, colour: str | None, texture: str | None
) -> int:
    """The number of objects that a description fits; None leaves a property open."""
    wanted = (shape, colour, texture)
    return sum(
        all(
            want is None or want == has
            for want, has in zip(wanted, (obj.shape, obj.colour, obj.texture), strict=True)
        )
        for obj in objects
    )


def refer_to(rng: Random, objects: tuple[SceneObject, ...], obj: SceneObject) -> str:
    """Words that fit this object and no other: mostly colour and shape, sometimes fewer or other words that
    are enough.

    Raises:
        ValueError: another object has the same colour and shape.
    """
    options = ((obj.shape, None, obj.texture), (obj.shape, None, None), (None, obj.colour, None))
    if rng.random() < 0.25:
        shape, colour, texture = pick(rng, options)
        if matches(objects, shape, colour, texture) == 1:
            return " ".join(word for word in ("the", texture, colour, shape or "object") if word)
    if matches(objects, obj.shape, obj.colour, None) != 1:
        raise ValueError(f"no words single out {obj} in {objects}: two objects share colour and shape")
    return f"the {obj.colour} {obj.shape}"


def sample_edit(
    rng: Random, renderer: Renderer, scene: Scene, free_place: str, edit_type: str, held_out: bool = False
) -> Edit:
    """An edit of this type; no object ever becomes one of HELD_OUT_PAIRS.

    Args:
        rng: decides operation, object, value and wording.
        renderer: shows the scene, so that every edit is visible.
        scene: before the edit, without a filter.
        free_place: a place where one more object fits.
        edit_type: one of EDIT_TYPES.
        held_out: edit the first object of the scene, which is one of HELD_OUT_PAIRS, or add one of them.

    Raises:
        ValueError: an unknown edit type.
    """
    if edit_type in ("local", "texture", "remove"):
        operation = {"local": pick(rng, LOCAL_OPERATIONS), "texture": "texture", "remove": "remove"}[
            edit_type
        ]
        target = scene.objects[0] if held_out else pick(rng, scene.objects)
        return edit_object(rng, renderer, scene, free_place, edit_type, operation, target)
    if edit_type == "add":
        return add_object(rng, renderer, scene, free_place, held_out)
    if edit_type == "background":
        return change_background(rng, renderer, scene)
    if edit_type in ("global", "style"):
        filter_name = sample_filter(
            rng, renderer, scene, GLOBAL_FILTERS if edit_type == "global" else STYLE_FILTERS
        )
        instruction = language.choose_wording(language.INSTRUCTIONS[filter_name], rng)
        return Edit(
            edit_type,
            edit_type,
            instruction,
            replace(scene, filter_name=filter_name),
            "the picture",
            filter_name,
        )
    raise ValueError(f"unknown edit type {edit_type!r}: one of {', '.join(EDIT_TYPES)}")


def edit_object(
    rng: Random,
    renderer: Renderer,
    scene: Scene,
    free_place: str,
    edit_type: str,
    operation: str,
    target: SceneObject,
) -> Edit:
    """An edit of an object in the scene."""
    subject = refer_to(rng, scene.objects, target)
    others = tuple(obj for obj in scene.objects if obj is not target)
    if operation == "remove":
        wanted, result = "", None
    elif operation == "move":
        x, y = PLACES[free_place]
        wanted, result = free_place, replace(target, x=x, y=y, radius=RADII[0])
    else:
        wanted, result = changed_object(rng, renderer, scene, target, operation)
    instruction = language.choose_wording(
        language.INSTRUCTIONS[operation], rng, subject=subject, wanted=wanted
    )
    objects = others if result is None else tuple(result if obj is target else obj for obj in scene.objects)
    after = replace(scene, objects=objects)
    return Edit(edit_type, operation, instruction, after, subject, wanted, target, result)


def changed_object(
    rng: Random, renderer: Renderer, scene: Scene, target: SceneObject, operation: str, but: str = ""
) -> tuple[str, SceneObject]:
    """A new colour, shape or texture for an object, and the object with it.

    The new value is not `but`, and makes no twin of another object in colour and shape if that can be
    avoided. A twin is harmless, as only the scene before the edit is described.
    """
    taken = {(obj.shape, obj.colour) for obj in scene.objects} | HELD_OUT_PAIRS
    if operation == "recolor":
        visible = visible_colours(renderer, scene.background, target.x, target.y)
        options = [name for name in visible if (target.shape, name) not in taken and name != but]
        others = [name for name in COLOURS if name not in (target.colour, but)]
        wanted = pick(rng, options or [name for name in others if (target.shape, name) not in HELD_OUT_PAIRS])
        return wanted, replace(target, colour=wanted)
    if operation == "reshape":
        options = [name for name in SHAPES if (name, target.colour) not in taken and name != but]
        others = [name for name in SHAPES if name not in (target.shape, but)]
        wanted = pick(
            rng, options or [name for name in others if (name, target.colour) not in HELD_OUT_PAIRS]
        )
        return wanted, replace(target, shape=wanted)
    wanted = pick(rng, [name for name in TEXTURES if name not in (target.texture, but)])
    return wanted, replace(target, texture=wanted)


def add_object(
    rng: Random, renderer: Renderer, scene: Scene, free_place: str, held_out: bool = False
) -> Edit:
    """A new object at a named free place, with every property named; one of HELD_OUT_PAIRS or none."""
    x, y = PLACES[free_place]
    shape, texture = pick(rng, SHAPES), pick(rng, TEXTURES)
    taken = {(obj.shape, obj.colour) for obj in scene.objects}
    visible = visible_colours(renderer, scene.background, x, y)
    if held_out:
        shape, colour = pick(rng, held_out_pairs(visible))
    else:
        free_colours = [name for name in visible if (shape, name) not in taken | HELD_OUT_PAIRS]
        colour = pick(rng, free_colours or [name for name in visible if (shape, name) not in HELD_OUT_PAIRS])
    result = SceneObject(shape, colour, texture, x, y, RADII[0])
    instruction = language.choose_wording(
        language.INSTRUCTIONS["add"], rng, wanted=f"{texture} {colour} {shape}", place=free_place
    )
    return Edit(
        "add",
        "add",
        instruction,
        replace(scene, objects=(*scene.objects, result)),
        f"the {colour} {shape}",
        free_place,
        None,
        result,
    )


def change_background(rng: Random, renderer: Renderer, scene: Scene, but: str = "") -> Edit:
    """A plain colour or gradient, unlike the present background and in colours that no object has, so that
    none vanishes.
    """
    worn = {obj.colour for obj in scene.objects}
    before = renderer.block_colours(scene.background).mean(axis=(0, 1))
    fresh = [name for name in FILLS if name not in worn and name != but]
    options = [name for name in fresh if np.abs(rgb(name) - before).sum() > 0.5]
    first = pick(rng, options)
    if rng.random() < 0.5:
        background, wanted = GradientBackground(first, first, True), f"plain {first}"
    else:
        second, vertical = pick(rng, [name for name in fresh if name != first]), rng.random() < 0.5
        background, wanted = (
            GradientBackground(first, second, vertical),
            language.gradient_words(first, second, vertical),
        )
    instruction = language.choose_wording(language.INSTRUCTIONS["background"], rng, wanted=wanted)
    return Edit(
        "background",
        "background",
        instruction,
        replace(scene, background=background),
        "the background",
        wanted,
    )


def sample_filter(rng: Random, renderer: Renderer, scene: Scene, names: tuple[str, ...]) -> str:
    """A filter that visibly changes this background, else the one that changes it most (night hardly shows
    among the stars).
    """
    before = renderer.block_colours(scene.background)
    changes: dict[str, float] = {}
    while len(changes) < len(names):
        name = pick(rng, [name for name in names if name not in changes])
        changes[name] = float(np.abs(filters.apply_filter(name, before) - before).sum()) / before.size
        if changes[name] > VISIBLE_CHANGE:
            return name
    return max(changes, key=lambda name: changes[name])


def other_colour(rng: Random, obj: SceneObject) -> str:
    """A colour that the object doesn't have and may get."""
    return pick(
        rng, [name for name in COLOURS if name != obj.colour and (obj.shape, name) not in HELD_OUT_PAIRS]
    )


def with_held_out_wording(rng: Random, edit: Edit) -> Edit:
    """The same edit, asked for in one of the held-out wordings."""
    operation = edit.wanted if edit.operation in ("global", "style") else edit.operation
    parts = {"subject": edit.subject, "wanted": edit.wanted}
    if edit.operation == "add" and edit.result is not None:
        parts = {
            "wanted": f"{edit.result.texture} {edit.result.colour} {edit.result.shape}",
            "place": edit.wanted,
        }
    return replace(
        edit, instruction=language.choose_wording(language.HELD_OUT_INSTRUCTIONS[operation], rng, **parts)
    )
