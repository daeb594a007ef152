"""The benchmarks of the synthetic world: each yaml is called as its results are, and its reference rows are
what they say.
"""

import numpy as np
import pytest
from conftest import config
from hydra.utils import instantiate

from src.evaluation.synthetic_edit import NAMES, SyntheticEdit
from src.synthetic.world import World


@pytest.mark.parametrize("name", sorted(NAMES.values()))
def test_a_yaml_is_called_as_its_benchmark(name: str) -> None:
    benchmark = instantiate(config(f"benchmark={name}", "benchmark.originals=2", name="evaluate").benchmark)
    assert benchmark.name == name
    assert len(benchmark.cases()) == 14


def test_the_training_split_is_refused() -> None:
    with pytest.raises(ValueError, match="'train' is no benchmark"):
        SyntheticEdit(World(32), 0, "train")


@pytest.mark.parametrize("never_all_good", [False, True])
def test_training_triplets_are_those_that_the_editor_learns_from(never_all_good: bool) -> None:
    world = World(32, never_all_good=never_all_good)
    benchmark = SyntheticEdit(world, training_seed=3, originals=1)
    references = {reference.name: reference for reference in benchmark.references()}
    shown = list(references["training triplets"].triplets(benchmark.cases()))
    assert len(shown) == 7
    for index, triplet in enumerate(shown):
        expected, _ = world.rewarded_triplet("train", 3, index)
        assert triplet.case.id == expected.case.id == f"w{world.version('train')}-train-3-{index}-32"
        np.testing.assert_array_equal(triplet.edited, expected.edited)


def test_outside_its_region_an_exact_edit_changes_nothing() -> None:
    benchmark = SyntheticEdit(World(64), training_seed=0, originals=2)
    left = {}
    for case in benchmark.cases():
        region, changed = (
            benchmark.edit_region(case),
            (case.original != benchmark.ground_truth(case)).any(axis=2),
        )
        assert not changed[~region].any()
        padded = np.pad(changed, 2)
        grown = np.any(
            [padded[down : down + 64, across : across + 64] for down in range(5) for across in range(5)],
            axis=0,
        )
        np.testing.assert_array_equal(region, grown)
        left.setdefault(case.edit_type, []).append(1 - region.mean())
    assert min(min(left[kind]) for kind in ("local", "remove", "add", "texture")) > 0.5
    assert max(max(left[kind]) for kind in ("global", "style")) < 0.05
