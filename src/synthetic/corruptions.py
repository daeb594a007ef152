"""Edits corrupted on purpose in the paper's three ways, each with a severity in (0, 1].

Following and preserving are corrupted in the scene: another scene is rendered, and severity is its share in a
blend or the length of a shift. Quality is corrupted in the image. So any combination is possible, and what
each flaw affects is known.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import final

import numpy as np

from src.records import NO_FAILURE, PERSPECTIVES, Feedback, Perspective
from src.synthetic import language
from src.synthetic.degradations import QUALITY_FLAWS, cast, degrade
from src.synthetic.edits import (
    Edit,
    change_background,
    changed_object,
    edit_object,
    other_colour,
    refer_to,
    sample_filter,
)
from src.synthetic.language import GLOBAL_FILTERS, HELD_OUT_PAIRS, PLACES, STYLE_FILTERS
from src.synthetic.scene import (
    Background,
    FloatImage,
    PhotoBackground,
    Renderer,
    Scene,
    SceneObject,
    pick,
    sample_background,
)

FAILURE_RATE = 0.56
"""How often each perspective fails, independently of the others: more than half of the triplets score below 5
in each, and one in eleven is clean.
"""

RATE_IF_ONE_FAILS = 0.482
"""The same rate where triplets without failure are drawn again: r / (1 - (1 - r)^3) = FAILURE_RATE, so each
perspective fails as often.
"""

CLEAR_SEVERITY = 0.5
"""Severity from which a flaw is clearly one. Where no triplet may be good in all perspectives, at least one
flaw of each is this severe.
"""

MAX_SHIFT = 0.13
"""Length of a full shift of the background along each axis, in image widths."""

MAX_LONE_SEVERITY = 0.6
"""Limit where a new background leaves only one object of the scene, which must stay recognisable."""

CAST_TINTS = ("red", "green", "blue", "yellow", "purple", "cyan")


@final
@dataclass(frozen=True)
class Flaw:
    """One thing that went wrong.

    Attributes:
        kind: a key of language.FEEDBACK.
        severity: in (0, 1].
        feedback: what failed and where.
        scene: for following, the scene in place of the right answer.
        affected: the kept object that suffers, None if it is the background or the colours.
        replacement: what that object becomes, None if it disappears.
        background: for preserving, the background in place of the right one.
        tint: for a colour cast, the name of its colour.
    """

    kind: str
    severity: float
    feedback: str
    scene: Scene | None = None
    affected: SceneObject | None = None
    replacement: SceneObject | None = None
    background: Background | None = None
    tint: str = ""

    def as_touched(self, rng: Random) -> "Flaw":
        """The preserving flaw that comes with an edit of the wrong object: that object should have been left
        alone.
        """
        if self.affected is None:
            raise ValueError(f"a failure of kind {self.kind!r} touches no other object")
        other = f"the {self.affected.colour} {self.affected.shape}"
        return Flaw(
            "touched", self.severity, language.choose_wording(language.FEEDBACK["touched"], rng, other=other)
        )

    def apply_to(self, scene: Scene) -> Scene:
        """The scene with this preserving flaw at full severity."""
        if self.background is not None:
            return replace(scene, background=self.background)
        replacement = () if self.replacement is None else (self.replacement,)
        objects = tuple(
            new for obj in scene.objects for new in (replacement if obj == self.affected else (obj,))
        )
        return replace(scene, objects=objects)


@final
@dataclass(frozen=True)
class Corruption:
    """What goes wrong with one edit, None where nothing does. `seed` decides the noise."""

    following: Flaw | None = None
    preserving: Flaw | None = None
    quality: Flaw | None = None
    seed: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing goes wrong."""
        return self.following is None and self.preserving is None and self.quality is None

    @property
    def severity(self) -> float:
        """Severity of the worst flaw, 0 without one."""
        return max(
            (flaw.severity for flaw in (self.following, self.preserving, self.quality) if flaw is not None),
            default=0.0,
        )

    def flaw(self, perspective: Perspective) -> Flaw | None:
        """What went wrong in this perspective."""
        return {
            Perspective.FOLLOWING: self.following,
            Perspective.PRESERVING: self.preserving,
            Perspective.QUALITY: self.quality,
        }[perspective]

    @property
    def feedback(self) -> Feedback:
        """One text per perspective, "None" where nothing failed."""
        following, preserving, quality = (
            NO_FAILURE if flaw is None else flaw.feedback
            for flaw in (self.following, self.preserving, self.quality)
        )
        return following, preserving, quality


