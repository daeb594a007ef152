"""Images that must not be in training data: those of a folder or of a benchmark, as perceptual hashes."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from src.data.lint import KnownImage
from src.data.perceptual_hash import perceptual_hash
from src.evaluation.benchmark import Benchmark
from src.image_files import SUFFIXES, images_in
from src.images import load_image

PORTION = 32


def image_files(folder: Path) -> list[Path]:
    """List all images in a folder and below it, sorted.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no image in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"leakage: {folder} is neither a folder of images nor a benchmark of conf/benchmark; "
            "give one of these"
        )
    files = images_in(folder, below=True)
    if not files:
        raise ValueError(
            f"leakage: no image in {folder} or below it ({', '.join(SUFFIXES)}); "
            "give the folder of a benchmark's images"
        )
    return files


def hash_files(files: Sequence[Path], folder: Path) -> Iterator[list[KnownImage]]:
    """Hash images of a folder, a portion at a time. Raises ValueError for a broken one."""
    for start in range(0, len(files), PORTION):
        yield [
            KnownImage(str(path.relative_to(folder)), str(folder), perceptual_hash(load_image(path)))
            for path in files[start : start + PORTION]
        ]


def hash_cases(benchmark: Benchmark) -> list[KnownImage]:
    """Hash the originals of a benchmark, each once, and its right answers where they are known."""
    found: dict[bytes, KnownImage] = {}
    for case in benchmark.cases():
        original, answer = perceptual_hash(case.original), benchmark.ground_truth(case)
        found.setdefault(original.digest, KnownImage(case.id, benchmark.name, original))
        if answer is not None:
            exact = perceptual_hash(answer)
            found.setdefault(exact.digest, KnownImage(f"{case.id} (right answer)", benchmark.name, exact))
    return list(found.values())
