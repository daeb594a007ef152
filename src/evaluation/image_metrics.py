"""Which image metrics are taken, and taking them; `src.evaluation.metrics` says what each of them is.

    python -m src.evaluate ... image_metrics=magicbrush     # all; networks: image_metrics.clip.model=FOLDER or hub id, image_metrics.dino.model=
    python -m src.evaluate ... image_metrics=pixels         # what needs no network: distances, and what changed outside the edit
    python -m src.evaluate ... image_metrics=magicbrush image_metrics.metrics=[magicbrush/clip_i,outside/ssim]
    python -m src.evaluate ... image_metrics=reason_edit    # Reason-Edit's; network: image_metrics.clip_large.model=FOLDER or hub id

On a CPU the same cases give the same values, bit for bit: the last digits of an embedding depend on its
batch, so cases are always embedded in the batch that they belong to, whatever is already known of them.
Originals, right answers and masks are decoded once, to be told apart by their digests, and again only where
something is to be measured.
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
"""Raised whenever a metric would be computed otherwise."""

WANTED: Mapping[Requirement, str] = {
    "target": "an exact target",
    "local": "a caption of the kind 'local'",
    "global": "a caption of the kind 'global'",
    "region": "a region that the edit may change",
    "mask": "a mask with its grey values",
    "label": "a caption of the kind 'label', and a mask",
}
"""What metrics need, in words."""

CAPTIONS: frozenset[Requirement] = frozenset(("local", "global", "label"))
"""Those that are captions."""

CONFIG: Mapping[EncoderName, str] = {"clip": "magicbrush", "dino": "magicbrush", "clip_large": "reason_edit"}
"""The choice of image_metrics that has a network."""


TO_GROUND_TRUTH = {"magicbrush/l1": l1, "magicbrush/l2": l2}
OUTSIDE = {"outside/l1": outside_l1, "outside/ssim": outside_ssim}
MASKED = {"reason_edit/psnr": masked_psnr, "reason_edit/ssim": masked_ssim, "reason_edit/mse": masked_mse}


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What a benchmark knows of the right answer to a case, or to the part of it that an edit shows.

    Attributes:
        target: the right answer.
        captions: by kind.
        region: where the edit may change the original, in its pixels.
        mask: the same with its grey values, at a size of its own.
        original: where there is a region or a mask.
    """

    target: Image | None
    captions: Mapping[str, str]
    region: Mask | None
    mask: GreyMask | None
    original: Image | None

    def knows(self, needed: Requirement) -> bool:
        """Whether there is what a metric needs."""
        if needed in CAPTIONS:
            return needed in self.captions and (needed != "label" or self.mask is not None)
        return {"target": self.target, "region": self.region, "mask": self.mask}[needed] is not None

    def arrays(self) -> dict[str, np.ndarray]:
        """Its images and masks by name."""
        named = {"target": self.target, "region": self.region, "mask": self.mask, "original": self.original}
        return {name: array for name, array in named.items() if array is not None}


@dataclass(frozen=True)
class GroundTruthDigest:
    """What is kept of an answer, without its images.

    Attributes:
        captions: by kind.
        digests: sha256 of each image and mask.
        defined: the metrics that the answer defines.
    """

    captions: Mapping[str, str]
    digests: Mapping[str, str]
    defined: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class MeasurableEdit:
    """An edit and what it is compared with.

    Attributes:
        edited: the edit.
        captions: as of Answer.
        digests: sha256 of each image and mask.
        keys: the metrics that the case defines, each with sha256 of everything that its value depends on.
        look_up: gives the answer; it is asked only when something is measured.
    """

    edited: Image
    captions: Mapping[str, str]
    digests: Mapping[str, str]
    keys: Mapping[str, str]
    look_up: Callable[[], GroundTruth]

    @cached_property
    def answer(self) -> GroundTruth:
        """What the edit is compared with."""
        return self.look_up()

    def image(self, which: str) -> Image:
        """What a network is shown: "edited", "inside" (the mask's rectangle of it) or "target"."""
        if which == "edited":
            return self.edited
        shown = (
            self.answer.target
            if which == "target"
            else None
            if self.answer.mask is None
            else masked_rectangle(self.edited, self.answer.mask)
        )
        assert shown is not None, f"no {which} is known"
        return shown


