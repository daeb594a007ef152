"""What a image is worth as an answer to an edit of a known scene: three scores in [0, 5], success, and what
failed in words.

Any image can be measured, a half-trained model's included. Nothing here compares pixels one by one:
- objects are described by robust attributes (attributes.py), backgrounds and looks as wholes
  (surroundings.py);
- following is how far the description of what the edit changes went from the original's to the right answer's
  (progress.py);
- preserving is how alike the objects and the background that the edit leaves alone still are, the worst
  counting as much as the average;
  what changes the whole image on purpose is undone first;
- a image in which nothing of the scene is recognised follows and preserves nothing, whatever its averages
  happen to be;
- quality is judged in quality.py against the scene's own rendering, as far as it is recognised: neither doing
  the edit nor not doing it,
  nor doing another one, should be a flaw of quality;
- success is decided by attributes where there are objects, fills or one look (is it there, is its nearest
  known colour the wanted one, which
  look explains the image), else by shares: for objects under a look, for a kept background, and for a look
  that is partly there.

How far all this holds is measured: the laws are in tests/synthetic/test_laws.py, the exceptions from them in
coupling.py.
"""

from dataclasses import dataclass

import numpy as np

from src.records import MAX_SCORE, NO_FAILURE, Feedback, Image, Scores
from src.synthetic import filters, language, quality
from src.synthetic.attributes import Similarity, lacks_object, object_similarities, recognise, shows_object
from src.synthetic.background import (
    background_similarity,
    best_filter,
    colour_map,
    estimate_blur,
    estimate_shift,
    extend_behind_objects,
    filter_and_blur,
    nearest_fills,
    scene_likeness,
    slope_and_correlation,
    undo_cast,
)
from src.synthetic.compression_traces import NO_TRACES, count_levels, find_traces
from src.synthetic.earlier_flaw import find_earlier_flaw
from src.synthetic.edits import Edit
from src.synthetic.following import edit_progress, share_done
from src.synthetic.ground_truth import (
    Blocks,
    GroundTruth,
    Mask,
    background_blocks,
    blend,
)
from src.synthetic.scene import (
    BLOCKS,
    FloatImage,
    GradientBackground,
    PhotoBackground,
    Scene,
    block_means,
    object_box,
    to_float,
)

NOTICED = 0.8
"""Feedback names a failure below this share."""

SAME_PLACE = 0.5
"""A background is recognised as the same one, and a thing under a look as present, above this share."""

LOST = 0.7
"""Below this share a kept thing is not what it should be, so that its quality can't be judged by what it
should be.
"""

VISIBLE = 0.4
"""Severity from which on a flaw of quality is plainly seen."""

FAR_SHIFT = 0.13
"""A background shifted by this many image widths is not in its place at all."""

EXPLAINED = 0.05
"""Root mean square up to which a image is explained by original and right answer, so that no other look is
thought of.
"""

FEW_LEVELS = 6
"""A image of so few levels is likely a poster, whose averages are much like those of the image before."""

FAINT = 0.01
"""A background's fine structure of this root mean square tells as much about whether it is still there as its
colours do.
"""

CALM = 0.05
"""A background whose blocks are right, and whose pixels differ by less than this root mean square beyond
noise, is in its place.
"""


@dataclass(frozen=True)
class Measurement:
    """Scores, success and feedback in the order following, preserving, quality."""

    scores: Scores
    success: tuple[bool, bool, bool]
    feedback: Feedback


