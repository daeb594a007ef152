"""The laws of the measures, on a sample of benchmark cases; means over cases where single cases may be hard."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from src.judges.oracle import OracleJudge
from src.synthetic.corruptions import (
    Corruption,
    Flaw,
    corrupt,
    following_kinds,
    preserving_kinds,
    sample_following,
    sample_preserving,
    shifted,
)
from src.synthetic.degradations import degrade
from src.synthetic.edits import EDIT_TYPES
from src.synthetic.measure import Facts, measure
from src.synthetic.scene import Picture, to_image
from src.synthetic.world import World

ORIGINALS = 5
STEPS = (0.2, 0.45, 0.7, 1.0)


@pytest.fixture(scope="module", params=[32, 64])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


@pytest.fixture(scope="module")
def facts(world: World) -> list[Facts]:
    return [world.facts(world.case_id("benchmark", 0, index)) for index in range(ORIGINALS * 7)]


def scores(facts: list[Facts], picture: Callable[[Facts], Picture]) -> np.ndarray:
    return np.array([measure(each, to_image(picture(each))).scores for each in facts])


def test_the_exact_edit_is_perfect(facts: list[Facts]) -> None:
    for each in facts:
        measured = measure(each, to_image(each.exact))
        assert min(measured.scores) > 4.9, each.edit.instruction
        assert measured.success == (True, True, True)
        assert measured.feedback == ("None", "None", "None")


def test_the_untouched_original_only_fails_to_follow(facts: list[Facts]) -> None:
    for each in facts:
        following, preserving, quality = measure(each, to_image(each.original)).scores
        assert following < 0.1, each.edit.instruction
        assert min(preserving, quality) > 4.9, each.edit.instruction


def test_half_an_edit_follows_half(facts: list[Facts]) -> None:
    found = scores(facts, lambda each: (each.original + each.exact) / 2)
    assert found[:, 0].max() <= 3.1
    assert found[:, 0].min() > 1.5
    assert found[:, 1:].mean() > 4.8


@pytest.mark.parametrize("light", [0.0, 0.5, 1.0])
def test_a_blank_picture_is_worth_nothing(facts: list[Facts], light: float) -> None:
    found = scores(facts, lambda each: np.full_like(each.exact, light))
    assert (found[:, :2].mean(axis=0) < 0.5).all()


def test_noise_is_worth_nothing(facts: list[Facts]) -> None:
    rng = np.random.default_rng(0)
    found = scores(facts, lambda each: rng.random(each.exact.shape, dtype=np.float32))
    assert (found[:, :2].mean(axis=0) < 0.5).all()
    assert found[:, 2].max() < 0.5


def test_an_unrelated_scene_is_worth_nothing(facts: list[Facts]) -> None:
    others = iter([*facts[17:], *facts[:17]])
    found = scores(facts, lambda each: next(others).exact)
    assert (found[:, :2].mean(axis=0) < 0.5).all()


@pytest.mark.parametrize("kind", ["noise", "blur", "jpeg", "banding"])
def test_quality_falls_with_severity_and_alone(facts: list[Facts], kind: str) -> None:
    found = np.array([scores(facts, lambda each, step=step: degrade(each.exact, kind, step, 1)).mean(axis=0) for step in STEPS])
    assert (np.diff(found[:, 2]) < 0).all(), found
    assert found[0, 2] > 3.5
    assert found[-1, 2] < 3
    # Coupling, declared: strong compression and bands leave little of the objects' colours and textures.
    floor = 4.3 if kind in ("noise", "blur") else 3.0
    assert found[:3, :2].min() > floor, found


@pytest.mark.parametrize("kind", ["removed", "altered", "shifted", "replaced", "cast"])
def test_preserving_falls_with_severity(world: World, facts: list[Facts], kind: str) -> None:
    able = [each for each in facts if kind in preserving_kinds(each.scene, each.edit)]

    def spoil(each: Facts, step: float) -> Picture:
        flaw = replace(sample_preserving(Random(3), world.stage, each.scene, each.edit, kind), severity=step)
        if kind == "shifted":
            flaw = replace(flaw, backdrop=shifted(Random(3), world.stage, each.scene.backdrop, step))
        return corrupt(world.stage, each.edit, Corruption(preserving=flaw))

    found = np.array([scores(able, lambda each, step=step: spoil(each, step)).mean(axis=0) for step in STEPS])
    # A background that was moved far enough is lost; moving it further makes no difference.
    assert (np.diff(found[:, 1]) < (0.2 if kind == "shifted" else 0)).all(), found
    assert found[-1, 1] < min(3.0, found[0, 1] - 1)
    # Coupling, declared: what is removed or moved reveals the background, right or wrong.
    assert found[:3, 0].min() > (3.0 if kind in ("shifted", "replaced") else 4.3)
    assert found[:3, 2].min() > (3.8 if kind in ("shifted", "replaced") else 3.4)


@pytest.mark.parametrize("kind", ["missing", "wrong object", "wrong result"])
def test_a_wrong_edit_does_not_follow(world: World, facts: list[Facts], kind: str) -> None:
    able = [(index, each) for index, each in enumerate(facts) if kind in following_kinds(each.scene, each.edit)]
    found = []
    for index, each in able:
        free = world.situation(world.case_id("benchmark", 0, index)).free
        flaw = sample_following(Random(index), world.stage, each.scene, each.edit, free, kind)
        found.append(measure(each, to_image(corrupt(world.stage, each.edit, Corruption(following=flaw)))).scores)
    means = np.mean(found, axis=0)
    assert means[0] < 1
    assert (means[1] < 2.5) == (kind == "wrong object"), "another object was touched"


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8])
def test_following_falls_with_the_share_not_done(facts: list[Facts], share: float) -> None:
    found = scores(facts, lambda each: (1 - share) * each.exact + share * each.original)[:, 0]
    assert np.abs(found - 5 * (1 - share)).mean() < 0.4


def test_two_flaws_are_no_better_than_the_worse_one(facts: list[Facts]) -> None:
    for first, second in (("blur", "noise"), ("blur", "jpeg")):
        one = scores(facts, lambda each, kind=first: degrade(each.exact, kind, 0.6, 1))[:, 2]
        other = scores(facts, lambda each, kind=second: degrade(each.exact, kind, 0.6, 1))[:, 2]
        pair = (first, second)
        both = scores(facts, lambda each, pair=pair: degrade(degrade(each.exact, pair[0], 0.6, 1), pair[1], 0.6, 1))[:, 2]
        assert both.mean() < np.minimum(one, other).mean() + 0.5, pair


def test_feedback_names_the_flaw(world: World, facts: list[Facts]) -> None:
    named = {"noise": "noisy", "blur": "blurred"}
    for kind, word in named.items():
        texts = [measure(each, to_image(degrade(each.exact, kind, 0.7, 1))).feedback[2] for each in facts]
        assert np.mean([word in text for text in texts]) > 0.85
    for each in facts:
        text = measure(each, to_image(each.original)).feedback[0]
        assert each.edit.subject in text
        kept = each.edit.kept(each.scene)
        if kept and each.edit.type == "add":
            flaw = Flaw("removed", 1.0, "", thing=kept[0])
            lost = measure(each, to_image(world.stage.render(flaw.spoil(each.edit.after)))).feedback[1]
            assert f"the {kept[0].colour} {kept[0].shape}" in lost or "scene" in lost


def test_a_picture_of_another_size_is_refused(facts: list[Facts]) -> None:
    with pytest.raises(ValueError, match="size"):
        measure(facts[0], np.zeros((16, 16, 3), dtype=np.uint8))


def test_training_scores_agree_with_the_oracle(world: World) -> None:
    judge, pairs = OracleJudge(world), []
    for index in range(150):
        triplet, reward = world.rewarded_triplet("train", 9, index)
        (judged,) = judge.judge([triplet])
        pairs.append([[verdict.score for verdict in each.verdicts] for each in (reward, judged)])
    given, measured = np.array(pairs, dtype=float).swapaxes(0, 1)
    assert (np.abs(given - measured).mean(axis=0) < 0.65).all()
    for column in range(3):
        assert np.corrcoef(given[:, column], measured[:, column])[0, 1] > 0.75
    assert np.abs(given.mean(axis=0) - measured.mean(axis=0)).max() < 0.5


def test_every_edit_type_is_in_the_sample(facts: list[Facts]) -> None:
    assert {each.edit.type for each in facts} == set(EDIT_TYPES)
