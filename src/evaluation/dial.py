"""The reward dial: how the judged scores follow the scores asked for, each varied alone with the others at 5,
and all three together.

    python -m src.evaluate checkpoint=runs/.../editor targets=dial
    python -m src.evaluate checkpoint=runs/.../editor targets=dial steps=[report]   # from rewards on disk

`dial.json` and `dial.png` beside the report have the rank correlation of asked and judged scores for each
perspective asked for (rows) and judged (columns). The diagonal is controllability: 1 if every case follows
the dial, 0 if it has no effect. The rest is leakage: what else changes. The correlation measures reliability,
the slope the effect in judged points per point asked for.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from rich.table import Table

from src.evaluation.comparison import CaseScores
from src.evaluation.report import markdown_table
from src.evaluation.statistics import Interval, clustered_interval, jackknife_interval
from src.evaluation.targets import TargetRow
from src.files import replacing, write_atomically
from src.json_files import read_finite_json
from src.judges.agreement import rank_correlation
from src.records import MAX_SCORE, NO_FAILURE, PERSPECTIVES, Scores, TargetReward, check_score

FILE = "dial.json"
IMAGE = "dial.png"
TOGETHER = "all together"
AXES = (*(perspective.value for perspective in PERSPECTIVES), TOGETHER)
COLOURS = ("#2f6db3", "#1f7a4d", "#a8416b")
MARKERS = ("o", "s", "^")


@final
@dataclass(frozen=True)
class Setting:
    """The judged score at one value of the dial: the mean over cases with its 95 % interval (None with fewer
    than two photographs).
    """

    asked: float
    score: float | None
    ci95: Interval | None
    n: int


@final
@dataclass(frozen=True)
class Response:
    """The response of one judged perspective to one axis of the dial.

    Attributes:
        asked: a perspective, or all together.
        judged: a perspective.
        settings: one per value asked for.
        correlation, ci95: Spearman's, of asked and judged scores over all cases and values; the interval is a
            jackknife over photographs.
        slope, slope_ci95: judged points per point asked for, by least squares.
        n: number of judged scores.
        missing: number of scores that are missing because the judge failed or was not asked.
    """

    asked: str
    judged: str
    settings: tuple[Setting, ...]
    correlation: float | None
    ci95: Interval | None
    slope: float | None
    slope_ci95: Interval | None
    n: int
    missing: int


@final
@dataclass(frozen=True)
class Dial:
    """All responses, three per axis, in the order of AXES; axes without rows are left out."""

    responses: tuple[Response, ...]


def dial_targets(values: Sequence[float | int]) -> list[TargetRow]:
    """The rows of a dial without duplicates: all three scores at each value, then each score alone with the
    others at 5.

    Raises:
        ValueError: fewer than two values, one of them twice, or one outside [0, 5].
    """
    if len(values) < 2 or len(set(values)) < len(values):
        raise ValueError(f"targets.rows.values={list(values)}: a dial needs two or more values, each once")
    for value in values:
        check_score(float(value))
    asked = [(float(value),) * len(PERSPECTIVES) for value in values]
    for index in range(len(PERSPECTIVES)):
        asked += [
            tuple(float(value) if place == index else MAX_SCORE for place in range(len(PERSPECTIVES)))
            for value in values
        ]
    return [TargetRow(TargetReward(scores)) for scores in dict.fromkeys(asked)]


def axes_of(scores: Scores) -> list[tuple[str, float]]:
    """The axes that a target reward lies on, with its value there: (5, 2, 5) is preserving at 2; (5, 5, 5)
    lies on all axes.
    """
    found = []
    for index, perspective in enumerate(PERSPECTIVES):
        if all(score == MAX_SCORE for place, score in enumerate(scores) if place != index):
            found.append((perspective.value, scores[index]))
    return [*found, *([(TOGETHER, scores[0])] if len(set(scores)) == 1 else [])]


def dial_axes(target: TargetRow) -> list[tuple[str, float]]:
    """The axes of a row; none if it also asks with feedback, which is another dial."""
    if target.failed_edit_feedback or any(text != NO_FAILURE for text in target.reward.feedback):
        return []
    following, preserving, quality = target.reward.scores
    return axes_of((following, preserving, quality))


def measure_dial(rows: Sequence[tuple[TargetRow, Sequence[CaseScores]]]) -> Dial | None:
    """Measure the dial from rows of a report.

    Args:
        rows: target rewards with the judged scores of their cases.

    Returns:
        None unless each of the three perspectives was varied alone over two values or more.
    """
    found: dict[str, dict[float, Sequence[CaseScores]]] = {axis: {} for axis in AXES}
    for target, cases in rows:
        for axis, value in dial_axes(target):
            found[axis][value] = cases
    turned = [axis for axis in AXES if len(found[axis]) > 1]
    if not {perspective.value for perspective in PERSPECTIVES} <= set(turned):
        return None
    return Dial(
        tuple(
            measure_response(axis, found[axis], index)
            for axis in turned
            for index in range(len(PERSPECTIVES))
        )
    )


def measure_response(axis: str, settings: Mapping[float, Sequence[CaseScores]], index: int) -> Response:
    """The response of one judged perspective to one axis of the dial.

    Args:
        axis: its name.
        settings: the cases at each value asked for.
        index: of the judged perspective.
    """
    points, pairs, missing = [], [], 0
    for value in sorted(settings):
        answered = [
            (case.photograph, score) for case in settings[value] if (score := case.scores[index]) is not None
        ]
        missing += len(settings[value]) - len(answered)
        scores = np.array([score for _, score in answered], dtype=float)
        interval = clustered_interval(scores, [photograph for photograph, _ in answered])
        points.append(Setting(value, float(scores.mean()) if answered else None, interval, len(answered)))
        pairs += [(photograph, value, score) for photograph, score in answered]
    photographs = [photograph for photograph, _, _ in pairs]
    asked, judged = (np.array([pair[place] for pair in pairs], dtype=float) for place in (1, 2))
    correlation, slope = rank_correlation(asked, judged), least_squares_slope(asked, judged)
    return Response(
        asked=axis,
        judged=PERSPECTIVES[index].value,
        settings=tuple(points),
        correlation=None if math.isnan(correlation) else correlation,
        ci95=_within(
            jackknife_interval(lambda kept: rank_correlation(asked[kept], judged[kept]), photographs)
        ),
        slope=None if math.isnan(slope) else slope,
        slope_ci95=jackknife_interval(
            lambda kept: least_squares_slope(asked[kept], judged[kept]), photographs
        ),
        n=len(pairs),
        missing=missing,
    )


def least_squares_slope(asked: Float[np.ndarray, " n"], judged: Float[np.ndarray, " n"]) -> float:
    """Slope of the least-squares line of judged over asked scores; NaN with fewer than two asked values."""
    if len(asked) == 0 or np.ptp(asked) == 0:
        return math.nan
    apart = asked - asked.mean()
    return float(apart @ judged / (apart @ apart))


def _within(interval: Interval | None) -> Interval | None:
    """The interval of a correlation, clipped to [-1, 1]."""
    return None if interval is None else Interval(max(-1.0, interval.low), min(1.0, interval.high))


def write_dial(folder: Path, dial: Dial, judge: str, fingerprint: str) -> None:
    """Write dial.json and dial.png, each atomically."""
    content = {
        "judge": judge,
        "fingerprint": fingerprint,
        "responses": [asdict(each) for each in dial.responses],
    }
    write_atomically(folder / FILE, json.dumps(content, indent=2, allow_nan=False) + "\n")
    with replacing(folder / IMAGE, durable=False) as partial:
        draw_dial(dial, judge, partial)


HEADER = ("asked", *(f"judged {perspective.value}" for perspective in PERSPECTIVES))
NOTES = (
    "Spearman's correlation of the score asked for (the row, the other two at 5) and the judged one, over "
    "all cases and values, with its 95 % "
    "interval (jackknife over photographs); then judged points per point asked for. The diagonal is control, "
    "the rest of a row is leakage."
)


def table_lines(responses: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The matrix as lines below HEADER: "+0.42 [+0.31, +0.53], +0.35 per point"."""
    lines: dict[str, list[str]] = {}
    for each in responses:
        lines.setdefault(each["asked"], [each["asked"]]).append(_response_cell(each))
    return list(lines.values())


