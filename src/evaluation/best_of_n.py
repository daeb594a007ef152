"""Best-of-N: several edits of each case; one judge chooses, another scores the choice. Its row stands beside
the row with one edit per case.

    python -m src.evaluate checkpoint=runs/.../editor best_of=8 judge@selector=noisy_oracle judge=oracle

    <generation>/                               candidate 0: the ordinary edits, which are reused
    <generation>/candidates/3/edits, /<judge>   candidate 3: other noise, everything else equal
    <generation> best of 8 by <selector>/edits  copies of the chosen edits; a row like any other
    <judge>/best_of_n.json, best_of_n.png       expected score of the best of 1 .. 8, and how the choice went

A judge that chooses by its own scores also selects its own errors, so its scores of the choice are too high;
hence the second judge. Cost per case: N edits, N verdicts by the selector, and 2 by the scoring judge (the
ordinary and the chosen edit), or N for the curve (`best_of_curve`), since the unbiased estimate of the best
of k needs the scores of all N. Everything resumes where it was stopped, and nothing is judged twice.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from rich.table import Table

from src.differences import unlike_request
from src.evaluation.generation_folder import Generation, Settings, folder_name, read_settings
from src.evaluation.judging import JudgedCase
from src.evaluation.report import markdown_table
from src.evaluation.selection import Selection, chosen, dominated, expected_best, ties
from src.evaluation.statistics import Interval, clustered_interval
from src.files import remove_leftovers, replacing, write_atomically
from src.json_files import read_finite_json
from src.judges.judge import Judge, PaidJudge
from src.records import MAX_SCORE, PERSPECTIVES, Case, Reward
from src.reward_file import append_rewards, read_rewards

FILE = "best_of_n.json"
IMAGE = "best_of_n.png"
CHOSEN_COLOUR, CEILING_COLOUR = "#2f6db3", "#8a8a8a"


Ask = Callable[[Judge, Generation, Sequence[Case]], list[JudgedCase]]
"""Returns a judge's rewards for some cases of a generation, and keeps them in its folder."""


@final
@dataclass(frozen=True)
class BestOf:
    """A request for best-of-N.

    Attributes:
        n: candidates per case, at least 2.
        selector: the judge that chooses.
        selection: how its scores are combined.
        curve: whether the scoring judge scores all candidates, as curve and ceiling need.
    """

    n: int
    selector: Judge
    selection: Selection
    curve: bool

    def row_name(self, base: str) -> str:
        """The row's name: "5/5/5 best of 8 by noisy_oracle", with " for following" if the choice is not by
        the mean.
        """
        label = self.selection.label
        return f"{base} best of {self.n} by {self.selector.name}" + (
            "" if label == "mean" else f" for {label}"
        )

    def settings(self) -> dict[str, object]:
        """What the choice depends on besides the candidates, for generation.json and the report."""
        return {
            "n": self.n,
            "selector": self.selector.name,
            "fingerprint": self.selector.fingerprint,
            "selection": self.selection.label,
        }


@final
@dataclass(frozen=True)
class CurvePoint:
    """The mean over cases at one k; the interval is None with fewer than two photographs."""

    k: int
    score: float
    ci95: Interval | None


@final
@dataclass(frozen=True)
class Curve:
    """The expected score of the best of k candidates, by the scoring judge.

    Attributes:
        of: the score: a perspective, or the weighted mean used for choosing.
        n, clusters: numbers of cases in which all candidates have this score, and of their photographs.
        chosen: by the selector, for k = 1 .. N; k = 1 is the mean over all candidates.
        ceiling: chosen by the scoring judge itself, the most that any selector could reach in the weighted
            mean.
        gain, gain_ci95: best of N minus best of 1, paired by case.
    """

    of: str
    n: int
    clusters: int
    chosen: tuple[CurvePoint, ...]
    ceiling: tuple[CurvePoint, ...]
    gain: float | None
    gain_ci95: Interval | None


