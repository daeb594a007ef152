"""The figures of a dossier, drawn from the lines of its table: scores with intervals, scores against the
score asked for, curves over steps.

Single seeds are small dots, means over seeds large ones with their 95 % interval over photographs and
seeds; controls
and references are grey.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.evidence import NO_REWARD, PERMUTED, START, Entry, Evidence
from src.evaluation.report import LAST_ROWS
from src.evaluation.statistics import Interval
from src.files import replacing
from src.records import MAX_SCORE, PERSPECTIVES
from src.tabulation.cells import judged_values
from src.tabulation.published import published_table

COLOURS = ("#1b6ca8", "#c2571a", "#3d8b37", "#7b4fa3", "#b8860b", "#a8324a")
GREY = "0.55"
DPI = 120


def mean_and_interval(entry: Entry, index: int) -> tuple[float, Interval | None] | None:
    """The mean score of an entry in one perspective, each case averaged over seeds, with its interval over
    photographs and seeds; None if nothing was judged.
    """
    value = judged_values(entry.rows)[2 * index + 1]
    return None if value.mean is None else (value.mean, value.ci95)


def seed_means(entry: Entry, index: int) -> list[float]:
    """The mean score of each seed."""
    found = [
        [score for case in cases if (score := case.scores[index]) is not None]
        for cases in entry.seeds.values()
    ]
    return [float(np.mean(scores)) for scores in found if scores]


def forest(evidence: Evidence, title: str, note: str) -> Figure:
    """A forest plot: one panel per perspective, one row per entry."""
    entries = list(evidence.entries)
    own = sum(not entry.control for entry in entries)
    places = [float(index) + (0.6 if index >= own else 0.0) for index in range(len(entries))]
    figure, axes = plt.subplots(
        1, 3, figsize=(11.5, 1.5 + 0.34 * len(entries)), sharey=True, layout="constrained"
    )
    figure.suptitle(title, fontsize=12, fontweight="bold")
    for index, (panel, perspective) in enumerate(zip(axes, PERSPECTIVES, strict=True)):
        reference = evidence.entry(evidence.question.reference)
        base = None if reference is None else mean_and_interval(reference, index)
        if base is not None:
            panel.axvline(base[0], color="0.75", linewidth=1, linestyle="--", zorder=0)
        for place, entry in zip(places, entries, strict=True):
            _dot(panel, entry, index, place, GREY if entry.control else COLOURS[0])
        panel.set(title=perspective.value, xlabel="mean score, 0 to 5")
        panel.grid(axis="x", alpha=0.25)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(axis="y", length=0)
        panel.margins(x=0.14)
    axes[0].set_yticks(places, [entry.name for entry in entries])
    for label, entry in zip(axes[0].get_yticklabels(), entries, strict=True):
        label.set_color(GREY if entry.control else "black")
    axes[0].set_ylim(places[-1] + 0.7, -0.7)
    figure.supxlabel(note, fontsize=8, color="0.35")
    return figure


def _dot(panel: Axes, entry: Entry, index: int, place: float, colour: str) -> None:
    found = mean_and_interval(entry, index)
    if found is None:
        return
    mean, interval = found
    if interval is not None:
        panel.plot(
            interval,
            [place, place],
            color=colour,
            linewidth=2.2,
            solid_capstyle="round",
            alpha=0.55,
            zorder=1,
        )
    seeds = seed_means(entry, index)
    if len(seeds) > 1:
        panel.plot(seeds, [place + 0.24] * len(seeds), ".", color=colour, markersize=4, alpha=0.8, zorder=2)
    panel.plot(mean, place, "o", color=colour, markersize=6.5, zorder=3)
    panel.annotate(
        f"{mean:.2f}",
        (mean, place),
        xytext=(0, 6),
        textcoords="offset points",
        ha="center",
        fontsize=7.5,
        color=colour,
    )


def score_lines(evidence: Evidence, title: str, note: str) -> Figure:
    """Table 6: each perspective against the score asked for, 0 to 5, beside the paper's numbers."""
    figure, panel = plt.subplots(figsize=(8.6, 4.6), layout="constrained")
    ends: list[tuple[float, str, str]] = []
    rows = [(float(entry.name.split("/")[0]), entry) for entry in evidence.entries if not entry.control]
    theirs = [
        (float(row.name.split("/")[0]), row.numbers)
        for row in published_table(evidence.question.layout.number).rows
    ]
    for index, perspective in enumerate(PERSPECTIVES):
        colour, shift = COLOURS[index], 0.04 * (index - 1)
        found = [(asked, mean_and_interval(entry, index), seed_means(entry, index)) for asked, entry in rows]
        drawn = [(asked + shift, each, seeds) for asked, each, seeds in found if each is not None]
        panel.plot(
            [asked for asked, _, _ in drawn],
            [each[0] for _, each, _ in drawn],
            "o-",
            color=colour,
            markersize=6,
        )
        for asked, (_, interval), seeds in drawn:
            if interval is not None:
                panel.plot(
                    [asked, asked], interval, color=colour, linewidth=2.2, alpha=0.45, solid_capstyle="round"
                )
            if len(seeds) > 1:
                panel.plot([asked + 0.09] * len(seeds), seeds, ".", color=colour, markersize=4, alpha=0.8)
        if drawn:
            ends.append((drawn[-1][1][0], perspective.value, colour))
        published = [(asked, numbers[f"{perspective.value}_score"].value) for asked, numbers in theirs]
        panel.plot(
            *zip(*published, strict=True),
            ":",
            marker="D",
            markersize=4,
            color=colour,
            markerfacecolor="white",
            alpha=0.6,
        )
    height = -1.0
    for mean, name, colour in sorted(ends):
        height = max(mean, height + 0.22)  # names of lines that end close together are stacked
        panel.annotate(
            name,
            (max(asked for asked, _ in rows) + 0.2, height),
            va="center",
            color=colour,
            fontweight="bold",
        )
    hollow = {"marker": "D", "markersize": 4, "markerfacecolor": "white"}
    panel.plot(
        [], [], ":", color="0.4", label="the paper (Real-Edit, judged by GPT-4o, 0 to 5 as well)", **hollow
    )
    panel.plot([], [], "o-", color="0.4", label="ours, with 95 % interval; small dots are single seeds")
    flat = [entry for entry in evidence.entries if entry.name in (NO_REWARD, PERMUTED)]
    for style, entry in zip(("--", "-."), flat, strict=False):
        for index in range(len(PERSPECTIVES)):
            found = mean_and_interval(entry, index)
            if found is not None:
                panel.axhline(found[0], color=COLOURS[index], linestyle=style, linewidth=0.9, alpha=0.5)
        panel.plot([], [], style, color="0.4", linewidth=0.9, label=entry.name)
    panel.set(title=title, xlabel="score asked for, in all three perspectives", ylabel="mean score, 0 to 5")
    panel.set(ylim=(0, MAX_SCORE + 0.1), xlim=(-0.3, 5.95))
    panel.set_xticks(range(int(MAX_SCORE) + 1))
    panel.grid(alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    figure.supxlabel(note, fontsize=8, color="0.35")
    return figure


def validation_curve(run: Path, perspective: str) -> dict[int, float]:
    """Mean validation scores of a run by optimiser step; empty if it kept none."""
    if not (run / "metrics.csv").exists():
        return {}
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get(f"validation/{perspective}")]
    return {int(row["step"]) + 1: float(row[f"validation/{perspective}"]) for row in rows}