@final
class ImageMetrics:
    """The metrics to take.

    Args:
        clip, dino, clip_large: networks; None leaves out the metrics that need them.
        metrics: names out of METRICS, each of which must then be defined on some case; None for all that the
            networks and the benchmark allow.
        batch_size: cases that are embedded together.

    Attributes:
        names: metrics that can be taken with these networks.
        batch_size: as given.

    Raises:
        ValueError: an unknown name, a metric without its network, or a batch of nothing.
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
                    f"the image metric {name} needs a network, image_metrics.{wanted}; say image_metrics={CONFIG[wanted]}"
                )
        if batch_size < 1:
            raise ValueError(f"image_metrics.batch_size={batch_size}: at least 1")
        self.names = tuple(
            name
            for name in METRICS
            if (metrics is None or name in metrics) and METRICS[name].encoder in (None, *self.encoders)
        )
        self._embedded: dict[tuple[str, ...], Float[Tensor, "n d"]] = {}
        self._described: WeakKeyDictionary[Benchmark, dict[tuple[str, Crop], GroundTruthDigest]] = (
            WeakKeyDictionary()
        )

    @property
    def measured_by(self) -> dict[str, str]:
        """The networks in use, as a report names them."""
        used = {METRICS[name].encoder for name in self.names}
        return {name: encoder.described for name, encoder in self.encoders.items() if name in used}

    @property
    def needs(self) -> set[Requirement]:
        """What must be known of a case for these metrics."""
        return {METRICS[name].needs for name in self.names}

    def check(self, benchmark: Benchmark, cases: Sequence[Case]) -> list[str]:
        """Look, before anything is made or measured, at what the benchmark knows; metrics that no case
        defines are named on stderr.

        Returns:
            The metrics that some case defines.

        Raises:
            ValueError: a metric was asked for by name and no case defines it, or a caption doesn't fit CLIP.
        """
        known: set[Requirement] = set()
        for needed in sorted(self.needs, key=list(WANTED).index):
            if any(ground_truth_of(benchmark, case, {needed}).knows(needed) for case in cases):
                known.add(needed)
                continue
            names = [name for name in self.names if METRICS[name].needs == needed]
            what = f"no case of {benchmark.name} has {WANTED[needed]}"
            if self.by_name:
                raise ValueError(
                    f"the image metric {names[0]} can't be taken, as {what}; leave it out of image_metrics.metrics"
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

    def measurable(self, benchmark: Benchmark, triplet: Triplet, part: Crop = WHOLE) -> MeasurableEdit:
        """A triplet with what it is compared with.

        Args:
            benchmark: knows it.
            triplet: its case is the benchmark's own, or another one with an id of its own.
            part: what the edit shows of its photograph.

        Raises:
            ValueError: a region of another size than the original.
        """
        case = triplet.case
        known = self._described.setdefault(benchmark, {})
        look_up: Callable[[], GroundTruth] = partial(ground_truth_of, benchmark, case, self.needs, part)
        if (case.id, part) not in known:
            answer = look_up()
            known[case.id, part] = self._describe(answer)
            look_up = partial(_itself, answer)  # it is at hand for this batch, and not kept any longer
        described = known[case.id, part]
        digests = {"edited": array_digest(triplet.edited), **described.digests}
        if "mask" in digests:
            digests["inside"] = f"{digests['edited']} {digests['mask']}"
        keys = {name: self._key(name, digests, described.captions) for name in described.defined}
        return MeasurableEdit(triplet.edited, described.captions, digests, keys, look_up)

    def _describe(self, answer: GroundTruth) -> GroundTruthDigest:
        defined = [
            name
            for name in self.names
            if answer.knows(METRICS[name].needs) and not has_nothing_outside(name, answer.region)
        ]
        return GroundTruthDigest(
            answer.captions,
            {name: array_digest(array) for name, array in answer.arrays().items()},
            tuple(defined),
        )

    def measure(
        self, batch: Sequence[MeasurableEdit], names: Sequence[str], device: torch.device
    ) -> list[dict[str, float]]:
        """Some metrics of a batch of cases.

        Args:
            batch: to be embedded together.
            names: metrics to take.
            device: where the networks run.

        Returns:
            Per case the values of those metrics that it defines.
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
        """A metric of those cases of a batch that define it, all of whose edits are embedded."""
        needs = METRICS[name].needs
        those = [batch[index] for index in defining]
        if needs == "label":
            edited = self._images(encoder, those, "inside", device)
        else:
            edited = self._images(encoder, batch, "edited", device)[torch.tensor(defining)]
        if needs == "target":
            right = self._images(encoder, those, "target", device)
        else:
            right = self._captions(self._reader(name), [edit.captions[needs] for edit in those], device)
        return cosine(edited, right).tolist()

    def _images(
        self, encoder: ImageEncoder, batch: Sequence[MeasurableEdit], which: str, device: torch.device
    ) -> Float[Tensor, "n d"]:
        """Vectors of a batch's images; one that occurs twice is embedded once, and targets of a batch once
        for all rows.
        """
        digests = [edit.digests[which] for edit in batch]
        different = dict(zip(digests, batch, strict=True))
        known = (encoder.fingerprint, *different)
        if known not in self._embedded:
            self._embedded[known] = encoder.images(
                [edit.image(which) for edit in different.values()], device
            )  # 2 kB a image
        return self._embedded[known][torch.tensor([list(different).index(digest) for digest in digests])]

    def _reader(self, name: str) -> TextEncoder:
        """The network that embeds the captions of a metric."""
        encoder = self._encoder(name)
        if not isinstance(encoder, TextEncoder):
            slot = f"image_metrics.{METRICS[name].encoder}"
            raise ValueError(
                f"{name} compares with captions, which {type(encoder).__name__} can't read; give {slot} a CLIP"
            )
        return encoder

    def _captions(
        self, reader: TextEncoder, texts: Sequence[str], device: torch.device
    ) -> Float[Tensor, "n d"]:
        """Vectors of a batch's captions, as `_images`."""
        different = list(dict.fromkeys(texts))
        known = (reader.fingerprint, "texts", *different)
        if known not in self._embedded:
            self._embedded[known] = reader.texts(different, device)
        return self._embedded[known][torch.tensor([different.index(text) for text in texts])]

    def _key(self, name: str, digests: Mapping[str, str], captions: Mapping[str, str]) -> str:
        metric, encoder = METRICS[name], self._encoder(name)
        against = {
            "target": [digests.get("target")],
            "region": [digests.get("original"), digests.get("region")],
            "mask": [digests.get("original"), digests.get("mask")],
            "label": [digests.get("mask"), captions.get("label")],
        }.get(metric.needs, [captions.get(metric.needs)])
        everything = [VERSION, name, encoder and encoder.fingerprint, digests["edited"], *against]
        return hashlib.sha256(json.dumps(everything).encode()).hexdigest()[:32]