def sample_corruption(
    rng: Random, renderer: Renderer, scene: Scene, edit: Edit, free_place: str, never_all_good: bool = False
) -> Corruption:
    """What goes wrong with a training triplet.

    An edit of the wrong object always affects preserving too; otherwise the perspectives fail independently.

    Args:
        rng: decides everything.
        renderer: shows what would be visible.
        scene: before the edit.
        edit: the edit that goes wrong.
        free_place: the place that was free before the edit.
        never_all_good: whether at least one perspective must fail, and clearly.
    """
    fails = sample_failures(rng, never_all_good)
    corruption = sample_flaws(rng, renderer, scene, edit, free_place, fails)
    # Severities and kinds are drawn again, but not what fails, so each perspective still fails as often.
    while never_all_good and corruption.severity < CLEAR_SEVERITY:
        corruption = sample_flaws(rng, renderer, scene, edit, free_place, fails)
    return corruption


def sample_flaws(
    rng: Random, renderer: Renderer, scene: Scene, edit: Edit, free_place: str, fails: Sequence[bool]
) -> Corruption:
    """Flaws in the perspectives that fail, and in preserving if the wrong object is edited."""
    following = sample_following_flaw(rng, renderer, scene, edit, free_place) if fails[0] else None
    if following is not None and following.kind == "wrong object":
        preserving = following.as_touched(rng)
    else:
        preserving = sample_preserving_flaw(rng, renderer, scene, edit) if fails[1] else None
    quality = sample_quality_flaw(rng) if fails[2] else None
    seed = int(rng.random() * 2**53)
    return Corruption(following, preserving, quality, seed)


def sample_failures(rng: Random, never_all_good: bool) -> list[bool]:
    """Which perspectives fail: each at FAILURE_RATE; with `never_all_good` at least one does."""
    rate = RATE_IF_ONE_FAILS if never_all_good else FAILURE_RATE
    while True:
        fails = [rng.random() < rate for _ in PERSPECTIVES]
        if any(fails) or not never_all_good:
            return fails


def sample_following_flaw(
    rng: Random, renderer: Renderer, scene: Scene, edit: Edit, free_place: str, kind: str | None = None
) -> Flaw:
    """The edit not done, half done, done to another object, or done with another result.

    Args:
        rng: decides what the other arguments leave open.
        renderer: shows what would be visible.
        scene: before the edit.
        edit: the edit that goes wrong.
        free_place: the place that was free before the edit.
        kind: one of "missing", "partial", "wrong object", "wrong result"; None for any possible one.

    Raises:
        ValueError: this kind of failure is not possible for this edit.
    """
    kinds = following_kinds(scene, edit)
    if kind is not None and kind not in kinds:
        raise ValueError(f"{edit.instruction!r} can't fail by {kind!r}; possible: {', '.join(kinds)}")
    kind = pick(rng, kinds) if kind is None else kind
    other, got, wrong, victim, spoiled = "", "", scene, None, language.PROPERTY[edit.operation]
    severity = 1.0
    if kind == "partial":
        severity = 0.3 + 0.5 * rng.random()
    elif kind == "wrong object":
        victim = pick(rng, edit.kept(scene))
        other = f"the {victim.colour} {victim.shape}"
        wrong = wrong_object(rng, renderer, scene, edit, free_place, victim)
    elif kind == "wrong result":
        got, spoiled, wrong = wrong_result(rng, renderer, scene, edit)
    wordings = language.FEEDBACK[kind]
    parts = {"subject": edit.subject, "done": edit.done, "other": other, "got": got, "property": spoiled}
    usable = tuple(wording for wording in wordings if got or "{got}" not in wording)
    return Flaw(kind, severity, language.choose_wording(usable, rng, **parts), scene=wrong, affected=victim)


def following_kinds(scene: Scene, edit: Edit) -> tuple[str, ...]:
    """How this edit can fail."""
    kinds = ["missing", "partial"]
    if edit.operation != "remove":
        kinds.append("wrong result")
    if edit.target is not None and len(scene.objects) > 1:
        kinds.append("wrong object")
    return tuple(kinds)


