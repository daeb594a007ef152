"""The synthetic world at a glance: the original, the exact edit and corrupted versions for each edit type,
with the oracle's scores.

    python -m src.contact_sheet size=128 output=contact_sheet.png

    python -m src.contact_sheet edits=edits.npz output=sheet.png [measured=false]

Look at it after any change to the world: what each instruction asks and what each corruption changed must be
visible. With `edits`, it shows an editor's images instead: original, edit and exact edit, with the oracle's
scores and words beneath, or without them, to judge by eye first.
"""

import textwrap
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from omegaconf import DictConfig

from src import launch
from src.records import Image
from src.seeds import fold_seed
from src.synthetic.corruptions import (
    Corruption,
    corrupt,
    following_kinds,
    preserving_kinds,
    sample_following_flaw,
    sample_preserving_flaw,
    sample_quality_flaw,
)
from src.synthetic.degradations import QUALITY_FLAWS
from src.synthetic.edits import EDIT_TYPES
from src.synthetic.measure import Measurement, measure
from src.synthetic.scene import to_uint8
from src.synthetic.world import World

COLUMNS = (
    "following",
    "preserving",
    "quality",
    "preserving",
    "following",
    "all three",
    "quality",
    "preserving",
)
"""The perspective that each column of corrupted versions affects; `columns=` sets how many are shown."""

SHOWN = 20
"""Number of an editor's edits on a sheet."""

CELL = 2.3
"""Width of an image on the sheet in inches."""


