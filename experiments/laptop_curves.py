"""Validation scores against steps of every run of laptop.sh, from their metrics.csv, as a picture. Runs that are not there yet are left out.

python experiments/laptop_curves.py runs/laptop curves.png
"""

import csv
import sys
from pathlib import Path

import matplotlib.pyplot as plt

PERSPECTIVES = ("following", "preserving", "quality")
CELLS = {
    "reward": "rewards, asked for 5/5/5",
    "none": "no reward",
    "permuted": "permuted rewards",
    "all_good": "only all-5 triplets",
    "exact": "exact edits",
}


def curve(run: Path, perspective: str) -> tuple[list[int], list[float]]:
    """Optimiser steps and mean validation scores of a run."""
    with (run / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get(f"validation/{perspective}")]
    return [int(row["step"]) + 1 for row in rows], [float(row[f"validation/{perspective}"]) for row in rows]


def main(folder: Path, target: Path) -> None:
    """Three panels; stage 1 first, then its continuations."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained", sharey=True)
    for panel, perspective in zip(axes, PERSPECTIVES, strict=True):
        steps, scores = curve(folder / "stage1", perspective)
        panel.plot(steps, scores, color="0.6", label="stage 1, no reward")
        for name, label in CELLS.items():
            if not (folder / name / "metrics.csv").exists():
                continue
            more, later = curve(folder / name, perspective)
            panel.plot([steps[-1], *(steps[-1] + step for step in more)], [scores[-1], *later], marker=".", label=label)
        panel.set(title=perspective, xlabel="optimiser steps", ylim=(0, 5))
        panel.grid(alpha=0.3)
    axes[0].set_ylabel("mean score on 112 validation cases")
    axes[0].legend(frameon=False, fontsize=8)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