def measure(truth: GroundTruth, edited: Image) -> Measurement:
    """Measure any image as an answer to the edit.

    Raises:
        ValueError: the image has another size than the scene's.
    """
    if edited.shape != truth.original.shape:
        raise ValueError(
            f"a picture of {edited.shape} can't answer a scene of {truth.original.shape}: edit at the scene's size"
        )
    image = to_float(edited)
    scene, edit, size = truth.scene, truth.edit, image.shape[0]
    whole = edit.type in ("global", "style")
    blocks, free = block_means(image), background_blocks(scene, edit, size)
    free_pixels = np.kron(free, np.ones((size // BLOCKS,) * 2, dtype=bool))
    everywhere = np.ones((size, size), dtype=bool)
    # Noise is first read wherever anything is seen, from what the channels do not share, which needs no scene
    # to compare with.
    rough = quality.measure_grain(image, truth.original, 0.0, everywhere, known=0.0).seen
    # Where the image's coding shows, what should be seen is coded alike before it is compared; likewise a
    # shift, and blur.
    traces = find_traces(edited, (truth.original, truth.exact))
    coded = truth if traces == NO_TRACES else truth.coded(traces)
    shift = found_shift(coded, image, blocks, free, free_pixels, rough * BLOCKS / size)
    if shift != (0, 0):
        truth = truth.shifted(shift)
        coded = truth if traces == NO_TRACES else truth.coded(traces)
    width = estimate_blur(coded, image, free_pixels, rough)
    smooth = truth if width == 0 else truth.blurred(width)
    like = coded if width == 0 else smooth if traces == NO_TRACES else smooth.coded(traces)
    before, after = block_means(like.original), block_means(like.exact)
    done = share_done(like, image, blocks, before, after, free)
    if edit.type == "background" and isinstance(scene.background, PhotoBackground):
        # Whatever colours it got, the old background is gone as far as its structure is; one that has hardly
        # any is gone as far as its colours are.
        left, there = (
            quality.detail_bands((each - like.exact) @ filters.LUMINANCE)[1][free_pixels]
            for each in (image, like.original)
        )
        energy = float(np.vdot(there, there)) + 1e-9
        telling = energy / (energy + FAINT**2 * there.size)
        done = telling * (1 - ramp(float(np.vdot(left, there)) / energy, 0.03, 0.97)) + (1 - telling) * done
    reference, bare = (
        traces.apply(blend(smooth.original, smooth.exact, done)),
        blend(like.background_before, like.background_after, done),
    )
    expected, sharp, filter_name = blend(before, after, done), blend(truth.original, truth.exact, done), None
    off = blocks - expected
    strange = float(np.vdot(off, off)) / off.size > EXPLAINED**2 + (rough * BLOCKS / size) ** 2
    if strange or count_levels(edited) <= FEW_LEVELS:
        filter_name = best_filter(truth, image, reference, width, rough)
        if filter_name is not None:
            reference, sharp = (
                traces.apply(filter_and_blur(filter_name, truth.original, width)),
                filter_and_blur(filter_name, truth.original, 0.0),
            )
            bare, expected = (
                filter_and_blur(filter_name, truth.background_before, width),
                block_means(reference),
            )
    known = background_known(blocks, expected, free, rough * BLOCKS / size)
    seen_grain = quality.measure_grain(image, reference, width, everywhere, known).seen
    noise = seen_grain * BLOCKS / size
    judged = reference
    if whole:
        matrix, offset = colour_map(expected, blocks)
        reference, bare, expected = (
            reference @ matrix + offset,
            bare @ matrix + offset,
            expected @ matrix + offset,
        )
    background = (
        [] if edit.type == "background" else [background_similarity(blocks[free], expected[free], noise)]
    )
    if shift != (0, 0):
        background.append(
            Similarity(1 - ramp(max(abs(step) for step in shift) / size, 0.0, FAR_SHIFT), "shifted")
        )
    # A colour cast is a flaw of the background's colours and counts once, there. Whether it is one is seen
    # from the objects: under a cast, they look right when it is taken back; beside another background, they
    # look right as they are.
    views = [image]
    if not whole and edit.type != "background" and filter_name is None:
        views.append(undo_cast(image, blocks[free], expected[free]))
    best = None
    for view in reversed(views):
        behind = like
        if not whole and filter_name is None:
            behind = like.on_background(
                extend_behind_objects(view - reference, free_pixels.astype(np.float32))
            )
            reference_here, bare_here = (
                blend(behind.original, behind.exact, done),
                blend(behind.background_before, behind.background_after, done),
            )
        else:
            reference_here, bare_here = reference, bare
        objects = object_similarities(edit.kept(scene), view, reference_here, bare_here, seen_grain)
        total = sum(obj.share for obj in objects)
        if best is None or total > best[0]:
            best = (total, view, objects, behind, reference_here, bare_here)
    assert best is not None
    _, corrected, objects, behind, reference_here, bare_here = best
    parts = (*background, *objects)
    likeness = scene_likeness(blocks, (before, after, expected), noise)
    recognised = max(
        ramp(max((part.share for part in parts), default=1.0), 0.2, 0.5), ramp(likeness, 0.45, 0.75)
    ) * ramp(likeness, 0.2, 0.45)
    following = recognised * edit_progress(behind, corrected, blocks, before, after, free, seen_grain)
    preserving = (
        recognised * combine([part.share for part in background], [part.share for part in objects])
        if parts
        else recognised
    )
    mask = judged_places(truth, free_pixels, objects)
    solid = like.transmittance_after.mean(axis=2) < 0.05
    seen, wanted, unspoiled = corrected, judged if whole or filter_name is not None else reference_here, sharp
    scenes = [sharp]
    if filter_name is None and (whole or edit.type == "background"):
        scenes += [each for share, each in ((0, truth.original), (1, truth.exact)) if done != share]
    first = find_earlier_flaw(image, scenes, traces, width, mask)
    if first is not None:
        # What came first is part of what should be seen of what came last.
        seen, wanted, unspoiled, width = image, first.seen, first.spoiled, first.width
        known = background_known(blocks, block_means(first.seen), free, noise)
    flaws, _ = quality.measure_flaws(
        seen,
        wanted,
        unspoiled,
        traces,
        width,
        mask,
        solid & mask,
        known,
        all(obj.share > LOST for obj in objects),
    )
    if first is not None:
        flaws[first.kind] = max(flaws[first.kind], first.severity)
    worst_flaw = max(flaws, key=lambda kind: flaws[kind])
    sharpness = float(1 - min(1.0, quality.total_severity(flaws)))
    worst = min(parts, key=lambda part: part.share, default=Similarity(1.0, "unrelated"))
    succeeded = (
        recognised > 0.5 and follows(behind, corrected, blocks, free, filter_name, done),
        recognised > 0.5
        and preserves(edit, scene, corrected, bare_here, parts, whole or filter_name is not None),
        flaws[worst_flaw] < VISIBLE,
    )
    return Measurement(
        scores=(MAX_SCORE * following, MAX_SCORE * preserving, MAX_SCORE * sharpness),
        success=succeeded,
        feedback=(
            following_feedback(edit, following, done, recognised),
            preserving_feedback(worst, preserving, recognised),
            NO_FAILURE if sharpness > NOTICED else language.FEEDBACK[worst_flaw][0],
        ),
    )


def found_shift(
    truth: GroundTruth, image: FloatImage, blocks: Blocks, free: Mask, free_pixels: np.ndarray, noise: float
) -> tuple[int, int]:
    """By how many pixels (down, to the right) the photograph is found beside its place in the image."""
    if truth.edit.type == "background" or not isinstance(truth.scene.background, PhotoBackground):
        return 0, 0
    before, after = block_means(truth.original), block_means(truth.exact)
    done = (
        share_done(truth, image, blocks, before, after, free)
        if truth.edit.after.filter_name is not None
        else 0.0
    )
    bare = blend(truth.background_before, truth.background_after, done)
    off = (image - bare)[free_pixels]
    strange = float(np.vdot(off, off)) / off.size - (1.5 * noise * image.shape[0] / BLOCKS) ** 2
    if strange < CALM**2 and background_known(blocks, blend(before, after, done), free, noise) == 1:
        return 0, 0
    return estimate_shift(image, bare, free_pixels.astype(np.float32))


def ramp(value: float, low: float, high: float) -> float:
    """0 up to `low`, 1 from `high` on, straight between."""
    return min(1.0, max(0.0, (value - low) / (high - low)))


def background_known(blocks: Blocks, expected: Blocks, free: Mask, noise: float) -> float:
    """0 for another background, 1 for the expected one with whatever noise or cast."""
    seen, wanted = blocks[free], expected[free]
    slope, correlation = slope_and_correlation(seen - seen.mean(axis=0), wanted - wanted.mean(axis=0), noise)
    return ramp(min(slope, correlation), 0.8, 0.97)


def judged_places(truth: GroundTruth, free: np.ndarray, objects: list[Similarity]) -> np.ndarray:
    """Where quality is judged: not in the boxes of what was edited, nor of kept things that are not as they
    should be.
    """
    size = free.shape[0]
    judged = np.ones_like(free)
    edited = [obj for obj in (truth.edit.target, truth.edit.result) if obj is not None]
    lost = {obj.name for obj in objects if obj.share < LOST}
    edited += [obj for obj in truth.edit.kept(truth.scene) if f"the {obj.colour} {obj.shape}" in lost]
    for obj in edited:
        rows, columns = object_box(obj.x, obj.y, obj.radius, size)
        judged[max(0, rows.start - 1) : rows.stop + 1, max(0, columns.start - 1) : columns.stop + 1] = False
    return judged if judged.mean() > 0.2 else np.ones_like(free)


# --- success
# -----------------------------------------------------------------------------------------------------------------------------


def follows(
    truth: GroundTruth, image: FloatImage, blocks: Blocks, free: Mask, filter_name: str | None, done: float
) -> bool:
    """Whether what the edit asks for is seen, attribute by attribute."""
    edit, target, result = truth.edit, truth.edit.target, truth.edit.result
    if edit.type in ("global", "style"):
        return filter_name == edit.wanted or (filter_name is None and done > 0.5)
    if edit.type == "background":
        background = edit.after.background
        if not isinstance(background, GradientBackground):
            raise ValueError(f"backgrounds are changed into fills, this one into {background}")
        # a photograph may be of the wanted colour on average: what it shows must be gone, too
        return done > 0.5 and nearest_fills(background, blocks, free) == (background.first, background.second)
    left_behind = target is not None and (result is None or (result.x, result.y) != (target.x, target.y))
    if (
        left_behind
        and target is not None
        and not lacks_object(target, image, truth.original, truth.background_before)
    ):
        return False
    return result is None or shows_object(result, image, truth.background_after)


def preserves(
    edit: Edit,
    scene: Scene,
    image: FloatImage,
    bare: FloatImage,
    parts: tuple[Similarity, ...],
    by_share: bool,
) -> bool:
    """Whether every kept thing is recognised with its own colour and texture, and the background as the same
    one.
    """
    if by_share:
        return all(part.share > SAME_PLACE for part in parts)
    judged = {part.name for part in parts}
    for obj in edit.kept(scene):
        if f"the {obj.colour} {obj.shape}" in judged:
            found = recognise(obj, image, bare)
            if not found.present or found.colour != obj.colour or found.texture != obj.texture:
                return False
    return all(part.share > SAME_PLACE for part in parts if not part.name)


def combine(background: list[float], objects: list[float]) -> float:
    """One share from many: half the worst, half the average of background and objects.

    Raises:
        ValueError: nothing to combine.
    """
    groups = [sum(group) / len(group) for group in (background, objects) if group]
    if not groups:
        raise ValueError(
            "nothing is left to be preserved: an edit keeps the background or at least one object"
        )
    return 0.5 * min(*background, *objects, 1.0) + 0.5 * sum(groups) / len(groups)


# --- words
# -------------------------------------------------------------------------------------------------------------------------------


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


def preserving_feedback(worst: Similarity, preserving: float, recognised: float) -> str:
    """What failed in preserving, "None" if nothing did."""
    if preserving > NOTICED:
        return NO_FAILURE
    kind = "unrelated" if recognised < 0.5 else worst.kind
    return language.fill_template(language.FEEDBACK[kind][0], other=worst.name)
