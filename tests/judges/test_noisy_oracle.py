"""Errors of the size that was asked for, the same whenever they are asked for, and failures that stay
failures.
"""

import numpy as np
import pytest

from src.judges.noisy_oracle import NoisyOracleJudge, clip_score
from src.judges.oracle import OracleJudge
from src.records import Reward, Triplet
from src.synthetic.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return World(32)


@pytest.fixture(scope="module")
def triplets(world: World) -> list[Triplet]:
    return [world.triplet("train", 0, index) for index in range(40)]


def scores(rewards: list[Reward]) -> np.ndarray:
    return np.array([[verdict.score for verdict in reward.verdicts] for reward in rewards])


def test_without_deviation_it_is_the_oracle(world: World, triplets: list[Triplet]) -> None:
    exact, noisy = (
        OracleJudge(world).judge(triplets[:20]),
        NoisyOracleJudge(world, deviation=0.0).judge(triplets[:20]),
    )
    assert (scores(exact) == scores(noisy)).all()
    assert [reward.following.feedback for reward in exact] == [reward.following.feedback for reward in noisy]
    assert {reward.judge for reward in noisy} == {"noisy_oracle"}
    assert {verdict.success for reward in noisy for verdict in reward.verdicts} == {None}


def test_errors_have_the_deviation_asked_for_and_the_scale_is_kept(
    world: World, triplets: list[Triplet]
) -> None:
    exact = scores(OracleJudge(world).judge(triplets))
    errors = scores(NoisyOracleJudge(world, deviation=0.05).judge(triplets)) - exact
    inside = (exact > 0.2) & (exact < 4.8)
    assert inside.sum() > 30
    assert errors[inside].std() == pytest.approx(0.05, rel=0.3)
    assert abs(errors[inside].mean()) < 0.02
    # scores at the ends of the scale stay on it
    wild = scores(NoisyOracleJudge(world, deviation=3.0).judge(triplets))
    assert (wild.min(), wild.max()) == (0.0, 5.0)
    # each perspective has an error of its own
    assert all(len(set(row[which])) == which.sum() for row, which in zip(errors, inside, strict=True))


def test_an_error_belongs_to_the_edit_not_to_the_call(world: World, triplets: list[Triplet]) -> None:
    judge = NoisyOracleJudge(world)
    together = judge.judge(triplets[:6])
    assert judge.judge(triplets[:6][::-1])[::-1] == together
    assert [NoisyOracleJudge(world).judge([triplet])[0] for triplet in triplets[:6]] == together
    assert (scores(NoisyOracleJudge(world, seed=1).judge(triplets[:6])) != scores(together)).any()


def test_whole_points(world: World, triplets: list[Triplet]) -> None:
    rounded = scores(NoisyOracleJudge(world, whole_points=True).judge(triplets[:30]))
    assert set(np.unique(rounded)) <= {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}
    assert [clip_score(score, True) for score in (-0.4, 0.5, 2.49, 5.7)] == [0.0, 1.0, 2.0, 5.0]
    assert [clip_score(score, False) for score in (-0.4, 2.49, 5.7)] == [0.0, 2.49, 5.0]


def test_everything_that_decides_an_answer_is_in_the_fingerprint(world: World) -> None:
    judges = [
        NoisyOracleJudge(world, **settings)
        for settings in ({}, {"deviation": 1.0}, {"whole_points": True}, {"seed": 1})
    ]
    assert len({judge.fingerprint for judge in [*judges, OracleJudge(world)]}) == 5
    assert NoisyOracleJudge(world, name="other").fingerprint == judges[0].fingerprint


def test_what_the_oracle_cannot_judge_fails(world: World) -> None:
    (reward,) = NoisyOracleJudge(world).judge(
        [Triplet(world.case("benchmark", 0, 0), np.zeros((64, 64, 3), dtype=np.uint8))]
    )
    assert [(verdict.score, verdict.status) for verdict in reward.verdicts] == [(None, "failed")] * 3


def test_a_negative_deviation_is_refused(world: World) -> None:
    for deviation in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="standard deviation is 0 or more"):
            NoisyOracleJudge(world, deviation=deviation)
