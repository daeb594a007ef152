"""A report of six hand-made rewards equals a hand-made table."""

import json
from pathlib import Path

import pytest

from src.evaluation.judging import JudgedCase
from src.evaluation.report import (
    Report,
    ReportRow,
    contradiction_notes,
    merge_reports,
    read_report,
    report_markdown,
    report_notes,
    report_row,
    row_order,
    terminal_table,
    write_report,
)
from src.records import Reward, Verdict

FAILED = Verdict(None, status="failed")


def judged(
    id: str, edit_type: str, photograph: str, following: Verdict, preserving: Verdict, quality: Verdict
) -> JudgedCase:
    return JudgedCase(id, edit_type, photograph, Reward(id, "hand", "key", following, preserving, quality))


SIX = [
    judged("1", "local", "a", Verdict(5.0, True), Verdict(4.0, True), Verdict(1.0, False)),
    judged("2", "local", "a", Verdict(3.0, False), Verdict(4.0, True), Verdict(2.0, False)),
    judged("3", "local", "b", Verdict(4.0, True), Verdict(4.0, True), Verdict(3.0, True)),
    judged("4", "style", "b", FAILED, Verdict(4.0, False), Verdict(4.0, True)),
    judged("5", "style", "c", Verdict(0.0, False), Verdict(4.0, False), Verdict(5.0, True)),
    JudgedCase("6", "style", "c", None),
]


def report_of(*names: str, fingerprint: str = "hand-1", **made_by: object) -> Report:
    return Report("six", "hand", fingerprint, tuple(report_row(name, SIX, made_by) for name in names))


def test_the_row_of_six_rewards() -> None:
    row = report_row("5/5/5", SIX, {})
    assert (row.means.n, row.means.coverage, row.means.clusters) == (6, 4 / 6, 3)
    following, preserving, quality = row.means.summaries
    assert (following.score, following.acc, following.bounds) == (3.0, 0.5, (2.0, 11 / 3))
    assert (preserving.score, preserving.acc, preserving.ci95) == (4.0, 0.6, (4.0, 4.0))
    assert preserving.bounds == (pytest.approx(20 / 6), pytest.approx(25 / 6))
    assert (quality.score, quality.acc) == (3.0, 0.6)
    assert quality.ci95 is not None
    assert quality.ci95.low < 3.0 < quality.ci95.high
    local, style = row.types["local"], row.types["style"]
    assert (local.n, local.coverage, local.following.score, local.quality.score) == (3, 1.0, 4.0, 2.0)
    assert (style.n, style.following.score, style.following.bounds, style.quality.score) == (
        3,
        0.0,
        (0.0, 10 / 3),
        4.5,
    )
    assert style.following.ci95 is None


def test_json_and_back(tmp_path: Path) -> None:
    report = report_of("5/5/5", "copy input")
    write_report(tmp_path, report)
    assert read_report(tmp_path / "report.json") == report
    first = json.loads((tmp_path / "report.json").read_text())["rows"][0]
    assert first["name"] == "5/5/5"
    assert first["following"] == {
        "acc": 0.5,
        "score": 3.0,
        "ci95": first["following"]["ci95"],
        "bounds": [2.0, 11 / 3],
    }
    assert not list(tmp_path.glob(".*"))


