"""What the laws (test_laws.py) don't say of the measures: their scale, their words, and that training's
scores are theirs.
"""

import numpy as np
import pytest

from src.judges.oracle import OracleJudge
from src.synthetic.corruptions import Flaw
from src.synthetic.degradations import degrade
from src.synthetic.edits import EDIT_TYPES
from src.synthetic.ground_truth import GroundTruth
from src.synthetic.measure import measure
from src.synthetic.scene import to_uint8
from src.synthetic.world import World

ORIGINALS = 5


@pytest.fixture(scope="module", params=[32, 64])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


@pytest.fixture(scope="module")
def truth(world: World) -> list[GroundTruth]:
    return [world.ground_truth(world.case_id("benchmark", 0, index)) for index in range(ORIGINALS * 7)]


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8])
def test_following_falls_with_the_share_not_done(truth: list[GroundTruth], share: float) -> None:
    images = [(1 - share) * each.exact + share * each.original for each in truth]
    found = [measure(each, to_uint8(image)).scores[0] for each, image in zip(truth, images, strict=True)]
    assert np.abs(np.array(found) - 5 * (1 - share)).mean() < 0.4


@pytest.mark.parametrize("kind", ["noise", "blur", "jpeg", "banding"])
def test_quality_says_how_severe_a_flaw_is(truth: list[GroundTruth], kind: str) -> None:
    """On average a score says the severity: the scale is the same for all four flaws."""
    for step in (0.3, 0.7):
        found = [measure(each, to_uint8(degrade(each.exact, kind, step, 1))).scores[2] for each in truth]
        assert np.mean(found) == pytest.approx(5 * (1 - step), abs=0.7)


def test_feedback_names_the_flaw(world: World, truth: list[GroundTruth]) -> None:
    named = {"noise": "noisy", "blur": "blurred"}
    for kind, word in named.items():
        texts = [measure(each, to_uint8(degrade(each.exact, kind, 0.7, 1))).feedback[2] for each in truth]
        assert np.mean([word in text for text in texts]) > 0.85
    for each in truth:
        text = measure(each, to_uint8(each.original)).feedback[0]
        assert each.edit.subject in text
        kept = each.edit.kept(each.scene)
        if kept and each.edit.type == "add":
            flaw = Flaw("removed", 1.0, "", affected=kept[0])
            lost = measure(each, to_uint8(world.renderer.render(flaw.spoil(each.edit.after)))).feedback[1]
            assert f"the {kept[0].colour} {kept[0].shape}" in lost or "scene" in lost


def test_a_image_of_another_size_is_refused(truth: list[GroundTruth]) -> None:
    with pytest.raises(ValueError, match="size"):
        measure(truth[0], np.zeros((16, 16, 3), dtype=np.uint8))


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


def test_every_edit_type_is_in_the_sample(truth: list[GroundTruth]) -> None:
    assert {each.edit.type for each in truth} == set(EDIT_TYPES)
