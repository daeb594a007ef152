"""Judging from Python: the rewards of the judge itself, one or many, also where an event loop runs."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest

from src import load_judge
from src.images import save_png
from src.judges.fake_server import running_server
from src.judges.oracle import OracleJudge
from src.records import Triplet
from src.synthetic.world import World

WORLD = World(32)


@pytest.fixture(scope="module")
def triplets() -> list[Triplet]:
    return [WORLD.triplet("validation", 0, index) for index in range(2)]


def test_the_rewards_of_the_judge(triplets: list[Triplet], tmp_path: Path) -> None:
    judge, expected = load_judge("oracle"), OracleJudge(WORLD).judge(triplets)
    case, edited = triplets[0].case, triplets[0].edited
    save_png(edited, tmp_path / "edited.png")
    for form in (edited, PIL.Image.fromarray(edited), tmp_path / "edited.png"):
        assert judge(case.original, case.instruction, form, id=case.id) == expected[0]
    many = judge(
        [triplet.case.original for triplet in triplets],
        [triplet.case.instruction for triplet in triplets],
        [triplet.edited for triplet in triplets],
        id=[triplet.case.id for triplet in triplets],
    )
    assert many == expected
    (unknown,) = judge(case.original, case.instruction, [edited])
    assert unknown.failed
    assert "is no id of the synthetic world" in unknown.following.feedback


def test_a_served_judge_beside_a_running_loop(triplets: list[Triplet], tmp_path: Path) -> None:
    """As in a notebook; with a ledger nothing is asked twice."""
    case, edited = triplets[0].case, triplets[0].edited

    async def twice(url: str) -> None:
        judge = load_judge(
            "openai_compatible", model="gpt-4o-2024-08-06", base_url=url, ledger=tmp_path / "judge.sqlite"
        )
        assert not judge(case.original, case.instruction, edited).failed
        assert not judge(case.original, case.instruction, edited).failed

    with running_server(tmp_path / "requests.jsonl", "--key=") as server:
        asyncio.run(twice(server.base_url))
        assert len(server.requests()) == 3


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: load_judge("gpt5"), "judge=gpt5: there is no gpt5; did you mean gpt4o"),
        (lambda: load_judge("openai_compatible"), "client.model"),
        (lambda: load_judge("oracle", model="x"), "judge.client.model"),
        (lambda: load_judge(budget_usd=-1), "budget_usd"),
        (lambda: load_judge("oracle")([], "x", []), "0 of original, 0 of edited: give one for all"),
        (lambda: load_judge("oracle")(PIL.Image.new("L", (9, 9)), "", "a.png"), "a text is needed"),
    ],
)
def test_one_clear_line(call: Callable[[], object], said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        call()
    assert "\n" not in str(raised.value)
