"""The laws of the measures as properties, on cases of every edit type and split at 32 and 64 px.

Laws about flaws hold for all but a share of the images: 2 %, or what known_exceptions.py declares, as
measured on fresh cases.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from synthetic.known_exceptions import PERSPECTIVE, exceptions_of

from src.records import Image
from src.synthetic import filters, language
from src.synthetic.corruptions import (
    MAX_LONE_SEVERITY,
    Corruption,
    Flaw,
    corrupt,
    following_kinds,
    preserving_kinds,
    sample_following_flaw,
    sample_preserving_flaw,
    shift_background,
)
from src.synthetic.degradations import QUALITY_FLAWS, degrade
from src.synthetic.edits import EDIT_TYPES
from src.synthetic.ground_truth import GroundTruth
from src.synthetic.language import FILLS
from src.synthetic.measure import Measurement, measure
from src.synthetic.scene import FloatImage, to_float, to_uint8
from src.synthetic.world import World

SIZES = (32, 64)
FRESH = 13
"""Seed of the cases here. The measures were developed with seeds 3 and 5, their exceptions found with 7 and
11. One fault was corrected with these cases, flat backgrounds; 3,600 cases of seeds 7, 11 and 99 then passed,
too.
"""

MILD = (0.15, 0.3, 0.5, 0.7)
STEPS = (*MILD, 0.85, 1.0)
"""Severities. Up to 0.7 a flaw leaves the other perspectives alone."""

REST = ("removed", "altered", "shifted", "replaced", "cast")

FEW = settings(max_examples=40, deadline=None, derandomize=True)
MANY = settings(max_examples=1500, deadline=None, derandomize=True)
HALF_TRAINED = Path(__file__).parent / "half_trained.npz"


@lru_cache(maxsize=4)
def world(size: int) -> World:
    return World(size)


@lru_cache(maxsize=1024)
def truth(size: int, split: str, index: int, seed: int) -> GroundTruth:
    return world(size).ground_truth(world(size).case_id(split, seed, index))


def drawn(index: int, size: int, split: str) -> GroundTruth:
    return truth(size, split, index, FRESH)


cases = st.builds(
    drawn, st.integers(0, 400), st.sampled_from(SIZES), st.sampled_from(("train", "validation", "benchmark"))
)
seeds = st.integers(0, 2**20)


@lru_cache(maxsize=8)
def sampled(count: int, seed: int = FRESH) -> tuple[tuple[GroundTruth, int], ...]:
    """Equally many cases of each edit type, size and split, for laws about shares of cases."""
    cases = []
    for size in SIZES:
        for split in ("benchmark", "validation", "train"):
            left: dict[str, int] = dict.fromkeys(EDIT_TYPES, count)
            index = 0
            while any(left.values()):
                case = truth(size, split, index, seed)
                if left[case.edit.type]:
                    left[case.edit.type] -= 1
                    cases.append((case, index))
                index += 1
    return tuple(cases)


@dataclass(frozen=True)
class Excess:
    """How far one image breaks a law; the law holds up to 0."""

    law: str
    flaw: str
    case: GroundTruth
    value: float


def check(excesses: Iterable[Excess]) -> None:
    """A law holds for all but the declared share of the images. The excess of the worst one is declared but
    not tested, as it is one image.
    """
    by_law: dict[tuple[str, str, int], list[Excess]] = {}
    for excess in excesses:
        by_law.setdefault((excess.law, excess.flaw, excess.case.exact.shape[0]), []).append(excess)
    wrong = []
    for (law, flaw, size), images in by_law.items():
        share = float(np.mean([image.value > 0 for image in images]))
        declared = exceptions_of(law, flaw, size).share
        # The sample is small and images of one case are alike, so a share may deviate by three standard
        # errors over cases.
        room = 3 * (declared / len({id(image.case) for image in images})) ** 0.5
        if share > declared + room:
            wrong.append(
                f"{law}, {flaw}, {size} px: {share:.1%} of {len(images)} beyond it "
                f"(declared {declared:.1%} + {room:.1%})"
            )
    assert not wrong, "\n".join(wrong)


MEASURED: dict[tuple[int, bytes], tuple[GroundTruth, np.ndarray]] = {}
"""Scores by case and pixels. The laws compare many images with the same ones: the exact edit, one flaw of
two.
"""


def scores(case: GroundTruth, image: FloatImage) -> np.ndarray:
    pixels = to_uint8(np.clip(image, 0, 1))
    key = id(case), hashlib.sha256(np.ascontiguousarray(pixels)).digest()
    if key not in MEASURED:
        MEASURED[key] = case, np.array(measure(case, pixels).scores)  # the case stays alive, and so its id
    return MEASURED[key][1]


def clean(case: GroundTruth) -> np.ndarray:
    return scores(case, case.exact)


def quantile_law(excess: list[float], slack: float, mean: float, what: str) -> None:
    """At most 5 % are above the slack, and the mean is at most the one given."""
    values = np.array(excess)
    assert len(values) > 50, what
    quantile = np.quantile(values, 0.95)
    assert quantile <= slack, f"{what}: 95 % quantile {quantile:.2f} > {slack}, mean {values.mean():.2f}"
    assert values.mean() <= mean, f"{what}: mean {values.mean():.2f} > {mean}"


# --- law 1: reference images


def check_references(case: GroundTruth) -> None:
    exact, original = measure(case, to_uint8(case.exact)), measure(case, to_uint8(case.original))
    assert min(exact.scores) >= 4.9
    assert exact.success == (True, True, True)
    assert exact.feedback == ("None", "None", "None")
    assert original.scores[0] <= 0.1
    assert min(original.scores[1:]) >= 4.8
    assert original.success == (False, True, True)
    assert original.feedback[0] != "None"
    assert original.feedback[1:] == ("None", "None")


@FEW
@given(cases)
def test_references(case: GroundTruth) -> None:
    check_references(case)


@pytest.mark.slow
@MANY
@given(cases)
def test_references_of_many(case: GroundTruth) -> None:
    check_references(case)


def half_done(count: int, seed: int = FRESH) -> Iterator[Excess]:
    """An even blend of original and exact edit gets at most 3 in following."""
    for case, _ in sampled(count, seed):
        following = float(scores(case, 0.5 * case.original + 0.5 * case.exact)[0])
        yield Excess("half an edit does not follow", "half", case, following - 3)


def test_half_an_edit_does_not_follow() -> None:
    check(half_done(1))


@FEW
@given(cases, st.one_of(st.sampled_from(list(FILLS.values())), st.tuples(*[st.integers(0, 255)] * 3)))
def test_a_blank_image_is_worth_nothing(case: GroundTruth, colour: tuple[int, int, int]) -> None:
    blank = np.tile(np.array(colour, dtype=np.uint8), (*case.exact.shape[:2], 1))
    measured = measure(case, blank)
    assert max(measured.scores[:2]) <= 0.5
    assert measured.success[:2] == (False, False)


@FEW
@given(cases, seeds, st.sampled_from(("uniform", "normal", "grey")))
def test_pure_noise_is_worth_nothing(case: GroundTruth, seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    shape = case.exact.shape
    noise = {"uniform": lambda: rng.random(shape), "normal": lambda: 0.5 + 0.3 * rng.standard_normal(shape)}
    image = noise[kind]() if kind in noise else np.repeat(rng.random((*shape[:2], 1)), 3, axis=2)
    found = scores(case, image.astype(np.float32))
    assert max(found[:2]) <= 1.0, "about 1 % of noise images happen to be more like a scene than 0.5"
    # Grey noise where nothing is recognised can't be told from another photograph's detail, so its quality is
    # left open.
    assert kind == "grey" or found[2] <= 0.5


@FEW
@given(cases, cases)
def test_an_unrelated_scene_is_worth_nothing(case: GroundTruth, other: GroundTruth) -> None:
    if case.exact.shape != other.exact.shape or case.scene.objects == other.scene.objects:
        return
    for image in (other.exact, other.original):
        assert max(scores(case, image)[:2]) <= 0.8, "per case; 0.5 is reached by 99 %"


# --- law 2: each corruption on its own


def spoiled_quality(kind: str, count: int, seed: int = FRESH) -> Iterator[Excess]:
    """Quality falls from step to step; following and preserving stay, up to severity 0.7."""
    for case, turn in sampled(count, seed):
        before = last = clean(case)
        for step in STEPS:
            found = scores(case, degrade(case.exact, kind, step, turn))
            yield Excess("quality falls", kind, case, float(found[2] - last[2]) - 0.1)
            last = found
            if step <= 0.7:
                for column in (0, 1):
                    yield Excess(
                        f"{PERSPECTIVE[column]} stays",
                        kind,
                        case,
                        abs(float(found[column] - before[column])) - 0.5,
                    )
        yield Excess("quality is lost", kind, case, float(last[2]) - 2.5)


@pytest.mark.parametrize("kind", QUALITY_FLAWS)
def test_quality_falls_with_severity_and_alone(kind: str) -> None:
    check(spoiled_quality(kind, 1))


def spoiled_rest(kind: str, count: int, seed: int = FRESH) -> Iterator[Excess]:
    """Preserving falls from step to step; following and quality stay, up to severity 0.7."""
    for case, turn in sampled(count, seed):
        if kind not in preserving_kinds(case.scene, case.edit):
            continue
        before = last = clean(case)
        for step in STEPS:
            found = scores(case, spoil(case, kind, step, turn))
            yield Excess("preserving falls", kind, case, float(found[1] - last[1]) - 0.1)
            last = found
            if step <= 0.7:
                for column in (0, 2):
                    yield Excess(
                        f"{PERSPECTIVE[column]} stays",
                        kind,
                        case,
                        abs(float(found[column] - before[column])) - 0.5,
                    )


@pytest.mark.parametrize("kind", REST)
def test_preserving_falls_with_severity_and_alone(kind: str) -> None:
    check(spoiled_rest(kind, 1))


def spoil(case: GroundTruth, kind: str, severity: float, seed: int) -> FloatImage:
    renderer = world(case.exact.shape[0]).renderer
    if case.edit.type == "background" and len(case.scene.objects) == 1:
        severity = min(severity, MAX_LONE_SEVERITY)  # as in the world: a lone object must stay recognisable
    flaw: Flaw = replace(
        sample_preserving_flaw(Random(seed), renderer, case.scene, case.edit, kind), severity=severity
    )
    if kind == "shifted":
        flaw = replace(
            flaw, background=shift_background(Random(seed), renderer, case.scene.background, severity)
        )
    return corrupt(renderer, case.edit, Corruption(preserving=flaw))


def check_partial(case: GroundTruth) -> None:
    last = clean(case)[0]
    for step in (0.2, 0.4, 0.6, 0.8, 1.0):
        found = scores(case, (1 - step) * case.exact + step * case.original)
        assert found[0] <= last + 0.1
        assert found[2] >= 4.4
        last = found[0]
        assert found[1] >= 4.1
    assert last <= 0.1


@FEW
@given(cases.filter(lambda case: case.edit.wanted != "negative"))
def test_following_falls_with_the_share_not_done(case: GroundTruth) -> None:
    check_partial(case)


def wrong_edits(kind: str, count: int, seed: int = FRESH) -> Iterator[Excess]:
    """A wrong edit lowers following and not quality; an object that it touches lowers preserving."""
    for case, turn in sampled(count, seed):
        if kind in following_kinds(case.scene, case.edit):
            size = case.exact.shape[0]
            free_place = next(
                name
                for name, place in language.PLACES.items()
                if not any(obj.overlaps(*place, 5 / 32) for obj in case.scene.objects)
            )
            flaw = sample_following_flaw(
                Random(turn), world(size).renderer, case.scene, case.edit, free_place, kind
            )
            measured = measure(
                case, to_uint8(corrupt(world(size).renderer, case.edit, Corruption(following=flaw)))
            )
            yield Excess("a wrong edit does not follow", kind, case, measured.scores[0] - 1)
            yield Excess("a wrong edit does not succeed", kind, case, measured.success[0] - 0.5)
            yield Excess("quality stays", kind, case, 4.5 - measured.scores[2])
            kept = measured.scores[1] - 2.5 if kind == "wrong object" else 4.5 - measured.scores[1]
            yield Excess("preserving tells", kind, case, kept)


@pytest.mark.parametrize("kind", ["wrong object", "wrong result"])
def test_a_wrong_edit_does_not_follow(kind: str) -> None:
    check(wrong_edits(kind, 2))


# --- law 3: two defects


def two_flaws(first: str, second: str, count: int, seed: int = FRESH) -> Iterator[Excess]:
    """Two flaws in sequence score no better than the worse of them alone, up to 0.25, the best accuracy for
    one flaw.
    """
    for turn, (case, index) in enumerate(sampled(count, seed)):
        one, other = ((0.3, 0.8), (0.8, 0.3), (0.6, 0.6), (0.5, 0.25))[turn % 4]
        spoiled = degrade(case.exact, first, one, index)
        alone = min(scores(case, spoiled)[2], scores(case, degrade(case.exact, second, other, index + 1))[2])
        both = scores(case, degrade(spoiled, second, other, index + 1))[2]
        yield Excess(f"{second} after it is no better", first, case, float(both - alone) - 0.25)


@pytest.mark.parametrize("first", QUALITY_FLAWS)
def test_two_flaws_are_no_better_than_the_worse_one(first: str) -> None:
    check(excess for second in QUALITY_FLAWS if second != first for excess in two_flaws(first, second, 1))


# --- law 4: quality is independent of the edit


def other_filters(count: int, seed: int = FRESH) -> Iterator[Excess]:
    """A filter over the image doesn't lower its quality."""
    for case, _ in sampled(count, seed):
        for name in filters.FILTERS:
            quality = float(scores(case, filters.apply_filter(name, case.original))[2])
            yield Excess("quality stays", "another filter", case, 4.5 - quality)


