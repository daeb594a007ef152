"""Labels of what stands where: by hand, and against the rendered images."""

import numpy as np
import pytest
import torch

from src.synthetic.language import COLOURS, FILLS, PLACES, SHAPES, TEXTURES
from src.synthetic.scene import RADII
from src.synthetic.scene_labels import NONE, OPERATIONS, SceneLabels, reading_sizes, scene_labels
from src.synthetic.world import CaseSpec, World

WORLD = World(32)


def cases(operation: str, count: int = 12) -> list[CaseSpec]:
    """Benchmark cases with this operation."""
    specs = (WORLD.case_spec(WORLD.case_id("benchmark", 0, index)) for index in range(560))
    return [spec for spec in specs if spec.edit.operation == operation][:count]


def labels(specs: list[CaseSpec]) -> SceneLabels:
    return scene_labels(specs, 32, 4, 7)


def cell(x: float, y: float) -> int:
    """The patch that holds a point, in images of 8 x 8 patches."""
    return int(y * 8) * 8 + int(x * 8)


def test_every_object_stands_in_its_own_patch() -> None:
    specs = cases("global")
    found = labels(specs)
    for row, spec in enumerate(specs):
        for obj in spec.scene.objects:
            expected = [SHAPES.index(obj.shape), list(COLOURS).index(obj.colour), TEXTURES.index(obj.texture)]
            place = cell(obj.x - 0.01, obj.y - 0.01)
            assert found.before[row, :, place].tolist() == expected
            assert found.after[row, :, place].tolist() == [*expected, RADII.index(obj.radius)]
            assert found.presence[row, place]


@pytest.mark.parametrize("operation", ["recolor", "reshape", "move", "add", "texture"])
def test_what_shall_stand_somewhere_has_its_centre_there(operation: str) -> None:
    specs = cases(operation)
    found = labels(specs)
    for row, spec in enumerate(specs):
        new = spec.edit.result
        assert new is not None
        for dx, dy in ((-0.01, -0.01), (0.1, 0.0), (0.0, -0.1)):
            place = cell(new.x + dx, new.y + dy)
            assert found.after[row, 0, place] == SHAPES.index(new.shape)
            down, right = divmod(place, 8)
            centre = found.centre[row, :, place] - 7
            assert (right * 4 + 2 + centre[0], down * 4 + 2 + centre[1]) == (new.x * 32, new.y * 32)
        expected = list(PLACES).index(spec.edit.wanted) if operation in ("move", "add") else NONE
        assert found.reading[row, -1] == expected
        assert found.reading[row, 0] == OPERATIONS.index(operation)


def test_a_new_background_is_read_as_its_instruction_says() -> None:
    specs = cases("background", 40)
    for spec, fill in zip(specs, labels(specs).fill.tolist(), strict=True):
        words = spec.edit.instruction.split()
        colours = [list(FILLS).index(word) for word in words if word in FILLS]
        direction = int("bottom" in words) if len(colours) == 2 else NONE
        assert fill == [colours[0], colours[-1], direction]
    assert (labels(cases("recolor")).fill == NONE).all()


@pytest.mark.parametrize("operation", ["remove", "move"])
def test_what_goes_away_leaves_its_radius_and_centre_alone(operation: str) -> None:
    specs = cases(operation)
    found = labels(specs)
    for row, spec in enumerate(specs):
        old = spec.edit.target
        assert old is not None
        place = cell(old.x - 0.01, old.y - 0.01)
        assert found.before[row, 0, place] == SHAPES.index(old.shape)
        assert found.after[row, :, place].tolist() == [NONE, NONE, NONE, RADII.index(old.radius)]
        assert not found.presence[row, place]
        assert (found.centre[row, :, place] != NONE).all()


def test_paint_covers_what_changes() -> None:
    """Wherever the exact edit differs, and nowhere else for a single object."""
    for operation in OPERATIONS:
        specs = cases(operation, 4)
        painted = labels(specs).painted[:, 0].numpy()
        for mask, spec in zip(painted, specs, strict=True):
            before, after = (WORLD.renderer.render(scene) for scene in (spec.scene, spec.edit.after))
            changed = np.abs(after - before).max(axis=2) > 1e-6
            assert not (changed & (mask == 0)).any(), operation
            if spec.edit.type in ("local", "remove", "add", "texture"):
                assert mask.sum() < 300


def test_an_empty_scene_has_nothing_to_say() -> None:
    (spec,) = cases("background", 1)
    empty = CaseSpec(spec.scene.__class__(spec.scene.background, ()), spec.edit, spec.free_place)
    found = labels([empty])
    assert (found.before == NONE).all()
    assert not found.presence.any()


def test_labels_fit_the_heads() -> None:
    found = labels([spec for operation in OPERATIONS for spec in cases(operation, 2)])
    for column, size in enumerate(reading_sizes().values()):
        assert found.reading[:, column].max() < size
    assert torch.equal(found.presence, found.after[:, 0] != NONE)
    assert found.centre.max() <= 14
