"""Figures of reward data as PNG files: score histograms (the paper's Figure 3), word clouds (Figure 4),
correlations, examples at each score.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from src.data.lint import LintEntry, shorten
from src.files import replacing
from src.images import contact_sheet, save_png
from src.inspection.clouds import WordCounts, draw_cloud
from src.inspection.summary import SCORES, RewardSummary, nearest_score
from src.records import PERSPECTIVES, Image, Perspective

COLOURS: Mapping[Perspective, str] = {
    Perspective.FOLLOWING: "#2f6db3",
    Perspective.PRESERVING: "#1f7a4d",
    Perspective.QUALITY: "#a8416b",
}
"""By perspective, in figures and on the page; distinguishable for colour-blind readers, too."""

EXAMPLES_PER_SCORE = 3


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure atomically. Raises NotWrittenError."""
    with replacing(path, durable=False) as partial:
        figure.savefig(partial, dpi=130, format="png")
    plt.close(figure)


def draw_histograms(summary: RewardSummary, path: Path) -> None:
    """Draw the share of triplets at each score, one panel per perspective."""
    figure, axes = plt.subplots(1, len(PERSPECTIVES), figsize=(10, 3.2), sharey=True, layout="constrained")
    for axis, perspective, numbers in zip(axes, PERSPECTIVES, summary.perspectives, strict=True):
        shares = 100 * np.array(numbers.counts) / max(1, numbers.scored)
        bars = axis.bar(SCORES, shares, color=COLOURS[perspective], width=0.8)
        axis.bar_label(bars, fmt="%.0f", fontsize=8, padding=1)
        axis.set_title(
            perspective.value if numbers.mean is None else f"{perspective.value} (mean {numbers.mean:.2f})",
            fontsize=10,
        )
        axis.set_xlabel("score")
        axis.set_xticks(SCORES)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("% of triplets")
    figure.suptitle(
        shorten(
            f"{summary.triplets} triplets of {summary.name}, rewarded by {summary.judge or 'no judge'}", 110
        ),
        fontsize=11,
    )
    save_figure(figure, path)


def draw_clouds(words: Sequence[WordCounts], path: Path, font: Path | None = None) -> list[Image | None]:
    """Draw one word cloud per perspective; return them, None where there is no word."""
    clouds = [
        draw_cloud(counted.counts, COLOURS[perspective], font)
        for counted, perspective in zip(words, PERSPECTIVES, strict=True)
    ]
    figure, axes = plt.subplots(1, len(PERSPECTIVES), figsize=(12, 2.6), layout="constrained")
    for axis, image, perspective in zip(axes, clouds, PERSPECTIVES, strict=True):
        axis.set_axis_off()
        axis.set_title(perspective.value, fontsize=10)
        if image is None:
            axis.text(
                0.5, 0.5, "nothing said", ha="center", va="center", color="0.45", transform=axis.transAxes
            )
        else:
            axis.imshow(image, interpolation="bilinear")
    save_figure(figure, path)
    return clouds


def draw_correlations(summary: RewardSummary, path: Path) -> None:
    """Draw Spearman's correlation of each pair of perspectives."""
    values = np.array([[np.nan if value is None else value for value in row] for row in summary.correlations])
    figure, axis = plt.subplots(figsize=(3.6, 3.2), layout="constrained")
    axis.imshow(np.nan_to_num(values), cmap="RdBu", vmin=-1, vmax=1)
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        text = "-" if np.isnan(value) else f"{value:.2f}"
        axis.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            color="white" if abs(np.nan_to_num(value)) > 0.6 else "black",
        )
    names = [perspective.value for perspective in PERSPECTIVES]
    axis.set_xticks(range(len(names)), names, fontsize=8)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_title("rank correlation of scores", fontsize=10)
    save_figure(figure, path)


def draw_examples(
    entries: Sequence[LintEntry],
    index: int,
    images_of: Callable[[int], tuple[Image, Image] | None],
    path: Path,
    cell: int = 150,
) -> bool:
    """Draw a row per score of one perspective, each with up to three pairs: the instruction below the
    original, the feedback below the edited image.

    Args:
        entries: triplets that the page shows.
        index: of the perspective.
        images_of: row -> original and edited; None where there are none.
        path: the PNG file.
        cell: side of an image in pixels.

    Returns:
        Whether there was any pair to draw.
    """
    rows: list[list[Image | None]] = []
    titles: list[str] = []
    captions: list[list[str]] = []
    for score in SCORES:
        images: list[Image | None] = []
        texts: list[str] = []
        for entry in entries:
            given = entry.reward.verdicts[index] if entry.reward is not None else None
            if (
                given is None
                or given.score is None
                or nearest_score(given.score) != score
                or len(images) >= 2 * EXAMPLES_PER_SCORE
            ):
                continue
            pair = images_of(entry.row)
            if pair is not None:
                images += pair
                texts += [shorten(entry.instruction, cell // 6), shorten(given.feedback, cell // 6)]
        if images:
            missing = 2 * EXAMPLES_PER_SCORE - len(images)
            rows.append(images + [None] * missing)
            captions.append(texts + [""] * missing)
            titles.append(f"{PERSPECTIVES[index].value} {score}\n")
    if not rows:
        return False
    save_png(contact_sheet(rows, ["original", "edited"] * EXAMPLES_PER_SCORE, titles, captions, cell), path)
    return True