def _response_cell(response: Mapping[str, Any]) -> str:
    if response["correlation"] is None:
        return "-"
    interval = (
        "" if response["ci95"] is None else f" [{response['ci95'][0]:+.2f}, {response['ci95'][1]:+.2f}]"
    )
    return f"{response['correlation']:+.2f}{interval}, {response['slope']:+.2f} per point"


def dial_section(folder: Path, fingerprint: str) -> list[str]:
    """The section of report.md about the dial; empty if there is none by this judge.

    Raises:
        ValueError: dial.json is malformed.
    """
    path = folder / FILE
    if not path.exists():
        return []
    try:
        content = read_finite_json(path)
        if content["fingerprint"] != fingerprint:
            return []
        lines, missing = (
            table_lines(content["responses"]),
            sum(each["missing"] for each in content["responses"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a record of a dial ({type(error).__name__}: {error}); delete it and evaluate "
            "again"
        ) from error
    gaps = (
        [
            f"Note: {missing} scores are missing because the judge failed or was not asked; they are left "
            "out.\n"
        ]
        if missing
        else []
    )
    return ["## Reward dial\n", markdown_table(HEADER, lines), f"{NOTES}\n", *gaps, f"![dial]({IMAGE})\n"]


def terminal_dial(dial: Dial) -> Table:
    """The matrix for a terminal."""
    table = Table(
        title="reward dial: rank correlation of asked and judged scores, judged points per point asked for"
    )
    for index, title in enumerate(HEADER):
        table.add_column(title, justify="right" if index else "left", no_wrap=True)
    for line in table_lines([asdict(each) for each in dial.responses]):
        table.add_row(*line)
    return table


def draw_dial(dial: Dial, judge: str, path: Path) -> None:
    """A panel per axis with three judged curves, and the matrix of correlations."""
    names = list(dict.fromkeys(each.asked for each in dial.responses))
    alone = [perspective.value for perspective in PERSPECTIVES]
    figure = plt.figure(figsize=(10.5, 7), layout="constrained")
    # without rows that vary all three together, the matrix takes that panel as well
    panels: list[Any] = [alone, [TOGETHER if TOGETHER in names else "matrix", "matrix", "matrix"]]
    axes = figure.subplot_mosaic(panels)
    for name in names:
        draw_axis(axes[name], [each for each in dial.responses if each.asked == name])
        axes[name].set_title(
            "all three asked together" if name == TOGETHER else f"{name} asked, the others at 5", fontsize=10
        )
    axes[alone[0]].set_ylabel(f"mean score by {judge}")
    axes[alone[0]].legend(fontsize=8, frameon=False, title="judged", title_fontsize=8, loc="best")
    draw_matrix(axes["matrix"], dial, names)
    figure.suptitle(
        "Reward dial: scores asked for and scores judged, 95 % intervals over photographs", fontsize=12
    )
    figure.savefig(path, dpi=120, format="png")
    plt.close(figure)


def draw_axis(axis: Axes, responses: Sequence[Response]) -> None:
    """Plot judged means over the value asked for, with bands; the perspective that is varied has a thick
    line.
    """
    axis.plot([0, MAX_SCORE], [0, MAX_SCORE], color="black", linewidth=0.7, linestyle=":")
    for each, colour, marker in zip(responses, COLOURS, MARKERS, strict=True):
        known = [(setting.asked, setting.score) for setting in each.settings if setting.score is not None]
        turned = each.asked in (each.judged, TOGETHER)
        axis.plot(
            [asked for asked, _ in known],
            [score for _, score in known],
            color=colour,
            marker=marker,
            markersize=4,
            linewidth=2.2 if turned else 1.1,
            label=each.judged,
        )
        banded = [(setting.asked, *setting.ci95) for setting in each.settings if setting.ci95 is not None]
        if banded:
            axis.fill_between(*np.array(banded).T, color=colour, alpha=0.15, linewidth=0)
    axis.set(
        xlabel="score asked for", xlim=(-0.15, 5.15), ylim=(-0.15, 5.15), xticks=range(6), yticks=range(6)
    )
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def draw_matrix(axis: Axes, dial: Dial, names: Sequence[str]) -> None:
    """Draw the correlations, asked by row and judged by column."""
    values = np.array(
        [np.nan if each.correlation is None else each.correlation for each in dial.responses]
    ).reshape(len(names), -1)
    axis.imshow(np.nan_to_num(values), cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for (row, column), each in zip(np.ndindex(values.shape), dial.responses, strict=True):
        words = "-"
        if each.correlation is not None:
            interval = "" if each.ci95 is None else f"\n[{each.ci95.low:+.2f}, {each.ci95.high:+.2f}]"
            words = f"{each.correlation:+.2f}{interval}\n{each.slope:+.2f} per point"
        dark = abs(np.nan_to_num(values[row, column])) > 0.6
        bold = "bold" if names[row] == each.judged else "normal"
        axis.text(
            column,
            row,
            words,
            ha="center",
            va="center",
            fontsize=8,
            color="white" if dark else "black",
            fontweight=bold,
        )
    axis.set_xticks(
        range(len(PERSPECTIVES)), [f"judged\n{perspective.value}" for perspective in PERSPECTIVES], fontsize=8
    )
    axis.set_yticks(range(len(names)), [f"{name}\nasked" for name in names], fontsize=8)
    axis.set_title(
        "rank correlation of asked and judged (the diagonal: control, beside it: leakage) and slope",
        fontsize=10,
    )
    axis.tick_params(length=0)