def wrong_object(
    rng: Random, renderer: Renderer, scene: Scene, edit: Edit, free_place: str, victim: SceneObject
) -> Scene:
    """The scene in which the edit was done to the victim."""
    if edit.result is None or edit.operation == "move":
        return edit_object(rng, renderer, scene, free_place, edit.type, edit.operation, victim).after
    attribute = {"recolor": "colour", "reshape": "shape", "texture": "texture"}[edit.operation]
    changed = replace(victim, **{attribute: edit.wanted})
    # An object that has the wanted value already, or would become a held-out pair, gets another value.
    if changed == victim or (changed.shape, changed.colour) in HELD_OUT_PAIRS:
        changed = changed_object(rng, renderer, scene, victim, edit.operation)[1]
    return replace(scene, objects=tuple(changed if obj is victim else obj for obj in scene.objects))


def wrong_result(rng: Random, renderer: Renderer, scene: Scene, edit: Edit) -> tuple[str, str, Scene]:
    """The right object with the wrong value, as (that value in words, the wrong property, the scene); the
    words are "" where one word would not be clear.
    """
    spoiled = language.PROPERTY[edit.operation]
    if edit.operation in ("recolor", "reshape", "texture") and edit.target is not None:
        got, changed = changed_object(rng, renderer, scene, edit.target, edit.operation, but=edit.wanted)
        wrong = replace(scene, objects=tuple(changed if obj is edit.target else obj for obj in scene.objects))
        return ("" if edit.operation == "reshape" else got), spoiled, wrong
    if edit.result is not None:
        place = other_place(rng, scene, edit, edit.result)
        if place is None:
            colour = other_colour(rng, edit.result)
            return (
                "",
                "color",
                replace(scene, objects=(*edit.kept(scene), replace(edit.result, colour=colour))),
            )
        return (
            "",
            spoiled,
            replace(scene, objects=(*edit.kept(scene), replace(edit.result, x=place[0], y=place[1]))),
        )
    if edit.type == "background":
        return "", spoiled, change_background(rng, renderer, scene, but=edit.wanted.split()[-1]).after
    filter_names = tuple(
        filter_name
        for filter_name in (GLOBAL_FILTERS if edit.type == "global" else STYLE_FILTERS)
        if filter_name != edit.wanted
    )
    got = sample_filter(rng, renderer, scene, filter_names)
    return got, spoiled, replace(scene, filter_name=got)


def other_place(rng: Random, scene: Scene, edit: Edit, result: SceneObject) -> tuple[float, float] | None:
    """Another free place for the added or moved object, None if there is none."""
    occupied = [obj for obj in (*edit.kept(scene), result, edit.target) if obj is not None]
    places = [
        place for place in PLACES.values() if not any(obj.overlaps(*place, result.radius) for obj in occupied)
    ]
    return pick(rng, places) if places else None


def preserving_kinds(scene: Scene, edit: Edit) -> tuple[str, ...]:
    """How the rest of this scene can suffer.

    Under a filter, only losses and shifts can be distinguished from the filter itself. A background is
    replaced or shifted only where a kept object still shows which scene it is, as otherwise nothing would be
    left to follow or preserve.
    """
    kept, filtered = edit.kept(scene), edit.filters_image
    kinds = []
    if kept:
        kinds += ["removed"] if filtered else ["removed", "altered"]
    if edit.type != "background" and isinstance(scene.background, PhotoBackground) and kept:
        kinds += ["shifted"] if filtered else ["shifted", "replaced"]
    if edit.type != "background" and not filtered:
        kinds.append("cast")
    return tuple(kinds)


