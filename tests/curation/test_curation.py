"""Choosing rows by their rewards: each rule by hand and by its laws, whatever the order of lines and files;
the selection and the dataset that are written; what is refused.
"""

import json
import random
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import config
from data.written import write_list
from datasets import load_dataset
from hydra.errors import InstantiationException

from src import curate as command
from src.curation.fronts import fronts_until
from src.curation.row_facts import ROWS, UNFINISHED
from src.curation.rules import Candidates, Pareto, Random, Reason, Room, RowBudget, Threshold, Top, greedy
from src.curation.scored_rows import read_scored_rows
from src.formats import reward_dataset
from src.launch import one_line
from src.records import PERSPECTIVES, Reward, Verdict
from src.reward_file import append_rewards

COUNT = 60


def reward(id: str, *scores: float | None, judge: str = "j", key: str = "") -> Reward:
    verdicts = [
        Verdict(score, feedback="None" if score == 5 else "blurred")
        if score is not None
        else Verdict(None, status="failed")
        for score in (scores if len(scores) == 3 else scores * 3)
    ]
    return Reward(id, judge, key or f"key of {id}", *verdicts)


def write_rewards(path: Path, *rewards: Reward) -> Path:
    append_rewards(path, rewards)
    return path


@pytest.fixture
def scored() -> list[Reward]:
    """Whole points, so with many ties; every twelfth row failed."""
    draw = random.Random(3)
    return [
        reward(f"row {row}", *(None if row % 12 == 5 else float(draw.randint(0, 5)) for _ in PERSPECTIVES))
        for row in range(COUNT)
    ]


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    lines = [
        {
            "id": f"row {row}",
            "edit_type": ("add", "remove", "style")[row % 7 % 3],
            "photograph": f"photo {row // 4}",
            "bytes": 100 + row,
        }
        for row in range(COUNT)
    ]
    path = tmp_path / "facts" / ROWS
    path.parent.mkdir()
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def run(output: Path, *overrides: str) -> list[dict]:
    command.main(config(*overrides, f"output={output}", name="curate"))
    return [json.loads(line) for line in (output / "selection.jsonl").read_text().splitlines()]


def candidates(scores: list[tuple[float, float, float]], **more: list[int]) -> Candidates:
    values = np.array(scores, float)
    unknown = np.full(len(values), -1)
    types = more.get("types", [0] * len(values))
    return Candidates(
        values,
        values.mean(axis=1),
        np.arange(len(values), dtype=np.uint64),
        [str(number) for number in range(max(types) + 1)],
        np.array(types),
        np.array(more["photograph"]) if "photograph" in more else unknown,
        np.array(more["bytes"]) if "bytes" in more else unknown,
    )


def flat(*utilities: float, **more: list[int]) -> Candidates:
    return candidates([(each, each, each) for each in utilities], **more)


def kept(rule: object, rows: Candidates) -> list[int]:
    return np.flatnonzero(rule.reasons(rows) == Reason.KEPT).tolist()  # type: ignore[attr-defined]