@final
@dataclass(frozen=True)
class Choice:
    """How the choice of one row went.

    Attributes:
        row, base: names of this row and of the row with one edit per case.
        n: candidates per case.
        selector, selection: the judge that chose, and by which score.
        optimistic: whether the selector is also the scoring judge, so that the row's scores are too high.
        cases: their number.
        tied: cases in which several candidates were best; the one with the lowest number was taken.
        failed: candidates on which the selector failed; they are not chosen.
        all_failed: cases in which it failed on all candidates; candidate 0 was taken.
        front: mean number of candidates that no other dominates, over cases without failures; None if there
            are none.
        counts: how often each candidate was chosen.
        curves: of the weighted mean (or single perspective) first, then of the others; empty if the scoring
            judge did not score all candidates.
    """

    row: str
    base: str
    n: int
    selector: str
    selection: str
    optimistic: bool
    cases: int
    tied: int
    failed: int
    all_failed: int
    front: float | None
    counts: tuple[int, ...]
    curves: tuple[Curve, ...]


def candidate(generation: Generation, number: int) -> Generation:
    """The generation of the same cases with other noise; number 0 is the generation itself."""
    if number == 0:
        return generation
    folder = generation.folder / "candidates" / str(number)
    return Generation(f"{generation.name} candidate {number}", folder, folder / "edits")


def is_paid(judge: Judge) -> bool:
    """Whether a judge costs money, so that asking it more often than needed is left to the user."""
    return isinstance(judge, PaidJudge) and judge.is_paid


def choose_best(
    generation: Generation, cases: Sequence[Case], best: BestOf, judge: Judge, ask: Ask
) -> tuple[Generation, list[JudgedCase], Choice]:
    """Have the selector judge all candidates, write its choices as a row, and have the scoring judge judge
    them.

    Args:
        generation: the row with one edit per case; all of its candidates exist.
        cases: in the order of the report.
        best: the request.
        judge: gives the scores of the report.
        ask: returns rewards; existing ones are not asked for again.

    Returns:
        The row's generation, its rewards and how the choice went.

    Raises:
        ValueError: judging is not among the steps and the selector has not judged all candidates.
    """
    candidates = [candidate(generation, number) for number in range(best.n)]
    seen = [ask(best.selector, each, cases) for each in candidates]
    unjudged = sum(one.reward is None for row in seen for one in row)
    if unjudged:
        raise ValueError(
            f"{best.selector.name} has not judged {unjudged} of {best.n * len(cases)} candidates of "
            f"{generation.name}; add judge to steps"
        )
    scores = score_array(seen)
    preference = best.selection.preference(scores)
    choices = chosen(preference)

    row = write_chosen_edits(generation, candidates, cases, choices, best)
    judged: list[list[JudgedCase | None]] = []
    for number, each in enumerate(candidates):
        wanted = np.ones(len(cases), dtype=bool) if best.curve else choices == number
        some = [case for case, want in zip(cases, wanted, strict=True) if want]
        found = iter(ask(judge, each, some) if some else ())
        judged.append([next(found) if want else None for want in wanted])
    final = [one for index, number in enumerate(choices) if (one := judged[number][index]) is not None]
    keep_rewards(
        row.folder / judge.name / "rewards.jsonl",
        [one.reward for one in final if one.reward is not None],
        judge,
    )

    whole = [[one for one in line if one is not None] for line in judged]
    curves = (
        curves_of(preference, score_array(whole), [case.photograph for case in cases], best.selection)
        if best.curve
        else ()
    )
    return row, final, summarise_choice(row.name, generation.name, best, judge, scores, preference, curves)


def score_array(seen: Sequence[Sequence[JudgedCase]]) -> Float[np.ndarray, "cases n 3"]:
    """Scores by case, candidate and perspective, NaN where missing; `seen` is by candidate and case."""
    rows = [
        [
            [np.nan] * 3
            if one.reward is None
            else [_number_or_nan(verdict.score) for verdict in one.reward.verdicts]
            for one in row
        ]
        for row in seen
    ]
    return np.array(rows, dtype=float).swapaxes(0, 1)


