"""The command that measures judges: what it writes, and what it refuses in one line."""

import gzip
import json
import sys
from pathlib import Path

import pytest

from src import evaluate_judge, launch

EXCERPT = Path(__file__).parent / "evaluation/reward_benchmarks"
VOTES = EXCERPT / "votes.jsonl.gz"
WHOLE = ("judge_benchmark=genai_bench", f"judge_benchmark.path={VOTES}")
"""Everything; what is refused needs three votes."""

GENAI = ("judge_benchmark=genai_bench", "judge_benchmark.path=votes.jsonl")
IMAGENHUB = ("judge_benchmark=imagenhub", f"judge_benchmark.path={EXCERPT}")


def test_several_judges_at_once_a_page_each_and_a_leaderboard(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Twice: the second run adds a judge to the leaderboard of the first."""
    with gzip.open(VOTES, "rt") as file:
        votes = [json.loads(line) for line in file]
    two = [
        {**vote, "model_votes": {name: vote["model_votes"][name] for name in ("gpt4o", "llava")}}
        for vote in votes
    ]
    (tmp_path / "two.jsonl").write_text("".join(json.dumps(vote) + "\n" for vote in two))
    few = ("draws=100", "chance_draws=3", f"output={tmp_path}")
    for answers in (
        f"verdicts={tmp_path / 'two.jsonl'}",
        f"verdicts=[{EXCERPT / 'replies_qwenVL.jsonl.gz'}]",
    ):
        given = [*WHOLE, answers, *few, *(["judge_name=<b>qwen|again</b>"] if "qwen" in answers else [])]
        monkeypatch.setattr(sys, "argv", ["src.evaluate_judge", *given])
        launch.entry_point(evaluate_judge.main, "evaluate_judge")
    folder = tmp_path / "genai_bench"
    report = json.loads((folder / "gpt4o/report.json").read_text())
    assert report["metrics"][0]["key"] == "genai_bench/verdicts/four_classes/exact/n=919"
    assert f"{100 * report['metrics'][0]['value']:.2f}" == "53.54"
    assert "| 53.54 | 53.54 | - |" in (folder / "gpt4o/report.md").read_text()
    board = (folder / "leaderboard.html").read_text()
    assert board.count("<tr") > 16
    assert "&lt;b&gt;qwen|again&lt;/b&gt;" in board
    assert "<b>qwen" not in board
    assert "judges asked for verdicts" in capfd.readouterr().out


@pytest.fixture
def refused(quickly_refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """What the command says, in a folder with three votes and a judge's verdicts on them."""
    monkeypatch.chdir(tmp_path)
    votes = [
        {
            "idx": idx,
            "instruct_prompt": f"edit {idx}",
            "human_vote": vote,
            "model_votes": {"one": "[[A>B]]", "two": None},
        }
        for idx, vote in enumerate(("leftvote", "rightvote", "tievote"))
    ]
    Path("votes.jsonl").write_text("".join(json.dumps(vote) + "\n" for vote in votes))
    return lambda *arguments: quickly_refused(*arguments, module="src.evaluate_judge")


REFUSED = {
    "no benchmark": (("verdicts=votes.jsonl",), "give judge_benchmark=, one of aurora, "),
    "no judge": (GENAI, "nothing says whose answers to measure: give one of judge="),
    "two": ((*GENAI, "verdicts=votes.jsonl", "scores=votes.jsonl"), "verdicts= and scores= says whose"),
    "no path": (("judge_benchmark=aurora", "scores=votes.jsonl"), "give judge_benchmark.path=... (a JSON of"),
    "no rows": (
        ("judge_benchmark=genai_bench", "judge_benchmark.path=./none", "verdicts=votes.jsonl"),
        "./none",
    ),
    "no file": ((*GENAI, "verdicts=none.jsonl"), "no file none.jsonl"),
    "no hub": (
        ("judge_benchmark=imagenhub", "judge_benchmark.path=/none", "scores=votes.jsonl"),
        "no folder or file /none",
    ),
    "wrong kind": ((*IMAGENHUB, "verdicts=votes.jsonl"), "edits of imagenhub are compared by their scores"),
    "wrong task": (
        (*IMAGENHUB, "judge_benchmark.task=X", "scores=votes.jsonl"),
        "there are Mask-Guided_IE, Text-Guided_IE",
    ),
    "unknown judge": ((*GENAI, "verdicts=votes.jsonl", "against=me"), "against=me: there are one, two"),
    "name of many": ((*GENAI, "verdicts=votes.jsonl", "judge_name=me"), "judge_name=me: "),
    "few draws": ((*GENAI, "verdicts=votes.jsonl", "draws=3"), "draws=3: a whole number, at least 100"),
    "no pictures": ((*GENAI, "judge=oracle"), "a judge needs pictures"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_do_not_fit_are_one_line(case: str, refused) -> None:
    arguments, message = REFUSED[case]
    few = () if "draws" in str(arguments) else ("draws=100", "chance_draws=3")
    assert message in refused(*arguments, *few)


ROWS = {
    "unknown id": ('{"idx": 919, "verdict": "A"}', "is about '919', which the benchmark doesn't have"),
    "no verdict": ('{"idx": 1, "verdict": "perhaps"}', "'perhaps' is no verdict"),
    "contradiction": (
        '{"idx": 1, "verdict": "A"}\n{"idx": 2, "verdict": "A"}\n{"idx": 1, "verdict": "B"}',
        ":3 contradicts ",
    ),
    "no id": ('{"verdict": "A"}', "the field 'id' is 'None'"),
    "no object": ("[1, 2]", "holds '[1, 2]', and an object"),
    "cut off": ('{"idx": 1, "verd', "is not JSON"),
    "an order": ('{"idx": 1, "verdict": "A", "order": "up"}', "order is 'up'"),
    "nothing": ("", "has no verdicts for this benchmark: of 0 rows"),
}


@pytest.mark.parametrize("case", ROWS)
def test_rows_that_mean_nothing_are_named(case: str, refused) -> None:
    content, message = ROWS[case]
    Path("said.jsonl").write_text(content)
    assert message in refused(*GENAI, "verdicts=said.jsonl")


SCORES = {
    "infinite": ('{"id": "0/A", "score": Infinity}', "'inf' is no score"),
    "true": ('{"id": "0/A", "score": true}', "'True' is no score"),
    "words": ('{"id": "0/A", "score": "good"}', "'good' is no score"),
    "no aspect": ('{"id": "0/A", "beauty": 1}', "has no score: give score, or some of following"),
    "below zero": ('{"id": "0/A", "semantic": -1, "quality": 3}', "no geometric mean"),
    "too many": ('{"id": "0", "scores": [1, 2, 3]}', "3 scores for '0', and the benchmark has 2 edits"),
}


@pytest.mark.parametrize("case", SCORES)
def test_scores_that_are_none_are_named(case: str, refused) -> None:
    content, message = SCORES[case]
    Path("scores.jsonl").write_text(content)
    assert message in refused(*GENAI, "scores=scores.jsonl")


LABELS = {
    "a vote": (
        '{"idx": 0, "instruct_prompt": "a", "human_vote": "up"}',
        "human_vote is 'up', and one of leftvote",
    ),
    "no instruction": ('{"idx": 0, "human_vote": "leftvote"}', "the field 'instruct_prompt' is 'None'"),
    "one id": (
        '{"idx": 0, "instruct_prompt": "a", "human_vote": "leftvote", "source_image": "s", '
        '"left_image": "l", "right_image": "r"}\n'
        '{"idx": 0, "instruct_prompt": "b", "human_vote": "leftvote"}',
        "two rows have the id '0' and are different comparisons",
    ),
    "empty": ("", "the benchmark has no rows"),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_that_mean_nothing_are_named(case: str, refused) -> None:
    content, message = LABELS[case]
    Path("labels.jsonl").write_text(content)
    given = ("judge_benchmark=genai_bench", "judge_benchmark.path=labels.jsonl", "verdicts=votes.jsonl")
    assert message in refused(*given)
