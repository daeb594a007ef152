"""Every word of the synthetic world: names, and wordings of instructions and feedback.

The language is closed, so a small tokenizer can know all of it and a test can show that no other word occurs.
Text is lower case without punctuation. Feedback says what failed and where; how badly is left to the score.
"""

import re
from collections.abc import Mapping
from random import Random

from src.records import NO_FAILURE

SHAPES = ("circle", "square", "triangle", "cross")
TEXTURES = ("plain", "striped", "dotted", "checkered")
COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (215, 30, 35),
    "green": (35, 150, 60),
    "blue": (35, 70, 215),
    "yellow": (245, 220, 40),
    "purple": (135, 40, 180),
    "orange": (250, 135, 15),
    "cyan": (60, 215, 225),
    "pink": (255, 135, 195),
}
NEUTRALS: Mapping[str, tuple[int, int, int]] = {
    "white": (245, 245, 245),
    "black": (15, 15, 15),
    "gray": (128, 128, 128),
}
FILLS: Mapping[str, tuple[int, int, int]] = {**COLOURS, **NEUTRALS}
"""Colours of plain and gradient backgrounds; only COLOURS are used for objects."""

PLACES: Mapping[str, tuple[float, float]] = {
    "top left": (6 / 32, 6 / 32),
    "top": (16 / 32, 6 / 32),
    "top right": (26 / 32, 6 / 32),
    "left": (6 / 32, 16 / 32),
    "right": (26 / 32, 16 / 32),
    "bottom left": (6 / 32, 26 / 32),
    "bottom": (16 / 32, 26 / 32),
    "bottom right": (26 / 32, 26 / 32),
}
"""Named places as (x, y) in the unit square, y from the top; not the middle, which would leave no room for
other objects.
"""

GLOBAL_FILTERS = ("night", "sepia", "gray", "foggy", "sunset", "underwater")
STYLE_FILTERS = ("sketch", "poster", "negative", "stencil")

INSTRUCTIONS: Mapping[str, tuple[str, ...]] = {
    "recolor": (
        "make {subject} {wanted}",
        "paint {subject} {wanted}",
        "change the color of {subject} to {wanted}",
    ),
    "reshape": (
        "turn {subject} into a {wanted}",
        "change the shape of {subject} to a {wanted}",
        "give {subject} the shape of a {wanted}",
    ),
    "move": (
        "move {subject} to the {wanted}",
        "shift {subject} to the {wanted}",
        "bring {subject} to the {wanted}",
    ),
    "remove": ("remove {subject}", "delete {subject}", "erase {subject}", "take away {subject}"),
    "add": (
        "add a {wanted} at the {place}",
        "put a {wanted} at the {place}",
        "draw a {wanted} at the {place}",
    ),
    "texture": (
        "make {subject} {wanted}",
        "give {subject} a {wanted} surface",
        "change the texture of {subject} to {wanted}",
    ),
    "background": (
        "change the background to {wanted}",
        "replace the background with {wanted}",
        "make the background {wanted}",
    ),
    "night": ("make it night", "turn the picture into a night scene", "let the picture look like night"),
    "sepia": ("give the picture a sepia tone", "make the picture sepia", "turn everything sepia"),
    "gray": ("make the picture gray", "take all color out of the picture", "turn everything gray"),
    "foggy": ("make it foggy", "put fog over the picture", "cover the picture with fog"),
    "sunset": (
        "make it look like sunset",
        "give the picture a sunset light",
        "turn the picture into a sunset scene",
    ),
    "underwater": (
        "make it look underwater",
        "put the picture underwater",
        "turn the picture into an underwater scene",
    ),
    "sketch": (
        "turn the picture into a sketch",
        "draw the picture as a sketch",
        "make it look like a sketch",
    ),
    "poster": (
        "turn the picture into a poster",
        "make it look like a poster",
        "give the picture the style of a poster",
    ),
    "negative": (
        "turn the picture into a negative",
        "make it look like a negative",
        "show the picture as a negative",
    ),
    "stencil": (
        "turn the picture into a stencil",
        "make it look like a stencil",
        "draw the picture as a stencil",
    ),
}

HELD_OUT_INSTRUCTIONS: Mapping[str, tuple[str, ...]] = {
    "recolor": ("turn {subject} {wanted}", "give {subject} a {wanted} color"),
    "reshape": ("make {subject} look like a {wanted}", "change {subject} into a {wanted}"),
    "move": ("take {subject} to the {wanted}", "put {subject} at the {wanted}"),
    "remove": ("take {subject} away", "take {subject} out of the picture"),
    "add": ("show a {wanted} at the {place}", "bring a {wanted} into the picture at the {place}"),
    "texture": ("change the surface of {subject} to {wanted}", "make the surface of {subject} {wanted}"),
    "background": ("turn the background into {wanted}", "give the picture the background {wanted}"),
    "night": ("make everything look like night", "change the picture to night"),
    "sepia": ("change the color of the picture to sepia", "let everything look sepia"),
    "gray": ("make everything gray", "change the picture to gray"),
    "foggy": ("let the picture look foggy", "put fog over everything"),
    "sunset": ("make the picture look like sunset", "change the light to sunset"),
    "underwater": ("make the picture look underwater", "put everything underwater"),
    "sketch": ("make the picture a sketch", "show the picture as a sketch"),
    "poster": ("make the picture a poster", "show the picture as a poster"),
    "negative": ("make the picture a negative", "change the picture into a negative"),
    "stencil": ("make the picture a stencil", "show the picture as a stencil"),
}
"""Known words in sentences that only the split `wordings` contains."""

