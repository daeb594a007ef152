"""Real-Edit, the paper's benchmark: 80 photographs x 7 edit types = 560 cases without ground truth, scored by
a judge.

    python -m src.evaluate checkpoint=runs/.../last.ckpt benchmark=real_edit benchmark.folder=DIR

    DIR/Real-Edit/<name>             a photograph
    DIR/real_edit_instruct.json      {"<name>": ["1. Local: <instruction>", "2. Remove: ...", ...], ...}

Protocol: one edit per case; a judge scores following, preserving and quality, each with yes or no (Acc: share
of yes) and a score in [0, 5] (Score: mean), over all cases and per edit type; cases on which the judge failed
are counted, not dropped. The paper edits at a short side of 512 (sampler=paper), its released code at a long
side of about 512 with both sides multiples of 64 (sampler=released). The judge sees original and edit 512
pixels high, as in the release, and the edit alone for quality.

We depart from the released evaluation where it is wrong: the instruction begins after the first ": " (theirs
after the last), the noise of a case depends on the case and the seed alone (theirs on all cases before), and
Acc and Score are over the same cases. Source: Multi-Reward as Condition, ICLR 2025, section 4.1; eval.py of
its release; the data: huggingface.co/datasets/Gstar666/RewardEdit.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from jaxtyping import Bool

from src.data.rows import EncodedImage
from src.evaluation.benchmark import Benchmark, Reference
from src.evaluation.case_images import abbreviate, natural_sort_key
from src.evaluation.references import copy_of_input
from src.image_files import images_in
from src.json_files import parse_pairs, read_text
from src.records import Case, Feedback, Image

TYPES = ("local", "remove", "add", "texture", "background", "global", "style")
LINE = re.compile(r"(\d+)\. ([A-Za-z]+)(?: Edit)?: \s*(.*\S)\s*", re.DOTALL)
"""Two of the release's photographs have "1. Local Edit: ..."; the instruction is everything after the first
": ".
"""
PHOTOGRAPHS = "Real-Edit"
INSTRUCTIONS = ("real_edit_instruct.json", "eval_instruct.json")
"""Names of the same file in the releases of the multi-reward paper and of SuperEdit."""


@final
class RealEdit(Benchmark):
    """The cases of a folder: photographs by number, instructions in the order of their lines. Files
    are read when needed.

    Args:
        folder: holds Real-Edit/ and the JSON, or is Real-Edit/ itself; or the hub id of the release, which is
            downloaded.
        instructions: the JSON; None for the one in the folder or beside it.
        judged_height: height in pixels of original and edit for the judge; None keeps the size of the edit.
    """

    def __init__(
        self, folder: str | Path, instructions: str | Path | None = None, judged_height: int | None = 512
    ) -> None:
        self.folder = folder
        self.instructions = instructions
        self.judged_height = judged_height

    @property
    def name(self) -> str:
        """See Benchmark."""
        return "real_edit"

    def cases(self) -> Sequence[Case]:
        """Photographs x their instructions; the id is `<photograph's stem>-<number>-<type>`.

        Raises:
            FileNotFoundError: no such folder or JSON, or the hub can't deliver it.
            ValueError: photographs or instructions that are missing, malformed or duplicated, all named.
        """
        return self._cases

    def ground_truth(self, case: Case) -> Image | None:
        """Unknown."""
        return None

    def failed_feedback(self, case: Case) -> Feedback | None:
        """Unknown."""
        return None

    def captions(self, case: Case) -> Mapping[str, str]:
        """None."""
        return {}

    def edit_region(self, case: Case) -> Bool[np.ndarray, "h w"] | None:
        """Unknown."""
        return None

    def mask(self, case: Case) -> None:
        """None: the protocol does not weight pixels."""

    def references(self) -> Sequence[Reference]:
        """Copying the input."""
        return (copy_of_input(),)

    @cached_property
    def _cases(self) -> Sequence[Case]:
        photographs, instructions = find_files(self.folder, self.instructions)
        return read_cases(photographs, instructions)


def find_files(folder: str | Path, instructions: str | Path | None) -> tuple[Path, Path]:
    """Find the folder of the photographs and the JSON.

    Raises:
        FileNotFoundError: one of them is missing.
    """
    top = Path(folder) if Path(folder).is_dir() else download_benchmark(str(folder))
    photographs = top / PHOTOGRAPHS if (top / PHOTOGRAPHS).is_dir() else top
    if instructions is not None:
        if not Path(instructions).is_file():
            raise FileNotFoundError(
                f"no file {instructions}; benchmark.instructions is the JSON of Real-Edit, {INSTRUCTIONS[0]}"
            )
        return photographs, Path(instructions)
    candidates = [place / name for place in (photographs, photographs.parent, top) for name in INSTRUCTIONS]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"no {INSTRUCTIONS[0]} in {photographs} or beside it; say where it is with "
            "benchmark.instructions=FILE"
        )
    return photographs, found


def download_benchmark(name: str) -> Path:
    """Download Real-Edit from a dataset on the hub into the hub's cache.

    Raises:
        FileNotFoundError: no such folder, and none on the hub, or no network.
    """
    hint = (
        f"no folder {name}; benchmark.folder is a folder with {PHOTOGRAPHS}/ and {INSTRUCTIONS[0]}, "
        "or a hub id owner/name"
    )
    if Path(name).is_absolute() or name.startswith(".") or name.count("/") != 1:
        raise FileNotFoundError(hint)
    try:
        # the same repository also holds the training rewards
        wanted = [f"*{PHOTOGRAPHS}/*", *(f"*{file}" for file in INSTRUCTIONS)]
        top = Path(snapshot_download(name, repo_type="dataset", allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise FileNotFoundError(
            f"{hint}; the hub gave nothing ({str(error).splitlines()[0][:120]})"
        ) from error
    found = next((place for place in sorted(top.rglob(PHOTOGRAPHS)) if place.is_dir()), None)
    if found is None:
        raise FileNotFoundError(
            f"{name} on the hub has no folder {PHOTOGRAPHS}; download it, unpack what is packed, and give "
            "benchmark.folder=DIR"
        )
    return found.parent


def read_cases(photographs: Path, instructions: Path) -> list[Case]:
    """All cases, or one error that lists every fault.

    Raises:
        ValueError: see RealEdit.cases.
    """
    listed = read_instructions(instructions)
    there = {path.name for path in images_in(photographs)}
    names = [name for name, _ in listed]
    images = {name: EncodedImage(str(photographs / name)) for name in names}
    cases, malformed = [], []
    # the two releases list the photographs in different order
    for name, lines in sorted(listed, key=lambda entry: natural_sort_key(entry[0])):
        for line in lines:
            match = LINE.fullmatch(line) if isinstance(line, str) else None
            if match is None or match[2].lower() not in TYPES:
                malformed.append(f"{name}: {str(line)[:60]!r}")
                continue
            kind = match[2].lower()
            cases.append(Case(f"{Path(name).stem}-{match[1]}-{kind}", images[name], match[3], kind, name))
    problems = {
        "photographs are missing": [name for name in images if name not in there],
        "photographs have no instructions": [
            *sorted(there - set(names)),
            *(name for name, lines in listed if not lines),
        ],
        "photographs are listed twice": duplicates(names),
        f'lines are not "<number>. <Type>: <instruction>" of a type among {", ".join(TYPES)}': malformed,
        "ids occur twice": duplicates([case.id for case in cases]),
    }
    wrong = "; ".join(
        f"{len(found)} {what} ({abbreviate(found)})" for what, found in problems.items() if found
    )
    if wrong:
        raise ValueError(
            f"{instructions} and {photographs} don't fit: {wrong}; correct them, no case is left out"
        )
    if not cases:
        raise ValueError(f"{instructions} lists no photographs")
    return cases


def read_instructions(path: Path) -> list[tuple[str, list[Any]]]:
    """Names of photographs with their lines, in the order of the file and with duplicates.

    Raises:
        ValueError: not JSON of this format.
    """
    listed = parse_pairs(read_text(path), str(path), list)
    if not isinstance(listed, list) or not all(
        isinstance(entry, tuple) and isinstance(entry[1], list) for entry in listed
    ):
        raise ValueError(f'{path} is not of the form {{"<name>": ["1. Local: <instruction>", ...], ...}}')
    return listed


def duplicates(names: Sequence[str]) -> list[str]:
    """The names that occur more than once, without repetition."""
    return [name for name, count in Counter(names).items() if count > 1]
