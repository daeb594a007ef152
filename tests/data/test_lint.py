"""Each rule of the linter on the smallest case that breaks it, and on the nearest case that doesn't."""

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from skimage import data as photographs

from src.data.lint import (
    KINDS,
    Finding,
    KnownImage,
    LintEntry,
    LintLimits,
    contradictions_in,
    hash_pair,
    lint,
)
from src.data.perceptual_hash import block_difference, candidate_pairs, largest_change, perceptual_hash
from src.records import Image, Reward, Verdict

PHOTO = np.ascontiguousarray(photographs.astronaut()[:384])
OTHER = np.ascontiguousarray(photographs.coffee()[:384, :512])
FINE = Verdict(5.0)


def reward(
    id: str = "a",
    following: Verdict = FINE,
    preserving: Verdict = FINE,
    quality: Verdict = FINE,
    judge: str = "j",
    key: str = "k",
) -> Reward:
    return Reward(id, judge, key, following, preserving, quality)


def entry(
    row: int, given: Reward | None = None, pair: tuple[Image, Image] | None = None, **more
) -> LintEntry:
    given = reward(f"t{row}") if given is None else given
    return LintEntry(
        row,
        f"t{row}",
        more.pop("instruction", f"edit {row}"),
        given,
        hashes=None if pair is None else hash_pair(*pair),
        **more,
    )


def kinds(findings: list[Finding]) -> list[str]:
    return [finding.kind for finding in findings]


def jpeg(image: Image, quality: int = 75) -> Image:
    content = io.BytesIO()
    Pillow.fromarray(image).save(content, format="JPEG", quality=quality)
    return np.asarray(Pillow.open(content).convert("RGB"))


def resized(image: Image, height: int, width: int) -> Image:
    return np.asarray(Pillow.fromarray(image).resize((width, height), Pillow.Resampling.BICUBIC))


def painted(
    image: Image, colour: tuple[int, int, int] = (200, 30, 30), side: int = 60, place: int = 100
) -> Image:
    changed = image.copy()
    changed[place : place + side, place : place + side] = colour
    return changed


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (Verdict(0.0, feedback="None"), ["silent_low"]),
        (Verdict(1.0, feedback="no issues"), ["silent_low"]),
        (Verdict(2.0, feedback="None"), []),
        (Verdict(4.0, feedback="None"), []),
        (Verdict(5.0, feedback="the hat is missing"), ["failure_at_5"]),
        (Verdict(4.9, feedback="the hat is missing"), []),
        (Verdict(1.0, feedback="Perfectly done."), ["praise_low"]),
        (Verdict(5.0, feedback="Perfectly done."), []),
        (Verdict(0.0, True, "the hat is missing"), ["success_contradicts"]),
        (Verdict(5.0, False), ["success_contradicts"]),
        (Verdict(2.0, True, "the hat is small"), []),
        (Verdict(4.0, False, "the hat is small"), []),
        (Verdict(5.0, feedback="图像模糊"), []),
        (Verdict(None, feedback="None", status="failed"), []),
    ],
)
def test_contradictions_of_a_score(verdict: Verdict, expected: list[str]) -> None:
    assert [kind for kind, _ in contradictions_in(verdict, LintLimits())] == expected


def test_a_stricter_limit_finds_overlooked_failures() -> None:
    assert contradictions_in(Verdict(3.0), LintLimits()) == []
    assert [kind for kind, _ in contradictions_in(Verdict(3.0), LintLimits(silent_below=5.0))] == [
        "silent_low"
    ]


def test_a_failure_at_5_is_a_slip_or_a_habit() -> None:
    said = [Verdict(5.0, feedback="the hat is small" if row < 3 else "None") for row in range(60)]
    assert (
        kinds(
            lint(
                [
                    entry(row, reward(f"t{row}", each, Verdict(4.0), Verdict(3.0)))
                    for row, each in enumerate(said)
                ]
            )[:3]
        )
        == ["failure_at_5"] * 3
    )
    often = [
        entry(row, reward(f"t{row}", each, Verdict(4.0), Verdict(3.0))) for row, each in enumerate(said[:30])
    ]
    assert kinds([finding for finding in lint(often) if finding.row is not None]) == ["mild_at_5"] * 3


def test_an_unedited_image_with_a_high_following() -> None:
    assert kinds(lint([entry(0, pair=(PHOTO, PHOTO))])) == ["unedited"]
    assert kinds(lint([entry(0, pair=(PHOTO, jpeg(PHOTO, 85)))])) == ["unedited"]
    assert kinds(lint([entry(0, pair=(PHOTO, resized(PHOTO, 192, 256)))])) == ["unedited"]
    low = reward("t0", Verdict(1.0, feedback="nothing was changed"))
    assert lint([entry(0, low, pair=(PHOTO, PHOTO))]) == []


@pytest.mark.parametrize(
    "changed",
    [painted(PHOTO, side=16), np.clip(PHOTO.astype(int) + 12, 0, 255).astype(np.uint8)],
    ids=["small patch", "brighter"],
)
def test_a_small_edit_is_an_edit(changed: Image) -> None:
    assert lint([entry(0, pair=(PHOTO, changed))]) == []


def test_the_same_pair_twice() -> None:
    pair = PHOTO, painted(PHOTO)
    (finding,) = lint([entry(0, pair=pair), entry(1, pair=(OTHER, painted(OTHER))), entry(2, pair=pair)])
    assert (finding.kind, finding.row, finding.other) == ("duplicate", 2, "t0")


def test_another_edit_of_the_same_original_is_fine() -> None:
    assert (
        lint(
            [
                entry(0, pair=(PHOTO, painted(PHOTO))),
                entry(1, pair=(PHOTO, painted(PHOTO, (30, 30, 200)))),
                entry(2, pair=(PHOTO, OTHER)),
            ]
        )
        == []
    )


