"""The dial: which rows it has, and correlations and slopes that are known."""

import json
from pathlib import Path

import numpy as np
import pytest

from src.evaluation.comparison import CaseScores
from src.evaluation.dial import (
    TOGETHER,
    axes_of,
    dial_axes,
    dial_section,
    dial_targets,
    least_squares_slope,
    measure_dial,
    table_lines,
    terminal_dial,
    write_dial,
)
from src.evaluation.targets import TargetRow
from src.images import load_image
from src.records import TargetReward

VALUES = (0, 1, 2, 3, 4, 5)
Rows = list[tuple[TargetRow, list[CaseScores]]]


def rows_of(answer, values=VALUES, cases: int = 8) -> Rows:
    """Rows in which case c, asked for a reward, gets the scores that `answer` says."""
    targets = dial_targets(values)
    return [
        (target, [CaseScores(str(c), f"p{c % 4}", answer(target.reward.scores, c)) for c in range(cases)])
        for target in targets
    ]


def obedient(asked, case: int):
    """Following does as asked, preserving the contrary, quality what it likes."""
    return asked[0], 5 - asked[1], float((case * 7) % 5)


def found(rows: Rows):
    dial = measure_dial(rows)
    assert dial is not None
    return {(each.asked, each.judged): each for each in dial.responses}


def test_the_rows_of_a_dial() -> None:
    names = [target.name for target in dial_targets(VALUES)]
    assert len(names) == len(set(names)) == 6 + 3 * 5
    assert {"0/0/0", "3/3/3", "5/5/5", "0/5/5", "5/2/5", "5/5/4"} <= set(names)
    assert [target.name for target in dial_targets([5, 0])] == ["5/5/5", "0/0/0", "0/5/5", "5/0/5", "5/5/0"]


def test_where_a_reward_lies_on_the_dial() -> None:
    assert axes_of((5.0, 2.0, 5.0)) == [("preserving", 2.0)]
    assert [axis for axis, _ in axes_of((5.0, 5.0, 5.0))] == ["following", "preserving", "quality", TOGETHER]
    assert axes_of((3.0, 3.0, 3.0)) == [(TOGETHER, 3.0)]
    assert axes_of((3.0, 3.0, 5.0)) == []
    assert dial_axes(TargetRow(TargetReward((0, 0, 0)), failed_edit_feedback=True)) == []
    assert dial_axes(TargetRow(TargetReward((0, 0, 0), ("bad", "None", "None")))) == []


def test_the_matrix_of_an_obedient_editor() -> None:
    responses = found(rows_of(obedient))
    assert len(responses) == 12
    own = responses["following", "following"]
    assert (own.correlation, own.slope, own.ci95, own.n, own.missing) == (
        pytest.approx(1.0),
        pytest.approx(1.0),
        pytest.approx((1.0, 1.0)),
        48,
        0,
    )
    assert [(setting.asked, setting.score, setting.n) for setting in own.settings] == [
        (float(value), float(value), 8) for value in VALUES
    ]
    assert responses["preserving", "preserving"].correlation == pytest.approx(-1.0)
    assert responses["preserving", "preserving"].slope == pytest.approx(-1.0)
    # whatever following is asked for, preserving is asked for 5 and answers 0: it ranks nothing
    assert (responses["following", "preserving"].correlation, responses["following", "preserving"].slope) == (
        0.0,
        0.0,
    )
    assert responses["quality", "quality"].slope == pytest.approx(0.0)
    assert abs(responses["quality", "quality"].correlation or 0.0) < 1e-9
    assert responses[TOGETHER, "following"].correlation == pytest.approx(1.0)
    assert responses[TOGETHER, "preserving"].correlation == pytest.approx(-1.0)


def test_the_correlation_is_over_cases_and_values() -> None:
    # half of the cases follow, half turn the other way: nothing is left, and the interval says how little is
    # known
    responses = found(rows_of(lambda asked, case: (asked[0] if case % 2 else 5 - asked[0], 5.0, 5.0)))
    assert responses["following", "following"].correlation == pytest.approx(0.0)
    low, high = responses["following", "following"].ci95 or (0.0, 0.0)
    assert low < -0.5 < 0.5 < high


def test_failures_are_left_out_and_counted() -> None:
    responses = found(rows_of(lambda asked, case: (None if case == 0 else asked[0], 5.0, 5.0)))
    own = responses["following", "following"]
    assert (own.n, own.missing, own.correlation) == (42, 6, pytest.approx(1.0))
    nothing = found(rows_of(lambda asked, case: (None, 5.0, 5.0)))["following", "following"]
    assert (nothing.correlation, nothing.slope, nothing.ci95, nothing.n, nothing.settings[0].score) == (
        None,
        None,
        None,
        0,
        None,
    )


def test_rows_that_turn_no_perspective_alone_are_no_dial() -> None:
    rows = rows_of(obedient)
    assert measure_dial(rows[:6]) is None
    assert measure_dial([row for row in rows if row[0].reward.scores[2] == 5]) is None
    assert measure_dial([(TargetRow(TargetReward()), rows[5][1])]) is None


def test_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noisy = rows_of(
        lambda asked, case: tuple(
            float(score) for score in np.clip(np.array(asked) + rng.normal(0, 1, 3), 0, 5)
        )
    )
    dial = measure_dial(noisy)
    assert dial is not None
    write_dial(tmp_path, dial, "hand", "hand-1")
    content = json.loads((tmp_path / "dial.json").read_text())
    assert len(content["responses"]) == 12
    text = "\n".join(dial_section(tmp_path, "hand-1"))
    assert "| following | +0." in text
    assert "| all together | +0." in text
    assert "![dial](dial.png)" in text
    assert dial_section(tmp_path, "hand-2") == dial_section(tmp_path / "nothing", "hand-1") == []
    assert load_image(tmp_path / "dial.png").shape[1] > 1200
    assert terminal_dial(dial).row_count == len(table_lines(content["responses"])) == 4
    (tmp_path / "dial.json").write_text("[]")
    with pytest.raises(ValueError, match=r"dial\.json is not a record of a dial"):
        dial_section(tmp_path, "hand-1")


def test_slopes() -> None:
    assert least_squares_slope(np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.5, 2.0])) == pytest.approx(0.5)
    assert np.isnan(least_squares_slope(np.array([2.0, 2.0]), np.array([1.0, 3.0])))


@pytest.mark.parametrize("values", [[3], [1, 1], [0, 6]])
def test_dials_that_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"dial needs two or more|must lie in"):
        dial_targets(values)