def test_rules_by_hand() -> None:
    assert kept(Threshold(utility=3), flat(2.9, 3, 4)) == [1, 2]
    assert kept(Threshold(quality=4, following=1), candidates([(5, 5, 3), (1, 0, 4), (0, 5, 5)])) == [1]
    assert kept(Top(share=0.5), flat(1, 4, 2, 3)) == [1, 3]
    assert kept(Top(count=2), flat(4, 4, 4)) == [0, 1], "equals by their order"
    by_type = flat(5, 5, 5, 5, 1, 1, types=[0, 0, 0, 0, 1, 1])
    assert kept(Top(share=0.5), by_type) == [0, 1, 2]
    assert kept(Top(share=0.5, per_type=True), by_type) == [0, 1, 4]
    assert kept(Top(count=1, per_type=True, floor=1), by_type) == [0, 4]
    assert kept(Top(count=3, per_photograph=1), flat(5, 4, 3, 2, photograph=[7, 7, -1, -1])) == [0, 2, 3]
    assert kept(RowBudget(rows=2), flat(1, 2, 3)) == [1, 2]
    assert kept(RowBudget(bytes=10), flat(5, 4, 3, bytes=[6, 5, 4])) == [0, 2], (
        "what no longer fits is passed over"
    )
    assert kept(RowBudget(rows=9, per_type=1), by_type) == [0, 4]
    trade_offs = candidates([(5, 0, 0), (0, 5, 0), (0, 0, 4), (4, 0, 0), (0, 0, 0)])
    assert kept(Pareto(count=3), trade_offs) == [0, 1, 2], "none of the three beats another"
    assert kept(Pareto(count=2), trade_offs) == [0, 1], "of the last front the best"
    assert kept(Random(like={"0": 2, "1": 1}), by_type) == [0, 1, 4]
    reasons = greedy(flat(5, 4, 3, photograph=[1, 1, 1]), np.array([0, 1, 2]), Room(2, per_photograph=1))
    assert reasons.tolist() == [Reason.KEPT, Reason.PHOTOGRAPH, Reason.PHOTOGRAPH]


@pytest.mark.parametrize("points", [3, 10_000])
def test_fronts_are_those_of_the_definition(points: int) -> None:
    scores = np.random.default_rng(points).integers(0, points, (90, 3)) * 5 / points
    left, expected = np.arange(len(scores)), np.zeros(len(scores), int)
    for number in range(len(scores)):
        one, other = scores[left][:, None], scores[left][None]
        beaten = ((one <= other).all(-1) & (one < other).any(-1)).sum(1) > 0
        expected[left[~beaten]] = number
        left = left[beaten]
        if not len(left):
            break
    assert fronts_until(scores, len(scores)).tolist() == expected.tolist()
    first = int((expected == 0).sum())
    assert fronts_until(scores, first).max() == 1
    assert (fronts_until(scores, first) == 0).sum() == first


RULES = {
    "threshold": ["curation=threshold", "curation.utility=3"],
    "top": ["curation=top", "curation.share=0.3", "curation.per_type=true", "curation.per_photograph=2"],
    "budget": ["curation=budget", "curation.bytes=2000", "curation.per_type=9"],
    "pareto": ["curation=pareto", "curation.share=0.2"],
    "random": ["curation=random", "curation.count=11"],
}


