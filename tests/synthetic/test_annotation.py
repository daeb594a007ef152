"""What is said of training triplets: scores and texts that err independently, as often as asked, and the same
at every call.
"""

from random import Random
from typing import NamedTuple

import numpy as np
import pytest

from src.records import PERSPECTIVES, Reward
from src.synthetic import language
from src.synthetic.annotation import AnnotationTask, ExactAnnotator, NoisyAnnotator, noisy_score
from src.synthetic.corruptions import CLEAR_SEVERITY, Corruption
from src.synthetic.world import World

SAMPLES = 750
GENERAL = {text for texts in language.GENERAL.values() for text in texts}


class Annotated(NamedTuple):
    noisy: Reward
    exact: Reward
    corruption: Corruption


def scores_of(rewards: list[Reward]) -> np.ndarray:
    return np.array([[verdict.score for verdict in reward.verdicts] for reward in rewards], dtype=float)


class ExactAndNoisy:
    """Annotates with both, so that triplets are drawn once."""

    name = settings = "exact and noisy"

    def __init__(self) -> None:
        self.annotated: list[Annotated] = []

    def annotate(self, task: AnnotationTask) -> Reward:
        exact, noisy = ExactAnnotator().annotate(task), NoisyAnnotator().annotate(task)
        self.annotated.append(Annotated(noisy, exact, task.corruption))
        return noisy


def annotated(world: World) -> list[Annotated]:
    both = ExactAndNoisy()
    for index in range(SAMPLES):
        world.rewarded_triplet("train", 5, index, both)
    return both.annotated


@pytest.fixture(scope="module", params=[False, True], ids=["default", "never_all_good"])
def world(request: pytest.FixtureRequest) -> World:
    return World(32, never_all_good=request.param)


@pytest.fixture(scope="module")
def many(world: World) -> list[Annotated]:
    return annotated(world)


def test_more_than_half_score_below_5_in_each_perspective(many: list[Annotated]) -> None:
    for rewards in ([each.noisy for each in many], [each.exact for each in many]):
        assert ((scores_of(rewards) < 5).mean(axis=0) > 0.5).all()


def test_scores_are_the_oracles_with_an_error_of_the_size_asked_for(many: list[Annotated]) -> None:
    noisy, exact = scores_of([each.noisy for each in many]), scores_of([each.exact for each in many])
    assert (noisy == np.round(noisy)).all()
    middle = (exact > 2) & (exact < 3)  # far from where scores are clipped
    error = (noisy - exact)[middle]
    assert error.std() == pytest.approx((0.7**2 + 1 / 12) ** 0.5, abs=0.08)
    assert abs(error.mean()) < 0.12


def test_exact_annotations_are_true(many: list[Annotated]) -> None:
    for each in many:
        assert tuple(verdict.feedback for verdict in each.exact.verdicts) == each.corruption.feedback
        assert all(verdict.success is None for verdict in (*each.exact.verdicts, *each.noisy.verdicts))


def test_texts_err_as_often_as_asked(many: list[Annotated]) -> None:
    missing, general, other, failures, forgivable = 0, 0, 0, 0, 0
    for each in many:
        for said, truth in zip(each.noisy.verdicts, each.exact.verdicts, strict=True):
            if truth.feedback == "None":
                assert said.feedback == "None", "nothing is said of what is right"
                continue
            failures += 1
            forgivable += truth.score is not None and truth.score >= 3
            missing += said.feedback == "None"
            general += said.feedback in GENERAL
            other += said.feedback not in (*GENERAL, "None", truth.feedback)
            if said.feedback == "None":
                assert truth.score is not None
                assert truth.score >= 3
    assert missing / forgivable == pytest.approx(0.15, abs=0.04)
    assert general / failures == pytest.approx(0.2, abs=0.03)
    assert other / failures == pytest.approx(0.05, abs=0.015)


def test_a_wrong_text_names_another_failure_of_the_same_perspective(world: World) -> None:
    always_wrong = NoisyAnnotator(missing=0.0, general=0.0, wrong=1.0)
    words = set(language.vocabulary())
    for index in range(150):
        triplet, reward = world.rewarded_triplet("train", 5, index, always_wrong)
        corruption = world.corruption(triplet.case.id)
        for perspective, verdict in zip(PERSPECTIVES, reward.verdicts, strict=True):
            flaw = corruption.flaw(perspective)
            if flaw is None:
                assert verdict.feedback == "None"
                continue
            assert verdict.feedback != flaw.feedback
            assert set(verdict.feedback.split()) <= words
            assert verdict.feedback not in {
                text for name, texts in language.GENERAL.items() if name != perspective for text in texts
            }


def test_score_errors_say_nothing_about_text_errors(many: list[Annotated]) -> None:
    errors, wrong = [], []
    for each in many:
        for said, truth in zip(each.noisy.verdicts, each.exact.verdicts, strict=True):
            assert said.score is not None
            assert truth.score is not None
            if truth.feedback != "None" and 1 < truth.score < 4:
                errors.append(said.score - truth.score)
                wrong.append(said.feedback in GENERAL)
    assert abs(np.corrcoef(errors, wrong)[0, 1]) < 0.09


def test_annotation_is_the_same_at_every_call(world: World) -> None:
    other = World(32, never_all_good=world.never_all_good)
    for index in (3, 8, 3):
        assert (
            world.rewarded_triplet("train", 1, index)[1]
            == other.rewarded_triplet("train", 1, index, NoisyAnnotator())[1]
        )


def test_no_triplet_of_the_variant_is_good_in_all_perspectives() -> None:
    world, usual = World(32, never_all_good=True), World(32)
    assert world.version == usual.version + "n"
    with pytest.raises(ValueError, match="version"):
        usual.exact_edit(world.case_id("train", 0, 0))
    fails = []
    for index in range(3000):
        corruption = world.corruption(world.case_id("train", 3, index))
        assert corruption.severity >= CLEAR_SEVERITY
        fails.append(
            [
                [text != "None" for text in corruption.feedback],
                [t != "None" for t in usual.corruption(usual.case_id("train", 3, index)).feedback],
            ]
        )
    rates = np.mean(fails, axis=0)
    np.testing.assert_allclose(rates[0], rates[1], atol=0.04)
    assert (
        scores_of([world.rewarded_triplet("train", 3, index, ExactAnnotator())[1] for index in range(700)])
        .min(axis=1)
        .max()
        < 4.9
    )


@pytest.mark.parametrize("score", [0.0, 2.4, 5.0])
def test_a_noisy_score_is_whole_and_within_bounds(score: float) -> None:
    rng = Random(0)
    drawn = {noisy_score(score, 0.7, rng) for _ in range(200)}
    assert drawn <= {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}
    assert len(drawn) > 1
    assert noisy_score(score, 0.0, rng) == np.floor(score + 0.5)


@pytest.mark.parametrize(
    "wrong", [{"score_deviation": -0.1}, {"missing": -0.1}, {"missing": 0.5, "general": 0.4, "wrong": 0.2}]
)
def test_impossible_annotators_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"possible|shares"):
        NoisyAnnotator(**wrong)