def test_another_filter_is_no_flaw_of_quality() -> None:
    check(other_filters(1))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [7, 11, FRESH])
def test_laws_on_many_cases(seed: int) -> None:
    for kind in QUALITY_FLAWS:
        check(spoiled_quality(kind, 3, seed))
        check(
            excess
            for second in QUALITY_FLAWS
            if second != kind
            for excess in two_flaws(kind, second, 3, seed)
        )
    for kind in REST:
        check(spoiled_rest(kind, 3, seed))
    for kind in ("wrong object", "wrong result"):
        check(wrong_edits(kind, 4, seed))
    check(other_filters(2, seed))
    check(stored(2, seed))
    check(half_done(6, seed))


# --- laws 7 and 8: encodings, ranges


def encoded(image: Image, kind: str, **options: int) -> Image:
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, kind, **options)
    return np.asarray(Pillow.open(buffer))


def stored(count: int, seed: int = FRESH) -> Iterator[Excess]:
    """PNG changes no score; JPEG 95 changes none by more than 0.3."""
    for case, turn in sampled(count, seed):
        images = {
            "exact": case.exact,
            "half": 0.5 * case.exact + 0.5 * case.original,
            "noise": degrade(case.exact, "noise", 0.4, turn),
            "blur": degrade(case.exact, "blur", 0.4, turn),
        }
        for kind, pixels in images.items():
            image = to_uint8(pixels)
            measured = measure(case, image)
            assert measure(case, encoded(image, "PNG")) == measured
            coded = measure(case, encoded(image, "JPEG", quality=95, subsampling=0))
            moved = np.abs(np.subtract(coded.scores, measured.scores))
            yield Excess("JPEG 95 moves nothing", kind, case, float(moved.max()) - 0.3)


