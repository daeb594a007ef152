"""Rewards join rows by id; what doesn't join is counted, and never joined to something else."""

import json
import math
from pathlib import Path

import pytest
from conftest import config
from data.written import reward, write_list, write_tree

from src import check_data
from src.data.columns import FEEDBACK, SCORES
from src.data.json_list import JsonList
from src.data.pix2pix_tree import Pix2PixTree
from src.data.rewards import Rewards, WithRewards, from_reward_edit, from_reward_file, key_as_id, last_parts
from src.reward_file import append_rewards


@pytest.fixture
def rows(tmp_path: Path) -> JsonList:
    return JsonList(write_list(tmp_path, id=list("abcdef")))


def written(path: Path, *rewards) -> Path:
    append_rewards(path, rewards)
    return path


def test_rewards_of_a_file_are_joined_by_id_whatever_their_order(rows: JsonList, tmp_path: Path) -> None:
    file = written(tmp_path / "r.jsonl", reward("z"), reward("e", None), reward("d", 1.0), reward("b", 2.0))
    rated = WithRewards(rows, from_reward_file(file))
    assert [rated.id_of(index) for index in range(len(rated))] == ["b", "d"]
    for index, score in enumerate((2.0, 1.0)):
        triplet, joined = rated[index]
        assert joined is not None
        assert joined == rated.reward_of(index)
        assert (joined.id, joined.following.score) == (triplet.case.id, score)
    assert rated.counts() == {
        "rated": 2,
        "dropped, no reward": 3,
        "dropped, failed reward": 1,
        "rewards of other triplets": 1,
    }


def test_missing_and_failed_rewards_can_be_an_error(rows: JsonList, tmp_path: Path) -> None:
    file = written(tmp_path / "r.jsonl", *(reward(id) for id in "abcde"))
    with pytest.raises(
        ValueError,
        match=r"1 of 6 rows have no reward and 0 a failed one, the first is 'f'.*data.missing_reward=drop",
    ):
        WithRewards(rows, from_reward_file(file), "fail")
    append_rewards(file, [reward("f", None)])
    with pytest.raises(ValueError, match="0 of 6 rows have no reward and 1 a failed one"):
        WithRewards(rows, from_reward_file(file), "fail")
    append_rewards(file, [reward("f", 0.0)])  # a retry that was answered
    assert len(WithRewards(rows, from_reward_file(file), "fail")) == 6


def test_rewards_of_other_rows_are_refused_with_ids_of_both(rows: JsonList, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"fits any of 6 rows: the rows' ids are 'a', 'b', 'c', ..., those of the rewards 'train/a'; "
        r"give",
    ):
        WithRewards(rows, from_reward_file(written(tmp_path / "r.jsonl", reward("train/a"))))


def test_one_judge_is_chosen_and_keys_are_not_mixed(tmp_path: Path) -> None:
    file = written(tmp_path / "r.jsonl", reward("a", 1.0, "strict"), reward("a", 4.0, "kind"))
    with pytest.raises(ValueError, match="rewards of kind, strict: say whose"):
        from_reward_file(file)
    assert from_reward_file(file, "kind").by_id["a"].following.score == 4.0
    with pytest.raises(ValueError, match="no rewards of 'lenient', but of kind, strict"):
        from_reward_file(file, "lenient")
    append_rewards(file, [reward("a", 2.0, "kind", key="other")])
    with pytest.raises(ValueError, match="rewards 'a' twice under different keys"):
        from_reward_file(file, "kind")
    with pytest.raises(FileNotFoundError, match="no reward file"):
        from_reward_file(tmp_path / "gone")


def test_data_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path / "r.jsonl", reward("a", None), reward("a", 4.0), reward("b"), reward("b"))
    assert from_reward_file(file).by_id["a"].following.score == 4.0
    append_rewards(file, [reward("a", 2.0)])
    with pytest.raises(ValueError, match="rewards 'a' twice with different verdicts of test: keep one line"):
        from_reward_file(file)
    release = tmp_path / "RewardEdit_20K.json"
    for last in (5, 0):
        release.write_text(
            f'{{"t1": {json.dumps(verdicts(5, 5, 5))}, "t1": {json.dumps(verdicts(5, 5, last))}}}'
        )
        if last:
            assert from_reward_edit(release).by_id["t1"].quality.score == 5.0
            continue
        with pytest.raises(ValueError, match="the key 't1' stands twice with different values"):
            from_reward_edit(release)


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_rows_without_rewards_in_their_columns_are_dropped(nothing: float | None, tmp_path: Path) -> None:
    scores: list[float | None] = [1.0, nothing, 3.0, 9.0, 5.0, 0.0]
    columns: dict[str, list] = {name: scores for name in SCORES} | {name: ["None"] * 6 for name in FEEDBACK}
    rated = WithRewards(JsonList(write_list(tmp_path, id=list("abcdef"), **columns)))
    assert [rated.id_of(index) for index in range(len(rated))] == list("acef")
    assert rated.wrong.keys() == {"d"}
    assert "got 9.0" in rated.wrong["d"]