def mean_and_range(
    curves: Sequence[Mapping[int, float]],
) -> tuple[list[int], list[float], list[float], list[float]]:
    """The steps that all curves share, with mean, lowest and highest value."""
    steps = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    values = [[curve[step] for curve in curves] for step in steps]
    return (
        steps,
        [float(np.mean(each)) for each in values],
        [min(each) for each in values],
        [max(each) for each in values],
    )


def validation_curves(evidence: Evidence, title: str) -> Figure | None:
    """Validation scores against steps of every trained entry, mean and range over seeds; None if no run kept
    the two points that a line needs.
    """
    watched = [
        entry
        for entry in evidence.entries
        if any(len(validation_curve(run, "following")) > 1 for run in entry.runs)
    ]
    trained = list(
        {tuple(entry.runs): entry for entry in watched if entry.name not in (START, *LAST_ROWS)}.values()
    )
    if not trained:
        return None
    figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    figure.suptitle(title, fontsize=12, fontweight="bold")
    styles = ("-", "--", ":", "-.")
    for panel, perspective in zip(axes, PERSPECTIVES, strict=True):
        plain, grey = 0, 0
        for entry in trained:
            steps, means, lows, highs = mean_and_range(
                [curve for run in entry.runs if (curve := validation_curve(run, perspective.value))]
            )
            if entry.control:
                colour, style, grey = GREY, styles[grey % len(styles)], grey + 1
            else:
                colour, style, plain = COLOURS[plain % len(COLOURS)], "-", plain + 1
            panel.plot(
                steps,
                means,
                style,
                color=colour,
                marker=".",
                linewidth=1.4,
                label=entry.name,
                zorder=1.5 if entry.control else 2.5,
            )
            panel.fill_between(steps, lows, highs, color=colour, alpha=0.12, linewidth=0)
        panel.set(title=perspective.value, xlabel="optimiser steps")
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("mean score on validation cases")
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        frameon=False,
        fontsize=8,
        loc="outside lower center",
        ncols=min(5, len(trained)),
    )
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Writes a figure atomically."""
    with replacing(path) as partial:
        figure.savefig(partial, dpi=DPI, format=path.suffix.removeprefix("."))
    plt.close(figure)
    return path