@pytest.mark.parametrize("rule", RULES)
def test_order_and_shards_of_the_rewards_do_not_matter(
    rule: str, scored: list[Reward], facts: Path, tmp_path: Path
) -> None:
    whole = write_rewards(tmp_path / "whole.jsonl", *scored)
    shuffled = random.Random(1).sample(scored, len(scored))
    for number in range(3):
        folder = tmp_path / "shards" / f"shard-{number + 1}-of-3"
        write_rewards(folder / "rewards.jsonl", *shuffled[number::3])
    asked = [*RULES[rule], f"rows_file={facts}"]
    one = run(tmp_path / "one", f"annotations={whole}", *asked)
    run(tmp_path / "three", f"annotations={tmp_path / 'shards'}", *asked)
    selection = (tmp_path / "one" / "selection.jsonl").read_bytes()
    assert (tmp_path / "three" / "selection.jsonl").read_bytes() == selection
    assert Counter(line["reason"] for line in one)["a failed verdict"] == COUNT // 12
    assert [line["rank"] for line in one if line["rank"]] == list(range(1, COUNT - COUNT // 12 + 1))
    utilities = [line["utility"] for line in one if line["rank"]]
    assert utilities == sorted(utilities, reverse=True)
    record = json.loads((tmp_path / "one" / "curation.json").read_text())
    assert record["kept"] == sum(line["kept"] for line in one) > 0
    assert record["kept"] + sum(record["lost"].values()) == COUNT
    run(tmp_path / "one", f"annotations={whole}", *asked)  # once more
    assert (tmp_path / "one" / "selection.jsonl").read_bytes() == selection


def test_a_draw_has_the_counts_of_the_selection_and_does_not_follow_its_ties(
    scored: list[Reward], facts: Path, tmp_path: Path
) -> None:
    flat_scores = [reward(each.id, 3.0) for each in scored]
    asked = [f"annotations={write_rewards(tmp_path / 'r.jsonl', *flat_scores)}", f"rows_file={facts}"]
    top = {line["id"] for line in run(tmp_path / "top", *asked, *RULES["top"]) if line["kept"]}
    like = ["curation=random", f"like={tmp_path / 'top'}"]
    drawn = {line["id"] for line in run(tmp_path / "random", *asked, *like) if line["kept"]}
    other = {line["id"] for line in run(tmp_path / "other", *asked, *like, "seed=1") if line["kept"]}
    types = [
        json.loads((tmp_path / name / "curation.json").read_text())["types"] for name in ("top", "random")
    ]
    assert types[0] == types[1]
    assert len({frozenset(top), frozenset(drawn), frozenset(other)}) == 3
    with pytest.raises(ValueError, match="chose among other rows"):
        run(tmp_path / "x", f"annotations={write_rewards(tmp_path / 'q.jsonl', *scored[:9])}", *like)


def test_a_lower_bound_prefers_the_surer_of_equals(tmp_path: Path) -> None:
    """Scores less z deviations, by hand; the utility's deviation is that of a mean of three."""

    def sure(id: str, score: float, deviation: float | None) -> Reward:
        return Reward(id, "j", f"key of {id}", *(Verdict(score, deviation=deviation) for _ in PERSPECTIVES))

    rewards = [
        sure("wild", 4.5, 3.0),
        sure("sure", 4.0, 0.3),
        sure("middle", 4.0, 1.0),
        sure("low", 1.0, 1.5),
    ]
    asked = [f"annotations={write_rewards(tmp_path / 'r.jsonl', *rewards)}"]
    plain = run(tmp_path / "plain", *asked, "curation=top", "curation.count=1")
    assert plain[0]["id"] == "wild"
    bounded = run(tmp_path / "bounded", *asked, "curation=top", "curation.count=1", "lower_bound=1")
    assert [line["id"] for line in bounded] == ["sure", "middle", "wild", "low"]
    assert bounded[0]["utility"] == pytest.approx(4.0 - 0.3 / 3**0.5, abs=1e-6)
    least = ["curation=threshold", "curation.following=2.9", "lower_bound=1"]
    assert [line["id"] for line in run(tmp_path / "least", *asked, *least) if line["kept"]] == [
        "sure",
        "middle",
    ]
    only_first = run(
        tmp_path / "first", *asked, "curation=top", "curation.count=1", "lower_bound=2", "weights=[1,0,0]"
    )
    assert only_first[0]["utility"] == pytest.approx(4.0 - 0.6)
    record = json.loads((tmp_path / "bounded" / "curation.json").read_text())
    assert record["request"]["lower_bound"] == 1
    assert "lower_bound" not in json.loads((tmp_path / "plain" / "curation.json").read_text())["request"]
    mixed = write_rewards(tmp_path / "mixed.jsonl", *rewards, sure("silent", 4.0, None), reward("lost", None))
    with pytest.raises(ValueError, match="1 of 6 rewards by j say none"):
        run(tmp_path / "mixed", f"annotations={mixed}", "curation=top", "curation.count=1", "lower_bound=1")


def test_of_several_lines_of_a_row_the_valid_one_counts(tmp_path: Path) -> None:
    path = write_rewards(
        tmp_path / "rewards.jsonl",
        reward("a", None),
        reward("b", 1.0),
        reward("a", 4.0),  # asked again after the failure
        reward("c", 2.0, key="one"),
        reward("c", None, key="other"),
    )
    rows = read_scored_rows([path])
    found = dict(zip(rows.start.tolist(), rows.scores[:, 0].tolist(), strict=True))
    assert sorted(found.values()) == [1.0, 2.0, 4.0]
    assert rows.superseded == 2
    write_rewards(path, reward("b", 3.0, key="another"))
    with pytest.raises(ValueError, match="'b' is rewarded twice by j with different keys"):
        read_scored_rows([path])


@pytest.fixture
def dataset(tmp_path: Path) -> tuple[list[str], list[Reward]]:
    ids = [f"e{row}" for row in range(9)]
    file = write_list(tmp_path / "data", 9, id=ids, edit_type=["add", "style", "add"] * 3)
    (tmp_path / "data" / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Data\n")
    return ["data=json_list", f"data.dataset.file={file}"], [
        reward(id, float(row % 6)) for row, id in enumerate(ids[::-1])
    ]


def test_shards_write_the_dataset_of_one_and_what_is_there_stays(
    dataset: tuple[list[str], list[Reward]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.curation.copying.ROWS_PER_FILE", 2)
    data, rewards = dataset
    write_rewards(tmp_path / "rewards.jsonl", *rewards, reward("elsewhere", 5.0))
    asked = [f"annotations={tmp_path / 'rewards.jsonl'}", *data, "curation=top", "curation.count=5"]
    lines = run(tmp_path / "out", *asked, f"dataset={tmp_path / 'whole'}")
    assert (
        next(line for line in lines if line["id"] == "elsewhere")["reason"] == "no usable row of the dataset"
    )
    for number in (3, 1, 2):
        assert not (tmp_path / "parts" / "README.md").exists()
        run(tmp_path / "out", *asked, f"dataset={tmp_path / 'parts'}", f"shard={number}/3")
    names = sorted(path.name for path in (tmp_path / "whole" / "data").iterdir())
    assert names == [f"train-{number:05d}-of-00003.parquet" for number in range(3)]
    for name in (*(f"data/{name}" for name in names), "README.md"):
        one, other = ((tmp_path / folder / name).read_bytes() for folder in ("whole", "parts"))
        assert one.replace(b"# whole", b"# parts") == other
    rows = load_dataset("parquet", data_files=str(tmp_path / "whole/data/*.parquet"), split="train")
    assert rows["id"] == sorted(line["id"] for line in lines if line["kept"]), "in the order of the data"
    assert dict(zip(rows["id"], rows["reward_quality"], strict=True)) == {
        each.id: each.quality.score for each in rewards if each.id in rows["id"]
    }
    card = (tmp_path / "whole" / "README.md").read_text()
    assert "license: cc-by-4.0" in card
    assert "5 of 10" in card
    assert "src.curate" in card
    # killed before its last file: the others are not written again
    (tmp_path / "whole/data" / names[1]).unlink()
    times = [(tmp_path / "whole/data" / name).stat().st_mtime_ns for name in (names[0], names[2])]
    run(tmp_path / "out", *asked, f"dataset={tmp_path / 'whole'}")
    assert times == [(tmp_path / "whole/data" / name).stat().st_mtime_ns for name in (names[0], names[2])]
    assert (tmp_path / "whole/data" / names[1]).read_bytes() == (
        tmp_path / "parts/data" / names[1]
    ).read_bytes()
    assert reward_dataset.ROWS_PER_FILE == 1000


def test_a_list_of_rows_goes_on_where_it_was_cut_and_serves_another_rule(
    dataset: tuple[list[str], list[Reward]], tmp_path: Path
) -> None:
    data, rewards = dataset
    annotations = f"annotations={write_rewards(tmp_path / 'rewards.jsonl', *rewards)}"
    rule = ["curation=budget", "curation.rows=4", "curation.per_type=2"]
    run(tmp_path / "whole", annotations, *data, *rule)
    lines = (tmp_path / "whole" / ROWS).read_text().splitlines(keepends=True)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    (tmp_path / "cut" / ROWS).unlink()
    (tmp_path / "cut" / UNFINISHED).write_text("".join(lines[:4]) + lines[4][:20])
    run(tmp_path / "cut", annotations, *data, *rule)
    assert (tmp_path / "cut" / ROWS).read_text() == "".join(lines)
    by_list = run(tmp_path / "list", annotations, f"rows_file={tmp_path / 'whole' / ROWS}", *rule)
    assert sum(line["kept"] for line in by_list) == 4


BAD = {
    "no rule": ([], "curation= is missing, the rule: one of budget, pareto, random, threshold, top"),
    "no share": (["curation=top"], "curation.share=None and curation.count=None: one of both"),
    "a share in percent": (["curation=top", "curation.share=40"], "curation.share=40: a share above 0"),
    "no minimum": (["curation=threshold"], "needs a minimum: curation.utility=4"),
    "a minimum of ten": (["curation=threshold", "curation.quality=8"], "scores lie in"),
    "nothing left": (
        ["curation=threshold", "curation.utility=4.9"],
        "keeps none of 9 rows: the highest utility is 4.5, the highest scores are following 4.5",
    ),
    "types unknown": (
        ["curation=top", "curation.share=0.5", "curation.per_type=true"],
        "each row's edit_type, which no reward file holds",
    ),
    "a share of nothing": (
        ["curation=top", "curation.share=0.01"],
        "curation.share=0.01 of 9 rows is none: give a larger share",
    ),
    "no list of rows": (
        ["curation=top", "curation.count=1", "rows_file=nowhere.jsonl"],
        "no list of rows nowhere.jsonl",
    ),
    "no annotations": (
        ["curation=top", "curation.count=1", "annotations=[]"],
        "annotations=[] names no rewards",
    ),
    "no rewards there": (
        ["curation=top", "curation.count=1", f"annotations={Path(__file__).parent}"],
        "holds neither rewards.jsonl nor shards of an annotation",
    ),
    "no file": (["curation=top", "curation.count=1", "annotations=nowhere"], "no such reward file"),
    "another judge": (["curation=top", "curation.count=1", "judge_name=x"], "no rewards of 'x', but of j"),
    "shard of nothing": (["curation=top", "curation.count=1", "shard=1/2"], "shard=1/2 is of dataset="),
    "pictures without data": (
        ["curation=top", "curation.count=1", "dataset=d"],
        "dataset=d is to hold pictures",
    ),
    "a bound below": (["curation=top", "curation.count=1", "lower_bound=-1"], "0 or more, is needed"),
    "like of a rule": (
        ["curation=top", "curation.count=1", "like=x"],
        "like=x is what curation=random draws as",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told(case: str, tmp_path: Path) -> None:
    overrides, message = BAD[case]
    path = write_rewards(tmp_path / "r.jsonl", *(reward(f"r{row}", row / 2) for row in range(1, 10)))
    with pytest.raises((ValueError, FileNotFoundError, InstantiationException)) as told:
        run(tmp_path / "out", f"annotations={path}", *overrides)
    assert message in one_line(told.value)
    assert not (tmp_path / "out").exists()


def test_a_broken_line_several_judges_and_another_command_are_told(tmp_path: Path) -> None:
    path = write_rewards(tmp_path / "r.jsonl", reward("a", 4.0), reward("b", 2.0))
    asked = [f"annotations={path}", "curation=top", "curation.count=1"]
    run(tmp_path / "out", *asked)
    with pytest.raises(ValueError, match=r"holds the result of another command \(seed: 0 there, 1 asked for"):
        run(tmp_path / "out", *asked, "seed=1")
    write_rewards(path, reward("a", 4.0, judge="k"))
    with pytest.raises(ValueError, match="holds rewards of j, k: say whose with judge_name=NAME"):
        run(tmp_path / "other", *asked)
    path.write_text(path.read_text().replace('"score": 2.0', '"score": 7'))
    with pytest.raises(ValueError, match=r"r.jsonl:2: not a reward \(a score must lie in"):
        run(tmp_path / "third", *asked, "judge_name=j")
