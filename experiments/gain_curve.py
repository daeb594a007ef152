"""Plots the gain of a reward over none against any setting of the config: the judge's error, dropout,
guidance, initialisation.

    python -m experiments.gain_curve annotator.score_deviation runs/judge_error --none runs/table4 \
        -x "standard deviation of the annotator's scores, in points" -o judge_error.md
    python -m experiments.gain_curve data.control.share runs/wrong_rewards runs/table4 --default 0 \
        --none runs/table4 -x "share of rewards that belong to another triplet" -o wrong_rewards.md
    python -m experiments.gain_curve model.reward_encoder.windows runs/feedback_windows --none runs/table4 \
        -x "feedback windows" -o feedback_windows.md
    python -m experiments.gain_curve data.control.clean_share runs/bad_triplets runs/table4 --default 0 \
        --none runs/bad_triplets runs/table4 --each -x "the share of clean triplets" \
        -o bad_triplets.md

Runs are grouped by the setting and averaged over seeds; a run whose config lacks it counts at --default or is
left out. Each group is compared, on the same cases, with the no-reward runs (with --each, those at the same
value) and with the runs at the first value. Numbers are placed to scale, words side by side. Settings below
sampler are those of the evaluation. Writes NAME.md and NAME.png.
"""

import argparse
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from experiments.dossier import PERSPECTIVE_NAMES, difference_cell, p_cell, read_json
from experiments.evidence import (
    MENDED,
    Entry,
    compare_entries,
    control_of,
    differences_by_seed,
    make_entry,
    reports_below,
)
from experiments.evidence_figures import COLOURS, save_figure
from src.differences import leaves
from src.evaluation.comparison import Comparison
from src.evaluation.report import markdown_table
from src.files import write_atomically
from src.launch import script
from src.tabulation.naming import differing_settings, setting_name, setting_text, signals_of
from src.tabulation.runs import RunRow, Settings, run_rows
from src.tabulation.table import LEVEL


@dataclass(frozen=True)
class CurvePoint:
    """One point of the curve.

    Attributes:
        x: the number; for words, their rank.
        entry: the runs there, named by the value of the setting.
        none: the runs without reward that they are compared with.
        gains: over no reward, per perspective.
        by_seed: the gains of each seed.
    """

    x: float
    entry: Entry
    none: Entry
    gains: tuple[Comparison, ...]
    by_seed: list[tuple[float | None, ...]]


def value_of(settings: Settings, key: str) -> str | None:
    """A setting of a run as written in its config; None if it has none. Settings below sampler are those of
    the edits.
    """
    tree: Mapping[str, object] = (
        {"sampler": settings["evaluation"].get("sampler", {})} if key.startswith("sampler.") else settings
    )
    value = dict(leaves(tree)).get(key)
    return None if value is None else str(value)


def positions(values: Sequence[str]) -> dict[str, float]:
    """The x of each value: the number, or the rank unless all values are numbers."""
    try:
        return {value: float(value) for value in values}
    except ValueError:
        return {value: float(place) for place, value in enumerate(sorted(set(values)))}


def grouped(key: str, rows: Sequence[RunRow], default: str | None) -> dict[str, Entry]:
    """The runs at each value of the setting; a run whose config lacks it counts at the default or, without
    one, is left out.

    Raises:
        ValueError: runs at one value that differ in more than their seeds.
    """
    found: dict[str, list[RunRow]] = {}
    for row in rows:
        value = value_of(row.settings or {}, key) or default
        if value is not None:
            found.setdefault(short_number(value), []).append(row)
    for name, members in found.items():
        other = differing_settings([row.settings for row in members if row.settings is not None])
        if other:
            told = "; ".join(
                f"{setting_name(name)}: {', '.join(dict.fromkeys(map(setting_text, values)))}"
                for name, values in other.items()
            )
            raise ValueError(
                f"the runs at {key}={name} differ in more than their seeds ({told}): give folders of one"
                " setting"
            )
    return {name: make_entry(name, members) for name, members in found.items()}


def curve(key: str, rewarded: Mapping[str, Entry], none: Entry | Mapping[str, Entry]) -> list[CurvePoint]:
    """The points in order.

    Args:
        key: the setting.
        rewarded: the runs with reward, by value of the setting.
        none: the runs without reward, or those at each value.

    Raises:
        ValueError: fewer than two points, or no runs without reward at one of them.
    """
    if len(rewarded) < 2:
        raise ValueError(
            f"a curve needs two values of {key} or more, the runs with reward have"
            f" {', '.join(rewarded) or 'none'}"
        )
    places, points = positions(list(rewarded)), []
    for name, entry in sorted(rewarded.items(), key=lambda each: places[each[0]]):
        if isinstance(none, Mapping) and name not in none:
            raise ValueError(
                f"no runs without reward at {key}={name}, only at {', '.join(none) or 'no value'}"
            )
        plain = none[name] if isinstance(none, Mapping) else none
        points.append(
            CurvePoint(
                places[name],
                entry,
                plain,
                compare_entries(entry, plain),
                differences_by_seed(entry, plain),
            )
        )
    return points


