"""A served judge that isn't trusted: whatever its server does, what is spent stays within the budget, a run
in vain ends after some twenty calls with one line, and no reply fills the memory.
"""

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from src.judges.fake_server import USAGES, RunningServer, running_server
from src.judges.health import JudgingStoppedError
from src.judges.image_tokens import TileTokens
from src.judges.limits import Limits, OverBudgetError
from src.judges.openai_chat import OpenAIChat
from src.judges.price import Price
from src.judges.rubric import PerspectiveRubric
from src.judges.vlm_judge import VLMJudge
from src.records import Case, Triplet

ROWS, BUDGET = 40, 0.1
"""A budget for about a third of the calls."""
PRICE = Price(2.5, 10.0)
CONCURRENCY = 16


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    options = ("--key=", "--latency=0.01", "--elsewhere=http://127.0.0.1:9")
    with running_server(tmp_path_factory.mktemp("server") / "requests.jsonl", *options) as running:
        yield running


def triplets() -> list[Triplet]:
    pixels = np.random.default_rng(0).integers(0, 256, (ROWS, 2, 32, 32, 3)).astype(np.uint8)
    return [
        Triplet(Case(f"t{index}", original, "make it night", "global", "p"), edited)
        for index, (original, edited) in enumerate(pixels)
    ]


@dataclass
class Run:
    """What came of a run: its error, the server's requests, and the dollars by its own count and by ours."""

    error: Exception
    requests: list[dict]
    true_dollars: float
    dollars: float
    estimated: int


def run(server: RunningServer, kind: str, folder: Path, budget: float | None = BUDGET) -> Run:
    """Ask about all rows until the run ends, as it must."""
    client = OpenAIChat(f"fault:{kind}", TileTokens(), server.base_url, key_variable=None)
    limits = Limits(CONCURRENCY, attempts=3, longest_wait=0.1, budget_usd=budget)
    judge = VLMJudge("served", PerspectiveRubric(), client, folder / "ledger.sqlite", limits, PRICE)
    before = len(server.requests()) if server.log.exists() else 0
    with pytest.raises((JudgingStoppedError, OverBudgetError)) as caught:
        judge.judge(triplets())
    requests, total = server.requests()[before:], judge.ledger.total()
    used = [sum(each.get(name, 0) for each in requests) for name in ("input_tokens", "output_tokens")]
    return Run(caught.value, requests, PRICE.dollars(*used), total.dollars, total.estimated)


@pytest.mark.parametrize("kind", USAGES)
def test_a_budget_holds_whatever_the_server_tells(server: RunningServer, kind: str, tmp_path: Path) -> None:
    done = run(server, kind, tmp_path)
    assert isinstance(done.error, OverBudgetError)
    assert done.true_dollars <= 1.1 * BUDGET
    assert done.dollars <= 1.1 * BUDGET
    if kind in ("no_usage", "no_tokens", "tenth_of_tokens"):
        assert done.true_dollars >= 0.9 * BUDGET
        assert done.estimated == len(done.requests)
    again = run(server, kind, tmp_path)
    assert (again.requests, again.dollars) == ([], done.dollars)


VAIN = {
    "cut": "judge.client.max_tokens",
    "thinks_only": "let the model think less",
    "prose": "structured=json_schema",
    "refusal": "another model",
    "policy": "refuses every question",
    "busy_for_a_day": "asks to wait 24 h",
    "redirect": "redirects to http://127.0.0.1:9",
    "flood": "more than 1.1 MB",
    "packed": "packed as gzip",
}


@pytest.mark.parametrize("kind", VAIN)
def test_a_run_in_vain_ends_soon_with_one_line(server: RunningServer, kind: str, tmp_path: Path) -> None:
    is_large = kind in ("flood", "packed")
    if is_large:
        tracemalloc.start()  # which slows everything down
    done = run(server, kind, tmp_path, budget=None)
    assert isinstance(done.error, JudgingStoppedError)
    assert VAIN[kind] in str(done.error)
    assert "\n" not in str(done.error)
    assert len(done.requests) <= 20
    if is_large:
        assert tracemalloc.get_traced_memory()[1] < 50e6
        tracemalloc.stop()


@pytest.mark.parametrize(
    "kind", ["thinks_in_tags", "thinks_in_brackets", "thinks_in_channels", "thinks_aside"]
)
def test_a_judge_that_thinks_aloud_is_understood(server: RunningServer, kind: str, tmp_path: Path) -> None:
    client = OpenAIChat(f"fault:{kind}", TileTokens(), server.base_url, key_variable=None)
    judge = VLMJudge("served", PerspectiveRubric(), client, None, Limits(CONCURRENCY), PRICE)
    plain = VLMJudge(
        "served",
        PerspectiveRubric(),
        OpenAIChat("gpt-4o-2024-08-06", TileTokens(), server.base_url, key_variable=None),
        None,
        Limits(CONCURRENCY),
    )
    few = triplets()[:4]
    scores = [
        [[verdict.score for verdict in reward.verdicts] for reward in each.judge(few)]
        for each in (judge, plain)
    ]
    assert scores[0] == scores[1]
