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

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

from src.records import MAX_SCORE, NO_FAILURE, Feedback, Image, Scores
from src.synthetic import language, quality
from src.synthetic.edits import Edit
from src.synthetic.scene import Picture, Scene, Stage, Thing, box, half_box, shape_coverage, texture_cells, to_picture

BLOCKS = 16
"""The background is compared as this many blocks a side: coarse enough for noise, blur and compression not to matter."""

CELLS = 4
"""An object's box is described by this many cells a side."""

TOLERANCE = 0.02
"""Differences of descriptions up to this are none: rounding, mild compression, averaged noise."""

TEXTURED = ("striped", "dotted", "checkered")
DONE_ENOUGH = 0.6
"""Success: more than this share of the attributes' way was gone, or of the worst attribute was kept."""

NOTICED = 0.8
"""Feedback names a failure below this share."""

Description = Float[np.ndarray, "k 3"]


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
    size = picture.shape[0]
    free = background_blocks(scene, edit, size)
    blocks, before, after = (block_means(each) for each in (picture, facts.original, facts.exact))
    done = share_done(facts, picture, blocks, before, after, free)
    reference = facts.original if done == 0 else facts.exact if done == 1 else facts.original + np.float32(done) * (facts.exact - facts.original)
    bare = facts.bare_before + np.float32(done) * (facts.bare_after - facts.bare_before)
    expected = block_means(reference)
    if edit.type in ("global", "style"):
        matrix, offset = colour_map(expected, blocks)
        reference, bare, expected = reference @ matrix + offset, bare @ matrix + offset, expected @ matrix + offset
    kept = edit.kept(scene)
    alike = [] if edit.type == "background" else [background_similarity(blocks[free], expected[free])]
    corrected = picture if edit.type in ("background", "global", "style") else uncast(picture, blocks[free], expected[free])
    alike_things = [thing_similarity(thing, corrected, reference, bare) for thing in kept]
    recognised = min(1.0, max((each.share for each in (*alike, *alike_things)), default=1.0) / 0.3)
    following = recognised * progress(facts, corrected, blocks, before, after, free)
    preserving = recognised * combine(alike, alike_things)
    flaws = quality.flaws(picture, reference)
    worst_flaw = max(flaws, key=lambda kind: flaws[kind])
    sharpness = 1 - min(1.0, flaws[worst_flaw])
    worst = min((*alike, *alike_things), key=lambda each: each.share)
    return Measurement(
        scores=(MAX_SCORE * following, MAX_SCORE * preserving, MAX_SCORE * sharpness),
        success=(following > DONE_ENOUGH, recognised * worst.share > DONE_ENOUGH, sharpness > DONE_ENOUGH),
        feedback=(
            following_feedback(edit, following, done, recognised),
            preserving_feedback(worst, preserving, recognised),
            NO_FAILURE if sharpness > NOTICED else language.FEEDBACK[worst_flaw][0],
        ),
    )


def block_means(picture: Picture) -> Float[np.ndarray, "b b 3"]:
    """Mean colours of BLOCKS x BLOCKS blocks."""
    side = picture.shape[0] // BLOCKS
    rows = np.add.reduceat(picture, np.arange(0, picture.shape[0], side), axis=0)
    return np.add.reduceat(rows, np.arange(0, picture.shape[0], side), axis=1) * np.float32(1 / side**2)


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


def distance(first: Description, second: Description) -> float:
    """How unlike two descriptions are: 0 for the same, about 1 for black and white."""
    difference = (first - second).ravel()
    return float(np.sqrt(difference @ difference / 3))


