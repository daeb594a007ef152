"""What a picture is worth as an answer to an edit of a known scene: three scores in [0, 5], success, and what failed in words.

Any picture can be measured, a half-trained model's included. Nothing here compares pixels one by one:
- an object is described by linear averages over its box (its cells' mean colours, how strongly each texture responds), so noise averages
  out and a half-done edit lies half-way;
- following is how far the description of what the edit changes went from the original's to the right answer's;
- preserving is how alike the objects and the background that the edit leaves alone still are, the worst counting as much as the average;
  what changes the whole picture on purpose is undone first;
- a picture in which nothing of the scene is recognised follows and preserves nothing, whatever its averages happen to be;
- quality is judged in `quality.py` against the scene's own rendering, as far as the edit was done: not editing is no quality flaw.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

from src.records import MAX_SCORE, NO_FAILURE, Feedback, Image, Scores
from src.synthetic import filters, language, quality
from src.synthetic.degradations import MAX_NOISE, blur_width
from src.synthetic.edits import Edit
from src.synthetic.scene import BLOCKS, Picture, Scene, Stage, Thing, block_means, box, half_box, shape_coverage, texture_cells, to_picture

CELLS = 4
"""An object's box is described by this many cells a side."""

TOLERANCE = 0.02
"""Differences of descriptions up to this are none: rounding, mild compression, averaged noise."""

BLUR_STEPS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0)
"""Severities of blur that are tried to explain a blurred picture."""

MIN_LIKENESS = 0.5
"""The least correlation by which a picture counts as a blur of its reference."""

ASIDE = 1.5
"""How much more it counts to leave the way from the original to the right answer than not to go all of it."""

MIN_GAIN = 0.35
"""The least contrast that a look may leave of what it should leave."""

TEXTURED = ("striped", "dotted", "checkered")
DONE_ENOUGH = 0.6
"""Success: more than this share of the attributes' way was gone, or of the worst attribute was kept."""

CONTRAST_SHARE, MIN_CONTRAST = 0.9, 0.1
"""An object is lost when it differs by this share of how it stands out from what is behind it, or of the least that counts."""

NOTICED = 0.8
"""Feedback names a failure below this share."""

Description = Float[np.ndarray, "k 3"]
Blocks = Float[np.ndarray, "b b 3"]
Mask = Bool[np.ndarray, "b b"]


@dataclass(frozen=True)
class Facts:
    """What is known about the right answer: scene, edit, and four renderings (with and without objects, before and after)."""

    scene: Scene
    edit: Edit
    original: Picture
    exact: Picture
    bare_before: Picture
    bare_after: Picture


@dataclass(frozen=True)
class Measurement:
    """Scores, success and feedback in the order following, preserving, quality."""

    scores: Scores
    success: tuple[bool, bool, bool]
    feedback: Feedback


@dataclass(frozen=True)
class Similarity:
    """How much of something is left, 0..1, and the feedback kind that names its loss."""

    share: float
    kind: str
    name: str = ""


def facts_of(stage: Stage, scene: Scene, edit: Edit) -> Facts:
    """Everything about the right answer that measuring needs."""
    original, bare_before = stage.render(scene), stage.backdrop(scene.backdrop)
    after = edit.after
    if after.look is None:
        return Facts(scene, edit, original, stage.render(after), bare_before, stage.backdrop(after.backdrop))
    return Facts(scene, edit, original, stage.render(after), bare_before, stage.render(Scene(after.backdrop, (), after.look)))