def _number_or_nan(score: float | None) -> float:
    return np.nan if score is None else score


def write_chosen_edits(
    generation: Generation,
    candidates: Sequence[Generation],
    cases: Sequence[Case],
    choices: Int[np.ndarray, " cases"],
    best: BestOf,
) -> Generation:
    """Copy the chosen edits into a row's folder, where the gallery, the page and other tools look for edits.

    A row with an earlier choice (another selector, other scores) is updated edit by edit.
    """
    name = best.row_name(generation.name)
    folder = generation.folder.parent / folder_name(name)
    remove_leftovers(folder, below=True)
    settings: Settings = {
        **read_settings(generation.folder / "generation.json"),
        "name": name,
        "best_of": best.settings(),
    }
    record = folder / "generation.json"
    if record.exists():
        different = unlike_request(read_settings(record), settings)
        if different:
            print(
                f"note: {name} was chosen otherwise before ({'; '.join(different)[:200]}); it is brought up "
                "to date",
                file=sys.stderr,
            )
    row = Generation(name, folder, folder / "edits")
    for case, number in zip(cases, choices, strict=True):
        copy_changed(candidates[number].edit_path(case), row.edit_path(case))
    write_atomically(record, json.dumps(settings, indent=2) + "\n")
    return row


def copy_changed(source: Path, target: Path) -> None:
    """Copy a file atomically, unless the target has the same content."""
    content = source.read_bytes()
    if not target.exists() or target.read_bytes() != content:
        with replacing(target, durable=False) as partial:
            partial.write_bytes(content)


def keep_rewards(path: Path, rewards: Sequence[Reward], judge: Judge) -> None:
    """Append to a row's own file the rewards that it lacks or has with other values."""
    known = {(reward.id, reward.key): reward for reward in read_rewards(path) if reward.judge == judge.name}
    new = [reward for reward in rewards if known.get((reward.id, reward.key)) != reward]
    if new:
        append_rewards(path, new)


def summarise_choice(
    row: str,
    base: str,
    best: BestOf,
    judge: Judge,
    scores: Float[np.ndarray, "cases n 3"],
    preference: Int[np.ndarray, "cases n"],
    curves: Sequence[Curve],
) -> Choice:
    """Statistics of a choice."""
    unknown = preference < 0
    whole = scores[np.isfinite(scores).all(axis=(1, 2))]
    front = float(np.mean([np.sum(~dominated(case)) for case in whole])) if len(whole) else None
    counts = np.bincount(chosen(preference), minlength=best.n)
    return Choice(
        row=row,
        base=base,
        n=best.n,
        selector=best.selector.name,
        selection=best.selection.label,
        optimistic=best.selector.fingerprint == judge.fingerprint,
        cases=len(preference),
        tied=int(ties(preference).sum()),
        failed=int(unknown.sum()),
        all_failed=int(unknown.all(axis=1).sum()),
        front=front,
        counts=tuple(int(count) for count in counts),
        curves=tuple(curves),
    )


def curves_of(
    preference: Int[np.ndarray, "cases n"],
    scores: Float[np.ndarray, "cases n 3"],
    photographs: Sequence[str],
    selection: Selection,
) -> tuple[Curve, ...]:
    """The best-of-N curves of the weighted mean and of the three perspectives.

    Args:
        preference: of the selector.
        scores: of the scoring judge, NaN where it failed; a case with a NaN is left out of the curves that
            need it.
        photographs: the cluster of each case.
        selection: how both choose.
    """
    own, counted = selection.preference(scores), selection.label.removesuffix(" Pareto")
    parts = {counted: selection.utility(scores)} | {
        perspective.value: scores[..., index] for index, perspective in enumerate(PERSPECTIVES)
    }
    return tuple(
        _curve(of, expected_best(preference, values), expected_best(own, values), photographs)
        for of, values in parts.items()
    )