def main(cfg: DictConfig) -> None:
    """Write the sheet to `cfg.output`.

    Raises:
        ValueError: an impossible size or number of columns.
    """
    if not 1 <= cfg.columns <= len(COLUMNS):
        raise ValueError(
            f"columns={cfg.columns} is not possible: 1 to {len(COLUMNS)} corrupted versions fit a sheet"
        )
    output = Path(cfg.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    if cfg.edits is None:
        draw_sheet(World(cfg.size, cfg.photos), cfg.seed, COLUMNS[: cfg.columns], output)
    else:
        draw_edits(Path(cfg.edits), cfg.photos, cfg.measured, output)
    print(output)


def draw_edits(edits: Path, photos: str | None, with_scores: bool, output: Path) -> None:
    """Draw up to SHOWN edits from a file, evenly spread over it, as original, edit and exact edit, two cases
    a row.

    The file is one of numpy.savez with `ids`, the case ids of the world, and `edits`, images of uint8 as
    (n, size, size, 3).

    Raises:
        ValueError: a file without these arrays, or with arrays of different lengths.
    """
    import matplotlib.pyplot as plt

    with np.load(edits) as file:
        if not {"ids", "edits"} <= set(file):
            raise ValueError(f"{edits} has {', '.join(file) or 'nothing'}: expected arrays `ids` and `edits`")
        ids, images = [str(case_id) for case_id in file["ids"]], file["edits"]
    if not ids or len(ids) != len(images):
        raise ValueError(
            f"{edits} has {len(ids)} ids and {len(images)} edits: expected equally many, at least one"
        )
    world = World(images.shape[1], photos)
    chosen = [round(place) for place in np.linspace(0, len(ids) - 1, min(SHOWN, len(ids)))]
    rows = -(-len(chosen) // 2)
    figure, axes = plt.subplots(rows, 6, figsize=(6 * CELL, 1.45 * CELL * rows), squeeze=False)
    for axis in axes.ravel()[3 * len(chosen) :]:
        axis.set_visible(False)
    for number, place in enumerate(chosen):
        truth, (row, column) = world.ground_truth(ids[place]), divmod(number, 2)
        before, edit, after = axes[row, 3 * column : 3 * column + 3]
        measured = measure(truth, images[place])
        show(
            before,
            to_uint8(truth.original),
            f"{number + 1}: {truth.edit.type}",
            truth.edit.instruction,
            bold=True,
        )
        show(edit, images[place], "edit", caption(measured, measured.feedback) if with_scores else "")
        show(after, to_uint8(truth.exact), "exact edit", "")
    figure.subplots_adjust(left=0.01, right=0.99, top=0.985, bottom=0.04, wspace=0.06, hspace=0.62)
    figure.savefig(output, dpi=100)
    plt.close(figure)


def draw_sheet(world: World, seed: int, columns: tuple[str, ...], output: Path) -> None:
    """Draw one row per edit type, each with a scene of its own."""
    import matplotlib.pyplot as plt

    width = len(columns) + 2
    figure, axes = plt.subplots(
        len(EDIT_TYPES), width, figsize=(CELL * width, 1.5 * CELL * len(EDIT_TYPES)), squeeze=False
    )
    for row, edit_type in enumerate(EDIT_TYPES):
        # A step of eight originals keeps the photograph in turn while the edit type advances.
        case = world.case("benchmark", seed, row * (len(EDIT_TYPES) + 1))
        truth = world.ground_truth(case.id)
        show(axes[row, 0], case.original, f"{edit_type}: original", case.instruction, bold=True)
        exact = world.exact_edit(case.id)
        show(axes[row, 1], exact, "exact edit", caption(measure(truth, exact), ("None", "None", "None")))
        for column, corrupted in enumerate(columns):
            corruption = corruption_of(world, case.id, corrupted, row + columns[:column].count(corrupted))
            image = to_uint8(corrupt(world.renderer, truth.edit, corruption))
            show(
                axes[row, 2 + column],
                image,
                f"corrupted: {corrupted}",
                caption(measure(truth, image), corruption.feedback),
            )
    figure.subplots_adjust(left=0.01, right=0.99, top=0.985, bottom=0.04, wspace=0.06, hspace=0.62)
    figure.savefig(output, dpi=100)
    plt.close(figure)


def corruption_of(world: World, case_id: str, corrupted: str, turn: int) -> Corruption:
    """A corruption of the named perspective or of all three; kinds take turns, so a sheet shows them all."""
    spec = world.case_spec(case_id)
    scene, edit, renderer = spec.scene, spec.edit, world.renderer
    rng = Random(fold_seed("contact sheet", case_id, corrupted, turn))
    following = preserving = quality = None
    if corrupted in ("following", "all three"):
        # "missing" looks like the original, which is shown already.
        kinds = [kind for kind in following_kinds(scene, edit) if kind != "missing"]
        following = sample_following_flaw(
            rng, renderer, scene, edit, spec.free_place, kinds[turn % len(kinds)]
        )
    if corrupted in ("preserving", "all three"):
        kinds = preserving_kinds(scene, edit)
        preserving = sample_preserving_flaw(rng, renderer, scene, edit, kinds[turn % len(kinds)])
    if corrupted in ("quality", "all three"):
        quality = sample_quality_flaw(rng, QUALITY_FLAWS[turn % len(QUALITY_FLAWS)])
    return Corruption(following, preserving, quality, seed=fold_seed("noise", case_id, corrupted, turn))


def caption(measured: Measurement, feedback: tuple[str, str, str]) -> str:
    """The oracle's scores, and words for what failed."""
    scores = "   ".join(f"{name} {score:.1f}" for name, score in zip("FPQ", measured.scores, strict=True))
    return "\n".join([scores, *(text for text in feedback if text != "None")])


def show(axis: Any, image: Image, title: str, text: str, bold: bool = False) -> None:
    """Draw an image with a title above and wrapped text below."""
    axis.imshow(np.asarray(image), interpolation="nearest")
    axis.set_title(title, fontsize=9, color="0.35", pad=3)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(False)
    lines = [wrapped for line in text.split("\n") for wrapped in textwrap.wrap(line, 28 if bold else 34)]
    weight = "bold" if bold else "normal"
    axis.text(
        0,
        -0.03,
        "\n".join(lines),
        transform=axis.transAxes,
        fontsize=9.5 if bold else 8.5,
        fontweight=weight,
        va="top",
        ha="left",
    )


if __name__ == "__main__":
    launch.entry_point(main, "contact_sheet")
