"""Which image metrics are taken, and taking them; `src.evaluation.metrics` says what each of them is.

    python -m src.evaluate ... image_metrics=magicbrush     # all; networks: image_metrics.clip.model=FOLDER or hub id, image_metrics.dino.model=
    python -m src.evaluate ... image_metrics=pixels         # what needs no network: distances, and what changed outside the edit
    python -m src.evaluate ... image_metrics=magicbrush image_metrics.metrics=[magicbrush/clip_i,outside/ssim]

On a CPU the same cases give the same values, bit for bit: the last digits of an embedding depend on its batch, so cases are always embedded in the
batch that they belong to, whatever is already known of them.
"""

import hashlib
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from src.evaluation.benchmark import Benchmark
from src.evaluation.encoders import PictureEncoder, TextEncoder
from src.evaluation.metrics import METRICS, Needed
from src.evaluation.pixels import Mask, Picture, cosine, l1, l2, outside_l1, outside_ssim, resized, unit, whole_windows
from src.records import Case, Image, Triplet

VERSION = 1
"""Raised whenever a metric would be computed otherwise."""

WANTED: Mapping[Needed, str] = {
    "target": "an exact target",
    "local": "a caption of the kind 'local'",
    "global": "a caption of the kind 'global'",
    "region": "a region that the edit may change",
}
"""What metrics need, in words."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a benchmark knows of the right answer to a case."""

    target: Image | None
    captions: Mapping[str, str]
    region: Mask | None

    def knows(self, needed: Needed) -> bool:
        """Whether there is a metric's target, caption or region."""
        return {"target": self.target is not None, "region": self.region is not None}.get(needed, needed in self.captions)


@dataclass(frozen=True, eq=False)
class Measurable:
    """An edit and what it is compared with.

    Attributes:
        pictures: "edited"; "target" where it is needed and known; "original" where a region is.
        captions, region: as of Answer.
        digests: sha256 of each picture and of the region.
        keys: the metrics that the case defines, each with sha256 of everything that its value depends on.
    """

    pictures: Mapping[str, Picture]
    captions: Mapping[str, str]
    region: Mask | None
    digests: Mapping[str, str]
    keys: Mapping[str, str]


