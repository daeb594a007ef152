"""The oracle: how good an image is as an answer to an edit of a known scene, as three scores in [0, 5],
success, and what failed in words.

Any image can be measured, also one from a half-trained editor. Nothing compares pixel by pixel:
- noise, coding, shift and blur are read first (observation.py), and what should be seen is put through them;
- the share of the edit that is done, or another filter, explains the image (explanation.py);
- objects are described by robust attributes (attributes.py), backgrounds and filters as wholes
  (background.py);
- following: how far the description of what the edit changes went from the original to the right answer
  (following.py);
- preserving: how alike the objects and the background that the edit leaves alone still are; the worst counts
  as much as the average. What changes the whole image on purpose is undone first;
- quality: flaws against the scene's own rendering, as far as it is recognised (quality.py). Doing the edit,
  not doing it, or doing another one should be no flaw of quality;
- an image in which nothing of the scene is recognised follows and preserves nothing, whatever its averages;
- success is decided by attributes where there are objects, fills or one filter (is it there, is the wanted
  colour the nearest known one, which filter explains the image), else by shares: for objects under a filter,
  a kept background, and a filter that is partly there.

The laws that all this should obey are in tests/synthetic/test_laws.py, the measured exceptions in
tests/synthetic/known_exceptions.py.
"""

from dataclasses import dataclass, replace
from typing import final

import numpy as np
from jaxtyping import Bool

from src.records import MAX_SCORE, NO_FAILURE, Feedback, Image, Scores
from src.synthetic import language, quality
from src.synthetic.attributes import Similarity, lacks_object, recognise, shows_object
from src.synthetic.background import (
    background_known,
    background_similarity,
    nearest_fills,
    ramp,
    scene_likeness,
)
from src.synthetic.earlier_flaw import find_earlier_flaw
from src.synthetic.edits import Edit
from src.synthetic.explanation import Explanation, View, best_view, explain
from src.synthetic.following import edit_progress
from src.synthetic.ground_truth import GroundTruth
from src.synthetic.observation import Observation, observe
from src.synthetic.scene import FloatImage, GradientBackground, block_means, object_box

NOTICED = 0.8
"""Feedback names a failure below this share."""

SAME_PLACE = 0.5
"""Above this share a background is recognised as the same one, and an object under a filter as present."""

LOST = 0.7
"""Below this share a kept object is not what it should be, so its quality can't be judged by what it should
be.
"""

VISIBLE = 0.4
"""Severity from which a flaw of quality is plainly seen."""

FAR_SHIFT = 0.13
"""A background shifted by this many image widths is not in its place at all."""


@final
@dataclass(frozen=True)
class Measurement:
    """Scores, success and feedback in the order following, preserving, quality."""

    scores: Scores
    success: tuple[bool, bool, bool]
    feedback: Feedback


def measure(truth: GroundTruth, edited: Image) -> Measurement:
    """Measure any image as an answer to the edit; a function of its pixels alone.

    Raises:
        ValueError: the image has another size than the scene's.
    """
    if edited.shape != truth.original.shape:
        raise ValueError(
            f"an image of shape {edited.shape} can't answer a scene of {truth.original.shape}: edit at "
            "the scene's size"
        )
    seen = observe(truth, edited)
    explained = explain(seen)
    view = best_view(seen, explained)
    background = background_parts(seen, explained)
    parts = (*background, *view.objects)
    recognised = recognised_share(seen, explained, parts)
    following = recognised * edit_progress(view.truth, view.image, explained.colours, explained.grain)
    preserving = recognised * preserved_share(background, view.objects)
    flaws = find_flaws(seen, explained, view)
    sharpness = float(1 - min(1.0, quality.total_severity(flaws)))
    worst_flaw = max(flaws, key=lambda kind: flaws[kind])
    return Measurement(
        scores=(MAX_SCORE * following, MAX_SCORE * preserving, MAX_SCORE * sharpness),
        success=(
            recognised > 0.5 and follows(view, explained),
            recognised > 0.5 and preserves(view, parts, explained.is_filtered),
            flaws[worst_flaw] < VISIBLE,
        ),
        feedback=(
            following_feedback(truth.edit, following, explained.done, recognised),
            preserving_feedback(parts, preserving, recognised),
            NO_FAILURE if sharpness > NOTICED else language.FEEDBACK[worst_flaw][0],
        ),
    )


# --- shares


def background_parts(seen: Observation, explained: Explanation) -> list[Similarity]:
    """How much of the background is there, and how little it is shifted."""
    parts = []
    if seen.truth.edit.type != "background":
        free, expected = seen.free_blocks, explained.recoloured.blocks
        parts.append(background_similarity(seen.blocks[free], expected[free], explained.block_noise))
    if seen.shift != (0, 0):
        longest = max(abs(step) for step in seen.shift)
        parts.append(Similarity(1 - ramp(longest / seen.size, 0.0, FAR_SHIFT), "shifted"))
    return parts


def recognised_share(seen: Observation, explained: Explanation, parts: tuple[Similarity, ...]) -> float:
    """How surely the scene is recognised, 0..1: by its best kept part, or by its structure."""
    colours = explained.colours
    references = (colours.original, colours.exact, explained.recoloured.blocks)
    likeness = scene_likeness(seen.blocks, references, explained.block_noise)
    best = max((part.share for part in parts), default=1.0)
    return max(ramp(best, 0.2, 0.5), ramp(likeness, 0.45, 0.75)) * ramp(likeness, 0.2, 0.45)


