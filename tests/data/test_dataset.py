"""Triplets are stacked into batches, and rewards of the synthetic world are kept."""

from pathlib import Path

import numpy as np
import pytest
import torch

from src.data.collate import collate, to_images, to_tensor
from src.data.synthetic import SyntheticTriplets
from src.records import Case, Reward, Triplet, Verdict
from src.synthetic.annotation import AnnotationTask, NoisyAnnotator, Unrated
from src.synthetic.world import World

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def row(score: float | None) -> tuple[Triplet, Reward]:
    case = Case("x", IMAGE, "make it night", "global", "moon")
    verdict = (
        Verdict(None, status="failed") if score is None else Verdict(score, feedback="the picture is noisy")
    )
    return Triplet(case, IMAGE[::-1].copy()), Reward("x", "test", "key", Verdict(5.0), verdict, Verdict(2.0))


def test_images_survive_the_conversion_to_a_tensor_and_back() -> None:
    tensor = to_tensor([IMAGE])
    assert tensor.min() >= -1.0
    assert tensor.max() <= 1.0
    assert np.array_equal(to_images(tensor)[0], IMAGE)


def test_collate_keeps_the_order_of_perspectives() -> None:
    batch = collate([row(3.5), row(0.0)])
    assert batch.scores is not None
    assert batch.feedback is not None
    assert batch.scores.tolist() == [[5.0, 3.5, 2.0], [5.0, 0.0, 2.0]]
    assert batch.feedback[0] == ("None", "the picture is noisy", "None")
    assert torch.equal(batch.edited, batch.original.flip(2))


def test_a_failed_reward_never_trains() -> None:
    with pytest.raises(ValueError, match="failed reward by 'test'"):
        collate([row(None)])


def test_unrated_triplets_have_no_scores_and_do_not_mix_with_rated_ones() -> None:
    batch = collate([(row(1.0)[0], None)] * 2)
    assert batch.scores is None
    assert batch.feedback is None
    assert batch.to(torch.device("cpu")).scores is None
    with pytest.raises(ValueError, match="only 1 of 2"):
        collate([row(1.0), (row(1.0)[0], None)])


def test_an_unrated_dataset_shows_the_same_triplets() -> None:
    world = World(32)
    rated, unrated = (
        SyntheticTriplets(world, annotator, 9, seed=2) for annotator in (NoisyAnnotator(), Unrated())
    )
    for index in range(9):
        (first, reward), (second, nothing) = rated[index], unrated[index]
        assert reward is not None
        assert nothing is None
        assert first.case.id == second.case.id == reward.id
        assert np.array_equal(first.edited, second.edited)


class Counting:
    """The noisy annotator, with a count of its calls."""

    name = "counting"

    def __init__(self, settings: str = "1") -> None:
        self.settings = settings
        self.asked = 0

    def annotate(self, task: AnnotationTask) -> Reward:
        self.asked += 1
        return NoisyAnnotator().annotate(task)


def test_kept_rewards_are_measured_once_and_stay_the_same(tmp_path: Path) -> None:
    world, annotator = World(32), Counting()
    plain = SyntheticTriplets(world, NoisyAnnotator(), 12, seed=4)
    for length, asked in (
        (7, 7),
        (12, 12),
        (5, 12),
    ):  # a longer dataset measures the rest, a shorter one nothing
        kept = SyntheticTriplets(world, annotator, length, seed=4, cache=tmp_path)
        assert [kept[index][1] for index in range(length)] == [plain[index][1] for index in range(length)]
        assert annotator.asked == asked
        assert np.array_equal(kept[2][0].edited, plain[2][0].edited)
    assert len(list(tmp_path.iterdir())) == 1
    for other in (
        (world, Counting("2"), 4),
        (world, annotator, 5),
        (World(32, never_all_good=True), annotator, 4),
    ):
        assert SyntheticTriplets(other[0], other[1], 1, seed=other[2], cache=tmp_path)[0]
    assert len(list(tmp_path.iterdir())) == 4
