"""The image metrics by name, their means over cases, and the cells of their table.

A name includes its protocol, because the same name has meant different numbers (CLIP-T of one model: 0.223 by
ViT-L/14, 0.275 by ViT-B/32):

    magicbrush/l1, l2             distance to the ground truth; official evaluation of MagicBrush
    magicbrush/clip_i, dino       cosine with the ground truth, CLIP ViT-B/32 and DINO ViT-S/16; official
    magicbrush/clip_t_local       cosine with the local caption ("a red hat"), as in the MagicBrush paper;
                                  the official script defaults to the global caption
    multi_reward/clip_i           cosine with the ground truth, as Table 2 of the multi-reward paper describes
                                  it; here the same number as magicbrush/clip_i
    multi_reward/clip_t           cosine with the global caption of the ground truth
    outside/l1, ssim              the edit against its original outside the region that it may change
    reason_edit/psnr, ssim, mse   the same by Reason-Edit's protocol: 256 x 256 pixels, weighted by the mask
                                  (masked.py)
    reason_edit/clip_inside       CLIP score (ViT-L/14; 100 times the cosine, 0 if negative) of the mask's
                                  rectangle and the case's label

If an edit shows only a part of its photograph, because the sampler's `resize` or the latent cropped it,
everything it is compared with is cropped in the same way. Edits made elsewhere are assumed to show all of it.

Known of Table 2 of the multi-reward paper (InsPix2Pix 85.4 / 29.2, Reward-InsPix2Pix 88.9 / 29.8): numbers
are per cent, 100 times the cosines here, and are measured on MagicBrush's test set. Its code is not released,
so the CLIP model, the kind of caption, the turns and the preprocessing are unknown. The MagicBrush paper has
about 27.6 for InsPix2Pix by the official protocol, so the protocols differ: compare with care.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from src.evaluation.statistics import Interval, clustered_interval

Requirement = Literal["ground_truth", "local", "global", "region", "mask", "label"]
EncoderName = Literal["clip", "dino", "clip_large"]


@final
@dataclass(frozen=True)
class Metric:
    """The definition of a metric.

    Attributes:
        needs: what a case must have: its ground truth, a kind of caption, the region that may change, or the
            mask with its grey values.
        encoder: "clip" (ViT-B/32), "dino", "clip_large" (ViT-L/14), or None for those that compare pixels.
        better: "higher" or "lower".
        bounds: of its values.
        title: in tables of several runs, below the name of its protocol.
        scale, digits: in these tables: the value times `scale`, with this number of decimals.
    """

    needs: Requirement
    encoder: EncoderName | None
    better: Literal["higher", "lower"]
    bounds: Interval
    title: str
    scale: float = 1.0
    digits: int = 4


SHARE, COSINE = Interval(0.0, 1.0), Interval(-1.0, 1.0)


def similarity_metric(needs: Requirement, encoder: EncoderName | None, title: str) -> Metric:
    """A metric of at most 1, better when higher, shown in per cent."""
    return Metric(needs, encoder, "higher", COSINE, title, scale=100.0, digits=1)


METRICS: Mapping[str, Metric] = {
    "magicbrush/l1": Metric("ground_truth", None, "lower", SHARE, "L1"),
    "magicbrush/l2": Metric("ground_truth", None, "lower", SHARE, "L2"),
    "magicbrush/clip_i": similarity_metric("ground_truth", "clip", "CLIP-I"),
    "magicbrush/dino": similarity_metric("ground_truth", "dino", "DINO"),
    "magicbrush/clip_t_local": similarity_metric("local", "clip", "CLIP-T local"),
    "multi_reward/clip_i": similarity_metric("ground_truth", "clip", "CLIP-I"),
    "multi_reward/clip_t": similarity_metric("global", "clip", "CLIP-T"),
    "outside/l1": Metric("region", None, "lower", SHARE, "L1"),
    "outside/ssim": similarity_metric("region", None, "SSIM"),
    "reason_edit/psnr": Metric("mask", None, "higher", Interval(0.0, math.inf), "PSNR", digits=2),
    "reason_edit/ssim": Metric("mask", None, "higher", COSINE, "SSIM"),
    "reason_edit/mse": Metric("mask", None, "lower", SHARE, "MSE"),
    "reason_edit/clip_inside": Metric(
        "label", "clip_large", "higher", Interval(0.0, 100.0), "CLIP score", digits=2
    ),
}
"""In the order of the tables."""

ONE_BENCHMARK_ONLY: tuple[Requirement, ...] = ("mask", "label")
"""Requirements of a single benchmark's protocol; no message if other benchmarks lack them."""

METRIC_NOTES = (
    "Means with their 95 % intervals (Student's t on errors clustered by photograph); the arrow points to "
    "better. In parentheses the number of cases "
    "that a mean is over, where it is not all: the others have no target, no such caption, nothing outside "
    "the edit, or a PSNR without bound because "
    "nothing changed there; no number stands in for them."
)


@final
@dataclass(frozen=True)
class CaseMetrics:
    """The measurements of one case of a row.

    Attributes:
        id: the triplet's id.
        photograph: its cluster.
        values: by metric, without those that the case doesn't define or that have not been measured; infinite
            for the PSNR of equal images.
    """

    id: str
    photograph: str
    values: Mapping[str, float]


@final
@dataclass(frozen=True)
class MetricMean:
    """The mean of one metric over the cases of a row in which it is finite.

    Attributes:
        mean: over these cases.
        ci95: clustered by photograph, within the metric's bounds; None with fewer than two photographs.
        n: their number.
    """

    mean: float
    ci95: Interval | None
    n: int


def metric_means(cases: Sequence[CaseMetrics]) -> dict[str, MetricMean]:
    """The mean of every metric that any case has; infinite values are left out."""
    means = {}
    for name, metric in METRICS.items():
        measured = [
            (case.values[name], case.photograph)
            for case in cases
            if math.isfinite(case.values.get(name, math.nan))
        ]
        if measured:
            values = np.array([value for value, _ in measured])
            interval = clustered_interval(values, [photograph for _, photograph in measured])
            if interval is not None:
                interval = Interval(
                    max(metric.bounds.low, interval.low), min(metric.bounds.high, interval.high)
                )
            means[name] = MetricMean(float(values.mean()), interval, len(measured))
    return means


def metric_names(rows: Sequence[Mapping[str, MetricMean]]) -> list[str]:
    """The metrics of any row in the order of the tables; names unknown to this version come last."""
    present = list(dict.fromkeys(name for row in rows for name in row))
    return [
        *(name for name in METRICS if name in present),
        *(name for name in present if name not in METRICS),
    ]


def metric_title(name: str) -> str:
    """The title of a column: the name, and an arrow that points to better."""
    return name if name not in METRICS else f"{name} {'↑' if METRICS[name].better == 'higher' else '↓'}"


def metric_cell(mean: MetricMean | None, n: int, short: bool = False) -> str:
    """A mean as in 0.0656 [0.0601, 0.0711]; "-" if nothing was measured.

    Args:
        mean: of the metric.
        n: cases of the row; shown as well if fewer were measured.
        short: half the interval's width instead of its ends, for narrow tables: 0.0656 ±0.0055.
    """
    if mean is None:
        return "-"
    interval = ""
    if mean.ci95 is not None:
        low, high = mean.ci95
        interval = f" ±{(high - low) / 2:.4f}" if short else f" [{low:.4f}, {high:.4f}]"
    return f"{mean.mean:.4f}{interval}" + ("" if mean.n == n else f" ({mean.n})")
