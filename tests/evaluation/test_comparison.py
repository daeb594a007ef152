"""Comparisons of two rows: paired by case where that is possible, said to be unpaired where not, corrected
together.
"""

import json
from pathlib import Path

import pytest

from src.evaluation.comparison import CaseScores, Comparison, compare, compare_overall, comparison_cells
from src.evaluation.judging import JudgedCase
from src.evaluation.report import (
    Report,
    comparisons,
    merge_reports,
    read_report,
    report_markdown,
    report_row,
    terminal_comparisons,
    write_report,
)
from src.records import Reward, Verdict

GOOD = [
    CaseScores(str(index), f"p{index // 2}", (3.0 + index % 2, 4.0, None if index == 0 else 2.0))
    for index in range(8)
]
BAD = [CaseScores(str(index), f"p{index // 2}", (1.0 + index % 2, 4.0, 1.0)) for index in reversed(range(8))]
ELSEWHERE = [CaseScores(f"t{index}", f"q{index % 3}", (float(index % 4), 4.0, 5.0)) for index in range(12)]


def test_rows_are_paired_by_id_in_any_order() -> None:
    following, preserving, quality = compare("good", GOOD, "bad", BAD)
    # four photographs, all two points up: 2 of 16 flips are as far from zero
    assert (following.n, following.clusters, following.difference, following.p) == (8, 4, 2.0, 2 / 16)
    assert following.ci95 == (2.0, 2.0)
    assert (preserving.difference, preserving.p) == (0.0, 1.0)
    assert (quality.n, quality.n_against, quality.difference, quality.p) == (7, 7, 1.0, 2 / 16)
    assert [each.p_holm for each in (following, preserving, quality)] == [
        pytest.approx(3 / 8),
        1.0,
        pytest.approx(3 / 8),
    ]
    assert all(each.paired for each in (following, preserving, quality))


def test_rows_without_a_common_case_are_compared_unpaired() -> None:
    following, _, quality = compare("good", GOOD, "training triplets", ELSEWHERE)
    assert not following.paired
    assert (following.n, following.clusters, following.n_against, following.clusters_against) == (8, 4, 12, 3)
    assert following.difference == pytest.approx(2.0)
    assert quality.difference == -3.0
    pair = ("good", GOOD, "training triplets", ELSEWHERE)
    cells = comparison_cells(compare(*pair), compare_overall(*pair))
    assert cells[:3] == ["training triplets (unpaired)", "8 / 12", "4 / 3"]


def test_one_photograph_decides_nothing() -> None:
    following, *_ = compare("good", GOOD[:2], "bad", BAD)
    assert (following.n, following.clusters, following.difference, following.ci95, following.p) == (
        2,
        1,
        2.0,
        None,
        None,
    )
    overall = compare_overall("good", GOOD[:2], "bad", BAD)
    # the first case has no quality; the second is 4/4/2 against 2/4/1
    assert overall.difference == pytest.approx(8**0.5 - 2**0.5)
    assert comparison_cells([following], overall)[-3:] == ["+2.00", "-", "+1.41"]


def test_rows_without_scores_have_no_difference() -> None:
    empty = [CaseScores(case.id, case.photograph, (None, None, None)) for case in BAD]
    assert [each.difference for each in compare("good", GOOD, "failed", empty)] == [None] * 3
    unpaired = [CaseScores(f"x{case.id}", case.photograph, (None, None, None)) for case in BAD]
    assert [each.p for each in compare("good", GOOD, "failed", unpaired)] == [None] * 3


def judged(cases: list[CaseScores]) -> list[JudgedCase]:
    found = []
    for case in cases:
        verdicts = [
            Verdict(None, status="failed") if score is None else Verdict(score) for score in case.scores
        ]
        found.append(JudgedCase(case.id, "local", case.photograph, Reward(case.id, "hand", "key", *verdicts)))
    return found


def report_of(**rows: list[CaseScores]) -> Report:
    names = {"best": "5/5/5", "worst": "0/0/0", "training": "training triplets"}
    return Report(
        "six",
        "hand",
        "1",
        tuple(
            report_row(names[name], judged(cases), {} if name == "training" else {"seed": 0})
            for name, cases in rows.items()
        ),
    )


def test_a_report_compares_its_first_row_with_all_others(tmp_path: Path) -> None:
    report = report_of(best=GOOD, worst=BAD, training=ELSEWHERE)
    write_report(tmp_path, report)
    assert read_report(tmp_path / "report.json") == report
    found = json.loads((tmp_path / "report.json").read_text())["comparisons"]
    assert [(each["row"], each["against"], each["perspective"]) for each in found[:2]] == [
        ("5/5/5", "0/0/0", "following"),
        ("5/5/5", "0/0/0", "preserving"),
    ]
    assert found[0].keys() == Comparison.__dataclass_fields__.keys()
    assert [each["paired"] for each in found] == [True] * 4 + [False] * 4
    assert found[3]["perspective"] == "overall"
    assert found[3]["p_holm"] is None
    assert "| 0/0/0 | 8 | 4 | +2.00 [+2.00, +2.00] | 0.3750 |" in report_markdown(report)
    assert "| training triplets (unpaired) |" in report_markdown(report)
    # of four photographs no p is below 3 x 2 / 16: nothing could be found; unpaired rows have no such figure
    assert "| 0/0/0 | - | - | - |" in report_markdown(report)
    assert (
        "training triplets"
        not in report_markdown(report).partition("| F detectable |")[2].partition("## By edit type")[0]
    )
    table = terminal_comparisons(report)
    assert table is not None
    assert table.row_count == 2


def test_rows_of_earlier_reports_compare_too(tmp_path: Path) -> None:
    write_report(tmp_path, report_of(worst=BAD))
    whole = merge_reports(read_report(tmp_path / "report.json"), report_of(best=GOOD))
    assert [pair[0].against for pair in comparisons(whole)] == ["0/0/0"]


def test_without_its_cases_a_report_still_reads(tmp_path: Path) -> None:
    write_report(tmp_path, report_of(best=GOOD, worst=BAD))
    (tmp_path / "cases.jsonl").unlink()
    report = read_report(tmp_path / "report.json")
    assert [row.name for row in report.rows] == ["5/5/5", "0/0/0"]
    assert comparisons(report) == []
    assert terminal_comparisons(report) is None
    (tmp_path / "cases.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="not a report"):
        read_report(tmp_path / "report.json")
