"""A reward file keeps what was paid for: round trip, torn lines, retries, and lines that are no rewards."""

from pathlib import Path

import pytest

from src.records import Reward, Verdict
from src.reward_file import append_rewards, read_rewards


def reward(id: str = "a/1", key: str = "k", score: float | None = 3.5) -> Reward:
    following = (
        Verdict(score, None, "the “red” circle\nis still there")
        if score is not None
        else Verdict(None, status="failed")
    )
    return Reward(id, "oracle", key, following, Verdict(5.0, True), Verdict(0.0, False, "noise", "repaired"))


def test_round_trip(tmp_path: Path) -> None:
    rewards = [reward("a"), reward("b", score=None), reward("c", score=0.1 + 0.2)]
    append_rewards(tmp_path / "new" / "rewards.jsonl", rewards, [{"tokens": 3}, {}, {}])
    assert read_rewards(tmp_path / "new" / "rewards.jsonl") == rewards
    assert len((tmp_path / "new" / "rewards.jsonl").read_text().splitlines()) == 3


def test_a_judge_may_say_how_sure_it_is(tmp_path: Path) -> None:
    sure = Reward("a", "j", "k", Verdict(3.0, deviation=0.4), Verdict(2.0), Verdict(1.0))
    append_rewards(tmp_path / "rewards.jsonl", [sure])
    assert read_rewards(tmp_path / "rewards.jsonl") == [sure]
    assert (tmp_path / "rewards.jsonl").read_text().count("deviation") == 1


def test_no_file_holds_no_rewards(tmp_path: Path) -> None:
    assert read_rewards(tmp_path / "rewards.jsonl") == []


def test_the_last_line_per_key_wins(tmp_path: Path) -> None:
    path = tmp_path / "rewards.jsonl"
    append_rewards(path, [reward(score=None), reward(key="other"), reward(id="b")])
    append_rewards(path, [reward(score=2.0)])
    assert read_rewards(path) == [reward(key="other"), reward(id="b"), reward(score=2.0)]


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_torn_line_is_ignored_and_then_repaired(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "rewards.jsonl"
    append_rewards(path, [reward("a"), reward("b")])
    path.write_bytes(path.read_bytes()[:-cut])
    assert read_rewards(path) == [reward("a")]
    append_rewards(path, [reward("c")])
    assert read_rewards(path) == [reward("a"), reward("c")]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda line: line.replace('"score": 3.5', '"score": 7'), "must lie in"),
        (lambda line: line.replace('"score": 3.5', '"score": null'), "no score if and only if"),
        (lambda line: line.replace('"score": 3.5', '"score": "3.5"'), "'score' holds '3.5'"),
        (lambda line: line.replace('"score": 3.5', '"score": true'), "'score' holds True"),
        (lambda line: line.replace('"score": 3.5', '"score": NaN'), "must lie in"),
        (lambda line: line.replace('"status": "ok"', '"status": "fine"'), "status 'fine'"),
        (lambda line: line.replace('"key"', '"kee"'), "'key' is missing"),
        (lambda line: line.replace("{", "", 1), "not a reward"),
        (lambda line: "[]", "not a JSON object"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, spoil, message: str) -> None:
    path = tmp_path / "rewards.jsonl"
    append_rewards(path, [reward("a"), reward("b"), reward("c")])
    lines = path.read_text().splitlines()
    lines[1] = spoil(lines[1])
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=message) as caught:
        read_rewards(path)
    assert "rewards.jsonl:2:" in str(caught.value)


def test_usage_for_every_reward_or_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="as many usages"):
        append_rewards(tmp_path / "rewards.jsonl", [reward("a")], [])