def short_number(value: str) -> str:
    """A number without trailing zeros; a word unchanged."""
    try:
        return f"{float(value):g}"
    except ValueError:
        return value


def gain_range(points: Sequence[CurvePoint], index: int) -> str:
    """A phrase that says where there is a gain."""
    gained = [point.gains[index] for point in points]
    there = [(each.p_holm or 1.0) < LEVEL and (each.difference or 0.0) > 0 for each in gained]
    if not any(there):
        return "no gain anywhere"
    if all(there):
        return (
            f"a gain everywhere, up to {points[-1].entry.name}" if is_numeric(points) else "a gain everywhere"
        )
    if is_numeric(points) and there == sorted(there, reverse=True):
        last = there.index(False)
        return (
            f"a gain up to {points[last - 1].entry.name}, none to be seen from {points[last].entry.name} on"
        )
    return f"a gain at {', '.join(point.entry.name for point, has in zip(points, there, strict=True) if has)}"


def is_numeric(points: Sequence[CurvePoint]) -> bool:
    """Whether the values of the setting are numbers, not words."""
    return all(point.entry.name == f"{point.x:g}" for point in points)


def draw_gains(points: Sequence[CurvePoint], title: str, note: str) -> Figure:
    """Draws the gain in each perspective, with intervals and single seeds."""
    figure, panel = plt.subplots(figsize=(7.6, 4.4), layout="constrained")
    reach = points[-1].x - points[0].x
    for index, name in enumerate(PERSPECTIVE_NAMES):
        colour, shift = COLOURS[index], 0.008 * reach * (index - 1)
        known = [
            (point, gain, gain.difference)
            for point in points
            if (gain := point.gains[index]).difference is not None
        ]
        line = "o-" if is_numeric(points) else "o"  # nothing lies between words
        panel.plot(
            [point.x + shift for point, *_ in known],
            [difference for *_, difference in known],
            line,
            color=colour,
            label=name,
        )
        for point, gain, _ in known:
            if gain.ci95 is not None:
                panel.plot(
                    [point.x + shift] * 2,
                    gain.ci95,
                    color=colour,
                    linewidth=2.2,
                    alpha=0.45,
                    solid_capstyle="round",
                )
            seeds = [each for each in point.by_seed[index] if each is not None]
            if len(seeds) > 1:
                panel.plot(
                    [point.x + shift + 0.012 * reach] * len(seeds),
                    seeds,
                    ".",
                    color=colour,
                    markersize=4,
                    alpha=0.8,
                )
    panel.axhline(0, color="0.4", linewidth=1)
    panel.annotate(
        "no reward",
        (1, 0),
        xycoords=("axes fraction", "data"),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color="0.4",
    )
    if not is_numeric(points):
        panel.set_xticks([point.x for point in points], [point.entry.name for point in points])
        panel.margins(x=0.3)
    panel.set(xlabel=title, ylabel="gain over no reward, in points of 5")
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False)
    figure.supxlabel(note, fontsize=8, color="0.35")
    return figure


def curve_page(
    points: Sequence[CurvePoint], key: str, title: str, image: Path, commands: Sequence[str], reading: str
) -> str:
    """The page of a curve; `reading` is a person's interpretation, or empty."""
    first = points[0].entry
    gains = [(point, point.gains) for point in points]
    beside = [(point, compare_entries(point.entry, first)) for point in points[1:]]
    said = "; ".join(f"{name}: {gain_range(points, index)}" for index, name in enumerate(PERSPECTIVE_NAMES))
    notes = (
        "Gain: mean score less that of the same training without reward, on the same cases, averaged over"
        " seeds first, with its 95 % interval over photographs and, where there are several, seeds. p: sign"
        " flips of whole photographs and, with several seeds, Student's t on both together, the larger"
        " of the two, after Holm over the three perspectives; with one seed, for this one training. There is"
        f" a gain where p is below {LEVEL:g} and the difference"
        " positive.\n"
    )
    listed = "".join(f"    {command}\n" for command in commands)
    parts = [
        f"# The gain by the reward against {title}\n",
        f"**{said}.**\n",
        *([f"**Reading.** {reading.strip()}\n"] if reading else []),
    ]
    parts += [listed, f"![gain]({image.name})\n", difference_table(key, "gain", gains), notes]
    parts += [
        f"## Against {key}={first.name}\n",
        difference_table(key, "difference", beside),
        "## Mean scores, 0 to 5\n",
        mean_score_table(key, points),
    ]
    return "\n".join(parts)


