"""What the report page holds: cases kept by the evaluation, edits with their feedback, images of a bounded
size; what is refused.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from tabulation.hand_made import config, judged, write_run
from tabulation.page_runs import Greys, following, reward, write_generation, write_page_runs

from src.data.kept_cases import kept_cases
from src.evaluation.case_list import keep_cases
from src.files import NotWrittenError
from src.images import decode_image
from src.tabulation.page import write_report_page
from src.tabulation.page_data import all_cases, edit_columns, fit_webp, page_data
from src.tabulation.runs import RunReport, find_reports


@pytest.fixture
def reports(tmp_path: Path) -> list[RunReport]:
    """14 cases."""
    return find_reports(list(write_page_runs(tmp_path, 14)))


def test_cases_are_kept_with_their_images_and_earlier_ones_stay(tmp_path: Path) -> None:
    benchmark = Greys(14)
    cases = benchmark.cases()
    keep_cases(tmp_path, benchmark, cases[:8])
    first = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.webp")}
    assert len(first) == 2 + 1  # two photographs, one right answer for all
    keep_cases(tmp_path, benchmark, cases[10:12])
    assert [case.id for case in kept_cases(tmp_path)] == ["g10", "g11", *(f"g{index}" for index in range(8))]
    assert {path: path.stat().st_mtime_ns for path in first} == first
    kept = kept_cases(tmp_path)[2]
    assert (kept.id, kept.edit_type, kept.photograph, kept.instruction) == (
        "g0",
        "local",
        "photo0",
        cases[0].instruction,
    )
    from io import BytesIO

    read = decode_image(BytesIO((tmp_path / "cases" / kept.original).read_bytes()), "here")
    assert np.array_equal(read, cases[0].original)
    assert kept_cases(tmp_path)[1].target is None


def test_a_broken_list_of_cases_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError,
        match=r"no .*cases\.jsonl, which the page takes instructions and originals from; "
        r"run python -m src\.evaluate",
    ):
        kept_cases(tmp_path)
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "cases.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(ValueError, match=r"cases\.jsonl is broken"):
        kept_cases(tmp_path)


def test_the_page_holds_every_edit_with_its_feedback(reports: list[RunReport]) -> None:
    columns = edit_columns(reports, None)
    assert [column.name for column in columns] == ["a · 5/5/5", "a · 0/0/0", "b · 5/5/5"]
    data, images = page_data(all_cases(reports), columns, 10.0)
    assert len(data["cases"]) == 14
    for index, case in enumerate(data["cases"]):
        assert case["edits"][0]["scores"] == [
            following("a", "5/5/5", index),
            4.0,
            None if index == 7 else 5.0,
        ]
        assert case["edits"][2]["scores"][0] == following("b", "5/5/5", index)
        assert case["edits"][0]["failed"] == (index == 7)
        assert (case["target"] is None) == (index % 2 == 1)
    assert data["cases"][4]["edits"][0]["feedback"] == ["only 2 of the sky is dark", "one tree is gone", ""]
    assert data["cases"][7]["edits"][0]["success"] == [False, True, None]
    # two photographs, 14 different edits of either (the same in every row), one right answer: each once
    assert len(images) == 2 + 14 + 1


def test_feedback_is_that_of_the_reward_in_the_report(tmp_path: Path) -> None:
    """An edit that was made and judged again has two rewards; the report is about one of them."""
    run, _ = write_page_runs(tmp_path, 7)
    from dataclasses import replace

    from src.records import Verdict
    from src.reward_file import append_rewards

    later = replace(reward("a", "5/5/5", 3), key="other", following=Verdict(0.5, False, "of another edit"))
    append_rewards(run / "evaluation" / "greys" / "5-5-5" / "hand" / "rewards.jsonl", [later])
    reports = find_reports([run])
    data, _ = page_data(all_cases(reports), edit_columns(reports, ["5/5/5"]), 10.0)
    assert data["cases"][3]["edits"][0]["feedback"][0] == "only 1.5 of the sky is dark"


def test_a_missing_edit_is_marked(reports: list[RunReport]) -> None:
    (reports[0].folder.parent / "5-5-5" / "edits" / "g2.png").unlink()
    data, _ = page_data(all_cases(reports), edit_columns(reports, None), 10.0)
    assert [data["cases"][2]["edits"][column]["image"] is None for column in range(3)] == [
        True,
        False,
        False,
    ]


def test_rows_can_be_chosen(reports: list[RunReport]) -> None:
    assert [column.name for column in edit_columns(reports, ["b · 5/5/5", "0/0/0"])] == [
        "b · 5/5/5",
        "a · 0/0/0",
    ]
    with pytest.raises(
        ValueError, match="no row '9/9/9' with edits; there are a · 5/5/5, a · 0/0/0, b · 5/5/5"
    ):
        edit_columns(reports, ["9/9/9"])


@pytest.mark.parametrize("most", [60_000, 12_000, 3_000])
def test_images_meet_the_size_limit(most: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    assert len(fit_webp(noise, most)) <= most
    flat = np.full((64, 64, 3), 7, np.uint8)
    assert len(fit_webp(flat, most)) < 200


def test_the_page_is_no_larger_than_asked_for(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "a", {"5/5/5": judged([3.0] * 6, [4.0] * 6, [5.0] * 6)}, config(), benchmark="greys"
    )
    benchmark = Greys(6)
    where = run / "evaluation" / "greys"
    report = where / "hand" / "report.json"
    for path in (report, report.with_name("cases.jsonl")):
        path.write_text(re.sub(r'"id": "c', '"id": "g', path.read_text()))
    keep_cases(where, benchmark, benchmark.cases())
    noise = np.random.default_rng(0).integers(0, 256, (6, 256, 256, 3), dtype=np.uint8)
    cases = [
        type(case)(case.id, image, case.instruction, case.edit_type, case.photograph)
        for case, image in zip(benchmark.cases(), noise, strict=True)
    ]
    write_generation(where / "5-5-5", "5/5/5", [], cases)
    sizes = []
    for megabytes in (0.5, 0.15):
        said = write_report_page(tmp_path / "page.html", find_reports([run]), None, megabytes)
        sizes.append((tmp_path / "page.html").stat().st_size / 2**20)
        assert sizes[-1] <= megabytes + 0.06, "a little is the page itself"
        assert re.search(r"page\.html \(\d\.\d MB: 6 cases, 1 rows with edits, 8 images\)", said)
    assert sizes[1] < sizes[0]
    with pytest.raises(ValueError, match="page_megabytes=0: a page with images needs some room"):
        write_report_page(tmp_path / "page.html", find_reports([run]), None, 0.0)


def test_what_cannot_be_a_page_is_refused(tmp_path: Path, reports: list[RunReport]) -> None:
    other = write_run(tmp_path / "c", {"5/5/5": judged([3.0], [4.0], [5.0])}, config())
    with pytest.raises(ValueError, match=r"is about greys and .*c about six, which are not comparable"):
        write_report_page(tmp_path / "page.html", [*reports, *find_reports([other])], None, 10.0)
    with pytest.raises(ValueError, match="no edits to show on a page"):
        write_report_page(tmp_path / "page.html", find_reports([other]), None, 10.0)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotWrittenError, match=r"file/page\.html could not be written"):
        write_report_page(tmp_path / "file" / "page.html", reports, None, 10.0)


def test_no_text_of_the_data_is_markup(tmp_path: Path, reports: list[RunReport]) -> None:
    write_report_page(tmp_path / "page.html", reports, None, 10.0)
    text = (tmp_path / "page.html").read_text()
    assert "<script>document.title" not in text
    data = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[0]
    assert json.loads(data)["cases"][0]["instruction"].startswith("<script>")
    assert "default-src 'none'" in text
    assert not re.search(r'<(link|script|img|iframe)[^>]+(src|href)="(?!data:)', text)
    assert "@import" not in text
    assert "url(" not in text