def test_markdown() -> None:
    text = report_markdown(report_of("5/5/5"))
    line = next(line for line in text.splitlines() if line.startswith("| 5/5/5"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:5] == ["5/5/5", "6", "3", "66.7 %", "50.0 %"]
    assert cells[5].startswith("3.00 [")
    assert cells[6:8] == ["60.0 %", "4.00 [4.00, 4.00]"]
    assert "| 5/5/5 | 3 | 4.0 / 4.0 / 2.0 | 0.0 / 4.0 / 4.5 |" in text
    assert "33.3 % of the cases have no complete reward; F, P, Q with all of them: 2.00 to 3.67" in text


def test_terminal_table_has_a_line_per_row() -> None:
    assert terminal_table(report_of("5/5/5", "copy input")).row_count == 2


def test_rows_of_earlier_reports_stay_and_are_replaced_by_name() -> None:
    old, new = report_of("exact target", "0/0/0", "5/5/5", seed=0), report_of("5/5/5", "1/2/3", seed=1)
    whole = merge_reports(old, new)
    assert [row.name for row in whole.rows] == ["5/5/5", "0/0/0", "1/2/3", "exact target"]
    assert whole.rows[0].made_by == {"seed": 1}
    assert any("made differently" in note for note in report_notes(whole))
    assert merge_reports(None, new).rows == (new.rows[0], new.rows[1])


def test_rows_of_another_judge_do_not_stay() -> None:
    assert [
        row.name for row in merge_reports(report_of("0/0/0"), report_of("5/5/5", fingerprint="hand-2")).rows
    ] == ["5/5/5"]


def test_rows_with_different_numbers_of_cases_are_said_not_to_compare() -> None:
    report = Report("six", "hand", "1", (report_row("5/5/5", SIX, {}), report_row("0/0/0", SIX[:3], {})))
    assert any("different numbers of cases" in note for note in report_notes(report))


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(("score", "success"), [(0.0, True), (1.0, True), (5.0, False)])
def test_a_judge_that_contradicts_itself_is_named(place: int, score: float, success: bool, tmp_path) -> None:
    verdicts = [Verdict(3.0, True), Verdict(3.0, False), Verdict(2.0, True)]
    verdicts[place] = Verdict(score, success)
    rows = [judged(str(number), "local", "a", *verdicts) for number in range(2)]
    report = Report("six", "hand", "1", (report_row("5/5/5", rows, {}), report_row("copy input", SIX, {})))
    write_report(tmp_path, report)
    (note,) = contradiction_notes(read_report(tmp_path / "report.json"))
    counts = ", ".join("2" if index == place else "0" for index in range(3))
    assert note.startswith("hand contradicts itself")
    assert note.endswith(f"can't both be right: 5/5/5 {counts} of 2.")
    assert f"Note: {note}" in (tmp_path / "report.md").read_text()


def test_order() -> None:
    names = [
        "exact target",
        "zebra",
        "training triplets",
        "0/0/0+text",
        "copy input",
        "5/5/5",
        "0/0/0",
        "3/3/3",
        "apple",
    ]
    ordered = [
        "5/5/5",
        "3/3/3",
        "0/0/0",
        "0/0/0+text",
        "apple",
        "zebra",
        "copy input",
        "training triplets",
        "exact target",
    ]
    assert sorted(names, key=row_order) == ordered


def test_a_broken_report_is_named(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"rows": [{}]}')
    with pytest.raises(ValueError, match=r"report\.json is not a report"):
        read_report(tmp_path / "report.json")


@pytest.mark.parametrize("file", ["report.json", "cases.jsonl"])
@pytest.mark.parametrize("constant", ["NaN", "Infinity"])
def test_what_is_no_number_is_in_no_report(tmp_path: Path, file: str, constant: str) -> None:
    write_report(tmp_path, report_of("5/5/5"))
    text = (tmp_path / file).read_text()
    (tmp_path / file).write_text(text.replace("0.0", constant, 1))
    with pytest.raises(ValueError, match=f"report.json is not a report .*{constant} stands where a number"):
        read_report(tmp_path / "report.json")


def test_a_row_needs_cases() -> None:
    with pytest.raises(ValueError, match="no case"):
        report_row("5/5/5", [], {})


def test_edits_of_different_origin_are_told_apart_by_what_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sampler = {"steps": 2, "guidance": {"text": 1.0}}
    one = report_of("5/5/5", checkpoint="a" * 64, seed=0, sampler=sampler).rows[0]
    other = report_of(
        "no reward", checkpoint="b" * 64, seed=0, sampler=sampler | {"guidance": {"text": 1.5}}
    ).rows[0]
    third = report_of("stage 2", edits=str(tmp_path / "stage2/edits")).rows[0]

    def note(*rows: ReportRow) -> str:
        told = [
            note
            for note in report_notes(Report("six", "hand", "hand-1", rows))
            if "complete reward" not in note and "photographs" not in note
        ]
        return " ".join(told)

    assert note(one, other) == (
        "the edits were made differently: 5/5/5: checkpoint aaaaaaaaaaaa, sampler.guidance.text 1.0; "
        "no reward: checkpoint bbbbbbbbbbbb, sampler.guidance.text 1.5"
    )
    assert note(one, third).endswith("stage 2: edits stage2/edits")
    assert not note(one, one)
