"""Control datasets: what they keep, and what they take away."""

from collections import Counter

import numpy as np
import pytest
from conftest import config
from hydra.utils import instantiate

from src.data.all_good import AllGood, all_good
from src.data.dataset import RewardedTriplets, collate
from src.data.exact_targets import ExactTargets
from src.data.permuted import PermutedRewards, one_cycle
from src.data.synthetic import SyntheticTriplets
from src.synthetic.annotation import NoisyAnnotator, Unrated
from src.synthetic.world import World

LENGTH = 150


@pytest.fixture(scope="module")
def usual() -> SyntheticTriplets:
    return SyntheticTriplets(World(32), NoisyAnnotator(), LENGTH)


@pytest.fixture(scope="module")
def unrated(usual: SyntheticTriplets) -> SyntheticTriplets:
    return SyntheticTriplets(usual.world, Unrated(), LENGTH)


def contents(dataset: RewardedTriplets) -> Counter:
    return Counter(reward.verdicts for _, reward in (dataset[index] for index in range(len(dataset))) if reward is not None)


@pytest.mark.parametrize("length", [2, 3, 100])
def test_a_permutation_moves_everything_in_one_cycle(length: int) -> None:
    source = one_cycle(length, seed=1)
    place, steps = 0, 0
    while steps == 0 or place != 0:
        place, steps = int(source[place]), steps + 1
    assert steps == length
    if length > 3:
        assert (one_cycle(length, seed=2) != source).any()


def test_permuted_rewards_are_the_same_rewards_on_the_same_triplets(usual: SyntheticTriplets) -> None:
    permuted = PermutedRewards(usual, seed=3)
    assert len(permuted) == LENGTH
    assert contents(permuted) == contents(usual)
    for index in (0, 7):
        triplet, reward = permuted[index]
        assert triplet.case.id == usual[index][0].case.id == reward.id
        np.testing.assert_array_equal(triplet.edited, usual[index][0].edited)
        source = usual[int(permuted.source[index])][1]
        assert source is not None
        assert reward.verdicts == source.verdicts
    own = np.array([[v.score for v in usual[index][1].verdicts] for index in range(LENGTH)])  # type: ignore[union-attr]
    others = np.array([[v.score for v in permuted[index][1].verdicts] for index in range(LENGTH)])
    assert (np.abs([np.corrcoef(own[:, k], others[:, k])[0, 1] for k in range(3)]) < 0.25).all()


def test_only_what_is_annotated_good_is_left(usual: SyntheticTriplets) -> None:
    good = AllGood(usual)
    rewards = [usual[index][1] for index in range(LENGTH)]
    assert good.indices == [index for index, reward in enumerate(rewards) if reward is not None and all_good(reward)]
    assert 0 < len(good) < LENGTH / 5
    batch = collate([good[index] for index in range(len(good))])
    assert batch.scores is not None
    assert (batch.scores == 5).all()
    assert batch.feedback == [("None", "None", "None")] * len(good)


def test_nothing_good_is_an_error() -> None:
    with pytest.raises(ValueError, match="none of 3 triplets"):
        AllGood(SyntheticTriplets(World(32, never_all_good=True), NoisyAnnotator(), 3))


def test_exact_targets_answer_the_same_cases(usual: SyntheticTriplets, unrated: SyntheticTriplets) -> None:
    exact = ExactTargets(unrated)
    assert len(exact) == LENGTH
    for index in range(5):
        triplet, reward = exact[index]
        assert reward is None
        assert triplet.case.instruction == usual[index][0].case.instruction
        np.testing.assert_array_equal(triplet.edited, usual.world.exact(triplet.case.id))


@pytest.mark.parametrize("control", [lambda dataset: PermutedRewards(dataset)[0], AllGood])
def test_controls_of_rewards_need_rewards(unrated: SyntheticTriplets, control) -> None:
    with pytest.raises(ValueError, match="annotator=noisy"):
        control(unrated)


@pytest.mark.parametrize("name", ["permuted", "all_good", "exact_targets"])
def test_every_control_builds_from_its_yaml(name: str) -> None:
    data = instantiate(config(f"data={name}", "data.dataset.dataset.length=60").data)
    triplet, reward = data.dataset[0]
    assert triplet.edited.shape == (32, 32, 3)
    assert (reward is None) == (name == "exact_targets")
    assert data.picture_size == (32, 32)
