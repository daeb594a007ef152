"""Control datasets: what they keep, and what they remove."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import config
from data.written import write_tree
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from src.data.all_good import AllGood, all_good
from src.data.best_rated import BestRated, rank
from src.data.collate import collate
from src.data.dataset import RewardedTriplets
from src.data.exact_targets import ExactTargets
from src.data.partly_clean import PartlyClean
from src.data.permuted import PermutedRewards, partial_cycle
from src.data.scalar_reward import ScalarReward, scalar
from src.data.synthetic import SyntheticTriplets
from src.records import Reward, Triplet, Verdict
from src.synthetic.annotation import ExactAnnotator, NoisyAnnotator, Unrated
from src.synthetic.world import World

LENGTH = 150


@pytest.fixture(scope="module")
def usual() -> SyntheticTriplets:
    return SyntheticTriplets(World(32), NoisyAnnotator(), LENGTH)


@pytest.fixture(scope="module")
def unrated(usual: SyntheticTriplets) -> SyntheticTriplets:
    return SyntheticTriplets(usual.world, Unrated(), LENGTH)


@pytest.fixture(scope="module")
def made(usual: SyntheticTriplets) -> list[tuple[Triplet, Reward | None]]:
    """The triplets of `usual`, made once: a list is a dataset, too."""
    return [usual[index] for index in range(LENGTH)]


def contents(dataset: RewardedTriplets) -> Counter:
    return Counter(
        reward.verdicts
        for _, reward in (dataset[index] for index in range(len(dataset)))
        if reward is not None
    )


@pytest.mark.parametrize("length", [2, 3, 100])
def test_a_permutation_moves_everything_in_one_cycle(length: int) -> None:
    source = partial_cycle(length, seed=1, share=1.0)
    place, steps = 0, 0
    while steps == 0 or place != 0:
        place, steps = int(source[place]), steps + 1
    assert steps == length
    if length > 3:
        assert (partial_cycle(length, seed=2, share=1.0) != source).any()


def test_a_share_of_the_rewards_is_permuted() -> None:
    for share in (0.0, 0.25, 1.0):
        source = partial_cycle(40, 1, share)
        assert (np.sort(source) == np.arange(40)).all()
        assert (source != np.arange(40)).sum() == round(40 * share)
    with pytest.raises(ValueError, match=r"share=1\.5 of the rewards"):
        PermutedRewards([], share=1.5)


def test_permuted_rewards_are_the_same_rewards_on_the_same_triplets(
    made: list[tuple[Triplet, Reward | None]],
) -> None:
    permuted = PermutedRewards(made, seed=3)
    assert len(permuted) == LENGTH
    assert contents(permuted) == contents(made)
    for index in (0, 7):
        triplet, reward = permuted[index]
        assert triplet.case.id == made[index][0].case.id == reward.id
        np.testing.assert_array_equal(triplet.edited, made[index][0].edited)
        source = made[int(permuted.source[index])][1]
        assert source is not None
        assert reward.verdicts == source.verdicts
    own = np.array([[v.score for v in reward.verdicts] for _, reward in made if reward is not None])
    others = np.array([[v.score for v in permuted[index][1].verdicts] for index in range(LENGTH)])
    assert (np.abs([np.corrcoef(own[:, k], others[:, k])[0, 1] for k in range(3)]) < 0.25).all()


def test_only_what_is_annotated_good_is_left(made: list[tuple[Triplet, Reward | None]]) -> None:
    good = AllGood(made)
    rewards = [reward for _, reward in made]
    assert good.indices == [
        index for index, reward in enumerate(rewards) if reward is not None and all_good(reward)
    ]
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
        np.testing.assert_array_equal(triplet.edited, usual.world.exact_edit(triplet.case.id))


def test_clean_triplets_are_exact_and_annotated_as_such(
    usual: SyntheticTriplets, unrated: SyntheticTriplets, made: list[tuple[Triplet, Reward | None]]
) -> None:
    some, more = PartlyClean(usual, 0.2), PartlyClean(usual, 0.6)
    assert (len(some), len(some.clean), len(more.clean)) == (LENGTH, 30, 90)
    assert some.clean < more.clean
    exact = PartlyClean(SyntheticTriplets(usual.world, ExactAnnotator(), LENGTH), 0.2)
    for index in (*sorted(some.clean)[:5], *sorted(set(range(LENGTH)) - some.clean)[:5]):
        (triplet, reward), (own, usual_reward) = some[index], made[index]
        assert triplet.case.id == own.case.id
        if index in some.clean:
            np.testing.assert_array_equal(triplet.edited, usual.world.exact_edit(own.case.id))
            assert reward is not None
            assert {verdict.feedback for verdict in reward.verdicts} == {"None"}
            true = exact[index][1]
            assert true is not None
            assert min(verdict.score or 0.0 for verdict in true.verdicts) > 4.9
        else:
            np.testing.assert_array_equal(triplet.edited, own.edited)
            assert reward == usual_reward
        bare, none = PartlyClean(unrated, 0.2)[index]
        assert none is None
        np.testing.assert_array_equal(bare.edited, triplet.edited)
    none_clean = PartlyClean(usual, 0.0)
    assert [none_clean[index][1] for index in range(10)] == [reward for _, reward in made[:10]]
    with pytest.raises(ValueError, match=r"clean_share=1\.5 is not possible"):
        PartlyClean(usual, 1.5)


def given(scores: tuple[float | None, ...], feedback: tuple[str, ...] = ("None", "None", "None")) -> Reward:
    """A reward by hand; None is a failed verdict."""
    verdicts = [
        Verdict(score, feedback=text, status="failed" if score is None else "ok")
        for score, text in zip(scores, feedback, strict=True)
    ]
    return Reward("case", "hand", "key", *verdicts)


def test_a_scalar_reward_is_the_mean_and_says_nothing_else(made: list[tuple[Triplet, Reward | None]]) -> None:
    dataset = ScalarReward(made)
    assert len(dataset) == LENGTH
    for index in range(LENGTH):
        (triplet, reward), (own, exact) = dataset[index], made[index]
        assert exact is not None
        assert triplet.case.id == own.case.id == reward.id
        np.testing.assert_array_equal(triplet.edited, own.edited)
        assert {verdict.score for verdict in reward.verdicts} == {
            sum(verdict.score or 0.0 for verdict in exact.verdicts) / 3
        }
        assert {verdict.feedback for verdict in reward.verdicts} == {"None"}
    five = given((5.0, 5.0, 5.0))
    assert scalar(five).verdicts == five.verdicts  # a perfect reward loses nothing
    assert [
        verdict.score for verdict in scalar(given((5.0, 4.0, 1.0), ("None", "None", "blurred"))).verdicts
    ] == [10 / 3] * 3
    with pytest.raises(ValueError, match="failed verdicts and no mean"):
        scalar(given((5.0, None, 1.0)))


def test_the_best_rated_are_the_good_ones_and_those_next_to_them(
    made: list[tuple[Triplet, Reward | None]],
) -> None:
    good = AllGood(made)
    assert BestRated(made, len(good) / LENGTH).indices == good.indices
    more = BestRated(made, 0.3)
    assert len(more) == 45
    assert set(good.indices) < set(more.indices)
    means = [sum(verdict.score or 0.0 for verdict in reward.verdicts) for _, reward in made if reward]
    left = [mean for index, mean in enumerate(means) if index not in more.indices]
    assert min(means[index] for index in more.indices) >= max(left)
    assert BestRated(made, 1.0).indices == list(range(LENGTH))
    assert (
        rank(given((5.0, 5.0, 5.0)))
        < rank(given((5.0, 5.0, 5.0), ("None", "None", "blurred")))
        < rank(given((5.0, 5.0, 4.0)))
    )
    never = SyntheticTriplets(World(32, never_all_good=True), NoisyAnnotator(), 20)
    assert len(BestRated(never, 0.1)) == 2
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match="more than 0 and at most 1"):
            BestRated(never, share)
    with pytest.raises(ValueError, match="of 20 triplets is none"):
        BestRated(never, 0.01)
    with pytest.raises(ValueError, match="failed verdicts and can't be ranked"):
        rank(given((None, 5.0, 5.0)))


@pytest.mark.parametrize(
    "control",
    [
        lambda dataset: PermutedRewards(dataset)[0],
        AllGood,
        lambda dataset: ScalarReward(dataset)[0],
        lambda dataset: BestRated(dataset, 0.5),
    ],
)
def test_controls_of_rewards_need_rewards(unrated: SyntheticTriplets, control) -> None:
    with pytest.raises(ValueError, match="annotator=noisy"):
        control(unrated)


@pytest.mark.parametrize("name", ["permuted", "best_rated", "partly_clean", "exact"])
def test_every_control_builds_from_its_yaml(name: str) -> None:
    data = instantiate(config(f"+control={name}", "data.dataset.length=60").data)
    triplet, reward = data.dataset[0]
    assert triplet.edited.shape == (32, 32, 3)
    assert (reward is None) == (name == "exact")
    assert data.image_size == (32, 32)


def test_a_control_is_made_of_rendered_triplets_only(tmp_path: Path) -> None:
    folder = write_tree(tmp_path)
    with pytest.raises(InstantiationException, match="a control can't be made of Pix2PixTree"):
        instantiate(
            config(
                "data=pix2pix_tree",
                "+control=permuted",
                f"data.dataset.folder={folder}",
                "data.dataset.extension=png",
            ).data
        )