HELD_OUT_PAIRS = frozenset(
    {("circle", "purple"), ("square", "cyan"), ("triangle", "orange"), ("cross", "green")}
)
"""(shape, colour) of objects that only the split `pairs` shows and names. They cover every shape, and at most
one shape of each colour, so that both are known from elsewhere and enough colours and shapes remain to choose
from.
"""

# What was done to the subject, in the passive, and the property that can be wrong.
DONE: Mapping[str, str] = {
    "recolor": "made {wanted}",
    "reshape": "turned into a {wanted}",
    "move": "moved",
    "remove": "removed",
    "add": "added",
    "texture": "made {wanted}",
    "background": "changed",
    "global": "made {wanted}",
    "style": "made a {wanted}",
}
PROPERTY: Mapping[str, str] = {
    "recolor": "color",
    "reshape": "shape",
    "move": "place",
    "remove": "place",
    "add": "place",
    "texture": "texture",
    "background": "color",
    "global": "look",
    "style": "style",
}

FEEDBACK: Mapping[str, tuple[str, ...]] = {
    # following
    "missing": (
        "{subject} was not {done}",
        "{subject} has not been {done}",
        "{subject} should have been {done}",
    ),
    "partial": (
        "{subject} was only partly {done}",
        "{subject} was only half {done}",
        "{subject} was not fully {done}",
    ),
    "wrong object": (
        "the wrong object was {done}",
        "{other} was {done} by mistake",
        "{other} was {done} and not {subject}",
    ),
    "wrong result": (
        "{subject} has the wrong {property}",
        "the {property} of {subject} is wrong",
        "{subject} got {got} by mistake",
    ),
    # preserving
    "removed": ("{other} has disappeared", "{other} was lost", "{other} is missing"),
    "altered": (
        "{other} has changed its color",
        "the color of {other} has changed",
        "{other} has another color now",
    ),
    "shifted": ("the background was shifted", "the background has moved", "the background is out of place"),
    "replaced": (
        "the background was replaced",
        "the background is a different one",
        "another background is shown",
    ),
    "cast": (
        "the picture has a color cast",
        "all colors are tinted",
        "the colors of the background have changed",
    ),
    "touched": ("{other} was changed", "{other} is not as before", "{other} should not have changed"),
    "unrelated": (
        "the scene is a different one",
        "nothing of the scene was kept",
        "the whole scene has changed",
    ),
    # quality
    "noise": ("the picture is noisy", "there is noise everywhere", "the picture looks grainy"),
    "blur": ("the picture is blurred", "everything is out of focus", "details are not sharp"),
    "jpeg": (
        "the picture shows blocks",
        "there are compression blocks",
        "the picture is strongly compressed",
    ),
    "banding": ("the colors show bands", "there are bands in the colors", "smooth areas show steps"),
}

GENERAL: Mapping[str, tuple[str, ...]] = {
    "following": (
        "the edit is not right",
        "the edit was not done as it should have been",
        "this is not the right edit",
    ),
    "preserving": (
        "something else has changed",
        "not everything was kept as before",
        "something should not have changed",
    ),
    "quality": ("the picture has flaws", "the picture does not look right", "the picture looks bad"),
}
"""Texts too general to help, by perspective."""


def fill_template(template: str, **parts: str) -> str:
    """Fill a template; parts that it does not name are ignored."""
    return template.format(**parts)


def choose_wording(wordings: tuple[str, ...], rng: Random, **parts: str) -> str:
    """One of the wordings, filled."""
    return fill_template(wordings[int(rng.random() * len(wordings))], **parts)


def gradient_words(first: str, second: str, vertical: bool) -> str:
    """Words for a gradient that fit exactly one image."""
    start, end = ("top", "bottom") if vertical else ("left", "right")
    return f"a gradient from {first} at the {start} to {second} at the {end}"


def vocabulary() -> tuple[str, ...]:
    """Every word that instructions and feedback can contain, sorted, and "None"."""
    templates = [
        *DONE.values(),
        *PROPERTY.values(),
        *gradient_words("a", "a", True).split(),
        *gradient_words("a", "a", False).split(),
    ]
    for wordings in (
        *INSTRUCTIONS.values(),
        *HELD_OUT_INSTRUCTIONS.values(),
        *FEEDBACK.values(),
        *GENERAL.values(),
    ):
        templates.extend(wordings)
    names = [
        *SHAPES,
        *TEXTURES,
        *FILLS,
        *PLACES,
        *GLOBAL_FILTERS,
        *STYLE_FILTERS,
        "the background",
        "the picture",
        "the object",
        NO_FAILURE,
    ]
    return tuple(
        sorted({word for text in (*templates, *names) for word in re.sub(r"\{\w+\}", " ", text).split()})
    )
