"""The check before training finds every broken row and says what it checked."""

import json
import sys
from pathlib import Path

import pytest
from conftest import config
from data.written import pixels, reward, write_image, write_list, write_tree
from PIL import Image

from src import check_data, launch
from src.data.check import check_rows, rows_to_decode
from src.data.columns import FEEDBACK, SCORES
from src.data.json_list import JsonList
from src.data.pix2pix_tree import Pix2PixTree
from src.data.problems import Problem, append_problem, read_problems, write_problems
from src.data.rewards import WithRewards
from src.reward_file import append_rewards


def kinds(report) -> dict[int | None, str]:
    return {problem.index: problem.kind for problem in report.problems}


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A tree of 40 rows: 0 lacks an image, 5 has half of one, 8 one of another shape, 10 and 11 no
    instruction.
    """
    folder = write_tree(tmp_path / "tree")
    (folder / "0000000" / "7_1.png").unlink()
    half = folder / "0000002" / "31_0.png"
    half.write_bytes(half.read_bytes()[:900])
    write_image(folder / "0000004" / "7_1.png", pixels(1, 24, 48))
    (folder / "0000005" / "prompt.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ("all", {0: "missing", 5: "unreadable", 8: "sizes", 10: "row", 11: "row"}),
        ("headers", {0: "missing", 8: "sizes", 10: "row", 11: "row"}),
        (8, {0: "missing", 5: "unreadable", 10: "row"}),
        (0, {0: "missing"}),
    ],
)
def test_all_broken_rows_that_are_checked_are_found(
    broken: Path, how: int | str, found: dict[int, str]
) -> None:
    rows = WithRewards(Pix2PixTree(broken, split="all", extension="png"))
    report = check_rows(rows, how)  # type: ignore[arg-type]
    assert kinds(report) == found
    text = str(report)
    assert text.startswith("40 rows; files of all rows looked for, images of ")
    assert {
        "all": "all rows decoded",
        "headers": "all rows measured by their headers",
        8: "8 rows decoded",
        0: "0 rows decoded",
    }[how] in text
    assert "missing 1" in text


def test_reasons_name_the_file(broken: Path) -> None:
    reasons = {
        problem.index: problem.reason
        for problem in check_rows(Pix2PixTree(broken, split="all", extension="png"), "all").problems
    }
    assert reasons[0].endswith("0000000/7_1.png")
    assert "31_0.png is not a readable image" in reasons[5]
    assert "is 32x24, the edited one 48x24" in reasons[8]
    assert "prompt.json" in reasons[10]


def test_repeats_are_counted(tmp_path: Path) -> None:
    file = write_list(tmp_path)
    images = tmp_path / "images"
    (images / "1-edited.png").write_bytes((images / "1.png").read_bytes())  # an edit that does nothing
    (images / "3.png").write_bytes((images / "2.png").read_bytes())  # an original used twice
    for number in ("", "-edited"):
        (images / f"5{number}.png").write_bytes((images / f"4{number}.png").read_bytes())
    entries = json.loads(file.read_text())
    entries[5]["instruction"] = entries[4]["instruction"]
    file.write_text(json.dumps(entries))
    counts = check_rows(JsonList(file), "all").counts
    assert counts["the same triplet again"] == 1
    assert counts["edited image is the original"] == 1
    assert counts["different originals"] == 4
    assert counts["images in several triplets"] == 3
    assert counts["the same edited image in another triplet"] == 0
    assert counts["shortest side in pixels"] == 24


def test_decoded_rows_are_spread_evenly() -> None:
    assert list(rows_to_decode(10, 5)) == [0, 2, 4, 6, 8]
    assert list(rows_to_decode(3, 1000)) == [0, 1, 2]
    assert len(set(rows_to_decode(1001, 1000))) == 1000
    for wrong in ("some", -1, True):
        with pytest.raises(ValueError, match="all, headers, or the number of rows"):
            rows_to_decode(10, wrong)  # type: ignore[arg-type]


def test_the_file_of_broken_rows_keeps_what_training_found(tmp_path: Path) -> None:
    path = tmp_path / "broken_rows.jsonl"
    write_problems(path, [])
    assert not path.exists()
    early, late, again = (
        Problem(1, "a", "missing", "x"),
        Problem(2, "b", "unreadable", "y", "while"),
        Problem(1, "a", "missing", "x", "while"),
    )
    write_problems(path, [early])
    append_problem(path, late)
    append_problem(path, late)
    append_problem(path, again)
    write_problems(path, [early])
    assert read_problems(path) == [early, late]
    write_problems(path, [])
    assert read_problems(path) == [late]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["src.check_data", *arguments])
    try:
        launch.entry_point(check_data.main, "check_data")
    except SystemExit as stopped:
        return 0 if stopped.code is None else int(stopped.code)
    return 0


def test_the_command_prints_the_report_and_fails_on_errors(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    target = tmp_path / "list" / "broken_rows.jsonl"
    command = (
        "data=pix2pix_tree",
        f"data.dataset.folder={broken}",
        "data.dataset.extension=png",
        "data.dataset.split=all",
        f"output={target}",
    )
    assert run(monkeypatch, *command) == 1
    stderr = capfd.readouterr().err
    assert stderr.startswith("error: 5 rows can't be used, the first because no file ")
    assert len(stderr.splitlines()) == 1
    assert [problem.index for problem in read_problems(target)] == [0, 5, 8, 10, 11]
    assert run(monkeypatch, *command, "data.on_error=skip") == 0
    assert "rows that can't be used: missing 1, row 2, sizes 1, unreadable 1" in capfd.readouterr().out


def test_rewards_out_of_range_are_an_error_or_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    columns: dict[str, list] = {name: [1.0, 2.0, 3.0, 9.0, 5.0, 0.0] for name in SCORES} | {
        name: ["None"] * 6 for name in FEEDBACK
    }
    file = write_list(tmp_path, **columns)
    command = ("data=json_list", f"data.dataset.file={file}", f"output={tmp_path / 'target'}")
    assert run(monkeypatch, *command) == 1
    assert "got 9.0" in capfd.readouterr().err
    assert run(monkeypatch, *command, "data.on_error=skip") == 0
    out = capfd.readouterr().out
    assert out.startswith("5 rows;")
    assert "reward 1" in out


def test_rewards_are_joined_from_the_command_line(tmp_path: Path, capfd) -> None:
    folder = write_tree(tmp_path / "tree", 2)
    append_rewards(tmp_path / "rewards.jsonl", [reward("0000001/7")])
    check_data.main(
        config(
            "data=pix2pix_tree",
            f"data.dataset.folder={folder}",
            "data.dataset.extension=png",
            "data.dataset.split=all",
            "+rewards@data.rewards=reward_file",
            f"data.rewards.path={tmp_path / 'rewards.jsonl'}",
            f"output={tmp_path / 'target'}",
            name="check_data",
        )
    )
    out = capfd.readouterr().out
    assert "rated: 1" in out
    assert "dropped, no reward: 3" in out


def test_no_row_left_and_nothing_to_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    assert run(monkeypatch) == 0
    assert "no files to check" in capfd.readouterr().out
    file = write_list(tmp_path, count=1)
    Image.new("RGB", (8, 8)).save(tmp_path / "images/0.png")
    assert (
        run(
            monkeypatch,
            "data=json_list",
            f"data.dataset.file={file}",
            "data.on_error=skip",
            f"output={tmp_path / 'target'}",
        )
        == 1
    )
    assert "no row is left: of 1" in capfd.readouterr().err
