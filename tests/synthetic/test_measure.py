"""What the laws (test_laws.py) leave out: scale and words of the measures, that equal pixels in other memory
measure the same, and that the scores of training triplets are theirs.
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
def truths(world: World) -> list[GroundTruth]:
    return [world.ground_truth(world.case_id("benchmark", 0, index)) for index in range(ORIGINALS * 7)]


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8])
def test_following_falls_with_the_share_not_done(truths: list[GroundTruth], share: float) -> None:
    images = [(1 - share) * truth.exact + share * truth.original for truth in truths]
    following = [
        measure(truth, to_uint8(image)).scores[0] for truth, image in zip(truths, images, strict=True)
    ]
    assert np.abs(np.array(following) - 5 * (1 - share)).mean() < 0.4


@pytest.mark.parametrize("kind", ["noise", "blur", "jpeg", "banding"])
def test_quality_says_how_severe_a_flaw_is(truths: list[GroundTruth], kind: str) -> None:
    """The mean score follows the severity, on the same scale for all four flaws."""
    for step in (0.3, 0.7):
        quality = [
            measure(truth, to_uint8(degrade(truth.exact, kind, step, 1))).scores[2] for truth in truths
        ]
        assert np.mean(quality) == pytest.approx(5 * (1 - step), abs=0.7)


def test_feedback_names_the_flaw(world: World, truths: list[GroundTruth]) -> None:
    words = {"noise": "noisy", "blur": "blurred"}
    for kind, word in words.items():
        texts = [measure(truth, to_uint8(degrade(truth.exact, kind, 0.7, 1))).feedback[2] for truth in truths]
        assert np.mean([word in text for text in texts]) > 0.85
    for truth in truths:
        text = measure(truth, to_uint8(truth.original)).feedback[0]
        assert truth.edit.subject in text
        kept = truth.edit.kept(truth.scene)
        if kept and truth.edit.type == "add":
            flaw = Flaw("removed", 1.0, "", affected=kept[0])
            spoiled = to_uint8(world.renderer.render(flaw.apply_to(truth.edit.after)))
            lost = measure(truth, spoiled).feedback[1]
            assert f"the {kept[0].colour} {kept[0].shape}" in lost or "scene" in lost


def same_pixels(image: np.ndarray) -> dict[str, np.ndarray]:
    """The same image in another memory layout."""
    rows, columns, _ = image.shape
    views = {
        "offset": np.empty(image.size + 1, dtype=np.uint8)[1:].reshape(image.shape),
        "view": np.zeros((rows, columns + 3, 4), dtype=np.uint8)[:, :columns, :3],
    }
    for view in views.values():
        view[...] = image
    return views | {
        "columns first": np.ascontiguousarray(image.swapaxes(0, 1)).swapaxes(0, 1),
        "channels first": np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0),
        "Fortran order": np.asfortranarray(image),
        "negative strides": np.ascontiguousarray(image[::-1, ::-1])[::-1, ::-1],
    }


@pytest.mark.parametrize("kind", ["noise", "blur", "jpeg"])
def test_equal_pixels_in_other_memory_measure_the_same_to_the_bit(
    truths: list[GroundTruth], kind: str
) -> None:
    """Not so for blur, whose array is stored columns first, before the order was fixed."""
    for turn, truth in enumerate(truths[:7]):
        image = np.ascontiguousarray(to_uint8(degrade(truth.exact, kind, 0.4, turn)))
        expected = measure(truth, image)
        for name, other in same_pixels(image).items():
            assert np.array_equal(other, image)
            assert measure(truth, other) == expected, name


def test_an_image_of_another_size_is_refused(truths: list[GroundTruth]) -> None:
    with pytest.raises(ValueError, match="size"):
        measure(truths[0], np.zeros((16, 16, 3), dtype=np.uint8))


def test_training_scores_agree_with_the_oracle(world: World) -> None:
    judge, pairs = OracleJudge(world), []
    for index in range(150):
        triplet, reward = world.rewarded_triplet("train", 9, index)
        (judged,) = judge.judge([triplet])
        pairs.append([[verdict.score for verdict in rated.verdicts] for rated in (reward, judged)])
    annotated, measured = np.array(pairs, dtype=float).swapaxes(0, 1)
    assert (np.abs(annotated - measured).mean(axis=0) < 0.65).all()
    for column in range(3):
        assert np.corrcoef(annotated[:, column], measured[:, column])[0, 1] > 0.75
    assert np.abs(annotated.mean(axis=0) - measured.mean(axis=0)).max() < 0.5


def test_every_edit_type_is_in_the_sample(truths: list[GroundTruth]) -> None:
    assert {truth.edit.type for truth in truths} == set(EDIT_TYPES)