@final
class ImageMetrics:
    """The metrics to take.

    Args:
        clip, dino: networks; None leaves out the metrics that need them.
        metrics: names out of METRICS, each of which must then be defined on some case; None for all that the networks and the benchmark allow.
        batch_size: cases that are embedded together.

    Attributes:
        names: metrics that can be taken with these networks.
        batch_size: as given.

    Raises:
        ValueError: an unknown name, a metric without its network, or a batch of nothing.
    """

    def __init__(
        self, clip: TextEncoder | None = None, dino: PictureEncoder | None = None, metrics: Sequence[str] | None = None, batch_size: int = 32
    ) -> None:
        self.clip, self.batch_size, self.by_name = clip, batch_size, metrics is not None
        self.encoders = {name: encoder for name, encoder in (("clip", clip), ("dino", dino)) if encoder is not None}
        for name in metrics or ():
            if name not in METRICS:
                raise ValueError(f"there is no image metric {name!r}; there are {', '.join(METRICS)}")
            if METRICS[name].encoder not in (None, *self.encoders):
                raise ValueError(f"the image metric {name} needs a network, image_metrics.{METRICS[name].encoder}; say image_metrics=magicbrush")
        if batch_size < 1:
            raise ValueError(f"image_metrics.batch_size={batch_size}: at least 1")
        self.names = tuple(name for name in METRICS if (metrics is None or name in metrics) and METRICS[name].encoder in (None, *self.encoders))
        self._embedded: dict[tuple[str, ...], Float[Tensor, "n d"]] = {}

    @property
    def measured_by(self) -> dict[str, str]:
        """The networks in use, as a report names them."""
        used = {METRICS[name].encoder for name in self.names}
        return {name: encoder.described for name, encoder in self.encoders.items() if name in used}

    @property
    def needs(self) -> set[Needed]:
        """What must be known of a case for these metrics."""
        return {METRICS[name].needs for name in self.names}

    def check(self, benchmark: Benchmark, cases: Sequence[Case]) -> list[str]:
        """Look, before anything is made or measured, at what the benchmark knows; metrics that no case defines are named on stderr.

        Returns:
            The metrics that some case defines.

        Raises:
            ValueError: a metric was asked for by name and no case defines it, or a caption doesn't fit CLIP.
        """
        known: set[Needed] = set()
        for needed in sorted(self.needs, key=list(WANTED).index):
            if any(answer_of(benchmark, case, {needed}).knows(needed) for case in cases):
                known.add(needed)
                continue
            names = [name for name in self.names if METRICS[name].needs == needed]
            what = f"no case of {benchmark.name} has {WANTED[needed]}"
            if self.by_name:
                raise ValueError(f"the image metric {names[0]} can't be taken, as {what}; leave it out of image_metrics.metrics")
            print(f"not measured, as {what}: {', '.join(names)}", file=sys.stderr)
        kinds = self.needs & {"local", "global"}
        for case in cases if self.clip is not None and kinds else ():
            for kind, text in benchmark.captions(case).items():
                if self.clip is not None and kind in kinds:
                    self.clip.check_text(text, f"case {case.id}: ")
        return [name for name in self.names if METRICS[name].needs in known]

    def measurable(self, benchmark: Benchmark, triplet: Triplet) -> Measurable:
        """A triplet with what it is compared with.

        Raises:
            ValueError: a region of another size than the original.
        """
        answer = answer_of(benchmark, triplet.case, self.needs)
        pictures, digests = {"edited": triplet.edited}, {}
        if answer.target is not None:
            pictures["target"] = answer.target
        if answer.region is not None:
            pictures["original"] = triplet.case.original
            digests["region"] = digest_of(answer.region)
            (height, width), (rows, columns) = pictures["original"].shape[:2], answer.region.shape
            if (height, width) != (rows, columns):
                raise ValueError(
                    f"the region of case {triplet.case.id} has {columns}x{rows} pixels and its original {width}x{height}; make them equal"
                )
        digests |= {name: digest_of(picture) for name, picture in pictures.items()}
        defined = [name for name in self.names if answer.knows(METRICS[name].needs) and not nothing_outside(name, answer.region)]
        keys = {name: self._key(name, digests, answer.captions) for name in defined}
        return Measurable(pictures, answer.captions, answer.region, digests, keys)

    def measure(self, batch: Sequence[Measurable], names: Sequence[str], device: torch.device) -> list[dict[str, float]]:
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
            taken = self._cosines(name, encoder, batch, defining, device) if encoder else [compared(name, batch[index]) for index in defining]
            for index, value in zip(defining, taken, strict=True):
                values[index][name] = value
        return values

    def _encoder(self, name: str) -> PictureEncoder | None:
        """The network of a metric, or None if it compares pixels."""
        wanted = METRICS[name].encoder
        return None if wanted is None else self.encoders[wanted]

    def _cosines(self, name: str, encoder: PictureEncoder, batch: Sequence[Measurable], defining: Sequence[int], device: torch.device) -> list[float]:
        """A metric of those cases of a batch that define it, all of whose edits are embedded."""
        metric = METRICS[name]
        edited = self._pictures(encoder, batch, "edited", device)[torch.tensor(defining)]
        those = [batch[index] for index in defining]
        if metric.needs == "target":
            right = self._pictures(encoder, those, "target", device)
        else:
            right = self._captions([edit.captions[metric.needs] for edit in those], device)
        return cosine(edited, right).tolist()

    def _pictures(self, encoder: PictureEncoder, batch: Sequence[Measurable], which: str, device: torch.device) -> Float[Tensor, "n d"]:
        """Vectors of a batch's pictures; one that occurs twice is embedded once, and targets of a batch once for all rows."""
        digests = [edit.digests[which] for edit in batch]
        different = dict(zip(digests, (edit.pictures[which] for edit in batch), strict=True))
        known = (encoder.fingerprint, *different)
        if known not in self._embedded:
            self._embedded[known] = encoder.pictures(list(different.values()), device)  # 2 kB a picture
        return self._embedded[known][torch.tensor([list(different).index(digest) for digest in digests])]

    def _captions(self, texts: Sequence[str], device: torch.device) -> Float[Tensor, "n d"]:
        """Vectors of a batch's captions, as `_pictures`."""
        if self.clip is None:
            raise ValueError("captions are embedded by CLIP, and there is none")
        different = list(dict.fromkeys(texts))
        known = (self.clip.fingerprint, "texts", *different)
        if known not in self._embedded:
            self._embedded[known] = self.clip.texts(different, device)
        return self._embedded[known][torch.tensor([different.index(text) for text in texts])]

    def _key(self, name: str, digests: Mapping[str, str], captions: Mapping[str, str]) -> str:
        metric, encoder = METRICS[name], self._encoder(name)
        against = {"target": [digests.get("target")], "region": [digests.get("original"), digests.get("region")]}.get(
            metric.needs, [captions.get(metric.needs)]
        )
        everything = [VERSION, name, encoder and encoder.fingerprint, digests["edited"], *against]
        return hashlib.sha256(json.dumps(everything).encode()).hexdigest()[:32]


def answer_of(benchmark: Benchmark, case: Case, needed: Collection[Needed]) -> Answer:
    """What the benchmark knows of a case, of what is needed."""
    target = benchmark.exact_target(case) if "target" in needed else None
    region = benchmark.edit_region(case) if "region" in needed else None
    return Answer(target, benchmark.captions(case) if {"local", "global"} & set(needed) else {}, region)


def nothing_outside(name: str, region: Mask | None) -> bool:
    """Whether a metric of what lies outside the region has nothing to look at."""
    if METRICS[name].needs != "region" or region is None:
        return False
    return bool(region.all()) if name == "outside/l1" else not whole_windows(region).any()


def compared(name: str, edit: Measurable) -> float:
    """A metric that needs no network, of an edit that defines it."""
    against = edit.pictures["target" if METRICS[name].needs == "target" else "original"]
    edited = resized(edit.pictures["edited"], *against.shape[:2])
    if name == "magicbrush/l1":
        return float(l1(unit(edited), unit(against)))
    if name == "magicbrush/l2":
        return float(l2(unit(edited), unit(against)))
    value = None if edit.region is None else (outside_l1 if name == "outside/l1" else outside_ssim)(edited, against, edit.region)
    if value is None:
        raise ValueError(f"{name} has nothing to look at outside the edit")
    return value


def digest_of(array: np.ndarray) -> str:
    """sha256 of a picture or a region."""
    return hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()
