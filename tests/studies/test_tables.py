"""Table 3 and the other tables of a study whose answers are known: figures by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
from conftest import config
from studies.served import SECRET_NAMES, known_answer, write_study_folder

from src import tabulate
from src.evaluation.statistics import interval_of, two_way_mean
from src.studies.answers import AnswerFile
from src.studies.ratings import Ratings, read_ratings
from src.studies.tables import study_tables, table_3
from src.tabulation.table import Line, Table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a study that anna and ben have answered in full."""
    place = tmp_path_factory.mktemp("tables")
    study = write_study_folder(place)
    answers = AnswerFile(place / "study", study)
    for rater in ("anna", "ben"):
        for showing in answers.sequence(rater):
            given = known_answer(study, rater, showing)
            assert answers.add(rater, showing.position, given, 2.0 + (rater == "ben"), 0)
    return place / "study"


@pytest.fixture(scope="module")
def ratings(folder: Path) -> Ratings:
    return read_ratings(folder)


@pytest.fixture(scope="module")
def tables(ratings: Ratings) -> dict[str, Table]:
    return {table.name: table for table in study_tables(ratings)}


def numbers(table: Table, name: str) -> dict[str, float | None]:
    line: Line = next(line for line in table.lines if line.name == name)
    return {
        column.key: None if value is None else value.mean
        for column, value in zip(table.columns, line.values, strict=True)
    }


def test_mean_scores_by_hand(tables: dict[str, Table]) -> None:
    """Of the first system items 0, 2, 4, 6, of the second 1, 3, 5, 7; neither gold nor repeats count."""
    first, second = (numbers(tables["table3"], name) for name in SECRET_NAMES)
    assert first == pytest.approx({"following_score": 2.5, "preserving_score": 1.5, "quality_score": 3.0})
    assert second == pytest.approx({"following_score": 15 / 8, "preserving_score": 2.5, "quality_score": 3.0})


def test_intervals_are_over_photographs_and_raters(ratings: Ratings, tables: dict[str, Table]) -> None:
    own = [each for each in ratings.of("scores", "following") if each.item.systems == (SECRET_NAMES[1],)]
    assert len(own) == 8
    estimate = two_way_mean(
        np.array([each.value for each in own]),
        [each.item.photograph for each in own],
        [each.answer.rater for each in own],
    )
    assert estimate is not None
    low, high = interval_of(estimate.mean, estimate.error, estimate.freedom)
    shown = tables["table3"].lines[1].values[0]
    assert shown is not None
    assert shown.ci95 == pytest.approx((max(0.0, low), min(5.0, high)))


def test_preferences_by_hand(tables: dict[str, Table]) -> None:
    """Of 4 pairs anna prefers the first edit in two, ben in one."""
    shown = numbers(tables["preferences"], SECRET_NAMES[0])
    assert shown == pytest.approx(
        {"answers": 8.0, "better": 3 / 8, "alike": 0.0, "worse": 5 / 8, "preference": 3 / 8}
    )


def test_agreement_by_hand(tables: dict[str, Table]) -> None:
    """Pairs: (1, 1), (1, 0), (0, 0), (0, 0), alpha 8/15, see test_raters. Following: eight units of 0 and 5,
    one of them 5 by anna and 0 by ben: observed 2/16, nine zeros and seven fives: expected 2 * 9 * 7 / (16 *
    15); alpha 16/21 at any level.
    """
    pairs = numbers(tables["agreement"], "pairs overall")
    assert pairs["alpha_nominal"] == pytest.approx(8 / 15)
    assert (pairs["alpha_ordinal"], pairs["alpha_interval"]) == (None, None)
    following = numbers(tables["agreement"], "scores following")
    assert following["alpha_ordinal"] == following["alpha_interval"] == pytest.approx(16 / 21)
    assert numbers(tables["agreement"], "scores preserving")["alpha_interval"] == pytest.approx(1.0)
    assert numbers(tables["agreement"], "scores quality")["alpha_interval"] is None, "all answers are equal"
    keys = ("units", "repeats", "repeats_equal", "repeats_apart")
    asked = [tuple(each[key] for key in keys) for each in (pairs, following)]
    assert asked == [(4.0, 2.0, 0.5, 0.5), (8.0, 2.0, 1.0, 0.0)]
    assert [(each["gold"], each["gold_right"]) for each in (pairs, following)] == [(2.0, 0.5), (2.0, 0.5)]


def test_raters_by_hand(tables: dict[str, Table]) -> None:
    """Of three gold answers (overall, following, preserving) anna has all right, ben preserving alone; of
    four repeated (overall and the three perspectives) ben gives three again.
    """
    anna, ben = (numbers(tables["raters"], name) for name in ("anna", "ben"))
    assert (anna["answers"], anna["asked"], anna["seconds"]) == (16.0, 16.0, 2.0)
    assert (anna["gold_right"], anna["repeats_equal"]) == (1.0, 1.0)
    assert (ben["gold_right"], ben["repeats_equal"]) == (pytest.approx(1 / 3), 0.75)


def test_the_papers_form(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [f"runs=[{folder}]", "table=table3", f"output={tmp_path / 'table3.csv'}"]
    tabulate.main(config(*given, name="tabulate"))
    text = capsys.readouterr().out
    assert "## Human ratings (Table 3 of the paper)" in text
    assert "| Method | numbers | Following | Preserving | Quality |" in text
    assert "| SmartEdit | ours | **2.50** [" in text
    assert "| *SmartEdit* | *paper, Table 3* | *3.09* | *3.18* | *2.58* |" in text
    assert "greys, 2 raters, 16 answers on 4 cases of" in text
    assert (tmp_path / "table3.csv").read_text().count("paper, Table 3") == 2
    tabulate.main(config(given[0], name="tabulate"))
    titles = [line for line in capsys.readouterr().out.splitlines() if line.startswith("## ")]
    assert titles == [
        "## Human ratings (Table 3 of the paper)",
        "## Preferences",
        "## Agreement of the raters",
        "## Raters",
    ]


def test_a_study_without_answers_or_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = write_study_folder(tmp_path)
    with pytest.raises(ValueError, match="has no scores yet"):
        table_3(read_ratings(tmp_path / "study"), with_published=True)
    with pytest.raises(ValueError, match="has no answers yet"):
        study_tables(read_ratings(tmp_path / "study"))
    answers = AnswerFile(tmp_path / "study", study)
    for showing in answers.sequence("anna"):
        if showing.position == 6:
            some = study_tables(read_ratings(tmp_path / "study"))
            assert [table.name for table in some] == ["preferences", "agreement", "raters"], (
                "pairs come first"
            )
        answers.add("anna", showing.position, known_answer(study, "anna", showing), math.pi, 0)
    monkeypatch.setattr("src.studies.tables.has_alpha", lambda: False)
    tables = study_tables(read_ratings(tmp_path / "study"))
    assert any("With one rater the intervals hold for other photographs" in note for note in tables[0].notes)
    assert any("pip install -e '.[study]'" in note for note in tables[2].notes)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["table=table1"], "table=table1 is made of evaluated runs and .* is a human study"),
        (["page=p.html"], "page=p.html is made of evaluated runs and .* is a human study"),
    ],
)
def test_a_study_is_no_run(folder: Path, arguments: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        tabulate.main(config(f"runs=[{folder}]", *arguments, name="tabulate"))


def test_a_run_is_no_study(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"table=table3 is made of people's ratings and .* is no study"):
        tabulate.main(config(f"runs=[{folder.parent / 'runs' / 'a'}]", "table=table3", name="tabulate"))
