"""What is said of training triplets: scores and texts that err independently, as often as asked, and the same
at every call.
"""

import re
from functools import cache
from random import Random
from typing import NamedTuple

import numpy as np
import pytest

from src.inspection.label_precision import label_precisions
from src.records import MAX_SCORE, NO_FAILURE, PERSPECTIVES, Reward, Triplet
from src.synthetic import language
from src.synthetic.annotation import AnnotationTask, ExactAnnotator, NoisyAnnotator, noisy_score
from src.synthetic.corruptions import CLEAR_SEVERITY, Corruption
from src.synthetic.world import World

SAMPLES = 750
GENERAL = {text for texts in language.GENERAL.values() for text in texts}


class Annotated(NamedTuple):
    triplet: Triplet
    noisy: Reward
    exact: Reward
    corruption: Corruption


def scores_of(rewards: list[Reward]) -> np.ndarray:
    return np.array([[verdict.score for verdict in reward.verdicts] for reward in rewards], dtype=float)


class ExactAndNoisy:
    """Annotates with both, so that triplets are drawn once."""

    name = settings = "exact and noisy"

    def annotate(self, task: AnnotationTask) -> Reward:
        self.exact, self.corruption = ExactAnnotator().annotate(task), task.corruption
        return NoisyAnnotator().annotate(task)


@cache
def annotated(world: World) -> list[Annotated]:
    both, drawn = ExactAndNoisy(), []
    for index in range(SAMPLES):
        triplet, noisy = world.rewarded_triplet("train", 5, index, both)
        drawn.append(Annotated(triplet, noisy, both.exact, both.corruption))
    return drawn


USUAL, NEVER_ALL_GOOD = World(32), World(32, never_all_good=True)


@pytest.fixture(scope="module", params=[USUAL, NEVER_ALL_GOOD], ids=["default", "never_all_good"])
def world(request: pytest.FixtureRequest) -> World:
    return request.param


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
    assert NEVER_ALL_GOOD.version() == USUAL.version() + "n"
    with pytest.raises(ValueError, match="version"):
        USUAL.exact_edit(NEVER_ALL_GOOD.case_id("train", 0, 0))
    worlds = (NEVER_ALL_GOOD, USUAL)
    fails = []
    for index in range(3000):
        corruption, usual = (world.corruption(world.case_id("train", 3, index)) for world in worlds)
        assert corruption.severity >= CLEAR_SEVERITY
        fails.append([[text != "None" for text in each.feedback] for each in (corruption, usual)])
    rates = np.mean(fails, axis=0)
    np.testing.assert_allclose(rates[0], rates[1], atol=0.04)
    worst, usual_worst = (
        scores_of([each.exact for each in annotated(world)]).min(axis=1) for world in worlds
    )
    assert worst.max() < 4.9
    assert usual_worst.max() == 5


def test_score_and_text_together_are_more_precise_than_either_alone() -> None:
    many = annotated(USUAL)
    clean = scores_of([each.exact for each in many]) >= 4.5
    noisy = [each.noisy.verdicts for each in many]
    best = np.array([[verdict.score == MAX_SCORE for verdict in given] for given in noisy])
    nothing = np.array([[verdict.feedback == NO_FAILURE for verdict in given] for given in noisy])
    shares = {
        name: [each.clean / each.labelled for each in row]
        for name, row in label_precisions(best, nothing, clean).items()
    }
    for score, text, both in shares.values():
        assert both >= max(score, text)
    assert shares["all three"][2] > 0.85
    assert max(shares["all three"][:2]) < 0.95, "neither signal alone says it all"


def test_the_language_is_closed(many: list[Annotated]) -> None:
    words = set(language.vocabulary())
    assert list(language.vocabulary()) == sorted(words)
    said = set()
    for each in many:
        feedback = [verdict.feedback for verdict in each.noisy.verdicts]
        for text in (each.triplet.case.instruction, *feedback):
            assert set(text.split()) <= words, text
            assert text == "None" or re.fullmatch(r"[a-z ]+", text), text
            said |= set(text.split())
        assert sum(len(text.split()) for text in feedback) <= 28
    assert len(words - said) < 12, f"the vocabulary holds words that nobody says: {words - said}"


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
