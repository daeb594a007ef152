"""The world: the same everywhere, disjoint splits, closed language, one right answer per instruction."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.synthetic import language
from src.synthetic.edits import EDIT_TYPES, matches
from src.synthetic.photos import SPLITS
from src.synthetic.scene import GradientBackground, PhotoBackground, object_box, shape_coverage
from src.synthetic.world import CaseSpec, World

SAMPLES = 700


@pytest.fixture(scope="module")
def world() -> World:
    return World(32)


@pytest.fixture(scope="module")
def many(world: World) -> list[CaseSpec]:
    return [world.case_spec(world.case_id("train", 5, index)) for index in range(SAMPLES)]


def test_same_arguments_same_triplet_in_any_order(world: World) -> None:
    other = World(32)
    for index in (7, 3, 3, 7):
        (first, reward), (second, again) = (
            world.rewarded_triplet("train", 1, index),
            other.rewarded_triplet("train", 1, index),
        )
        assert reward == again
        assert first.case.instruction == second.case.instruction
        np.testing.assert_array_equal(first.case.original, second.case.original)
        np.testing.assert_array_equal(first.edited, second.edited)
    assert not np.array_equal(
        world.rewarded_triplet("train", 1, 3)[0].case.original,
        world.rewarded_triplet("train", 2, 3)[0].case.original,
    )


def test_an_id_rebuilds_scene_and_answer(world: World) -> None:
    case = world.case("validation", 4, 11)
    assert case.id == "w2-validation-4-11-32"
    other = World(32)
    assert other.scene(case.id) == world.scene(case.id)
    assert other.parse(case.id) == ("validation", 4, 11)
    assert other.case(*other.parse(case.id)).instruction == case.instruction
    np.testing.assert_array_equal(other.exact_edit(case.id), world.exact_edit(case.id))


@pytest.mark.parametrize(
    "case_id",
    [
        "w1-train-0-0-32",
        "w2-train-0-0-64",
        "w2-test-0-0-32",
        "prompt/12",
        "w2-train-0-32",
        "w2-train--1-0-32",
        "",
    ],
)
def test_foreign_ids_are_refused(world: World, case_id: str) -> None:
    with pytest.raises(ValueError, match=r"version|id"):
        world.exact_edit(case_id)


def test_benchmark_is_560_cases_seven_edits_of_each_original(world: World) -> None:
    cases = world.benchmark_cases()
    assert len(cases) == 560
    assert len({case.id for case in cases}) == 560
    assert [case.edit_type for case in cases[:7]] == list(EDIT_TYPES)
    originals = {case.original.tobytes() for case in cases}
    assert len(originals) == 80
    for start in range(0, 560, 7):
        assert len({case.original.tobytes() for case in cases[start : start + 7]}) == 1
    assert len({case.photograph for case in cases}) == 8


def test_no_two_splits_share_a_photograph(world: World) -> None:
    names = {split: {photo.name for photo in world.renderer.library.photographs[split]} for split in SPLITS}
    assert all(names.values())
    assert not names["train"] & names["validation"]
    assert not names["train"] & names["benchmark"]
    assert not names["validation"] & names["benchmark"]
    assert "motorcycle.png" in names["train"], "the two images of a stereo pair count as one photograph"
    for split in SPLITS:
        shown = {world.case(split, 0, index).photograph for index in range(70)}
        assert {name for name in shown if "." in name} <= names[split]


@pytest.mark.parametrize("size", [32, 48, 64, 128])
def test_masks_are_exact_and_never_overlap(size: int) -> None:
    world = World(size)
    for index in range(25):
        case_id = world.case_id("benchmark", 3, index * 7)
        scene = world.scene(case_id)
        assert 1 <= len(scene.objects) <= 4
        covered = np.zeros((size, size), dtype=int)
        mask = np.zeros((size, size), dtype=bool)
        for obj in scene.objects:
            rows, columns = object_box(obj.x, obj.y, obj.radius, size)
            inside = shape_coverage(obj.shape, obj.radius, size) > 0
            assert inside.shape == (rows.stop - rows.start, columns.stop - columns.start)
            assert inside.shape[0] * 32 >= 9 * size, "an object is at least 9 pixels across at 32"
            assert min(rows.start, columns.start) >= 0
            assert max(rows.stop, columns.stop) <= size
            covered[rows, columns] += inside
            mask[rows, columns] |= inside
        assert covered.max() == 1
        bare = world.renderer.background(scene.background)
        changed = np.abs(world.renderer.render(scene) - bare).max(axis=2) > 1e-6
        assert not (changed & ~mask).any(), "nothing outside the masks is touched"


def test_removing_reveals_the_background(world: World) -> None:
    for index in range(1, 140, 7):
        truth = world.ground_truth(world.case_id("benchmark", 0, index))
        assert truth.edit.operation == "remove"
        target = truth.edit.target
        assert target is not None
        rows, columns = object_box(target.x, target.y, target.radius, 32)
        np.testing.assert_array_equal(truth.exact[rows, columns], truth.background_before[rows, columns])


def test_every_description_fits_exactly_one_thing(many: list[CaseSpec]) -> None:
    checked = 0
    for spec in many:
        scene, edit = spec.scene, spec.edit
        assert len({(obj.shape, obj.colour) for obj in scene.objects}) == len(scene.objects)
        if edit.target is None:
            continue
        assert edit.subject in edit.instruction
        words = edit.subject.split()[1:]
        shape = next((word for word in words if word in language.SHAPES), None)
        colour = next((word for word in words if word in language.COLOURS), None)
        texture = next((word for word in words if word in language.TEXTURES), None)
        assert matches(scene.objects, shape, colour, texture) == 1, (edit.subject, scene.objects)
        assert matches((edit.target,), shape, colour, texture) == 1
        checked += 1
    assert checked > SAMPLES // 4


def test_colour_alone_or_shape_alone_is_often_not_enough(many: list[CaseSpec]) -> None:
    scenes = [spec.scene.objects for spec in many]
    shared = [
        len({t.colour for t in objects}) < len(objects) or len({t.shape for t in objects}) < len(objects)
        for objects in scenes
    ]
    assert np.mean(shared) > 0.4
    objects = [obj for scene in scenes for obj in scene]
    assert (
        len({(t.shape, t.colour, t.texture) for t in objects}) == (4 * 8 - len(language.HELD_OUT_PAIRS)) * 4
    )
    assert {len(scene) for scene in scenes} == {1, 2, 3, 4}


def test_every_edit_shows(world: World) -> None:
    for case in world.benchmark_cases(originals=30):
        assert np.abs(world.exact_edit(case.id).astype(int) - case.original).max() > 40, case.instruction


def test_at_least_three_wordings_of_everything() -> None:
    for wordings in (
        *language.INSTRUCTIONS.values(),
        *language.FEEDBACK.values(),
        *language.GENERAL.values(),
    ):
        assert len(set(wordings)) >= 3


def test_failed_feedback_names_three_failures(world: World) -> None:
    for index in range(70):
        texts = world.failed_feedback(world.case_id("benchmark", 0, index))
        assert "None" not in texts
        assert {word for text in texts for word in text.split()} <= set(language.vocabulary())


@pytest.mark.parametrize("size", [31, 40, 272, 0])
def test_impossible_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="size"):
        World(size)


def photo_folder(folder: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (80, 120, 3), dtype=np.uint8)).save(
            folder / f"photo{number}.png"
        )
    return folder


def test_a_folder_of_photographs_gives_its_own_version(tmp_path: Path) -> None:
    world = World(32, photo_folder(tmp_path, 10))
    assert re.fullmatch(r"3x[0-9a-f]{8}", world.version())
    case = world.case("benchmark", 0, 0)
    assert case.photograph.startswith("photo")
    assert isinstance(world.scene(case.id).background, PhotoBackground)
    with pytest.raises(ValueError, match="version"):
        World(32).exact_edit(case.id)
    splits = [{photo.name for photo in world.renderer.library.photographs[split]} for split in SPLITS]
    assert sum(map(len, splits)) == len(set.union(*splits)) == 10


def test_training_also_has_plain_and_gradient_backgrounds(many: list[CaseSpec]) -> None:
    share = np.mean([isinstance(spec.scene.background, GradientBackground) for spec in many])
    assert 0.05 < share < 0.2


@pytest.mark.parametrize("count", [0, 2])
def test_too_few_photographs_are_refused(tmp_path: Path, count: int) -> None:
    with pytest.raises(ValueError, match="photograph"):
        World(32, photo_folder(tmp_path, count))


@pytest.mark.parametrize("content", [b"", b"not a picture"])
def test_a_broken_photograph_is_named(tmp_path: Path, content: bytes) -> None:
    photo_folder(tmp_path, 4)
    (tmp_path / "broken.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.jpg"):
        World(32, tmp_path)


def test_a_cut_off_photograph_is_named(tmp_path: Path) -> None:
    whole = photo_folder(tmp_path, 4) / "photo1.png"
    whole.write_bytes(whole.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"photo1\.png"):
        World(32, tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        World(32, tmp_path / "nowhere")
