"""A served judge is asked while edits are being made: what it said is in the reward file when they are done,
nothing is asked twice, and its errors come out where it is waited for.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from evaluation.squares import Ruler, Squares

from src.evaluation.generation import start_generation
from src.evaluation.generation_folder import Generation
from src.evaluation.judging import judge_row
from src.evaluation.judging_ahead import JudgingAhead
from src.images import save_png
from src.judges.ensemble import EnsembleJudge
from src.judges.fake_server import MODELS, RunningServer, running_server
from src.judges.image_tokens import TileTokens
from src.judges.judge import RemoteJudge
from src.judges.limits import Limits
from src.judges.openai_chat import OpenAIChat
from src.judges.rubric import PerspectiveRubric
from src.judges.vlm_judge import VLMJudge
from src.reward_file import read_rewards

CASES = list(Squares().cases())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    log = tmp_path_factory.mktemp("server") / "requests.jsonl"
    with running_server(log, "--key=", "--latency=0.05") as running:
        yield running


def served(server: RunningServer, folder: Path, model: str = MODELS[0]) -> VLMJudge:
    client = OpenAIChat(model, TileTokens(), server.base_url, key_variable=None)
    limits = Limits(8, attempts=2, longest_wait=0.1)
    return VLMJudge("served", PerspectiveRubric(), client, folder / "ledger.sqlite", limits)


def begun(folder: Path) -> Generation:
    generation = Generation("5/5/5", folder / "5-5-5", folder / "5-5-5" / "edits")
    start_generation(generation, {"name": "5/5/5"}, overwrite=False)
    return generation


def make(generation: Generation, which: slice) -> None:
    for index, case in list(enumerate(CASES))[
        which
    ]:  # equal questions are asked once, so no two edits are equal
        save_png(np.full_like(case.original, 20 * index), generation.edit_path(case))


def rewards_of(generation: Generation) -> set[str]:
    return {reward.id for reward in read_rewards(generation.folder / "served" / "rewards.jsonl")}


def test_edits_are_judged_as_they_appear_and_none_twice(server: RunningServer, tmp_path: Path) -> None:
    judge, generation = served(server, tmp_path), begun(tmp_path)
    make(generation, slice(0, 4))
    ahead = JudgingAhead(judge, CASES, None, batch_size=2)
    ahead.start([generation])
    deadline = time.monotonic() + 30.0
    try:
        while len(rewards_of(generation)) < 2:  # while most edits are yet to be made
            assert time.monotonic() < deadline
            time.sleep(0.02)
    except AssertionError:
        ahead.give_up()
        raise
    make(generation, slice(4, 11))
    ahead.finish()
    assert rewards_of(generation) == {case.id for case in CASES[:11]}
    before = len(server.requests())
    make(generation, slice(11, 12))
    path = generation.folder / "served" / "rewards.jsonl"
    judged = judge_row(generation.triplets(CASES), 12, judge, path, "5/5/5", batch_size=2)
    assert [each.id for each in judged] == [case.id for case in CASES]
    assert all(each.reward is not None for each in judged)
    assert len(server.requests()) - before == judge.rubric.calls


def test_the_judges_error_is_told_at_once_and_raised_where_it_is_waited_for(
    server: RunningServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    generation = begun(tmp_path)
    ahead = JudgingAhead(served(server, tmp_path, "unknown"), CASES, None, batch_size=4)
    make(generation, slice(0, 1))
    ahead.start([generation])
    deadline, said = time.monotonic() + 30.0, ""
    while "judges no more" not in said:  # while edits are yet to be made
        assert time.monotonic() < deadline
        said += capfd.readouterr().err
        time.sleep(0.02)
    with pytest.raises(ValueError, match="unknown"):
        ahead.finish()


def test_giving_up_asks_no_more(server: RunningServer, tmp_path: Path) -> None:
    generation = begun(tmp_path)
    ahead = JudgingAhead(served(server, tmp_path), CASES, None, batch_size=4)
    ahead.start([generation])
    ahead.give_up()
    make(generation, slice(0, 12))
    assert rewards_of(generation) == set()
    JudgingAhead(Ruler(), CASES, None, 4).finish()  # was never started


def test_only_judges_that_answer_elsewhere_are_asked_ahead(server: RunningServer, tmp_path: Path) -> None:
    remote, local = served(server, tmp_path), Ruler()
    assert remote.is_remote
    assert not isinstance(local, RemoteJudge)
    assert EnsembleJudge({"a": remote, "b": remote}).is_remote
    assert not EnsembleJudge({"a": remote, "b": local}).is_remote
