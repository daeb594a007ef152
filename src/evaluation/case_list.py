"""The copy of a benchmark's cases in a run folder: texts and thumbnails, so that a report page needs neither
the benchmark nor its data.

    <run>/evaluation/<benchmark>/cases/cases.jsonl   id, edit type, photograph, instruction, image files
    <run>/evaluation/<benchmark>/cases/<hash>.webp   originals and ground truth, at most 256 pixels wide
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from src.batching import batches_of
from src.data.kept_cases import FOLDER, LIST, KeptCase, kept_cases
from src.evaluation.benchmark import Benchmark
from src.files import remove_leftovers, replacing, write_atomically
from src.pages import encode_webp, thumbnail
from src.progress import with_progress
from src.records import Case, Image


def keep_cases(folder: Path, benchmark: Benchmark, cases: Sequence[Case]) -> None:
    """Write the cases into the benchmark's folder of a run; cases of earlier evaluations stay.

    Args:
        folder: `<run>/evaluation/<benchmark>`.
        benchmark: knows the ground truth.
        cases: those of this evaluation.

    Raises:
        NotWrittenError: the disk is full.
    """
    where = folder / FOLDER
    remove_leftovers(where)
    kept = {case.id: case for case in kept_cases(folder)} if (where / LIST).exists() else {}
    found: dict[str, KeptCase] = {}
    written: dict[int, str] = {}  # decode a photograph shared by several cases once
    for batch in with_progress(batches_of(cases, 16), len(cases), "keep", "cases"):
        for case in batch:
            if id(case.image) not in written:
                written[id(case.image)] = _keep_image(where, case.original)
            found[case.id] = _kept_case(where, case, written[id(case.image)], benchmark.ground_truth(case))
    found.update({id: case for id, case in kept.items() if id not in found})
    write_atomically(
        where / LIST, "".join(json.dumps(asdict(case), ensure_ascii=False) + "\n" for case in found.values())
    )


def _kept_case(where: Path, case: Case, original: str, target: Image | None) -> KeptCase:
    answer = None if target is None else _keep_image(where, target)
    return KeptCase(case.id, case.edit_type, case.photograph, case.instruction, original, answer)


def _keep_image(where: Path, image: Image) -> str:
    """Write an image unless it exists; returns its file name."""
    name = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()[:20] + ".webp"
    path = where / name
    if not path.exists():
        with replacing(path, durable=False) as partial:
            partial.write_bytes(encode_webp(thumbnail(image)))
    return name