def _itself(answer: GroundTruth) -> GroundTruth:
    return answer


def ground_truth_of(
    benchmark: Benchmark, case: Case, needed: Collection[Requirement], part: Crop = WHOLE
) -> GroundTruth:
    """What the benchmark knows of a case, of what is needed.

    Args:
        benchmark: knows the right answers.
        case: one of its own.
        needed: what metrics need.
        part: of the photograph, to which images and masks are cut.

    Raises:
        ValueError: a region of another size than the original, or a broken image.
        FileNotFoundError: a image is gone.
    """
    target = benchmark.ground_truth(case) if "target" in needed else None
    region = benchmark.edit_region(case) if "region" in needed else None
    mask = benchmark.mask(case) if {"mask", "label"} & set(needed) else None
    original = None if region is None and mask is None else case.original
    if region is not None and original is not None and region.shape != original.shape[:2]:
        (height, width), (rows, columns) = original.shape[:2], region.shape
        raise ValueError(
            f"the region of case {case.id} has {columns}x{rows} pixels and its original {width}x{height}; make them equal"
        )
    nearest = PIL.Image.Resampling.NEAREST
    return GroundTruth(
        target=None if target is None else crop(target, part),
        captions=benchmark.captions(case) if CAPTIONS & set(needed) else {},
        region=None if region is None else crop(region, part, nearest),
        mask=None if mask is None else crop(mask, part, nearest),
        original=None if original is None else crop(original, part),
    )


def has_nothing_outside(name: str, region: Mask | None) -> bool:
    """Whether a metric of what lies outside the region has nothing to look at."""
    if name not in OUTSIDE or region is None:
        return False
    return bool(region.all()) if name == "outside/l1" else not whole_windows(region).any()


def pixel_metric(name: str, edit: MeasurableEdit) -> float:
    """A metric that needs no network, of an edit that defines it."""
    answer = edit.answer
    against = answer.target if METRICS[name].needs == "target" else answer.original
    assert against is not None, f"{name} of a case that doesn't define it"
    if name in MASKED and answer.mask is not None:
        return MASKED[name](edit.edited, against, answer.mask)
    edited = resize_bicubic(edit.edited, *against.shape[:2])
    if name in TO_GROUND_TRUTH:
        return float(TO_GROUND_TRUTH[name](to_unit_range(edited), to_unit_range(against)))
    value = None if answer.region is None else OUTSIDE[name](edited, against, answer.region)
    if value is None:
        raise ValueError(f"{name} has nothing to look at outside the edit")
    return value


def array_digest(array: np.ndarray) -> str:
    """sha256 of a image or a region."""
    return hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()
