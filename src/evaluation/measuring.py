"""The step "measure" of an evaluation: image metrics of the edits of one row, in a file. Needs neither editor
nor judge.

    <run>/evaluation/<benchmark>/<row>/metrics.jsonl    {"id", "metric", "key", "value"} per case and metric

The file is append-only. Infinite values, such as the PSNR of equal images, are null. The key is the sha256 of
everything that a value depends on: the images, the caption or region, the metric and the network's files. So
nothing is measured twice, and an edit that changed is measured again. A killed step resumes on any number of
processes.
"""

import json
import math
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple, TypeVar, final

import torch

from src.evaluation.benchmark import Benchmark
from src.evaluation.case_images import shown_crop
from src.evaluation.image_metrics import ImageMetrics
from src.evaluation.metrics import CaseMetrics
from src.files import append_lines
from src.finite import NotFiniteError
from src.images import Framing
from src.json_files import parse_finite
from src.progress import with_progress
from src.records import Triplet

T = TypeVar("T")

METRICS_FILE = "metrics.jsonl"


@final
class ValueKey(NamedTuple):
    """What identifies a value: a line of the file without the value."""

    id: str
    metric: str
    key: str


def measure_row(
    metrics: ImageMetrics,
    benchmark: Benchmark,
    batches: Iterable[Sequence[Triplet]],
    total: int,
    path: Path,
    what: str,
    device: torch.device,
    measure: bool = True,
    framing: Framing | None = None,
) -> list[list[CaseMetrics]]:
    """The metrics of a row, or of one process's share of it; values missing in the file are measured and
    appended batch by batch.

    Args:
        metrics: the metrics and their networks.
        benchmark: knows the ground truth.
        batches: triplets that are embedded together, read lazily.
        total: number of triplets, for the progress bar.
        path: the file; several processes may append to it.
        what: the row's name.
        device: where the networks run.
        measure: False only looks up existing values.
        framing: how photographs were cropped and resized before editing, as the ground truth is for
            measuring; None for edits that show the whole photograph.

    Returns:
        The known values of the cases, batch by batch.

    Raises:
        ValueError: a malformed line of the file, or a metric that is NaN.
        NotWrittenError: the disk is full; the file is as it was before.
    """
    known = read_values(path)
    found = []
    for batch in with_progress(batches, total, f"measure {what}", "edits"):
        edits = [metrics.measurable(benchmark, triplet, shown_crop(triplet, framing)) for triplet in batch]
        names = [
            [ValueKey(triplet.case.id, metric, key) for metric, key in edit.keys.items()]
            for triplet, edit in zip(batch, edits, strict=True)
        ]
        lacking = {name.metric for own in names for name in own if name not in known}
        if measure and lacking:
            taken = metrics.measure(edits, [metric for metric in metrics.names if metric in lacking], device)
            new = {
                name: values[name.metric]
                for own, values in zip(names, taken, strict=True)
                for name in own
                if name not in known
            }
            for name, value in new.items():
                if math.isnan(value):
                    raise NotFiniteError(
                        f"the metric {name.metric} of {name.id} in {what} is NaN, and no value is written "
                        "for it: look at the edit and its original"
                    )
            append_lines(path, "".join(value_line(name, value) for name, value in new.items()))
            known.update(new)
        values = [{name.metric: known[name] for name in own if name in known} for own in names]
        found.append(
            [
                CaseMetrics(triplet.case.id, triplet.case.photograph, own)
                for triplet, own in zip(batch, values, strict=True)
            ]
        )
    return found


def value_line(name: ValueKey, value: float) -> str:
    """A line of the file."""
    return json.dumps({**name._asdict(), "value": None if math.isinf(value) else value}) + "\n"


def read_values(path: Path) -> dict[ValueKey, float]:
    """The values in a file; the last line of a key counts. A line without its end is being written, or was
    when its process was killed.

    Raises:
        ValueError: a malformed line, with file and line number.
    """
    values: dict[ValueKey, float] = {}
    if not path.exists():
        return values
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                entry = parse_finite(line.decode())
                values[ValueKey(entry["id"], entry["metric"], entry["key"])] = (
                    math.inf if entry["value"] is None else float(entry["value"])
                )
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{path}:{number}: no measured value ({type(error).__name__}: {error}); correct or "
                    "delete this line"
                ) from error
    return values


def interleave(shares: Sequence[Sequence[Sequence[T]]]) -> list[T]:
    """The items of batches that were distributed to processes in turn, in the original order."""
    return [thing for turn in zip_longest(*shares, fillvalue=()) for batch in turn for thing in batch]
