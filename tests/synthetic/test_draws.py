"""Draws are made and rated as training triplets are; good ones are found without measuring all."""

import numpy as np
import pytest

from src.records import PERSPECTIVES
from src.synthetic.annotation import AnnotationTask, NoisyAnnotator
from src.synthetic.draws import Draws, is_all_good
from src.synthetic.world import NOISY, World

WORLD = World(32)
NEVER = World(32, never_all_good=True)


def draws(index: int, count: int = 60, world: World = WORLD, annotator: NoisyAnnotator = NOISY) -> Draws:
    return Draws(world, world.case_id("benchmark", 0, index), annotator, count)


def annotated(drawn: Draws, number: int) -> bool:
    """What the annotator says of a draw when it measures it."""
    spec, corruption = drawn.spec, drawn.corruption(number)
    name, image = f"{drawn.case_id}#{number}", drawn.images[number]
    task = AnnotationTask(
        name, drawn.world.renderer, spec.scene, spec.edit, spec.free_place, corruption, image
    )
    return is_all_good(drawn.annotator.annotate(task))


@pytest.mark.parametrize("index", range(7))
def test_the_short_way_to_5_5_5_finds_what_the_annotator_says(index: int) -> None:
    drawn = draws(index)
    expected = [annotated(drawn, number) for number in range(drawn.count)]
    assert [drawn.is_all_good(number) for number in range(drawn.count)] == expected


def test_draws_are_functions_of_world_case_and_number() -> None:
    first, second = draws(3), draws(3, count=5)
    np.testing.assert_array_equal(first.images[:5], second.images)
    assert not np.array_equal(draws(4, count=5).images, second.images)
    assert first.corruption(70) == second.corruption(70) != first.corruption(71)


def test_draws_fail_as_often_as_training_triplets() -> None:
    corruptions = [draws(index).corruption(number) for index in range(0, 280, 10) for number in range(60)]
    for perspective in PERSPECTIVES:
        failing = np.mean([corruption.flaw(perspective) is not None for corruption in corruptions])
        assert failing == pytest.approx(0.58, abs=0.06)
    clean = np.mean([corruption.is_clean for corruption in corruptions])
    assert clean == pytest.approx((1 - 0.56) ** 3, abs=0.02)


def test_where_none_of_the_first_is_all_good_the_next_one_is_taken() -> None:
    drawn = draws(1)
    first = next(number for number in range(drawn.count) if drawn.is_all_good(number))
    short = draws(1, count=first)
    np.testing.assert_array_equal(short.all_good(first + 1), drawn.images[first][None])
    assert short.all_good(first).shape == (0, 32, 32, 3)
    everything = [number for number in range(drawn.count) if drawn.is_all_good(number)]
    np.testing.assert_array_equal(drawn.all_good(drawn.count), drawn.images[everything])


def test_a_clean_draw_is_the_exact_edit() -> None:
    drawn = draws(2, count=200)
    clean = [number for number in range(200) if drawn.corruption(number).is_clean]
    assert clean
    for number in clean:
        np.testing.assert_array_equal(drawn.images[number], WORLD.exact_edit(drawn.case_id))


def test_where_no_triplet_is_all_good_none_is_clean_and_few_are_rated_so() -> None:
    drawn = [draws(index, world=NEVER) for index in range(0, 28, 3)]
    assert not any(each.corruption(number).is_clean for each in drawn for number in range(60))
    assert np.mean([each.is_all_good(number) for each in drawn for number in range(60)]) < 0.01


def test_an_exact_annotator_finds_only_what_is_perfect() -> None:
    """Without errors, 5/5/5 and "None" are the clean draws."""
    drawn = draws(5, annotator=NoisyAnnotator(0.0, 0.0, 0.0, 0.0))
    for number in range(drawn.count):
        assert drawn.is_all_good(number) == drawn.corruption(number).is_clean


def test_at_least_one_draw_is_needed() -> None:
    with pytest.raises(ValueError, match="at least one draw of each case is needed, got 0"):
        draws(0, count=0)


@pytest.mark.slow
def test_the_share_of_draws_rated_5_5_5_without_a_complaint() -> None:
    """3.7 % of the draws, in an earlier count of 22,400."""
    found = [len(draws(index, count=200).all_good(200)) for index in range(112)]
    assert np.mean(found) / 200 == pytest.approx(0.037, abs=0.005)
