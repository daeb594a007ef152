"""A benchmark of smooth random images, with targets, captions and edit regions that are partly unknown."""

from collections.abc import Mapping, Sequence

import numpy as np
import PIL.Image

from src.evaluation.benchmark import Benchmark, Reference
from src.records import Case, Feedback, Image


def random_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth enough that a crop that is one pixel off is seen, and not only noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 4 + 2, width // 4 + 2, 3), dtype=np.uint8)
    return np.array(PIL.Image.fromarray(noise).resize((width, height), PIL.Image.Resampling.BICUBIC))


class Drawn(Benchmark):
    """Six cases of three photographs; the target of the last is not known, nor the local captions of the
    first two, nor one region.
    """

    name = "drawn"

    def cases(self) -> Sequence[Case]:
        return [
            Case(f"c{index}", random_image(48, 40 + index, index), "paint", "local", f"photo{index // 2}")
            for index in range(6)
        ]

    def ground_truth(self, case: Case) -> Image | None:
        return None if case.id == "c5" else random_image(48, 40 + int(case.id[1]), 10 + int(case.id[1]))

    def captions(self, case: Case) -> Mapping[str, str]:
        texts = {"local": f"a red hat {case.id}", "global": "a man who wears a red hat"}
        return {"global": texts["global"]} if case.id in ("c0", "c1") else texts

    def edit_region(self, case: Case) -> np.ndarray | None:
        if case.id == "c4":
            return None
        region = np.zeros(case.original.shape[:2], dtype=bool)
        region[:20, :20] = True
        return region

    def failed_feedback(self, case: Case) -> Feedback | None:
        return None

    def mask(self, case: Case) -> None:
        return None

    def references(self) -> Sequence[Reference]:
        return ()
