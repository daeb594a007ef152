"""How sharp the changes are that an editor draws: the gain of its change, by spatial frequency and edit type.

    python -m experiments.sharpness RUN/evaluation/synthetic_edit/5-5-5/edits   # seconds; prints a table

The change is the edit less the original. Its gain in a band of frequencies is the real part of its cross
spectrum with the exact change over the power of the exact change: 1 is as strong as wanted, 0 not drawn, and
what is drawn in the wrong place adds nothing on average. A Gaussian blur of s pixels has the gain
exp(-2 (pi f s)^2) at f cycles per pixel.
"""

import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float

from src.evaluation.report import markdown_table
from src.images import load_image
from src.synthetic.edits import EDIT_TYPES
from src.synthetic.world import BENCHMARK_ORIGINALS, World

EDGES = (0.0, 0.04, 0.1, 0.2, 0.35, 0.71)
"""Of the bands, in cycles per pixel."""


def gains(
    drawn: Float[np.ndarray, "n h w c"], wanted: Float[np.ndarray, "n h w c"]
) -> Float[np.ndarray, " bands"]:
    """Gain of drawn changes against wanted ones in each band between EDGES."""
    frequency = np.hypot(np.fft.fftfreq(drawn.shape[1])[:, None], np.fft.fftfreq(drawn.shape[2])[None])
    ours, exact = (np.fft.fft2(change, axes=(1, 2)) for change in (drawn, wanted))
    cross, power = ((ours * exact.conj()).real.sum((0, 3)), np.square(np.abs(exact)).sum((0, 3)))
    bands = [(frequency >= low) & (frequency < high) for low, high in pairwise(EDGES)]
    return np.array([cross[band].sum() / power[band].sum() for band in bands])


def gains_by_type(world: World, edits: Path) -> Mapping[str, Sequence[float]]:
    """Gains of the edits in a folder of <case id>.png, by edit type. Raises FileNotFoundError if there are
    none.
    """
    cases = [
        case
        for case in world.benchmark_cases(originals=BENCHMARK_ORIGINALS)
        if (edits / f"{case.id}.png").exists()
    ]
    if not cases:
        raise FileNotFoundError(f"no edits of the benchmark in {edits}; give RUN/evaluation/.../edits")
    found = {}
    for kind in EDIT_TYPES:
        of_kind = [case for case in cases if case.edit_type == kind]
        original, edit, exact = (
            np.stack([image.astype(np.float64) for image in images])
            for images in (
                [case.original for case in of_kind],
                [load_image(edits / f"{case.id}.png") for case in of_kind],
                [world.exact_edit(case.id) for case in of_kind],
            )
        )
        found[kind] = gains(edit - original, exact - original).tolist()
    return found


def main(folder: Path) -> None:
    """Print the table."""
    bands = [f"{low:g} to {high:g}" for low, high in pairwise(EDGES)]
    table = gains_by_type(World(32), folder)
    print(
        markdown_table(
            ["edit type", *bands], [[kind, *(f"{gain:.2f}" for gain in row)] for kind, row in table.items()]
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