def test_without_any_reward_all_rows_stay(rows: JsonList) -> None:
    rated = WithRewards(rows)
    assert len(rated) == 6
    assert rated[5][1] is None
    assert rated.counts() == {"unrated": 6}


def verdicts(*scores: object) -> list[dict]:
    return [{"Score": score, "Negative Prompt": f"flaw {number}"} for number, score in enumerate(scores)]


def test_the_releases_file_joins_a_tree(tmp_path: Path) -> None:
    tree = Pix2PixTree(write_tree(tmp_path / "tree", 2), split="all", extension="png")
    file = tmp_path / "RewardEdit_20K.json"
    file.write_text(
        json.dumps(
            {
                "train/0000000/31": verdicts(4, 5.0, 0),
                "train/0000001/7": verdicts(6, 5, 5),
                "train/0000001/31": verdicts("4", 5, 5),
            }
        )
    )
    rated = WithRewards(tree, from_reward_edit(file, last_parts))
    assert len(rated) == 1
    triplet, joined = rated[0]
    assert joined is not None
    assert triplet.case.id == joined.id == "0000000/31"
    assert [verdict.score for verdict in joined.verdicts] == [4.0, 5.0, 0.0]
    assert joined.quality.feedback == "flaw 2"
    assert "following: a score must lie in [0, 5], got 6.0" in rated.wrong["0000001/7"]
    assert "the score is '4'" in rated.wrong["0000001/31"]


def test_resolvers() -> None:
    assert key_as_id("a/b") == "a/b"
    assert last_parts("train/0000123/456") == last_parts("0000123/456.json") == "0000123/456"
    assert last_parts("a/b.c/d", count=1) == "d"


def by_number(key: str, seeds: dict[str, int]) -> str:
    """A user's resolver: keys that count rows."""
    prompt, _, place = key.partition("#")
    return f"{int(prompt):07d}/{seeds[place]}"


def test_a_users_resolver_is_named_on_the_command_line(tmp_path: Path, quickly_refused, capfd) -> None:
    write_tree(tmp_path / "tree", 2)
    file = tmp_path / "RewardEdit_20K.json"
    file.write_text(json.dumps({"0#first": verdicts(1, 2, 3), "1#second": verdicts(4, 5, 0)}))
    command = [
        "data=pix2pix_tree",
        f"data.dataset.folder={tmp_path / 'tree'}",
        "data.dataset.extension=png",
        "data.dataset.split=all",
    ]
    command += [
        "+rewards@data.rewards=reward_edit_20k",
        f"data.rewards.path={file}",
        f"output={tmp_path / 'broken.jsonl'}",
    ]
    said = quickly_refused(*command, module="src.check_data")
    assert "none of 2 rewards" in said
    assert (
        "the rows' ids are '0000000/7', '0000000/31', '0000001/7', ..., those of the rewards '0#first', "
        "'1#second'; give" in said
    )
    own = [
        "data.rewards.resolver._target_=data.test_rewards.by_number",
        "~data.rewards.resolver.count",
        "+data.rewards.resolver.seeds.first=7",
    ]
    assert "key '1#second': the resolver fails on it (ConfigKeyError" in quickly_refused(
        *command, *own, module="src.check_data"
    )
    check_data.main(config(*command, *own, "+data.rewards.resolver.seeds.second=31", name="check_data"))
    assert "rated: 2" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "an object key"),
        ("{", "is not JSON"),
        ('{"a/b": [], "c/b": []}', "'a/b' and 'c/b' both mean the triplet 'b'"),
    ],
)
def test_other_files_than_the_releases_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        from_reward_edit(tmp_path / "r.json", lambda key: last_parts(key, 1))


@pytest.mark.parametrize("entry", [verdicts(1, 2), "text", [1, 2, 3], [{"Score": 1}] * 3])
def test_malformed_entries_are_listed(tmp_path: Path, entry: object) -> None:
    (tmp_path / "r.json").write_text(json.dumps({"a": entry}))
    rewards = from_reward_edit(tmp_path / "r.json")
    assert isinstance(rewards, Rewards)
    assert not rewards.by_id
    assert "key 'a'" in rewards.wrong["a"]