def _curve(
    of: str,
    best: Float[np.ndarray, "cases n"],
    ceiling: Float[np.ndarray, "cases n"],
    photographs: Sequence[str],
) -> Curve:
    known = np.logical_and.reduce(np.isfinite(best), axis=1)
    clusters = [photograph for photograph, one in zip(photographs, known, strict=True) if one]
    best, ceiling = best[known], ceiling[known]
    gains = best[:, -1] - best[:, 0]
    return Curve(
        of=of,
        n=len(best),
        clusters=len(set(clusters)),
        chosen=_points(best, clusters),
        ceiling=_points(ceiling, clusters),
        gain=float(gains.mean()) if len(gains) else None,
        gain_ci95=clustered_interval(gains, clusters),
    )


def _points(values: Float[np.ndarray, "cases n"], clusters: Sequence[str]) -> tuple[CurvePoint, ...]:
    if not len(values):
        return ()
    points = []
    for index, column in enumerate(values.T):
        interval = clustered_interval(column, clusters)
        if interval is not None:
            # no mean of scores lies outside the scale
            interval = Interval(max(0.0, interval.low), min(MAX_SCORE, interval.high))
        points.append(CurvePoint(index + 1, float(column.mean()), interval))
    return tuple(points)


def write_choices(folder: Path, choices: Sequence[Choice], judge: Judge) -> None:
    """Write best_of_n.json, keeping earlier rows by the same judge, and best_of_n.png."""
    new = [asdict(choice) for choice in choices]
    names = {choice.row for choice in choices}
    old = [row for row in read_choices(folder, judge.fingerprint) if row["row"] not in names]
    content = {"judge": judge.name, "fingerprint": judge.fingerprint, "rows": [*old, *new]}
    write_atomically(folder / FILE, json.dumps(content, indent=2, allow_nan=False) + "\n")
    drawn = [choice for choice in choices if choice.curves]
    if drawn:
        with replacing(folder / IMAGE, durable=False) as partial:
            draw_curves(drawn, judge.name, partial)


def read_choices(folder: Path, fingerprint: str) -> list[dict[str, Any]]:
    """The rows of best_of_n.json; none if there is no such file or it is by another judge.

    Raises:
        ValueError: the file is malformed.
    """
    path = folder / FILE
    if not path.exists():
        return []
    try:
        content = read_finite_json(path)
        return content["rows"] if content["fingerprint"] == fingerprint else []
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a record of best-of-N ({type(error).__name__}: {error}); delete it and evaluate "
            "again"
        ) from error


HEADER = ("row", "counted", "best of 1", "best of N", "gain", "ceiling", "ties", "selector failed")
NOTES = (
    "Expected scores over all ways to pick k of the N candidates (k = 1: the mean of all), 95 % intervals "
    "clustered by photograph. Ceiling: the "
    "scoring judge itself chooses. Ties: cases in which several candidates share the best place; the one of "
    "the lowest number is taken. Selector "
    "failed: candidates without a usable verdict, never chosen unless all of a case failed, then candidate 0."
)


def choice_cells(row: Mapping[str, Any]) -> list[str]:
    """One line of the table below HEADER."""
    failed = f"{row['failed']} of {row['n'] * row['cases']}" + (
        f", all of {row['all_failed']} case(s)" if row["all_failed"] else ""
    )
    ends = [f"{100 * row['tied'] / row['cases']:.1f} %", failed]
    if not row["curves"]:
        return [row["row"], row["selection"], "-", "-", "-", "-", *ends]
    curve = row["curves"][0]
    if not curve["n"]:
        return [row["row"], curve["of"], "-", "-", "-", "-", *ends]
    points = (curve["chosen"][0], curve["chosen"][-1], curve["ceiling"][-1])
    first, last, ceiling = (f"{point['score']:.2f}{_bracket(point['ci95'], '.2f')}" for point in points)
    return [
        row["row"],
        curve["of"],
        first,
        last,
        f"{curve['gain']:+.2f}{_bracket(curve['gain_ci95'], '+.2f')}",
        ceiling,
        *ends,
    ]


