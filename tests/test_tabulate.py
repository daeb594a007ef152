"""tabulate finds reports, keeps judges apart, names what is missing."""

from pathlib import Path

import pytest
from conftest import config

from src.evaluation.judging import JudgedCase
from src.evaluation.report import Report, report_row, write_report
from src.files import NotWrittenError
from src.records import Reward, Verdict
from src.tabulate import main, with_positional_runs
from src.tabulation.general import comparison_tables, general_tables
from src.tabulation.markdown import markdown_tables
from src.tabulation.runs import find_reports


def judged(judge: str, score: float) -> list[JudgedCase]:
    return [
        JudgedCase(str(n), "local", f"p{n}", Reward(str(n), judge, "k", *[Verdict(score, True)] * 3))
        for n in range(2)
    ]


def write_run(run: Path, judge: str = "hand", score: float = 3.0) -> None:
    rows = (
        report_row("5/5/5", judged(judge, score), {"seed": 0}),
        report_row("copy input", judged(judge, 2.0), {}),
    )
    write_report(run / "evaluation" / "six" / judge, Report("six", judge, "1", rows))


def test_two_runs_make_one_table(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "0", score=3.0)
    write_run(tmp_path / "a" / "1", score=4.0)
    text = markdown_tables(general_tables(find_reports([tmp_path / "a", tmp_path / "a" / "1"])))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 4
    assert lines[2].startswith(
        f"| {tmp_path / 'a' / '0'} | 5/5/5 | 2 | 2 | 100.0 % | 100.0 % | 3.00 [3.00, 3.00] |"
    )
    assert lines[4].startswith(
        f"| {tmp_path / 'a' / '1'} | 5/5/5 | 2 | 2 | 100.0 % | 100.0 % | 4.00 [4.00, 4.00] |"
    )


def test_judges_are_kept_apart(tmp_path: Path) -> None:
    write_run(tmp_path, judge="hand")
    write_run(tmp_path, judge="foot")
    assert markdown_tables(general_tables(find_reports([tmp_path]))).count("## six, judged by") == 2


def test_unknown_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run folder"):
        find_reports([tmp_path / "gone"])
    with pytest.raises(FileNotFoundError, match="below"):
        find_reports([tmp_path])


def test_positional_paths_become_an_override() -> None:
    assert with_positional_runs(["runs/a", "output=t.md", "runs/it's"]) == [
        "output=t.md",
        "runs=['runs/a','runs/it\\'s']",
    ]
    assert with_positional_runs(["runs=[a]"]) == ["runs=[a]"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "a run")
    main(config(*with_positional_runs([str(tmp_path / "a run"), f"output={tmp_path}/t.md"]), name="tabulate"))
    printed = capsys.readouterr().out
    assert (tmp_path / "t.md").read_text() == printed
    assert "| 5/5/5 | 2 | 2 |" in printed
    with pytest.raises(ValueError, match="one or more run folders"):
        main(config(name="tabulate"))


def test_runs_are_compared_case_by_case(tmp_path: Path) -> None:
    write_run(tmp_path / "a", score=3.0)
    write_run(tmp_path / "b", score=4.5)
    reports = find_reports([tmp_path / "a", tmp_path / "b"])
    lines = [
        line
        for line in markdown_tables(comparison_tables(reports, str(tmp_path / "a"))).splitlines()
        if line.startswith("|")
    ]
    # two photographs that both rise by 1.5: two of four flips are as far from zero; three perspectives
    rise = "+1.50 [+1.50, +1.50]"
    cell = f"{rise} | 1.0000"
    assert lines[2:] == [f"| {tmp_path / 'b'} | 5/5/5 | 5/5/5 | 2 | 2 | {cell} | {cell} | {cell} | {rise} |"]
    lines = [
        line
        for line in markdown_tables(comparison_tables(reports, "copy input")).splitlines()
        if line.startswith("|")
    ]
    assert [line.split(" | ")[1:3] for line in lines[2:]] == [["5/5/5", "copy input"]] * 2
    assert "+2.50 [+2.50, +2.50]" in lines[3]
    with pytest.raises(
        ValueError,
        match="nothing is comparable with it; give a run folder or one of the rows 5/5/5, copy input",
    ):
        comparison_tables(reports, "0/0/0")
    with pytest.raises(ValueError, match="holds 2 runs"):
        comparison_tables(reports, str(tmp_path))


def test_the_command_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "a", score=3.0)
    write_run(tmp_path / "b", score=4.5)
    main(
        config(
            *with_positional_runs([str(tmp_path / "a"), str(tmp_path / "b"), f"against={tmp_path / 'a'}"]),
            name="tabulate",
        )
    )
    assert "## six, judged by hand, against" in capsys.readouterr().out


def test_versions_of_a_judge_are_not_mixed(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    path = tmp_path / "b" / "evaluation" / "six" / "hand" / "report.json"
    path.write_text(path.read_text().replace('"fingerprint": "1"', '"fingerprint": "2"'))
    with pytest.raises(ValueError, match=r"different versions of hand \(1 and 2\)"):
        general_tables(find_reports([tmp_path]))


def test_every_format_holds_all_rows(tmp_path: Path) -> None:
    write_run(tmp_path / "a_b & c", score=3.0)
    files = [tmp_path / f"t.{ending}" for ending in ("md", "tex", "html", "csv")]
    main(
        config(
            *with_positional_runs(
                [str(tmp_path / "a_b & c"), f"output=[{','.join(map(str, files))}]", "against=copy input"]
            ),
            name="tabulate",
        )
    )
    texts = [path.read_text() for path in files]
    assert all("copy input" in text and "3.00" in text for text in texts[:3])
    assert r"a\_b \& c" in texts[1]
    assert "a_b &amp; c" in texts[2]
    # two rows and one comparison in one file
    assert len(texts[3].splitlines()) == 1 + 2 + 1


def test_files_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    with pytest.raises(
        ValueError,
        match=r"output=.*t\.docx: the extension selects the format, one of \.md, \.tex, \.html, \.csv",
    ):
        main(config(f"runs=['{tmp_path}/a']", f"output={tmp_path}/t.docx", name="tabulate"))
    with pytest.raises(ValueError, match=r"page=.*page\.md: the page is HTML"):
        main(config(f"runs=['{tmp_path}/a']", f"page={tmp_path}/page.md", name="tabulate"))
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWrittenError, match=r"file/t\.md could not be written"):
        main(config(f"runs=['{tmp_path}/a']", f"output={tmp_path}/file/t.md", name="tabulate"))
