"""The table of a sweep of one's own: lines by what was varied, seeds grouped, references once; names of
lines; few photographs are told.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest
from conftest import config as composed
from tabulation.hand_made import ADDITION, BOTH, config, judged, write_run

from src import tabulate
from src.evaluation.comparison import compare
from src.evaluation.report import Report, few_photographs, merge_reports, report_row
from src.evaluation.show import warn_of_fewer_cases
from src.tabulation.paper_tables import paper_table
from src.tabulation.runs import find_reports
from src.tabulation.sweeps import is_sweep, sweep_tables
from src.tabulation.table import Line

THREE = judged([3.0] * 4, [4.0] * 4, [5.0] * 4)
FOUR = judged([4.0] * 4, [4.0] * 4, [5.0] * 4)
COPY = judged([0.0] * 4, [5.0] * 4, [5.0] * 4)


def write_sweep(folder: Path, *jobs: Mapping[str, object]) -> Path:
    """Jobs of these settings, the later the better, each with the copy of the input."""
    for number, job in enumerate(jobs):
        write_run(folder / str(number), {"5/5/5": (THREE, FOUR)[number > 0], "copy input": COPY}, job)
    (folder / "sweep.json").write_text("{}")
    return folder


def lines_of(folder: Path) -> list[Line]:
    reports = find_reports([folder])
    assert is_sweep(reports)
    (table,) = sweep_tables(reports)
    return list(table.lines)


def with_rate(rate: float, seed: int) -> dict[str, object]:
    return config(seed=seed, algorithm={"optimizer": {"lr": rate, "eps": 1e-8}})


def test_lines_are_named_by_what_was_varied_and_seeds_are_one_line(tmp_path: Path) -> None:
    jobs = [with_rate(rate, seed) for seed in (0, 1) for rate in (1e-3, 5e-3)]
    lines = lines_of(write_sweep(tmp_path, *jobs))
    assert [line.labels for line in lines] == [
        ("lr=0.001", "5/5/5"),
        ("lr=0.005", "5/5/5"),
        ("any", "copy input"),
    ]
    seeds, n, clusters, coverage, _, following = (value for value in lines[0].values[:6] if value is not None)
    assert (seeds.mean, n.mean, clusters.mean, coverage.mean) == (2.0, 4.0, 2.0, 1.0)
    assert following.mean == pytest.approx(3.5)  # of 3 and 4
    assert following.spread == pytest.approx(0.5**0.5)


def test_choices_are_told_in_words_and_equal_ends_of_keys_stay_apart(tmp_path: Path) -> None:
    jobs = [
        config(integration=place, a={"lr": rate}, b={"lr": rate + 1})
        for place in (None, BOTH)
        for rate in (1, 2)
    ]
    assert [line.labels[0] for line in lines_of(write_sweep(tmp_path, *jobs))][:4] == [
        "no reward, a.lr=1",
        "no reward, a.lr=2",
        "reward by score and text, a.lr=1",
        "reward by score and text, a.lr=2",
    ]


def test_runs_that_differ_in_nothing_are_named_by_their_folders(tmp_path: Path) -> None:
    lines = lines_of(write_sweep(tmp_path, config(), config(), config(integration=ADDITION)))
    assert [line.labels[0] for line in lines] == [
        f"through attention and addition, {tmp_path}/0",
        f"through attention and addition, {tmp_path}/1",
        "through addition",
        "any",
    ]


def test_a_reference_that_runs_do_not_agree_on_is_shown_twice(tmp_path: Path) -> None:
    write_sweep(tmp_path, config(), config(seed=1))
    write_run(tmp_path / "2", {"5/5/5": THREE[:2], "copy input": COPY[:2]}, config(seed=2))
    lines = lines_of(tmp_path)
    assert [line.labels[1] for line in lines] == ["5/5/5", "copy input", "copy input"]


def test_the_command_tabulates_a_sweep_so_and_other_runs_by_their_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sweep(tmp_path, with_rate(1e-3, 0), with_rate(5e-3, 0))
    tabulate.main(composed(f"runs=[{tmp_path}]", name="tabulate"))
    assert "| lr=0.005 | 5/5/5 | 1 | 4 | 2 |" in capsys.readouterr().out
    (tmp_path / "sweep.json").unlink()
    tabulate.main(composed(f"runs=[{tmp_path}]", name="tabulate"))
    assert f"| {tmp_path}/1 | 5/5/5 | 4 | 2 |" in capsys.readouterr().out


@pytest.mark.parametrize("table", ["null", "table1", "table5_integration"])
def test_lines_get_the_names_that_are_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str
) -> None:
    for number, name in enumerate(("a", "b")):
        images = {"5/5/5": {"multi_reward/clip_i": {"mean": 0.8 + number / 10, "n": 4, "ci95": None}}}
        write_run(tmp_path / name, {"5/5/5": THREE}, config(start=name), images=images)
    asked = (f"runs=[{tmp_path}/a,{tmp_path}/b]", f"table={table}", "published=false")
    tabulate.main(composed(*asked, "names=['Stock, 30 steps',Ours]", name="tabulate"))
    told = capsys.readouterr().out
    assert "| Stock, 30 steps |" in told
    assert "| Ours |" in told
    with pytest.raises(ValueError, match=r"names=\[Ours\]: 1 for 2 folders; give one for each"):
        tabulate.main(composed(*asked, "names=[Ours]", name="tabulate"))


def test_few_photographs_are_told_and_differences_stay_on_the_scale(tmp_path: Path) -> None:
    rows = (report_row("5/5/5", THREE, {"seed": 0}), report_row("copy input", COPY, {}))
    note = few_photographs(rows)
    assert note is not None
    assert note.startswith("With 2 photographs an interval rests on 2 numbers")
    write_run(tmp_path, {"5/5/5": THREE}, config())
    assert note in paper_table(find_reports([tmp_path]), "table5_integration", "5/5/5", None, False).notes
    wide = report_row("0/0/0", judged([0.0, 0.0, 5.0, 5.0], [4.0] * 4, [5.0] * 4), {"seed": 0})
    for found in compare("5/5/5", rows[0].cases, "0/0/0", wide.cases):
        assert found.ci95 is not None
        assert -5.0 <= found.ci95.low <= found.ci95.high <= 5.0
    many = report_row("5/5/5", judged([3.0] * 14, [3.0] * 14, [3.0] * 14), {"seed": 0})
    assert few_photographs([many]) is None
    one = report_row("5/5/5", THREE[:1], {"seed": 0})
    assert few_photographs([one]) == "With one photograph there are no intervals and no tests."


def test_rows_over_fewer_cases_do_not_take_the_place_of_others_silently(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def report(cases: int) -> Report:
        rows = (report_row("5/5/5", THREE[:cases], {"seed": 0}), report_row("copy input", COPY[:cases], {}))
        return Report("six", "hand", "1", rows)

    warn_of_fewer_cases(report(2), merge_reports(report(2), report(4)))
    assert capsys.readouterr().err == ""
    warn_of_fewer_cases(report(4), merge_reports(report(4), report(2)))
    told = capsys.readouterr().err
    assert told.startswith("warning: 5/5/5, copy input over 2 cases take the place of the same over 4 in")
    assert "limit=4 brings them back" in told
