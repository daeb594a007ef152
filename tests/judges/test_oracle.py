"""The oracle judges its own world's triplets, and gives failed verdicts, never numbers, for anything else."""

from dataclasses import replace

import numpy as np
import pytest

from src.judges.judge import check_can_judge
from src.judges.noisy_oracle import NoisyOracleJudge
from src.judges.oracle import OracleJudge
from src.records import Triplet
from src.synthetic.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return World(32)


def test_exact_and_copy(world: World) -> None:
    judge = OracleJudge(world)
    cases = world.benchmark_cases(originals=2)
    rewards = judge.judge(
        [Triplet(case, world.exact_edit(case.id)) for case in cases]
        + [Triplet(case, case.original) for case in cases]
    )
    assert [reward.id for reward in rewards] == [case.id for case in cases] * 2
    for reward in rewards[: len(cases)]:
        assert reward.judge == "oracle"
        assert min(verdict.score for verdict in reward.verdicts) > 4.9
        assert all(verdict.success for verdict in reward.verdicts)
    for reward in rewards[len(cases) :]:
        assert reward.following.score < 0.1
        assert reward.following.success is False
        assert reward.following.feedback != "None"


@pytest.mark.parametrize(
    "foreign", ["w1-benchmark-0-0-32", "w3-benchmark-0-0-64", "some/other", "w2-other-0-0-32"]
)
def test_a_foreign_id_is_a_failed_verdict(world: World, foreign: str) -> None:
    case = replace(world.case("benchmark", 0, 0), id=foreign)
    (reward,) = OracleJudge(world).judge([Triplet(case, case.original)])
    assert reward.failed
    assert [(verdict.score, verdict.status) for verdict in reward.verdicts] == [(None, "failed")] * 3
    assert foreign in reward.following.feedback


def test_a_image_of_another_size_is_a_failed_verdict(world: World) -> None:
    (reward,) = OracleJudge(world).judge(
        [Triplet(world.case("benchmark", 0, 0), np.zeros((64, 64, 3), dtype=np.uint8))]
    )
    assert [verdict.status for verdict in reward.verdicts] == ["failed"] * 3


def test_the_key_tells_images_and_worlds_apart(world: World) -> None:
    case = world.case("benchmark", 0, 0)
    judge = OracleJudge(world)
    copy, exact = judge.judge([Triplet(case, case.original), Triplet(case, world.exact_edit(case.id))])
    assert copy.key != exact.key
    assert judge.judge([Triplet(case, case.original)])[0].key == copy.key
    assert OracleJudge(World(48)).judge([Triplet(case, case.original)])[0].key != copy.key


@pytest.mark.parametrize("kind", [OracleJudge, NoisyOracleJudge])
def test_it_says_before_it_is_asked_that_it_knows_no_photograph(
    kind: type[OracleJudge] | type[NoisyOracleJudge], world: World
) -> None:
    judge = kind(world)
    check_can_judge(judge, ["photo-1", world.case_id("benchmark", 0, 0)])
    check_can_judge(judge, [])
    with pytest.raises(
        ValueError, match=r"none of these 2 \(photo-1, ...\) is one: choose a judge that looks"
    ):
        check_can_judge(judge, ["photo-1", "photo-2"])