def _bracket(interval: Sequence[float] | None, form: str) -> str:
    return "" if interval is None else f" [{interval[0]:{form}}, {interval[1]:{form}}]"


def best_of_n_section(folder: Path, fingerprint: str) -> list[str]:
    """The section of report.md about best-of-N; empty if there is none by this judge."""
    rows = read_choices(folder, fingerprint)
    if not rows:
        return []
    parts = [
        "## Best of N\n",
        markdown_table(HEADER, [choice_cells(row) for row in rows], names=2),
        f"{NOTES}\n",
    ]
    parts += [
        f"Note: {row['row']} was chosen and scored by the same judge, so its scores are too high.\n"
        for row in rows
        if row["optimistic"]
    ]
    if not all(row["curves"] for row in rows):
        parts.append(
            "Note: where no scores stand, the scoring judge saw the chosen edits alone; best_of_curve=true "
            "has it score all candidates.\n"
        )
    return [*parts, *([f"![best of N]({IMAGE})\n"] if any(row["curves"] for row in rows) else [])]


def terminal_choices(choices: Sequence[Choice]) -> Table:
    """The table for a terminal."""
    table = Table(title="best of N, by the scoring judge")
    for index, title in enumerate(HEADER):
        table.add_column(title, justify="right" if index else "left", no_wrap=True)
    for choice in choices:
        table.add_row(*choice_cells(json.loads(json.dumps(asdict(choice)))))
    return table


def draw_curves(choices: Sequence[Choice], judge: str, path: Path) -> None:
    """Plot expected scores over the number of candidates: a row of panels per choice, first the score used
    for choosing, then the perspectives.
    """
    columns = max(len(choice.curves) for choice in choices)
    size = (3.2 * columns, 3.3 * len(choices) + 0.9)
    figure, grid = plt.subplots(len(choices), columns, figsize=size, layout="constrained", squeeze=False)
    for axes, choice in zip(grid, choices, strict=True):
        for axis, curve in zip(axes, choice.curves, strict=True):
            draw_panel(axis, curve, choice.n)
        axes[0].set_ylabel(f"{choice.base}: score by {judge}")
    one = choices[0]
    warning = " (the same judge: too high)" if one.optimistic else ""
    figure.suptitle(
        f"Best of k edits, chosen by {one.selector} (highest {one.selection}), scored by {judge}{warning}",
        fontsize=12,
    )
    figure.legend(
        *grid[0, 0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
    )
    figure.savefig(path, dpi=120, format="png")
    plt.close(figure)


def draw_panel(axis: Axes, curve: Curve, n: int) -> None:
    """Draw one curve with its band, the ceiling and the level of one edit; the title states the gain."""
    axis.plot(
        *_coordinates(curve.ceiling),
        color=CEILING_COLOUR,
        linestyle="--",
        linewidth=1.2,
        label="ceiling: chosen by the scoring judge itself",
    )
    axis.plot(
        *_coordinates(curve.chosen),
        color=CHOSEN_COLOUR,
        marker="o",
        markersize=4,
        linewidth=2,
        label="chosen by the selector, 95 % interval over photographs",
    )
    banded = [(point.k, *point.ci95) for point in curve.chosen if point.ci95 is not None]
    if banded:
        axis.fill_between(*np.array(banded).T, color=CHOSEN_COLOUR, alpha=0.15, linewidth=0)
    if curve.chosen:
        axis.axhline(curve.chosen[0].score, color="black", linewidth=0.8, linestyle=":", label="one edit")
    gain = (
        "no case has all scores"
        if curve.gain is None
        else f"best of {n}: {curve.gain:+.2f}{_bracket(curve.gain_ci95, '+.2f')}"
    )
    axis.set_title(f"{curve.of}\n{gain}", fontsize=10)
    axis.set(xlabel="candidates k", xlim=(0.7, n + 0.3))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)


def _coordinates(points: Sequence[CurvePoint]) -> tuple[list[int], list[float]]:
    return [point.k for point in points], [point.score for point in points]