def preserved_share(background: list[Similarity], objects: list[Similarity]) -> float:
    """One share from many: half the worst, half the average of background and objects; 1 for none."""
    groups = [[part.share for part in group] for group in (background, objects) if group]
    if not groups:
        return 1.0
    means = [sum(group) / len(group) for group in groups]
    return 0.5 * min(1.0, *(share for group in groups for share in group)) + 0.5 * sum(means) / len(means)


# --- quality


def find_flaws(seen: Observation, explained: Explanation, view: View) -> dict[str, float]:
    """The severity of each flaw of quality, from 0."""
    judged = judged_places(seen.truth, seen.free_pixels, view.objects)
    solid = seen.as_seen.transmittance_after.mean(axis=2) < 0.05
    evidence = quality.Evidence(
        view.image,
        explained.expected.image if explained.is_filtered else view.reference,
        explained.expected.sharp,
        seen.traces,
        seen.blur_width,
        judged,
        solid & judged,
        explained.known,
        is_complete=all(obj.share > LOST for obj in view.objects),
    )
    earlier = find_earlier_flaw(
        seen.image, possible_scenes(seen, explained), seen.traces, seen.blur_width, judged
    )
    if earlier is None:
        return quality.measure_flaws(evidence)
    # An earlier flaw is part of what the last one was added to.
    evidence = replace(
        evidence,
        image=seen.image,
        explained=earlier.seen,
        sharp=earlier.spoiled,
        width=earlier.width,
        known=background_known(
            seen.blocks, block_means(earlier.seen), seen.free_blocks, explained.block_noise
        ),
    )
    flaws = quality.measure_flaws(evidence)
    return {**flaws, earlier.kind: max(flaws[earlier.kind], earlier.severity)}


def possible_scenes(seen: Observation, explained: Explanation) -> list[FloatImage]:
    """How the scene may look, neither blurred nor coded: as explained and, where the edit changes most of the
    image, not edited or fully edited.
    """
    truth, scenes = seen.truth, [explained.expected.sharp]
    if explained.expected.filter_name is not None:
        return scenes
    if truth.edit.filters_image or truth.edit.type == "background":
        ends = ((0, truth.original), (1, truth.exact))
        scenes += [scene for share, scene in ends if explained.done != share]
    return scenes


def judged_places(
    truth: GroundTruth, free_pixels: Bool[np.ndarray, "h w"], objects: list[Similarity]
) -> Bool[np.ndarray, "h w"]:
    """Where quality is judged: outside the boxes of edited objects and of kept ones that are not as they
    should be.
    """
    size = free_pixels.shape[0]
    judged = np.ones_like(free_pixels)
    edited = [obj for obj in (truth.edit.target, truth.edit.result) if obj is not None]
    lost = {obj.name for obj in objects if obj.share < LOST}
    edited += [obj for obj in truth.edit.kept(truth.scene) if f"the {obj.colour} {obj.shape}" in lost]
    for obj in edited:
        rows, columns = object_box(obj.x, obj.y, obj.radius, size)
        judged[max(0, rows.start - 1) : rows.stop + 1, max(0, columns.start - 1) : columns.stop + 1] = False
    return judged if judged.mean() > 0.2 else np.ones_like(free_pixels)


# --- success


def follows(view: View, explained: Explanation) -> bool:
    """Whether the image shows what the edit asks for, attribute by attribute."""
    truth, image = view.truth, view.image
    edit, target, result = truth.edit, truth.edit.target, truth.edit.result
    if edit.filters_image:
        filter_name = explained.expected.filter_name
        return filter_name == edit.wanted or (filter_name is None and explained.done > 0.5)
    if edit.type == "background":
        background = edit.after.background
        if not isinstance(background, GradientBackground):
            raise ValueError(f"backgrounds are changed into fills, this one into {background}")
        # A photograph may have the wanted colour on average, so its structure must be gone as well.
        fills = nearest_fills(background, explained.colours.image, explained.colours.free)
        return explained.done > 0.5 and fills == (background.first, background.second)
    left_behind = target is not None and (result is None or (result.x, result.y) != (target.x, target.y))
    if (
        left_behind
        and target is not None
        and not lacks_object(target, image, truth.original, truth.background_before)
    ):
        return False
    return result is None or shows_object(result, image, truth.background_after)


def preserves(view: View, parts: tuple[Similarity, ...], by_share: bool) -> bool:
    """Whether every kept object has its own colour and texture, and the background is the same one."""
    if by_share:
        return all(part.share > SAME_PLACE for part in parts)
    judged = {part.name for part in parts}
    for obj in view.truth.edit.kept(view.truth.scene):
        if f"the {obj.colour} {obj.shape}" in judged:
            found = recognise(obj, view.image, view.background)
            if not found.present or found.colour != obj.colour or found.texture != obj.texture:
                return False
    return all(part.share > SAME_PLACE for part in parts if not part.name)


# --- words


def following_feedback(edit: Edit, following: float, done: float, recognised: float) -> str:
    """What failed in following, "None" if nothing did."""
    if following > NOTICED:
        return NO_FAILURE
    kind = "missing" if done < 0.3 or recognised < 1 else "partial" if following > 0.25 else "wrong result"
    return language.fill_template(
        language.FEEDBACK[kind][0],
        subject=edit.subject,
        done=edit.done,
        property=language.PROPERTY[edit.operation],
    )


def preserving_feedback(parts: tuple[Similarity, ...], preserving: float, recognised: float) -> str:
    """What failed in preserving, "None" if nothing did."""
    if preserving > NOTICED:
        return NO_FAILURE
    worst = min(parts, key=lambda part: part.share, default=Similarity(1.0, "unrelated"))
    kind = "unrelated" if recognised < 0.5 else worst.kind
    return language.fill_template(language.FEEDBACK[kind][0], other=worst.name)