def test_encodings_change_nothing() -> None:
    check(stored(1))


@FEW
@given(cases, seeds, st.floats(0, 8), st.floats(0, 4))
def test_scores_are_numbers_in_range(case: GroundTruth, seed: int, width: float, contrast: float) -> None:
    rough = np.random.default_rng(seed).standard_normal(case.exact.shape).astype(np.float32)
    pixels = 0.5 + contrast * (filters.blur(rough, width) if width > 0.2 else rough)
    image = to_uint8(np.clip(pixels, 0, 1))
    found = measure(case, image)
    assert all(0 <= score <= 5 for score in found.scores)
    assert measure(case, image) == found


# --- law 6: success follows from attributes


def test_success_agrees_with_clear_scores() -> None:
    measured: list[Measurement] = []
    for case, seed in sampled(1):
        for share in (0.0, 0.1, 0.9, 1.0):
            measured.append(measure(case, to_uint8((1 - share) * case.exact + share * case.original)))
        measured.append(measure(case, to_uint8(degrade(case.exact, "noise", 0.9, seed))))
        for kind in preserving_kinds(case.scene, case.edit)[:2]:
            measured.append(measure(case, to_uint8(spoil(case, kind, 1.0, seed))))
    for column, name in enumerate(PERSPECTIVE):
        low = [image.success[column] for image in measured if image.scores[column] <= 1]
        high = [image.success[column] for image in measured if image.scores[column] >= 4.5]
        assert np.mean(high) > 0.95, name
        assert not low or np.mean(low) < 0.05, name


