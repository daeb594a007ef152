"""The exact world: cases, triplets with rewards and benchmark cases, each a pure function of its id.

`w<version>-<split>-<seed>-<index>-<size>` says everything, so the oracle rebuilds a scene from nothing but
the id of a triplet. Seven successive indices share one original outside the training split, one for each edit
type; in training each has its own.

The splits: `train`; `validation`, to choose settings by; `benchmark`, unseen scenes on unseen photographs;
and on the benchmark's photographs `wordings`, whose instructions are worded as none in training, and `pairs`,
about objects of a colour and shape that training has only apart.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from random import Random
from typing import final

from src.records import Case, Feedback, Image, Reward, Triplet
from src.seeds import fold_seed
from src.source_code import source_digest
from src.synthetic.annotation import AnnotationTask, Annotator, NoisyAnnotator
from src.synthetic.corruptions import (
    Corruption,
    corrupt,
    sample_corruption,
    sample_following_flaw,
    sample_preserving_flaw,
    sample_quality_flaw,
)
from src.synthetic.edits import EDIT_TYPES, Edit, sample_edit, with_held_out_wording
from src.synthetic.ground_truth import GroundTruth, render_ground_truth
from src.synthetic.photos import PhotoLibrary
from src.synthetic.scene import PhotoBackground, Renderer, Scene, pick, sample_scene, to_uint8

VERSIONS = {"train": "2", "validation": "2", "benchmark": "3"}
"""By share of the photographs; raised whenever an id would give another image or instruction (3: the rocket
has the colours of its file's profile). `code_digest` tells other measures apart.
"""

BENCHMARK_ORIGINALS = 80
"""As in Real-Edit; with seven edits each, 560 cases."""

SIZES = range(32, 257, 16)

SPLITS: Mapping[str, str] = {
    "train": "train",
    "validation": "validation",
    "benchmark": "benchmark",
    "wordings": "benchmark",
    "pairs": "benchmark",
}
"""Each split with the share of the photographs that it uses."""


NOISY = NoisyAnnotator()


@final
@dataclass(frozen=True)
class CaseSpec:
    """What an id stands for: a scene, the edit to make and a free place."""

    scene: Scene
    edit: Edit
    free_place: str


@final
class World:
    """The synthetic world at one image size.

    Args:
        size: side of the images in pixels, 32 to 256 in steps of 16.
        photos: a folder of photographs in place of those in scikit-image's wheel.
        never_all_good: whether every training triplet is corrupted in at least one perspective; each
            perspective is corrupted as often as otherwise.

    Attributes:
        size, never_all_good: as given.
        renderer: of its scenes.

    Raises:
        ValueError: a size out of range; a photo folder that is missing, empty or holds a broken file.
    """

    def __init__(self, size: int, photos: str | Path | None = None, never_all_good: bool = False) -> None:
        if size not in SIZES:
            raise ValueError(
                f"size={size} is not possible: images are {SIZES.start} to {SIZES[-1]} pixels wide, in "
                f"steps of {SIZES.step}"
            )
        self.size = size
        library = PhotoLibrary(size, None if photos is None else Path(photos))
        self.never_all_good = never_all_good
        self._variant = ("n" if never_all_good else "") + (f"x{library.digest}" if library.digest else "")
        self.renderer = Renderer(library)
        self._specs = lru_cache(maxsize=16)(self._make_spec)

    def version(self, split: str = "benchmark") -> str:
        """Part of every id. It names the variant, and holds a digest of the photographs if they come from a
        folder.
        """
        return VERSIONS[SPLITS[split]] + self._variant

    def case_id(self, split: str, seed: int, index: int) -> str:
        """The id of a case and of every triplet made from it.

        Raises:
            ValueError: an unknown split, a negative number, or an index beyond the benchmark.
        """
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}: one of {', '.join(SPLITS)}")
        if seed < 0 or index < 0:
            raise ValueError(f"seed and index of a case are 0 or more: got seed {seed}, index {index}")
        return f"w{self.version(split)}-{split}-{seed}-{index}-{self.size}"

    def parse(self, case_id: str) -> tuple[str, int, int]:
        """Split, seed and index of an id of this world.

        Raises:
            ValueError: an id of another kind, version or size.
        """
        found = re.fullmatch(rf"w(\w+)-({'|'.join(SPLITS)})-(\d+)-(\d+)-(\d+)", case_id)
        if found is None:
            raise ValueError(
                f"{case_id!r} is no id of the synthetic world (w<version>-<split>-<seed>-<index>-<size>)"
            )
        version, split, seed, index, size = found.groups()
        if version != self.version(split) or int(size) != self.size:
            raise ValueError(
                f"{case_id!r} is of version {version} at {size} px; this world is of version "
                f"{self.version(split)} at {self.size} px"
            )
        return split, int(seed), int(index)

    def scene(self, case_id: str) -> Scene:
        """The scene of the original, rebuilt from the id. Raises ValueError for a foreign id."""
        return self._specs(*self.parse(case_id)).scene

    def edit(self, case_id: str) -> Edit:
        """The edit that the instruction asks for, rebuilt from the id. Raises ValueError for a foreign id."""
        return self._specs(*self.parse(case_id)).edit

    def case_spec(self, case_id: str) -> CaseSpec:
        """Scene, edit and free place of an id. Raises ValueError for a foreign id."""
        return self._specs(*self.parse(case_id))

    def exact_edit(self, case_id: str) -> Image:
        """The exact edited image. Raises ValueError for a foreign id."""
        return to_uint8(self.renderer.render(self.edit(case_id).after))

    def ground_truth(self, case_id: str) -> GroundTruth:
        """The right answer to this case. Raises ValueError for a foreign id."""
        spec = self.case_spec(case_id)
        return render_ground_truth(self.renderer, spec.scene, spec.edit)

    def case(self, split: str, seed: int, index: int) -> Case:
        """Original and instruction. Raises ValueError as `case_id` does."""
        return self._case(self.case_id(split, seed, index), self._specs(split, seed, index))

    def benchmark_cases(
        self, seed: int = 0, originals: int = BENCHMARK_ORIGINALS, split: str = "benchmark"
    ) -> list[Case]:
        """All seven edits of each original, in the order of the ids.

        Raises:
            ValueError: not 1 to 80 originals, an unknown split, or the training split, where no two cases
                share an original.
        """
        if split == "train":
            raise ValueError(
                "the training split has no benchmark cases: no two of its cases share an original"
            )
        if not 1 <= originals <= BENCHMARK_ORIGINALS:
            raise ValueError(f"the benchmark has 1 to {BENCHMARK_ORIGINALS} originals, got {originals}")
        return [self.case(split, seed, index) for index in range(originals * len(EDIT_TYPES))]

    def triplet(self, split: str, seed: int, index: int) -> Triplet:
        """An unrated triplet, often corrupted. Raises ValueError as `case_id` does."""
        case_id = self.case_id(split, seed, index)
        spec = self._specs(split, seed, index)
        return Triplet(
            self._case(case_id, spec),
            to_uint8(corrupt(self.renderer, spec.edit, self.corruption(case_id))),
        )

    def rewarded_triplet(
        self, split: str, seed: int, index: int, annotator: Annotator = NOISY
    ) -> tuple[Triplet, Reward]:
        """The same triplet and its reward by an annotator. Raises ValueError as `case_id` does."""
        triplet = self.triplet(split, seed, index)
        spec, corruption = self._specs(split, seed, index), self.corruption(triplet.case.id)
        task = AnnotationTask(
            triplet.case.id,
            self.renderer,
            spec.scene,
            spec.edit,
            spec.free_place,
            corruption,
            triplet.edited,
        )
        return triplet, annotator.annotate(task)

    def corruption(self, case_id: str) -> Corruption:
        """What goes wrong with the training triplet of this id. Raises ValueError for a foreign id."""
        split, seed, index = self.parse(case_id)
        spec = self._specs(split, seed, index)
        rng = Random(fold_seed("corruption", split, seed, index))
        return sample_corruption(
            rng, self.renderer, spec.scene, spec.edit, spec.free_place, self.never_all_good
        )

    def failed_feedback(self, case_id: str) -> Feedback:
        """Feedback on an edit of this case that fails in all three perspectives. Raises ValueError for a
        foreign id.
        """
        split, seed, index = self.parse(case_id)
        spec = self._specs(split, seed, index)
        rng = Random(fold_seed("failed", split, seed, index))
        following = sample_following_flaw(
            rng, self.renderer, spec.scene, spec.edit, spec.free_place, "missing"
        )
        preserving = sample_preserving_flaw(rng, self.renderer, spec.scene, spec.edit)
        return following.feedback, preserving.feedback, sample_quality_flaw(rng).feedback

    def _case(self, case_id: str, spec: CaseSpec) -> Case:
        original = to_uint8(self.renderer.render(spec.scene))
        return Case(
            case_id,
            original,
            spec.edit.instruction,
            spec.edit.type,
            self._photograph(spec.scene),
        )

    def _photograph(self, scene: Scene) -> str:
        background = scene.background
        if isinstance(background, PhotoBackground):
            return self.renderer.library.photographs[background.split][background.photo].name
        return f"{background.first}-{background.second}"

    def _make_spec(self, split: str, seed: int, index: int) -> CaseSpec:
        original, kind = (index, None) if split == "train" else divmod(index, len(EDIT_TYPES))
        # Originals outside training take the photographs in turn, so each is used equally often.
        share, held_out = SPLITS[split], split == "pairs"
        photo = None if split == "train" else original % len(self.renderer.library.photographs[share])
        scene, free_place = sample_scene(
            Random(fold_seed("scene", split, seed, original)), self.renderer, share, photo, held_out
        )
        rng = Random(fold_seed("edit", split, seed, index))
        edit_type = pick(rng, EDIT_TYPES) if kind is None else EDIT_TYPES[kind]
        edit = sample_edit(rng, self.renderer, scene, free_place, edit_type, held_out)
        return CaseSpec(scene, with_held_out_wording(rng, edit) if split == "wordings" else edit, free_place)


@cache
def code_digest() -> str:
    """sha256 of the code of the synthetic world, without comments and docstrings.

    Scores that other code measured are never taken for today's.
    """
    return source_digest(sorted(Path(__file__).parent.glob("*.py")))
