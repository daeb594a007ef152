"""Chooses image metrics and measures them; `src.evaluation.metrics` defines them.

    # all of MagicBrush; networks: image_metrics.clip.model= and image_metrics.dino.model=, a folder or hub id
    python -m src.evaluate ... image_metrics=magicbrush
    python -m src.evaluate ... image_metrics=magicbrush image_metrics.metrics=[magicbrush/clip_i,outside/ssim]
    # without a network: distances, and what changed outside the edit
    python -m src.evaluate ... image_metrics=pixels
    # Reason-Edit's; network: image_metrics.clip_large.model=
    python -m src.evaluate ... image_metrics=reason_edit

On a CPU the same cases give the same values, bit for bit: the last digits of an embedding depend on its
batch, so cases are always embedded in the batch they belong to, whichever values exist already. Originals,
ground truth and masks are decoded once for their digests, and again only if something is to be measured.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import final
from weakref import WeakKeyDictionary

import numpy as np
import PIL.Image
import torch
from jaxtyping import Float
from torch import Tensor

from src.evaluation.benchmark import Benchmark
from src.evaluation.crop import WHOLE, Crop, crop
from src.evaluation.encoders import ImageEncoder, TextEncoder
from src.evaluation.masked import GreyMask, masked_mse, masked_psnr, masked_rectangle, masked_ssim
from src.evaluation.metrics import METRICS, ONE_BENCHMARK_ONLY, EncoderName, Requirement
from src.evaluation.pixels import (
    Image,
    Mask,
    cosine,
    l1,
    l2,
    outside_l1,
    outside_ssim,
    resize_bicubic,
    to_unit_range,
    whole_windows,
)
from src.records import Case, Triplet

VERSION = 1
"""To be increased whenever a metric is computed differently."""

WANTED: Mapping[Requirement, str] = {
    "ground_truth": "a ground truth",
    "local": "a caption of the kind 'local'",
    "global": "a caption of the kind 'global'",
    "region": "a region that the edit may change",
    "mask": "a mask with its grey values",
    "label": "a caption of the kind 'label', and a mask",
}
"""The requirements in words."""

CAPTIONS: frozenset[Requirement] = frozenset(("local", "global", "label"))
"""The requirements that are captions."""

CONFIG: Mapping[EncoderName, str] = {"clip": "magicbrush", "dino": "magicbrush", "clip_large": "reason_edit"}
"""The option of image_metrics that has each network."""


TO_GROUND_TRUTH = {"magicbrush/l1": l1, "magicbrush/l2": l2}
OUTSIDE = {"outside/l1": outside_l1, "outside/ssim": outside_ssim}
MASKED = {"reason_edit/psnr": masked_psnr, "reason_edit/ssim": masked_ssim, "reason_edit/mse": masked_mse}


@final
@dataclass(frozen=True, eq=False)
class MetricGroundTruth:
    """What a benchmark knows about a case, cropped to the part that an edit shows.

    Attributes:
        image: the right edit.
        captions: by kind.
        region: where the edit may change the original, at its size.
        mask: the same with grey values, at a size of its own.
        original: if there is a region or a mask.
    """

    image: Image | None
    captions: Mapping[str, str]
    region: Mask | None
    mask: GreyMask | None
    original: Image | None

    def knows(self, needed: Requirement) -> bool:
        """Whether a requirement is met."""
        if needed in CAPTIONS:
            return needed in self.captions and (needed != "label" or self.mask is not None)
        return {"ground_truth": self.image, "region": self.region, "mask": self.mask}[needed] is not None

    def arrays(self) -> dict[str, np.ndarray]:
        """Its images and masks by name."""
        named = {
            "ground_truth": self.image,
            "region": self.region,
            "mask": self.mask,
            "original": self.original,
        }
        return {name: array for name, array in named.items() if array is not None}


@final
@dataclass(frozen=True)
class MetricGroundTruthDigest:
    """A ground truth without its images.

    Attributes:
        captions: by kind.
        digests: sha256 of each image and mask.
        defined: the metrics that can be measured with it.
    """

    captions: Mapping[str, str]
    digests: Mapping[str, str]
    defined: tuple[str, ...]


@final
@dataclass(frozen=True, eq=False)
class MeasurableEdit:
    """An edit with the ground truth that it is compared with.

    Attributes:
        edited: the edit.
        captions: as in MetricGroundTruth.
        digests: sha256 of each image and mask.
        keys: for each metric that the case defines, the sha256 of everything that its value depends on.
        look_up: returns the ground truth; called only if something is measured.
    """

    edited: Image
    captions: Mapping[str, str]
    digests: Mapping[str, str]
    keys: Mapping[str, str]
    look_up: Callable[[], MetricGroundTruth]

    @cached_property
    def ground_truth(self) -> MetricGroundTruth:
        """The ground truth, looked up once."""
        return self.look_up()

    def image(self, which: str) -> Image:
        """The input of a network: "edited", "inside" (its rectangle around the mask) or "ground_truth"."""
        if which == "edited":
            return self.edited
        shown = (
            self.ground_truth.image
            if which == "ground_truth"
            else None
            if self.ground_truth.mask is None
            else masked_rectangle(self.edited, self.ground_truth.mask)
        )
        assert shown is not None, f"no {which} is known"
        return shown


@final
class ImageMetrics:
    """The image metrics to measure.

    Args:
        clip, dino, clip_large: networks; None leaves out the metrics that need them.
        metrics: names from METRICS, each of which must then be defined for some case; None for all that the
            networks and the benchmark allow.
        batch_size: cases that are embedded together.

    Attributes:
        names: metrics that these networks allow.
        batch_size: as given.

    Raises:
        ValueError: an unknown name, a metric without its network, or an empty batch.
    """

    def __init__(
        self,
        clip: TextEncoder | None = None,
        dino: ImageEncoder | None = None,
        clip_large: TextEncoder | None = None,
        metrics: Sequence[str] | None = None,
        batch_size: int = 32,
    ) -> None:
        self.batch_size, self.by_name = batch_size, metrics is not None
        given: Mapping[EncoderName, ImageEncoder | None] = {
            "clip": clip,
            "dino": dino,
            "clip_large": clip_large,
        }
        self.encoders = {name: encoder for name, encoder in given.items() if encoder is not None}
        for name in metrics or ():
            if name not in METRICS:
                raise ValueError(f"there is no image metric {name!r}; there are {', '.join(METRICS)}")
            wanted = METRICS[name].encoder
            if wanted is not None and wanted not in self.encoders:
                raise ValueError(
                    f"the image metric {name} needs a network, image_metrics.{wanted}; say "
                    f"image_metrics={CONFIG[wanted]}"
                )
        if batch_size < 1:
            raise ValueError(f"image_metrics.batch_size={batch_size}: at least 1")
        self.names = tuple(
            name
            for name in METRICS
            if (metrics is None or name in metrics) and METRICS[name].encoder in (None, *self.encoders)
        )
        self._embedded: dict[tuple[str, ...], Float[Tensor, "n d"]] = {}
        self._described: WeakKeyDictionary[Benchmark, dict[tuple[str, Crop], MetricGroundTruthDigest]] = (
            WeakKeyDictionary()
        )

    @property
    def measured_by(self) -> dict[str, str]:
        """The networks in use, for the report."""
        used = {METRICS[name].encoder for name in self.names}
        return {name: encoder.described for name, encoder in self.encoders.items() if name in used}

    @property
    def needs(self) -> set[Requirement]:
        """The requirements of these metrics."""
        return {METRICS[name].needs for name in self.names}

    def check(self, benchmark: Benchmark, cases: Sequence[Case]) -> list[str]:
        """Check, before any edit is made, what the benchmark knows; metrics that no case defines are reported
        on stderr.

        Returns:
            The metrics that at least one case defines.

        Raises:
            ValueError: no case defines a metric that was requested by name, or a caption is too long for
                CLIP.
        """
        known: set[Requirement] = set()
        for needed in sorted(self.needs, key=list(WANTED).index):
            if any(look_up_ground_truth(benchmark, case, {needed}).knows(needed) for case in cases):
                known.add(needed)
                continue
            names = [name for name in self.names if METRICS[name].needs == needed]
            what = f"no case of {benchmark.name} has {WANTED[needed]}"
            if self.by_name:
                raise ValueError(
                    f"the image metric {names[0]} can't be taken, as {what}; leave it out of "
                    "image_metrics.metrics"
                )
            if needed not in ONE_BENCHMARK_ONLY:
                print(f"not measured, as {what}: {', '.join(names)}", file=sys.stderr)
        readers = {
            METRICS[name].needs: self._reader(name) for name in self.names if METRICS[name].needs in CAPTIONS
        }
        for case in cases if readers else ():
            for kind, text in benchmark.captions(case).items():
                for reader in (reader for needed, reader in readers.items() if needed == kind):
                    reader.check_text(text, f"case {case.id}: ")
        return [name for name in self.names if METRICS[name].needs in known]

    def check_ready(self, names: Collection[str]) -> None:
        """Check, before any edit is made, that the networks of these metrics have their weights. Raises as
        `ImageEncoder.check_ready`.
        """
        wanted = {METRICS[name].encoder for name in names}
        for name, encoder in self.encoders.items():
            if name in wanted:
                encoder.check_ready()

    def measurable(self, benchmark: Benchmark, triplet: Triplet, part: Crop = WHOLE) -> MeasurableEdit:
        """A triplet with its ground truth.

        Args:
            benchmark: knows the ground truth.
            triplet: of a case of the benchmark, or of another case with an id of its own.
            part: of the photograph that the edit shows.

        Raises:
            ValueError: a region of another size than the original.
        """
        case = triplet.case
        known = self._described.setdefault(benchmark, {})
        look_up: Callable[[], MetricGroundTruth] = partial(
            look_up_ground_truth, benchmark, case, self.needs, part
        )
        if (case.id, part) not in known:
            truth = look_up()
            known[case.id, part] = self._describe(truth)
            look_up = partial(_itself, truth)  # reused for this batch, then released
        described = known[case.id, part]
        digests = {"edited": array_digest(triplet.edited), **described.digests}
        if "mask" in digests:
            digests["inside"] = f"{digests['edited']} {digests['mask']}"
        keys = {name: self._key(name, digests, described.captions) for name in described.defined}
        return MeasurableEdit(triplet.edited, described.captions, digests, keys, look_up)

    def _describe(self, truth: MetricGroundTruth) -> MetricGroundTruthDigest:
        defined = [
            name
            for name in self.names
            if truth.knows(METRICS[name].needs) and not has_nothing_outside(name, truth.region)
        ]
        return MetricGroundTruthDigest(
            truth.captions,
            {name: array_digest(array) for name, array in truth.arrays().items()},
            tuple(defined),
        )

    def measure(
        self, batch: Sequence[MeasurableEdit], names: Sequence[str], device: torch.device
    ) -> list[dict[str, float]]:
        """Measure some metrics of a batch of cases.

        Args:
            batch: embedded together.
            names: of the metrics.
            device: where the networks run.

        Returns:
            For each case the values of the metrics that it defines.
        """
        values: list[dict[str, float]] = [{} for _ in batch]
        for name in names:
            defining = [index for index, edit in enumerate(batch) if name in edit.keys]
            if not defining:
                continue
            encoder = self._encoder(name)
            taken = (
                self._cosines(name, encoder, batch, defining, device)
                if encoder
                else [pixel_metric(name, batch[index]) for index in defining]
            )
            if name == "reason_edit/clip_inside":
                taken = [max(100 * each, 0.0) for each in taken]
            for index, value in zip(defining, taken, strict=True):
                values[index][name] = value
        return values

    def _encoder(self, name: str) -> ImageEncoder | None:
        """The network of a metric, or None if it compares pixels."""
        wanted = METRICS[name].encoder
        return None if wanted is None else self.encoders[wanted]

    def _cosines(
        self,
        name: str,
        encoder: ImageEncoder,
        batch: Sequence[MeasurableEdit],
        defining: Sequence[int],
        device: torch.device,
    ) -> list[float]:
        """A metric for the cases of a batch that define it; the edits of the whole batch are embedded."""
        needs = METRICS[name].needs
        those = [batch[index] for index in defining]
        if needs == "label":
            edited = self._images(encoder, those, "inside", device)
        else:
            edited = self._images(encoder, batch, "edited", device)[torch.tensor(defining)]
        if needs == "ground_truth":
            right = self._images(encoder, those, "ground_truth", device)
        else:
            right = self._captions(self._reader(name), [edit.captions[needs] for edit in those], device)
        return cosine(edited, right).tolist()

    def _images(
        self, encoder: ImageEncoder, batch: Sequence[MeasurableEdit], which: str, device: torch.device
    ) -> Float[Tensor, "n d"]:
        """Vectors of a batch's images. Duplicates are embedded once, and the ground truth of a batch once for
        all rows.
        """
        digests = [edit.digests[which] for edit in batch]
        different = dict(zip(digests, batch, strict=True))
        known = (encoder.fingerprint, *different)
        if known not in self._embedded:
            self._embedded[known] = encoder.images(
                [edit.image(which) for edit in different.values()], device
            )  # 2 kB per image
        return self._embedded[known][torch.tensor([list(different).index(digest) for digest in digests])]

    def _reader(self, name: str) -> TextEncoder:
        """The network that embeds the captions of a metric."""
        encoder = self._encoder(name)
        if not isinstance(encoder, TextEncoder):
            slot = f"image_metrics.{METRICS[name].encoder}"
            raise ValueError(
                f"{name} compares with captions, which {type(encoder).__name__} can't read; give {slot} a "
                "CLIP"
            )
        return encoder

    def _captions(
        self, reader: TextEncoder, texts: Sequence[str], device: torch.device
    ) -> Float[Tensor, "n d"]:
        """Vectors of a batch's captions; see `_images`."""
        different = list(dict.fromkeys(texts))
        known = (reader.fingerprint, "texts", *different)
        if known not in self._embedded:
            self._embedded[known] = reader.texts(different, device)
        return self._embedded[known][torch.tensor([different.index(text) for text in texts])]

    def _key(self, name: str, digests: Mapping[str, str], captions: Mapping[str, str]) -> str:
        metric, encoder = METRICS[name], self._encoder(name)
        against = {
            "ground_truth": [digests.get("ground_truth")],
            "region": [digests.get("original"), digests.get("region")],
            "mask": [digests.get("original"), digests.get("mask")],
            "label": [digests.get("mask"), captions.get("label")],
        }.get(metric.needs, [captions.get(metric.needs)])
        everything = [VERSION, name, encoder and encoder.fingerprint, digests["edited"], *against]
        return hashlib.sha256(json.dumps(everything).encode()).hexdigest()[:32]