def measure(facts: Facts, edited: Image) -> Measurement:
    """Measure any picture as an answer to the edit.

    Raises:
        ValueError: the picture has another size than the scene's.
    """
    if edited.shape != facts.original.shape:
        raise ValueError(f"a picture of {edited.shape} can't answer a scene of {facts.original.shape}: edit at the scene's size")
    picture = to_picture(edited)
    scene, edit = facts.scene, facts.edit
    blurred, blocks = blur_of(facts, picture), block_means(picture)
    seen_like = facts if blurred == 0 else blur_facts(facts, blurred)
    before, after = block_means(seen_like.original), block_means(seen_like.exact)
    free = background_blocks(scene, edit, picture.shape[0])
    done = share_done(seen_like, picture, blocks, before, after, free)
    flaws = quality.flaws(picture, blend(facts.original, facts.exact, done), np.kron(free, np.ones((picture.shape[0] // BLOCKS,) * 2, dtype=bool)))
    noise = min(1.0, flaws["noise"]) * MAX_NOISE
    reference, bare = blend(seen_like.original, seen_like.exact, done), blend(seen_like.bare_before, seen_like.bare_after, done)
    expected = blend(before, after, done)
    if edit.type in ("global", "style"):
        matrix, offset = colour_map(expected, blocks)
        reference, bare, expected = reference @ matrix + offset, bare @ matrix + offset, expected @ matrix + offset
    background = [] if edit.type == "background" else [background_similarity(blocks[free], expected[free])]
    # A colour cast is a flaw of the background's colours and counts once, there. Whether it is one is seen from the objects: under a cast,
    # they look right when it is taken back; beside another background, they look right as they are.
    views = [picture]
    if edit.type not in ("background", "global", "style"):
        views.append(uncast(picture, blocks[free], expected[free]))
    found = [(view, things_alike(edit.kept(scene), view, reference, bare, noise)) for view in views]
    corrected, things = max(reversed(found), key=lambda each: sum(thing.share for thing in each[1]))
    parts = (*background, *things)
    recognised = min(1.0, max(0.0, max((part.share for part in parts), default=1.0) - 0.2) / 0.3)
    following = recognised * progress(seen_like, corrected, blocks, before, after, free, noise)
    preserving = recognised * combine([part.share for part in background], [part.share for part in things]) if parts else 1.0
    worst_flaw = max(flaws, key=lambda kind: flaws[kind])
    sharpness = float(1 - min(1.0, flaws[worst_flaw]))
    worst = min(parts, key=lambda part: part.share, default=Similarity(1.0, "unrelated"))
    return Measurement(
        scores=(MAX_SCORE * following, MAX_SCORE * preserving, MAX_SCORE * sharpness),
        success=(following > DONE_ENOUGH, recognised * worst.share > DONE_ENOUGH, sharpness > DONE_ENOUGH),
        feedback=(
            following_feedback(edit, following, done, recognised),
            preserving_feedback(worst, preserving, recognised),
            NO_FAILURE if sharpness > NOTICED else language.FEEDBACK[worst_flaw][0],
        ),
    )


def blend(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """From the first (0) to the second (1)."""
    return first if share == 0 else second if share == 1 else first + np.float32(share) * (second - first)


def blur_of(facts: Facts, picture: Picture) -> float:
    """Standard deviation in pixels of the blur that explains the picture best, 0 if it is sharp.

    What should be seen is blurred alike before it is compared, so that blur is a matter of quality and not of following or preserving.
    """
    references = (facts.original, facts.exact)
    if min(quality.blur_severity(picture, reference) for reference in references) < 0.05:
        return 0.0
    size = picture.shape[0]
    likeness = {
        width: max(quality.likeness(picture, each, width) for each in references) for width in (blur_width(step, size) for step in BLUR_STEPS)
    }
    width = max(likeness, key=lambda each: likeness[each])
    # A blank picture or noise is no blur of anything.
    return width if likeness[width] > MIN_LIKENESS else 0.0


def blur_facts(facts: Facts, sigma: float) -> Facts:
    """The same facts seen through a blur."""
    original, exact, before, after = (filters.blur(each, sigma) for each in (facts.original, facts.exact, facts.bare_before, facts.bare_after))
    return replace(facts, original=original, exact=exact, bare_before=before, bare_after=after)


def background_blocks(scene: Scene, edit: Edit, size: int) -> Bool[np.ndarray, "b b"]:
    """Blocks in which only background is seen, before and after."""
    free = np.ones((BLOCKS, BLOCKS), dtype=bool)
    for thing in (*scene.things, *(() if edit.result is None else (edit.result,))):
        rows, columns = box(thing.x, thing.y, thing.radius, size)
        side = size // BLOCKS
        free[rows.start // side : -(-rows.stop // side), columns.start // side : -(-columns.stop // side)] = False
    return free


# --- objects -----------------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def basis(shapes: tuple[str, ...], radius: float, size: int) -> Float[np.ndarray, "k pixels"]:
    """What describes an object's box, as rows of weights over its pixels: the means of its cells inside the shapes, then texture responses.

    Cells that the shapes hardly touch are left out, so the background beside an object doesn't describe it.
    """
    half = half_box(radius, size)
    covered = np.max([shape_coverage(shape, radius, size) for shape in shapes], axis=0)
    side = 2 * half
    cell = np.arange(side) * CELLS // side
    rows = []
    for index in range(CELLS**2):
        weights = covered * ((cell[:, None] == index // CELLS) & (cell[None, :] == index % CELLS))
        if weights.sum() > 0.3 * (side / CELLS) ** 2:
            rows.append(weights / weights.sum())
    rows = [row / np.sqrt(len(rows)) for row in rows]
    inside = shape_coverage("circle", 0.8 * radius, size)
    inside = np.pad(inside, half - inside.shape[0] // 2) * np.min([shape_coverage(shape, radius, size) for shape in shapes], axis=0)
    for texture in TEXTURED:
        cells = texture_cells(texture, half, size)
        pattern = inside * (cells - (inside * cells).sum() / inside.sum())
        rows.append(0.6 * pattern / (pattern * cells).sum())
    return np.stack([row.ravel() for row in rows]).astype(np.float32)


def describe(picture: Picture, thing: Thing, shapes: tuple[str, ...]) -> Description:
    """A thing's place in a picture, described: linear in the picture."""
    size = picture.shape[0]
    rows, columns = box(thing.x, thing.y, thing.radius, size)
    return basis(shapes, thing.radius, size) @ picture[rows, columns].reshape(-1, 3)


def distance(first: Description, second: Description, noise: float = 0.0) -> float:
    """How unlike two descriptions are: 0 for the same, about 1 for black and white.

    `noise` is the root mean square that noise adds to it; what it explains is no difference.
    """
    difference = (first - second).ravel()
    return float(np.sqrt(max(0.0, float(difference @ difference) / 3 - noise**2)))


def noise_of(weights: Float[np.ndarray, "k pixels"], noise: float) -> float:
    """What independent noise of this standard deviation adds to a distance of descriptions."""
    return noise * float(np.sqrt(np.vdot(weights, weights)))


def thing_similarity(thing: Thing, picture: Picture, reference: Picture, bare: Picture, noise: float) -> Similarity | None:
    """How much of a kept thing is there: 1 as it should be, 0 if it is as unlike as if it were gone.

    None if it hardly shows even in the reference, so that nothing can be said.
    """
    shapes = (thing.shape,)
    seen, wanted, gone = (describe(each, thing, shapes) for each in (picture, reference, bare))
    contrast = distance(wanted, gone)
    if contrast < MIN_CONTRAST / 2:
        return None
    floor = noise_of(basis(shapes, thing.radius, picture.shape[0]), noise)
    off = max(0.0, distance(seen, wanted, floor) - TOLERANCE)
    share = 1 - off / (CONTRAST_SHARE * max(contrast, MIN_CONTRAST))
    kind = "removed" if distance(seen, gone) < 0.6 * distance(seen, wanted) else "altered"
    return Similarity(max(0.0, share), kind, f"the {thing.colour} {thing.shape}")


def things_alike(things: tuple[Thing, ...], picture: Picture, reference: Picture, bare: Picture, noise: float) -> list[Similarity]:
    """How much of each thing is there, for those of which it can be said."""
    found = (thing_similarity(thing, picture, reference, bare, noise) for thing in things)
    return [similarity for similarity in found if similarity is not None]


def edited_places(edit: Edit) -> list[tuple[Thing, tuple[str, ...]]]:
    """Where an edit of objects changes the picture, with the shapes that are or should be there."""
    target, result = edit.target, edit.result
    if target is not None and result is not None and (target.x, target.y, target.radius) == (result.x, result.y, result.radius):
        return [(target, tuple(sorted({target.shape, result.shape})))]
    return [(thing, (thing.shape,)) for thing in (target, result) if thing is not None]


# --- background and whole picture --------------------------------------------------------------------------------------------------------


def background_similarity(seen: Float[np.ndarray, "n 3"], expected: Float[np.ndarray, "n 3"]) -> Similarity:
    """How much of the background is there: the smaller of how well its structure fits and how near its colour is.

    Structure is the slope of what is seen against what is expected, about their means: noise doesn't bias it, a shifted or other background
    has a slope near zero, and a background without structure (a plain one) can only be judged by colour.
    """
    seen_mean, expected_mean = seen.mean(axis=0), expected.mean(axis=0)
    deviation, structure = (seen - seen_mean).ravel(), (expected - expected_mean).ravel()
    prior = 0.008**2 * structure.size
    product, own = deviation @ structure, structure @ structure
    slope = (product + prior) / (own + prior)
    correlation = (product + prior) / np.sqrt((own + prior) * (deviation @ deviation + prior))
    fits = min(1.0, max(0.0, (min(slope, correlation) - 0.15) / 0.7))
    near = max(0.0, 1 - max(0.0, float(np.abs(seen_mean - expected_mean).max()) - TOLERANCE) / 0.22)
    return Similarity(float(min(fits, near)), "cast" if near < fits else "replaced")


def uncast(picture: Picture, seen: Float[np.ndarray, "n 3"], expected: Float[np.ndarray, "n 3"]) -> Picture:
    """The picture with the background's colours taken back to what is expected, as far as the background is recognised as the same one."""
    seen_mean, expected_mean = seen.mean(axis=0), expected.mean(axis=0)
    deviation, structure = seen - seen_mean, expected - expected_mean
    prior = 0.008**2 * structure.size
    product, own = float((deviation * structure).sum()) + prior, float((structure * structure).sum()) + prior
    correlation = product / np.sqrt(own * (float((deviation * deviation).sum()) + prior))
    trust = min(1.0, max(0.0, (correlation - 0.6) / 0.3))
    if trust == 0:
        return picture
    gain = 1 + trust * (min(1.2, max(0.6, product / own)) - 1)
    offset = trust * (seen_mean - expected_mean * gain)
    return (picture - offset.astype(np.float32)) * np.float32(1 / gain)


def colour_map(expected: Float[np.ndarray, "b b 3"], seen: Float[np.ndarray, "b b 3"]) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3"]]:
    """The linear map of colours that takes expected blocks nearest to those seen, drawn towards doing nothing: it undoes a look."""
    x, y = expected.reshape(-1, 3).astype(np.float64), seen.reshape(-1, 3).astype(np.float64)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = x - x_mean, y - y_mean
    ridge = 0.02 * len(x) * np.eye(3) * 0.25
    matrix = np.linalg.solve(x.T @ x + ridge, x.T @ y + ridge)
    # A picture that lost nearly all contrast is no look; undoing it would make anything look alike.
    if ((x @ matrix) ** 2).sum() < MIN_GAIN**2 * (x**2).sum():
        return np.eye(3, dtype=np.float32), np.zeros(3, dtype=np.float32)
    return matrix.astype(np.float32), (y_mean - x_mean @ matrix).astype(np.float32)


def look_description(blocks: Float[np.ndarray, "n 3"], before: Float[np.ndarray, "n 3"]) -> Description:
    """What a look does to a background whatever is on it: mean, spread, colourfulness, and whether light stayed light."""
    mean, spread = blocks.mean(axis=0), blocks.std(axis=0)
    start = before - before.mean(axis=0)
    signed = ((blocks - mean) * start).mean(axis=0) / (np.sqrt((start * start).mean(axis=0)) + 0.02)
    colourful = np.abs(blocks - blocks.mean(axis=1, keepdims=True)).mean(axis=0)
    return np.stack((mean, spread, signed, colourful)).astype(np.float32)


def transitions(
    facts: Facts, picture: Picture, blocks: Blocks, before: Blocks, after: Blocks, free: Mask
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """What the edit changes, as descriptions in (the picture, the original, the right answer); the background comes first for looks."""
    edit = facts.edit
    if edit.type == "background":
        scale = np.float32(1 / np.sqrt(free.sum()))
        return [(blocks[free] * scale, before[free] * scale, after[free] * scale)]
    if edit.type in ("global", "style"):
        start = before[free]
        compared = [(look_description(blocks[free], start), look_description(start, start), look_description(after[free], start))]
        places = [(thing, (thing.shape,)) for thing in facts.scene.things]
    else:
        compared, places = [], edited_places(edit)
    described = [tuple(describe(each, thing, shapes) for each in (picture, facts.original, facts.exact)) for thing, shapes in places]
    if edit.type in ("global", "style"):
        return [*compared, *((seen, start, end) for seen, start, end in described)]
    seen, start, end = (np.concatenate(parts) for parts in zip(*described, strict=True))
    return [(seen, start, end)]


def progress(facts: Facts, picture: Picture, blocks: Blocks, before: Blocks, after: Blocks, free: Mask, noise: float) -> float:
    """How near the picture came to the right answer, 0..1, from where the original is; for looks the median over background and objects."""
    shares, weights = [], []
    floor = noise_of(basis(("circle",), 5 / 32, picture.shape[0]), noise) if facts.edit.type != "background" else 0.0
    for seen, start, end in transitions(facts, picture, blocks, before, after, free):
        whole = distance(start, end)
        shares.append(1 - max(0.0, way_left(seen, start, end, floor) - TOLERANCE) / max(whole - TOLERANCE, TOLERANCE))
        weights.append(whole)
    # The background of a look counts as much as two objects: one object that is gone must not decide.
    weights[0] *= 2
    return max(0.0, weighted_median(shares, weights))


def way_left(seen: Description, start: Description, end: Description, noise: float) -> float:
    """Distance from the right answer, where what lies beside the way from the original counts ASIDE-fold.

    A half-done edit lies on the way. A wrong colour lies beside it, and is wrong even where it is nearer to the right one than the old colour was.
    """
    off, way = (seen - end).ravel(), (end - start).ravel()
    along = float(off @ way) ** 2 / max(float(way @ way), 1e-6)
    aside = max(0.0, float(off @ off) - along - 3 * noise**2)
    return float(np.sqrt((along + (ASIDE * max(0.0, aside**0.5 - TOLERANCE)) ** 2) / 3))


def share_done(facts: Facts, picture: Picture, blocks: Blocks, before: Blocks, after: Blocks, free: Mask) -> float:
    """How much of the edit is in the picture, 0..1, by projection.

    Whatever else is wrong, this is the blend of original and right answer that the rest of the picture is compared with.
    """
    whole_picture = facts.edit.type in ("global", "style")
    compared = [(blocks, before, after)] if whole_picture else transitions(facts, picture, blocks, before, after, free)
    product = whole = 0.0
    for seen, start, end in compared:
        change = end - start
        product += float(np.vdot(seen - start, change))
        whole += float(np.vdot(change, change))
    share = min(1.0, max(0.0, product / max(whole, 1e-6)))
    return 0.0 if share < 0.02 else 1.0 if share > 0.98 else share


def weighted_median(values: list[float], weights: list[float]) -> float:
    """The value at which half of the weight is reached, from the lowest."""
    reached = 0.0
    for value, weight in sorted(zip(values, weights, strict=True)):
        reached += weight
        if 2 * reached >= sum(weights):
            return value
    raise ValueError("the median of nothing")


def combine(background: list[float], things: list[float]) -> float:
    """One share from many: half the worst, half the average of background and objects.

    Raises:
        ValueError: nothing to combine.
    """
    groups = [sum(group) / len(group) for group in (background, things) if group]
    if not groups:
        raise ValueError("nothing is left to be preserved: an edit keeps the background or at least one object")
    return 0.5 * min(*background, *things, 1.0) + 0.5 * sum(groups) / len(groups)


# --- words -------------------------------------------------------------------------------------------------------------------------------


def following_feedback(edit: Edit, following: float, done: float, recognised: float) -> str:
    """What failed in following, "None" if nothing did."""
    if following > NOTICED:
        return NO_FAILURE
    kind = "missing" if done < 0.3 or recognised < 1 else "partial" if following > 0.25 else "wrong result"
    return language.fill(language.FEEDBACK[kind][0], subject=edit.subject, done=edit.done, property=language.PROPERTY[edit.operation])


def preserving_feedback(worst: Similarity, preserving: float, recognised: float) -> str:
    """What failed in preserving, "None" if nothing did."""
    if preserving > NOTICED:
        return NO_FAILURE
    kind = "unrelated" if recognised < 0.5 else worst.kind
    return language.fill(language.FEEDBACK[kind][0], other=worst.name)