# --- law 9: half-trained editors


@lru_cache(maxsize=1)
def half_trained() -> list[tuple[GroundTruth, Image]]:
    with np.load(HALF_TRAINED) as stored:
        names = zip(stored["splits"], stored["seeds"], stored["indices"], stored["edits"], strict=True)
        return [
            (world(32).ground_truth(world(32).case_id(str(split), int(seed), int(index))), edit)
            for split, seed, index, edit in names
        ]


def spoiled_half_trained(kind: str) -> Iterator[Excess]:
    """A flaw never improves an editor's own pixels by more than 0.25."""
    for turn, (case, image) in enumerate(half_trained()):
        before = float(scores(case, to_float(image))[2])
        for step in (0.3, 0.6, 1.0):
            spoiled = scores(case, degrade(to_float(image), kind, step, turn))[2]
            yield Excess(
                "quality of a half-trained edit never rises", kind, case, float(spoiled) - before - 0.25
            )


@pytest.mark.parametrize("kind", QUALITY_FLAWS)
def test_quality_of_half_trained_edits_never_rises(kind: str) -> None:
    check(spoiled_half_trained(kind))


def test_half_trained_edits_blend() -> None:
    rises, falls = [], []
    for case, image in half_trained():
        pixels = to_float(image)
        for end, kept, sign in ((case.exact, rises, -1), (case.original, falls, 1)):
            last = scores(case, pixels)[0]
            for share in (0.25, 0.5, 0.75, 1.0):
                found = scores(case, (1 - share) * pixels + share * end)[0]
                kept.append(float(sign * (found - last)))
                last = found
    quantile_law(rises, 0.25, -0.1, "towards the exact edit")
    quantile_law(falls, 0.25, 0.0, "towards the original")


def stored_half_trained() -> Iterator[Excess]:
    """As in `stored`, and scores are in range."""
    for case, image in half_trained():
        measured = measure(case, image)
        assert all(0 <= score <= 5 for score in measured.scores)
        assert measure(case, encoded(image, "PNG")) == measured
        coded = measure(case, encoded(image, "JPEG", quality=95, subsampling=0))
        moved = np.abs(np.subtract(coded.scores, measured.scores))
        yield Excess("JPEG 95 moves nothing", "half-trained", case, float(moved.max()) - 0.3)


def test_half_trained_edits_can_be_stored() -> None:
    check(stored_half_trained())