def _itself(truth: MetricGroundTruth) -> MetricGroundTruth:
    return truth


def look_up_ground_truth(
    benchmark: Benchmark, case: Case, needed: Collection[Requirement], part: Crop = WHOLE
) -> MetricGroundTruth:
    """What the benchmark knows about a case, restricted to what is needed.

    Args:
        benchmark: knows the ground truth.
        case: of the benchmark.
        needed: requirements of the metrics.
        part: of the photograph, to which images and masks are cropped.

    Raises:
        ValueError: a region of another size than the original, or a broken image.
        FileNotFoundError: an image is missing.
    """
    image = benchmark.ground_truth(case) if "ground_truth" in needed else None
    region = benchmark.edit_region(case) if "region" in needed else None
    mask = benchmark.mask(case) if {"mask", "label"} & set(needed) else None
    original = None if region is None and mask is None else case.original
    if region is not None and original is not None and region.shape != original.shape[:2]:
        (height, width), (rows, columns) = original.shape[:2], region.shape
        raise ValueError(
            f"the region of case {case.id} has {columns}x{rows} pixels and its original {width}x{height}; "
            "make them equal"
        )
    nearest = PIL.Image.Resampling.NEAREST
    return MetricGroundTruth(
        image=None if image is None else crop(image, part),
        captions=benchmark.captions(case) if CAPTIONS & set(needed) else {},
        region=None if region is None else crop(region, part, nearest),
        mask=None if mask is None else crop(mask, part, nearest),
        original=None if original is None else crop(original, part),
    )


def has_nothing_outside(name: str, region: Mask | None) -> bool:
    """Whether a metric of the area outside the region has no pixels to measure."""
    if name not in OUTSIDE or region is None:
        return False
    return bool(region.all()) if name == "outside/l1" else not whole_windows(region).any()


def pixel_metric(name: str, edit: MeasurableEdit) -> float:
    """The value of a metric that needs no network, for an edit that defines it."""
    truth = edit.ground_truth
    against = truth.image if METRICS[name].needs == "ground_truth" else truth.original
    assert against is not None, f"{name} of a case that doesn't define it"
    if name in MASKED and truth.mask is not None:
        return MASKED[name](edit.edited, against, truth.mask)
    edited = resize_bicubic(edit.edited, *against.shape[:2])
    if name in TO_GROUND_TRUTH:
        return float(TO_GROUND_TRUTH[name](to_unit_range(edited), to_unit_range(against)))
    value = None if truth.region is None else OUTSIDE[name](edited, against, truth.region)
    if value is None:
        raise ValueError(f"{name} has no pixels outside the edit")
    return value


def array_digest(array: np.ndarray) -> str:
    """sha256 of an image or a region."""
    return hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()