def thing_similarity(thing: Thing, picture: Picture, reference: Picture, bare: Picture) -> Similarity:
    """How much of a kept thing is there: 1 as it should be, 0 if it is as unlike as if it were gone."""
    shapes = (thing.shape,)
    seen, wanted, gone = (describe(each, thing, shapes) for each in (picture, reference, bare))
    contrast = max(distance(wanted, gone), 0.12)
    share = 1 - max(0.0, distance(seen, wanted) - TOLERANCE) / (0.9 * contrast)
    kind = "removed" if distance(seen, gone) < 0.6 * distance(seen, wanted) else "altered"
    return Similarity(max(0.0, share), kind, f"the {thing.colour} {thing.shape}")


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
    return matrix.astype(np.float32), (y_mean - x_mean @ matrix).astype(np.float32)


def look_description(blocks: Float[np.ndarray, "n 3"], before: Float[np.ndarray, "n 3"]) -> Description:
    """What a look does to a background whatever is on it: mean, spread, colourfulness, and whether light stayed light."""
    mean, spread = blocks.mean(axis=0), blocks.std(axis=0)
    start = before - before.mean(axis=0)
    signed = ((blocks - mean) * start).mean(axis=0) / (np.sqrt((start * start).mean(axis=0)) + 0.02)
    colourful = np.abs(blocks - blocks.mean(axis=1, keepdims=True)).mean(axis=0)
    return np.stack((mean, spread, signed, colourful)).astype(np.float32)


def transitions(
    facts: Facts,
    picture: Picture,
    blocks: Float[np.ndarray, "b b 3"],
    before: Float[np.ndarray, "b b 3"],
    after: Float[np.ndarray, "b b 3"],
    free: Bool[np.ndarray, "b b"],
) -> list[tuple[Description, Description, Description]]:
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


def progress(facts: Facts, picture: Picture, blocks: np.ndarray, before: np.ndarray, after: np.ndarray, free: np.ndarray) -> float:
    """How near the picture came to the right answer, 0..1, from where the original is; for looks the median over background and objects."""
    shares, weights = [], []
    for seen, start, end in transitions(facts, picture, blocks, before, after, free):
        whole = distance(start, end)
        shares.append(1 - max(0.0, distance(seen, end) - TOLERANCE) / max(whole - TOLERANCE, TOLERANCE))
        weights.append(whole)
    # The background of a look counts as much as two objects: one object that is gone must not decide.
    weights[0] *= 2
    return max(0.0, weighted_median(shares, weights))


def share_done(facts: Facts, picture: Picture, blocks: np.ndarray, before: np.ndarray, after: np.ndarray, free: np.ndarray) -> float:
    """How much of the edit is in the picture, 0..1, by projection: right or wrong otherwise, this is the blend of original and right answer
    that the rest of the picture is compared with."""
    product = whole = 0.0
    for seen, start, end in transitions(facts, picture, blocks, before, after, free):
        change = end - start
        product += float(((seen - start) * change).sum())
        whole += float((change * change).sum())
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


def combine(alike: list[Similarity], alike_things: list[Similarity]) -> float:
    """One share from many: half the worst, half the average of background and objects."""
    groups = [np.mean([each.share for each in group]) for group in (alike, alike_things) if group]
    worst = min(each.share for each in (*alike, *alike_things))
    return float(0.5 * worst + 0.5 * np.mean(groups))


# --- words -------------------------------------------------------------------------------------------------------------------------------


def following_feedback(edit: Edit, following: float, done: float, recognised: float) -> str:
    """What failed in following, "None" if nothing did."""
    if following > NOTICED:
        return NO_FAILURE
    kind, wording = ("missing", 0) if done < 0.3 or recognised < 1 else ("partial", 0) if following > 0.25 else ("wrong result", 0)
    return language.fill(language.FEEDBACK[kind][wording], subject=edit.subject, done=edit.done, property=language.PROPERTY[edit.operation])


def preserving_feedback(worst: Similarity, preserving: float, recognised: float) -> str:
    """What failed in preserving, "None" if nothing did."""
    if preserving > NOTICED:
        return NO_FAILURE
    kind = "unrelated" if recognised < 0.5 else worst.kind
    return language.fill(language.FEEDBACK[kind][0], other=worst.name)
