"""Held-out wordings and held-out colour-shape pairs: known words and colours, in combinations that training
never shows.
"""

import re

import pytest

from src.synthetic import language
from src.synthetic.corruptions import Flaw
from src.synthetic.edits import EDIT_TYPES, Edit
from src.synthetic.language import HELD_OUT_INSTRUCTIONS, HELD_OUT_PAIRS, INSTRUCTIONS
from src.synthetic.scene import Scene, SceneObject
from src.synthetic.world import SPLITS, World

TRAINED = ("train", "validation", "benchmark", "wordings")


@pytest.fixture(scope="module")
def world() -> World:
    return World(32)


def words_of(wordings: tuple[str, ...]) -> set[str]:
    return {word for text in wordings for word in re.sub(r"\{\w+\}", " ", text).split()}


def pairs_of(*scenes: Scene | None, flaw: Flaw | None = None) -> set[tuple[str, str]]:
    objects = [obj for scene in scenes if scene is not None for obj in scene.objects]
    objects += [obj for obj in (None if flaw is None else flaw.replacement,) if isinstance(obj, SceneObject)]
    return {(obj.shape, obj.colour) for obj in objects}


def test_held_out_wordings_use_words_of_the_training_wordings_only() -> None:
    known = set.union(*(words_of(wordings) for wordings in INSTRUCTIONS.values()))
    said = set.union(*(words_of(wordings) for wordings in HELD_OUT_INSTRUCTIONS.values()))
    assert said <= known, said - known
    assert HELD_OUT_INSTRUCTIONS.keys() == INSTRUCTIONS.keys()
    everything = {text for wordings in INSTRUCTIONS.values() for text in wordings}
    for wordings in HELD_OUT_INSTRUCTIONS.values():
        assert len(set(wordings)) >= 2
        assert not set(wordings) & everything


def test_no_held_out_instruction_is_ever_said_elsewhere(world: World) -> None:
    held_out = {case.instruction for case in world.benchmark_cases(split="wordings")}
    usual = {world.edit(world.case_id("train", 0, index)).instruction for index in range(4000)}
    usual |= {
        world.edit(world.case_id(split, 0, index)).instruction
        for split in ("validation", "benchmark", "pairs")
        for index in range(560)
    }
    assert not held_out & usual


def test_the_words_of_the_wordings_split_are_known(world: World) -> None:
    known = set(language.vocabulary())
    for case in world.benchmark_cases(split="wordings", originals=30):
        assert set(case.instruction.split()) <= known


def test_a_reworded_edit_has_the_same_answer_as_its_subject_says(world: World) -> None:
    for index in range(140):
        edit = world.edit(world.case_id("wordings", 0, index))
        if edit.target is not None:
            assert edit.subject in edit.instruction
        if edit.operation == "add" and edit.result is not None:
            assert f"{edit.result.texture} {edit.result.colour} {edit.result.shape}" in edit.instruction
        assert "{" not in edit.instruction
        if edit.operation not in ("remove", "global", "style"):
            assert edit.wanted in edit.instruction


@pytest.mark.parametrize("split", TRAINED)
def test_held_out_pairs_are_never_shown_elsewhere(world: World, split: str) -> None:
    for index in range(2500 if split == "train" else 560):
        case_id = world.case_id(split, 0, index)
        spec = world.case_spec(case_id)
        shown = [spec.scene, spec.edit.after]
        corruption = world.corruption(case_id)
        wrong = None if corruption.following is None else corruption.following.scene
        assert not pairs_of(*shown, wrong, flaw=corruption.preserving) & HELD_OUT_PAIRS, case_id


def test_every_case_of_the_pairs_split_is_about_a_held_out_pair(world: World) -> None:
    seen = set()
    for case in world.benchmark_cases(split="pairs"):
        spec = world.case_spec(case.id)
        edit: Edit = spec.edit
        pairs = [(obj.shape, obj.colour) for obj in spec.scene.objects]
        assert pairs[0] in HELD_OUT_PAIRS
        assert not set(pairs[1:]) & HELD_OUT_PAIRS
        subject = edit.target if edit.operation != "add" else edit.result
        if edit.type in ("local", "remove", "texture", "add"):
            assert subject is not None
            assert (subject.shape, subject.colour) in HELD_OUT_PAIRS
        seen.add(pairs[0])
    assert seen == HELD_OUT_PAIRS


def test_held_out_pairs_leave_every_shape_and_colour_in_training(world: World) -> None:
    assert (
        len({colour for _, colour in HELD_OUT_PAIRS})
        == len({shape for shape, _ in HELD_OUT_PAIRS})
        == len(HELD_OUT_PAIRS)
        == 4
    )
    pairs = pairs_of(*(world.scene(world.case_id("train", 0, index)) for index in range(600)))
    assert len(pairs) == 28


@pytest.mark.parametrize("split", ["wordings", "pairs", "validation"])
def test_other_benchmarks_are_built_like_the_560(world: World, split: str) -> None:
    cases = world.benchmark_cases(split=split, originals=8)
    assert [case.edit_type for case in cases] == list(EDIT_TYPES) * 8
    assert cases[0].id == f"w{world.version(split)}-{split}-0-0-32"
    library = world.renderer.library.photographs[SPLITS[split]]
    assert {case.photograph for case in cases} == {photo.name for photo in library}
    others = {case.original.tobytes() for case in world.benchmark_cases()}
    assert not others & {case.original.tobytes() for case in cases}, "these are other scenes"


def test_the_training_split_is_no_benchmark(world: World) -> None:
    with pytest.raises(ValueError, match="training split"):
        world.benchmark_cases(split="train")