def test_the_same_pair_in_another_size_and_file() -> None:
    pair = PHOTO, painted(PHOTO)
    for disturbed in ([jpeg(each) for each in pair], [resized(each, 256, 256) for each in pair]):
        (finding,) = lint([entry(0, pair=pair), entry(1, pair=(disturbed[0], disturbed[1]))])
        assert (finding.kind, finding.level, finding.other) == ("near_duplicate", "hint", "t0")


def test_judged_twice_far_apart() -> None:
    again = reward("t0", Verdict(1.0, feedback="the hat is missing"), key="other")
    (finding,) = lint([entry(0, others=(again,))])
    assert (finding.kind, finding.perspective) == ("judged_twice", "following")
    near = reward("t0", Verdict(3.0, feedback="the hat is small"), key="other")
    assert lint([entry(0, others=(near,))]) == []
    same = entry(
        1, reward("t1", quality=Verdict(0.0, feedback="noise")), (PHOTO, OTHER), instruction="make it coffee"
    )
    assert kinds(lint([entry(0, pair=(PHOTO, OTHER), instruction="Make it coffee"), same])) == [
        "duplicate",
        "judged_twice",
    ]


def test_an_image_of_a_benchmark() -> None:
    known = [KnownImage("cup.png", "bench", perceptual_hash(OTHER))]
    for leaked in (OTHER, jpeg(OTHER, 60), resized(OTHER, 200, 256)):
        (finding,) = lint([entry(0, pair=(leaked, painted(leaked, side=40)))], known)[:1]
        assert (finding.kind, finding.other) == ("leak", "cup.png")
        assert "leak" in kinds(lint([entry(0, pair=(PHOTO, leaked))], known))
    assert lint([entry(0, pair=(PHOTO, painted(PHOTO)))], known) == []
    assert "leak" not in kinds(lint([entry(0, pair=(PHOTO, painted(OTHER, side=200)))], known)), (
        "half of it is another picture"
    )


def test_plain_images_have_one_hash_and_are_distinguished() -> None:
    plain = [np.full((64, 64, 3), value, dtype=np.uint8) for value in (0, 90, 180)]
    assert lint([entry(row, pair=(each, OTHER)) for row, each in enumerate(plain)]) == []


def many(change) -> list[LintEntry]:
    """Forty varied rewards, each changed."""
    verdicts = [
        (
            Verdict(float(row % 6), feedback=f"the hat {row % 9} was not added"),
            Verdict(float(row % 5), feedback=f"the background {row % 7} has changed"),
        )
        for row in range(40)
    ]
    return [
        entry(row, change(reward(f"t{row}", *pair, Verdict(float(row % 4), feedback=f"blur {row % 8}")), row))
        for row, pair in enumerate(verdicts)
    ]


HABITS = {
    "constant": lambda given, row: replace(given, quality=replace(given.quality, score=3.0)),
    "copied": lambda given, row: replace(given, preserving=given.following, quality=given.following),
    "failed": lambda given, row: (
        replace(given, quality=Verdict(None, feedback="no JSON", status="failed")) if row < 4 else given
    ),
    "repeated_text": lambda given, row: (
        replace(given, quality=replace(given.quality, feedback="I can't see this picture"))
        if row % 4
        else given
    ),
    "swapped": lambda given, row: replace(given, following=given.quality, quality=given.following),
}


@pytest.mark.parametrize("kind", HABITS)
def test_habits_of_a_judge(kind: str) -> None:
    assert kind in {finding.kind for finding in lint(many(HABITS[kind])) if finding.row is None}
    assert [finding for finding in lint(many(lambda given, row: given)) if finding.row is None] == []
    assert [finding for finding in lint(many(HABITS[kind])[:3]) if finding.row is None] == [], (
        "three rewards are no habit"
    )


def test_every_kind_has_its_rule_and_the_reverse() -> None:
    import inspect

    from src.data import lint as module

    source = inspect.getsource(module)
    assert all(source.count(f'"{kind}"') >= 2 for kind in KINDS)


def test_no_entries() -> None:
    assert lint([]) == []
    assert lint([LintEntry(0, "a")], [KnownImage("x", "y", perceptual_hash(PHOTO))]) == []


def test_block_difference_is_zero_for_the_same_image_and_symmetric() -> None:
    first, second = perceptual_hash(PHOTO).thumbnail, perceptual_hash(OTHER).thumbnail
    assert block_difference(first, first) == 0
    assert block_difference(first, second) == block_difference(second, first) > 50
    assert largest_change(PHOTO, PHOTO) == 0 < largest_change(PHOTO, OTHER)


@given(
    st.lists(st.integers(0, 2**64 - 1), max_size=12),
    st.lists(st.integers(0, 2**64 - 1), max_size=12),
    st.integers(0, 40),
)
def test_candidates_are_all_pairs_within_the_limit(first: list[int], second: list[int], bits: int) -> None:
    arrays = [np.array(each, dtype=np.uint64) for each in (first, second)]
    expected = {
        (i, j)
        for i, one in enumerate(first)
        for j, other in enumerate(second)
        if (one ^ other).bit_count() <= bits
    }
    assert set(candidate_pairs((arrays[0],), (arrays[1],), bits)) == expected
    earlier = {
        (i, j)
        for i, one in enumerate(first)
        for j, other in enumerate(first)
        if j < i and (one ^ other).bit_count() <= bits
    }
    assert (
        set(candidate_pairs((arrays[0], arrays[0]), (arrays[0], arrays[0]), bits, earlier_only=True))
        == earlier
    )
