"""Inspecting reward data by the real command: numbers by hand, odd input, loggers, and the order that Table
4 should show.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import run
from conftest import config
from data.written import reward, write_list, write_tree
from PIL import Image
from wandb_file import WandbFile

from src import inspect_rewards
from src.data.lint import LintEntry
from src.inspection.clouds import count_words, draw_cloud
from src.inspection.label_precision import LabelPrecision, label_precisions
from src.inspection.summary import choose_examples, normalise_reason, summarise
from src.records import PERSPECTIVES, Reward, Verdict
from src.reward_file import append_rewards


def inspect(*overrides: str) -> None:
    inspect_rewards.main(config(*overrides, name="inspect_rewards"))


def read(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def test_label_precision_by_hand() -> None:
    best = np.array([[1, 1, 1], [1, 1, 1], [0, 1, 1], [1, 0, 0]], dtype=bool)
    nothing = np.array([[1, 1, 1], [0, 1, 1], [1, 1, 1], [0, 0, 0]], dtype=bool)
    clean = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1], [0, 0, 0]], dtype=bool)
    found = label_precisions(best, nothing, clean)
    assert found["following"] == (LabelPrecision(3, 2), LabelPrecision(2, 2), LabelPrecision(1, 1))
    assert found["all three"] == (LabelPrecision(2, 1), LabelPrecision(2, 2), LabelPrecision(1, 1))
    assert str(LabelPrecision(4, 3)) == "0.75 (3 of 4)"
    assert str(LabelPrecision(0, 0)) == "- (0 of 0)"


def entries() -> list[LintEntry]:
    """Following 0, 2.5, 4.6 and failed; preserving 5 throughout; quality 1, 2, 3, 4."""
    given = [
        Verdict(0.0, feedback="no hat"),
        Verdict(2.5, feedback="no hat"),
        Verdict(4.6),
        Verdict(None, feedback="HTTP 500", status="failed"),
    ]
    return [
        LintEntry(row, f"t{row}", reward=Reward(f"t{row}", "j", "k", each, Verdict(5.0), Verdict(row + 1.0)))
        for row, each in enumerate(given)
    ]


def test_numbers_by_hand() -> None:
    summary = summarise(
        "x", "j", entries(), [], [{"tokens": 10, "model": "m"}, {"tokens": 20, "model": "m"}, {}]
    )
    assert (summary.rated, summary.incomplete, summary.unrated) == (3, 1, 0)
    assert summary.following.counts == [1, 0, 0, 1, 0, 1], "halves count as the higher score"
    assert summary.following.mean == pytest.approx(7.1 / 3)
    assert (summary.following.below_5, summary.preserving.below_5, summary.following.nothing) == (
        1.0,
        0.0,
        pytest.approx(1 / 3),
    )
    assert summary.following.texts == [("no hat", 2)]
    assert summary.reasons == [("HTTP #", 1)]
    assert summary.correlations[0][2] == pytest.approx(1.0)
    assert summary.correlations[0][1] is None, "one score throughout correlates with nothing"
    assert (summary.usage, summary.used) == ({"tokens": (30.0, 2)}, {"model": {"m": 2}})
    assert normalise_reason("row 'abc' of 12 can't be read") == normalise_reason("row 'x' of 7 can't be read")


def test_examples_cover_every_score_and_are_always_the_same() -> None:
    many = [LintEntry(row, f"t{row}", reward=reward(f"t{row}", float(row % 6))) for row in range(600)]
    chosen = choose_examples(many, [], 3, 3)
    assert chosen == choose_examples(many, [], 3, 3)
    assert {row % 6 for row in chosen} == set(range(6))
    assert len(chosen) <= 3 * 6 * 3


def test_clouds_leave_out_empty_feedback_and_undrawable_words() -> None:
    words = count_words(["None", "The hat is missing", "the HAT is red", "图像模糊", "😀"])
    assert dict(words.counts) == {"hat": 2, "missing": 1, "red": 1}
    assert dict(words.undrawable) == {"图像模糊": 1}
    assert draw_cloud({}, "#2f6db3") is None
    drawn = [draw_cloud(words.counts, "#2f6db3") for _ in range(2)]
    assert drawn[0] is not None
    assert np.array_equal(drawn[0], drawn[1])


def test_the_synthetic_world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "new"
    inspect("count=40", f"output={target}", "leakage=[synthetic_validation]", "per_score=2")
    printed = capsys.readouterr().out
    assert "P(clean | both)" in printed
    assert printed.strip().endswith(str(target / "index.html"))
    names = {path.name for path in target.iterdir()}
    examples = {f"examples_{perspective}.png" for perspective in PERSPECTIVES}
    assert names == {
        "index.html",
        "summary.json",
        "findings.jsonl",
        "histograms.png",
        "word_clouds.png",
        "correlations.png",
        *examples,
    }
    with Image.open(target / "histograms.png") as image:
        assert min(image.size) > 300
    assert read(target)["triplets"] == 40
    assert "leak" not in read(target)["findings"], "validation has photographs of its own"


def test_a_leak_ends_in_an_error_where_asked(tmp_path: Path) -> None:
    file = write_list(tmp_path, 6, id=[f"t{row}" for row in range(6)])
    append_rewards(tmp_path / "rewards.jsonl", [reward(f"t{row}") for row in range(6)])
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "secret.png").write_bytes((tmp_path / "images/3.png").read_bytes())
    given = [
        "data=json_list",
        f"data.dataset.file={file}",
        f"rewards_file={tmp_path / 'rewards.jsonl'}",
        f"output={tmp_path / 'out'}",
    ]
    with pytest.raises(ValueError, match=r"1 findings .*leak 1.*findings\.jsonl"):
        inspect(*given, f"leakage=[{tmp_path / 'bench'}]", "fail_on=[leak,duplicate]")
    found = [json.loads(line) for line in (tmp_path / "out/findings.jsonl").read_text().splitlines()]
    assert [(each["kind"], each["id"], each["other"], each["level"]) for each in found] == [
        ("leak", "t3", "secret.png", "fault")
    ]
    assert (tmp_path / "out/index.html").exists(), "the page is written all the same"


def test_rewards_of_the_dataset_itself_and_of_a_joined_file(tmp_path: Path) -> None:
    columns = {
        f"{what}_{each}": [value] * 6
        for what, value in (("reward", 3.0), ("feedback", "hazy"))
        for each in PERSPECTIVES
    }
    file = write_list(tmp_path / "own", 6, **columns)
    inspect("data=json_list", f"data.dataset.file={file}", f"output={tmp_path / 'a'}")
    assert (read(tmp_path / "a")["rated"], read(tmp_path / "a")["judge"]) == (6, "columns of the dataset")
    tree = write_tree(tmp_path / "tree", 4)
    append_rewards(
        tmp_path / "rewards.jsonl", [reward("0000000/7"), reward("0000001/7", None), reward("elsewhere/1")]
    )
    joined = [
        "data=pix2pix_tree",
        f"data.dataset.folder={tree}",
        "data.dataset.split=all",
        "data.dataset.extension=png",
    ]
    inspect(*joined, f"rewards_file={tmp_path / 'rewards.jsonl'}", f"output={tmp_path / 'b'}")
    assert {
        name: read(tmp_path / "b")[name] for name in ("triplets", "rated", "incomplete", "unrated", "unused")
    } == {
        "triplets": 8,
        "rated": 1,
        "incomplete": 1,
        "unrated": 6,
        "unused": 1,
    }
    inspect(
        *joined,
        "+rewards@data.rewards=reward_file",
        f"data.rewards.path={tmp_path / 'rewards.jsonl'}",
        f"output={tmp_path / 'c'}",
    )
    assert read(tmp_path / "c")["incomplete"] == 1, (
        "failed rewards are shown, though training would drop them"
    )


def test_a_missing_image_is_a_finding(tmp_path: Path) -> None:
    file = write_list(tmp_path, 3, id=["a", "b", "c"])
    append_rewards(tmp_path / "rewards.jsonl", [reward(id) for id in "abc"])
    (tmp_path / "images/1.png").unlink()
    (tmp_path / "images/2-edited.png").write_bytes(b"no picture")
    inspect(
        "data=json_list",
        f"data.dataset.file={file}",
        f"rewards_file={tmp_path / 'rewards.jsonl'}",
        f"output={tmp_path / 'out'}",
    )
    assert read(tmp_path / "out")["findings"] == {"unreadable": 2}


@pytest.mark.parametrize(
    "rewards",
    [[], [reward("a", None)] * 1, [reward("a")], [reward(str(row), None) for row in range(30)]],
    ids=len,
)
def test_odd_rewards_without_a_dataset(tmp_path: Path, rewards: list[Reward]) -> None:
    """An empty file, one row, one failed row, all failed."""
    file = tmp_path / "rewards.jsonl"
    file.touch()
    append_rewards(file, rewards)
    inspect(f"rewards_file={file}", f"output={tmp_path / 'out'}")
    assert read(tmp_path / "out")["triplets"] == len(rewards)
    assert "<html" in (tmp_path / "out/index.html").read_text()


def test_several_judges(tmp_path: Path) -> None:
    file = tmp_path / "rewards.jsonl"
    append_rewards(
        file,
        [
            reward("a", 5.0, "one"),
            reward("a", 1.0, "two"),
            reward("b", 4.0, "one"),
            reward("b", 4.0, "one", "again"),
        ],
    )
    inspect(f"rewards_file={file}", "judge_name=one", f"output={tmp_path / 'out'}")
    assert (read(tmp_path / "out")["judge"], read(tmp_path / "out")["triplets"]) == ("one", 2)
    assert read(tmp_path / "out")["findings"] == {"failure_at_5": 1, "judged_twice": 1}
    with pytest.raises(ValueError, match=r"one, two: say whose with judge_name=NAME"):
        inspect(f"rewards_file={file}")
    with pytest.raises(ValueError, match="'three'"):
        inspect(f"rewards_file={file}", "judge_name=three")


def test_rewards_of_another_dataset(tmp_path: Path, quickly_refused) -> None:
    file = write_list(tmp_path, 4, id=["a", "b", "c", "d"])
    append_rewards(tmp_path / "rewards.jsonl", [reward("x"), reward("y")])
    given = [
        "data=json_list",
        f"data.dataset.file={file}",
        f"rewards_file={tmp_path / 'rewards.jsonl'}",
        f"output={tmp_path / 'out'}",
    ]
    message = quickly_refused(*given, module="src.inspect_rewards")
    assert "none of the 2 rewards" in message
    assert "'x', 'y'" in message
    assert "'a', 'b', 'c'" in message


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["count=0"], "count"),
        (["annotator=unrated"], "unrated"),
        (["fail_on=[rain]"], "rain"),
        (["rewards_file=missing.jsonl"], "missing.jsonl"),
        (["leakage=[nowhere]"], "nowhere"),
        (["judge_name=x"], "judge_name=x"),
        (["font=nothing.ttf"], "nothing.ttf"),
        (["leakage=[x]", "check_images=false"], "check_images=false"),
    ],
)
def test_what_cannot_be_inspected_is_refused(tmp_path: Path, wrong: list[str], said: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        inspect(f"output={tmp_path}", "count=3", *wrong)


def test_wandb_gets_figures_numbers_and_a_table(tmp_path: Path) -> None:
    request = ("count=12", f"output={tmp_path}", "logger=wandb", "per_score=1")
    done = run(*request, module="src.inspect_rewards")
    assert done.returncode == 0, done.stderr[-2000:]
    names = WandbFile(tmp_path).history
    for wanted in ("rewards/following/mean", "rewards/histograms", "rewards/word_clouds", "rewards/examples"):
        assert any(name.startswith(wanted) for name in names), wanted


@pytest.mark.slow
def test_fifty_thousand_rewards(tmp_path: Path) -> None:
    append_rewards(tmp_path / "rewards.jsonl", [reward(f"t{row}", float(row % 6)) for row in range(50_000)])
    inspect(f"rewards_file={tmp_path / 'rewards.jsonl'}", f"output={tmp_path / 'out'}")
    assert read(tmp_path / "out")["triplets"] == 50_000
    assert (tmp_path / "out/index.html").stat().st_size < 2_000_000