def difference_table(key: str, what: str, compared: Sequence[tuple[CurvePoint, Sequence[Comparison]]]) -> str:
    """A table with one line per point: a difference and its p in each perspective."""
    header = (
        key,
        "seeds",
        "n",
        *(f"{name[0].upper()} {column}" for name in PERSPECTIVE_NAMES for column in (what, "p")),
    )
    lines = []
    for point, each in compared:
        cells = [cell for one in each for cell in (difference_cell(one), p_cell(one.p_holm))]
        lines.append([point.entry.name, str(len(point.entry.rows)), str(each[0].n), *cells])
    return markdown_table(header, lines)


def mean_score_table(key: str, points: Sequence[CurvePoint]) -> str:
    """A table of mean scores, averaged over seeds: the runs with reward at each point, and those without."""
    header = (key, "reward", "seeds", *(name[0].upper() for name in PERSPECTIVE_NAMES))
    lines = [(point.entry.name, "yes", point.entry) for point in points]
    if all(point.none is points[0].none for point in points):
        lines.append(("any", "no", points[0].none))
    else:
        lines += [(point.entry.name, "no", point.none) for point in points]
    return markdown_table(
        header,
        [
            [name, reward, str(len(entry.rows)), *(f"{mean:.2f}" for mean in mean_scores_of(entry))]
            for name, reward, entry in lines
        ],
    )


def mean_scores_of(entry: Entry) -> list[float]:
    """The mean score over cases in each perspective; NaN if none was judged."""
    by_perspective = zip(*(each.scores for each in entry.cases), strict=True)
    known = [[score for score in scores if score is not None] for scores in by_perspective]
    return [sum(scores) / len(scores) if scores else math.nan for scores in known]


def main(arguments: Sequence[str]) -> None:
    """Reads the runs, writes page and figure, and prints the page's path."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.gain_curve", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("key", help="a setting of the config, such as annotator.score_deviation")
    parser.add_argument("folders", nargs="+", type=Path, help="sweep or run folders with reward")
    parser.add_argument(
        "--none",
        nargs="+",
        type=Path,
        required=True,
        help="folders with the runs without reward to compare with",
    )
    parser.add_argument(
        "--each",
        action="store_true",
        help="compare with the runs without reward at the same value (or --default) of the setting",
    )
    parser.add_argument("--default", help="the value for runs whose config lacks the setting")
    parser.add_argument("--encoder", help="only runs with these reward signals: score, text or score+text")
    parser.add_argument("--target", default="5/5/5", help="the row that represents a run")
    parser.add_argument("--benchmark", default="synthetic_edit", help="reports on this benchmark")
    parser.add_argument("-x", "--title", help="label of the axis")
    parser.add_argument(
        "--reading",
        type=Path,
        help="a Markdown file with your interpretation, shown below the verdict",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="NAME.md")
    given = parser.parse_args(arguments)
    if given.output.suffix != ".md":
        raise ValueError(f"--output {given.output}: a dossier is Markdown; give a name that ends in .md")
    rows = [
        row
        for row in run_rows(reports_below(given.folders, given.benchmark)[0])
        if row.row.name == given.target
    ]
    rewarded = [
        row
        for row in rows
        if signals_of(row.settings or {})
        and given.encoder in (None, "+".join(signals_of(row.settings or {})))
    ]
    unrewarded = [
        row
        for row in run_rows(reports_below(given.none, given.benchmark)[0])
        if not signals_of(row.settings or {})
    ]
    plain = [row for row in unrewarded if row.row.name == given.target and is_plain(row, mended=given.each)]
    if not plain:
        raise ValueError(
            f"--none {' '.join(map(str, given.none))}: no run without reward that stands for itself"
        )
    none = grouped(given.key, plain, given.default) if given.each else make_entry("none", plain)
    points = curve(given.key, grouped(given.key, rewarded, given.default), none)
    title = given.title or given.key
    means, counts = (
        points[0].entry.rows[0].row.means,
        sorted({len(point.entry.rows) for point in points}),
    )
    seeds = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1])))) + (
        " seeds" if counts[-1] > 1 else " seed"
    )
    note = (
        f"{means.n} cases on {means.clusters} photographs, {seeds} a point; bars: 95 % interval over"
        " photographs"
    )
    image = save_figure(draw_gains(points, title, note), given.output.with_suffix(".png"))
    commands = [
        command for folder in given.folders if (command := read_json(folder / "sweep.json").get("command"))
    ]
    commands.append(f"python -m experiments.gain_curve {shlex.join(arguments)}")
    reading = "" if given.reading is None else given.reading.read_text(encoding="utf-8")
    write_atomically(given.output, curve_page(points, given.key, title, image, commands, reading))
    print(given.output)


def is_plain(row: RunRow, mended: bool) -> bool:
    """Whether a run without reward is the ordinary one, no control; with `mended`, that of triplets some of
    which were mended is as good.
    """
    control = control_of(row.settings)
    return row.settings is not None and (control is None or (mended and control.endswith(MENDED)))


if __name__ == "__main__":
    script(main)
