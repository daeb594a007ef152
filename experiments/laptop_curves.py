"""Plots validation scores against steps, from metrics.csv: a first stage and the runs that continue from it.

python experiments/laptop_curves.py curves.png runs/laptop/stage1 \
      "no reward=runs/laptop/controls/0" "rewards=runs/laptop/controls/1"
"""

import csv
import sys
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt

PERSPECTIVES = ("following", "preserving", "quality")


def curve(run: Path, perspective: str) -> tuple[list[int], list[float]]:
    """Optimiser steps and mean validation scores of a run."""
    with (run / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get(f"validation/{perspective}")]
    return [int(row["step"]) + 1 for row in rows], [float(row[f"validation/{perspective}"]) for row in rows]


def main(target: Path, stage_1: Path, continuations: Mapping[str, Path]) -> None:
    """Draws one panel per perspective: stage 1, then the runs that continue from it."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained", sharey=True)
    for panel, perspective in zip(axes, PERSPECTIVES, strict=True):
        steps, scores = curve(stage_1, perspective)
        panel.plot(steps, scores, color="0.6", label="stage 1, no reward")
        for label, run in continuations.items():
            more, later = curve(run, perspective)
            panel.plot(
                [steps[-1], *(steps[-1] + step for step in more)],
                [scores[-1], *later],
                marker=".",
                label=label,
            )
        panel.set(title=perspective, xlabel="optimiser steps", ylim=(0, 5))
        panel.grid(alpha=0.3)
    axes[0].set_ylabel("mean score on 112 validation cases")
    axes[0].legend(frameon=False, fontsize=8)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    image, first, *others = sys.argv[1:]
    main(
        Path(image),
        Path(first),
        {label: Path(run) for label, _, run in (other.rpartition("=") for other in others)},
    )