def sample_preserving_flaw(
    rng: Random, renderer: Renderer, scene: Scene, edit: Edit, kind: str | None = None
) -> Flaw:
    """A kept object removed or recoloured, the background shifted or replaced, or a colour cast.

    Raises:
        ValueError: this kind of failure is not possible for this scene and edit.
    """
    kinds = preserving_kinds(scene, edit)
    if kind is not None and kind not in kinds:
        raise ValueError(
            f"{edit.instruction!r} can't change the rest by {kind!r}; possible: {', '.join(kinds)}"
        )
    kind = pick(rng, kinds) if kind is None else kind
    severity = 0.25 + 0.75 * rng.random()
    affected = replacement = background = None
    tint = other = ""
    if edit.type == "background" and len(scene.objects) == 1:
        severity = min(severity, MAX_LONE_SEVERITY)
    if kind in ("removed", "altered"):
        affected = pick(rng, edit.kept(scene))
        other = refer_to(rng, scene.objects, affected)
        if kind == "altered":
            but = edit.wanted.split()[-1] if edit.wanted else ""
            replacement = changed_object(rng, renderer, scene, affected, "recolor", but)[1]
    elif kind == "shifted":
        background = shift_background(rng, renderer, scene.background, severity)
    elif kind == "replaced":
        background = replace_background(rng, renderer, scene.background)
    elif kind == "cast":
        tint = pick(rng, CAST_TINTS)
    feedback = language.choose_wording(language.FEEDBACK[kind], rng, other=other)
    return Flaw(kind, severity, feedback, None, affected, replacement, background, tint)


def shift_background(
    rng: Random, renderer: Renderer, background: Background, severity: float
) -> PhotoBackground:
    """Move the crop along both axes, each towards the side with more room in the photograph.

    Raises:
        ValueError: the background is no photograph.
    """
    if not isinstance(background, PhotoBackground):
        raise ValueError(f"only a photograph can be shifted, the background is {background}")
    height, width = renderer.library.scaled(background.split, background.photo, background.zoom).shape[:2]
    left, top = (
        start + reach
        if start + reach <= side / renderer.size - 1 and (rng.random() < 0.5 or start < reach)
        else max(0.0, start - reach)
        for start, side, reach in (
            (background.left, width, MAX_SHIFT * severity),
            (background.top, height, MAX_SHIFT * severity),
        )
    )
    return replace(background, left=left, top=top)


def replace_background(rng: Random, renderer: Renderer, background: Background) -> Background:
    """Another background of the same split: the most different one of two, so that the change shows."""
    split = background.split if isinstance(background, PhotoBackground) else "train"
    options = [sample_background(rng, renderer, split) for _ in range(2)]
    return max(
        options,
        key=lambda option: float(
            np.abs(renderer.block_colours(option) - renderer.block_colours(background)).sum()
        ),
    )


def sample_quality_flaw(rng: Random, kind: str | None = None) -> Flaw:
    """Noise, blur, compression or banding.

    Raises:
        ValueError: an unknown kind.
    """
    if kind is not None and kind not in QUALITY_FLAWS:
        raise ValueError(f"unknown quality flaw {kind!r}: one of {', '.join(QUALITY_FLAWS)}")
    kind = pick(rng, QUALITY_FLAWS) if kind is None else kind
    return Flaw(kind, 0.25 + 0.75 * rng.random(), language.choose_wording(language.FEEDBACK[kind], rng))


def corrupt(renderer: Renderer, edit: Edit, corruption: Corruption) -> FloatImage:
    """Render the edited image with its flaws; without flaws it is the exact edit.

    The wrong scene and the changed rest are blended in by their shares in turn, which takes up to four
    scenes.
    """
    following, preserving = corruption.following, corruption.preserving
    scenes = [(edit.after, 1.0)]
    if following is not None and following.scene is not None:
        scenes = blend_in(scenes, lambda scene: following.scene or scene, following.severity)
    if preserving is not None and preserving.kind in ("removed", "altered", "shifted", "replaced"):
        share = 1.0 if preserving.kind == "shifted" else preserving.severity
        scenes = blend_in(scenes, preserving.apply_to, share)
    image = renderer.render(scenes[0][0])
    if len(scenes) > 1:
        image *= np.float32(scenes[0][1])
        for scene, weight in scenes[1:]:
            image += renderer.render(scene) * np.float32(weight)
    if preserving is not None and preserving.kind == "cast":
        image = cast(image, preserving.tint, preserving.severity)
    return (
        image
        if corruption.quality is None
        else degrade(image, corruption.quality.kind, corruption.quality.severity, corruption.seed)
    )


def blend_in(
    scenes: list[tuple[Scene, float]], change: Callable[[Scene], Scene], share: float
) -> list[tuple[Scene, float]]:
    """Weighted scenes after a change that takes this share of each."""
    changed = [(change(scene), weight * share) for scene, weight in scenes]
    return changed if share == 1 else [(scene, weight * (1 - share)) for scene, weight in scenes] + changed
