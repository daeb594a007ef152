"""Reason-Edit: photographs with several similar objects, referred to by place, size, mirror, colour or
number, or with instructions that need reasoning.

    # sampler=smartedit: squares of 256 pixels, 100 steps
    python -m src.evaluate checkpoint=runs/.../editor benchmark=reason_edit sampler=smartedit ...
    # the published tables report the first five folders and the last one separately; here the last
    python -m src.evaluate ... benchmark.part=reasoning image_metrics=reason_edit
    python -m src.evaluate edits=THEIRS output=runs/theirs benchmark=reason_edit benchmark.folder=DIR

    DIR/1-Left-Right/001.png                a photograph; also in 2-Relative-Size, 3-Mirror, 4-Color,
                                            5-Multiple-Objects and 6-Reasoning
    DIR/1-Left-Right/001_mask.jpg           white where the edit may change it
    DIR/1-Left-Right/Left_Right_text.txt    a line per photograph, in order of their names:
                                            "<instruction>  CLIP: <what the inside of the mask then shows>"

Protocol: one edit per case; PSNR, SSIM and MSE outside the mask, and the CLIP score (ViT-L/14) between the
rectangle around the mask and the line's label, all at 256 x 256 (masked.py); means over the five folders
"understanding" and over the folder "reasoning". Images are squeezed to squares of 256 pixels and edited in
100 steps (sampler=smartedit). LPIPS is left out: torchmetrics implements it, but its network needs
torchvision.

Known of the release, from the authors' scripts: names of folders and text files, format and order of the
lines, names of masks; from the evaluation code of others: photographs are numbered from 001. Not known, as
the files are on a drive that needs a browser: their number and sizes. So any number of lines is accepted that
equals that of the photographs, and a folder's only text file is read whatever its name. The script looks for
the last folder under its old name, ...Reasoning-231115, which is accepted as well. The download is said to
contain 7-Add-supp without masks, which is not part of the protocol: it is left out and reported. Source:
Huang et al., "SmartEdit", CVPR 2024; test/metrics_evaluation.py and test/DS_SmartEdit_test.py of its release.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Bool

from src.data.rows import EncodedImage
from src.evaluation.benchmark import Benchmark, Reference
from src.evaluation.case_images import abbreviate, natural_sort_key, read_region
from src.evaluation.masked import GreyMask, square_mask
from src.evaluation.references import copy_of_input
from src.image_files import images_in
from src.images import load_mask
from src.records import Case, Feedback, Image

SCENES = {
    "1-Left-Right": "left right",
    "2-Relative-Size": "relative size",
    "3-Mirror": "mirror",
    "4-Color": "color",
    "5-Multiple-Objects": "multiple objects",
    "6-Reasoning": "reasoning",
}
"""The release's folders and their edit types."""

OLD_NAMES = {"6-Reasoning": "Reasoning-231115"}
"""Endings of folders in earlier versions of the release."""

PARTS = {"all": tuple(SCENES), "understanding": tuple(SCENES)[:5], "reasoning": tuple(SCENES)[5:]}
"""The folders of each part."""

LABEL = "CLIP:"
MASK = "_mask.jpg"


@final
@dataclass(frozen=True)
class ReasonEditCase:
    """A case with its mask, and what the inside of the mask shows after the edit."""

    case: Case
    mask: Path
    label: str


@final
class ReasonEdit(Benchmark):
    """Cases folder by folder, in the order of the lines. Files are read when needed.

    Args:
        folder: contains the release's six folders, or those of the part.
        part: "all", "understanding" (the first five folders) or "reasoning" (the last).
        judged_height: height in pixels of original and edit for a judge; None keeps the size of the edit.

    Raises:
        ValueError: an unknown part.
    """

    def __init__(self, folder: str | Path, part: str = "all", judged_height: int | None = 512) -> None:
        if part not in PARTS:
            raise ValueError(f"benchmark.part={part}: say one of {', '.join(PARTS)}")
        self.folder = Path(folder)
        self.part = part
        self.judged_height = judged_height

    @property
    def name(self) -> str:
        """See Benchmark."""
        return "reason_edit" if self.part == "all" else f"reason_edit_{self.part}"

    def cases(self) -> Sequence[Case]:
        """The photographs with their instructions; the id is `<folder>/<photograph's stem>`; identical
        photographs form a cluster.

        Raises:
            FileNotFoundError: no such folder, or one of the release's folders is missing.
            ValueError: photographs, masks or lines that are missing, malformed or surplus, all named.
        """
        return [known.case for known in self._known.values()]

    def ground_truth(self, case: Case) -> Image | None:
        """Unknown."""
        return None

    def failed_feedback(self, case: Case) -> Feedback | None:
        """Unknown."""
        return None

    def captions(self, case: Case) -> Mapping[str, str]:
        """The label: what the inside of the mask shows after the edit."""
        return {"label": self._known[case.id].label}

    def edit_region(self, case: Case) -> Bool[np.ndarray, "h w"] | None:
        """Where the mask is closer to white than to black, at the size of the original. Raises as
        EncodedImage.
        """
        return read_region(self._known[case.id].mask, case.size)

    def mask(self, case: Case) -> GreyMask | None:
        """The mask. Raises as EncodedImage."""
        return read_mask(self._known[case.id].mask)

    def references(self) -> Sequence[Reference]:
        """Copying the input."""
        return (copy_of_input(),)

    @cached_property
    def _known(self) -> dict[str, ReasonEditCase]:
        scenes = scene_folders(self.folder, PARTS[self.part])
        problems, known = [], []
        for scene, place in scenes.items():
            found, wrong = read_scene(scene, place)
            known += found
            problems += wrong
        if problems:
            raise ValueError(
                f"{self.folder} is not whole: {'; '.join(problems)}; correct it, no case is left out"
            )
        return {each.case.id: each for each in known}


def scene_folders(folder: Path, scenes: Sequence[str]) -> dict[str, Path]:
    """The folder of each scene; unknown folders are reported on stderr.

    Raises:
        FileNotFoundError: no such folder, or missing scenes, named.
        ValueError: a scene exists under both of its names.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"no folder {folder}; benchmark.folder is the unpacked Reason-Edit, with {', '.join(SCENES)}"
        )
    there = [
        path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith((".", "__"))
    ]
    found = {
        scene: [path for path in there if path.name.endswith((scene, OLD_NAMES.get(scene, scene)))]
        for scene in SCENES
    }
    missing = [scene for scene in scenes if not found[scene]]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {', '.join(missing)}; benchmark.part=understanding or reasoning asks for a part "
            "of Reason-Edit"
        )
    for scene, paths in found.items():
        if len(paths) > 1:
            raise ValueError(
                f"{folder} has {scene} twice, as {' and '.join(path.name for path in paths)}; keep one of "
                "them"
            )
    others = [path.name for path in there if not any(path in paths for paths in found.values())]
    if others:
        print(
            f"note: {folder} also holds {', '.join(others)}, which is no part of Reason-Edit's protocol and "
            "is left out",
            file=sys.stderr,
        )
    return {scene: found[scene][0] for scene in scenes}


def read_scene(scene: str, place: Path) -> tuple[list[ReasonEditCase], list[str]]:
    """The cases of one folder, and its faults in words."""
    found = images_in(place)
    images = [path for path in found if path.suffix == ".png"]
    masks = [path.with_name(path.stem + MASK) for path in images]
    others = set(found) - {*images, *masks}
    lines, wrong = read_lines(place)
    malformed = [
        f"line {number}: {line[:60]!r}"
        for number, line in enumerate(lines, start=1)
        if split_line(line) is None
    ]
    problems = {
        "photographs without a mask": [
            path.name for path, mask in zip(images, masks, strict=True) if not mask.is_file()
        ],
        "images that are neither a .png nor the mask of one": sorted(path.name for path in others),
        f'lines that are not "<instruction>  {LABEL} <label>"': malformed,
        "masks that are black all over": [
            mask.name for mask in masks if mask.is_file() and not square_mask(read_mask(mask)).any()
        ],
    }
    wrong += [f"{len(names)} {what} ({abbreviate(names)})" for what, names in problems.items() if names]
    if lines and len(lines) != len(images):
        wrong.append(
            f"{len(lines)} lines for {len(images)} photographs ({abbreviate([path.name for path in images])})"
        )
    if images != sorted(images, key=lambda path: natural_sort_key(path.stem)):
        wrong.append(
            "names whose order as text is not that of their numbers "
            f"({abbreviate([path.name for path in images])}): pad them with zeros"
        )
    if wrong:
        return [], [f"{place.name} has {', '.join(wrong)}"]
    return [parse_case(scene, *each) for each in zip(images, masks, lines, strict=True)], []


def read_lines(place: Path) -> tuple[list[str], list[str]]:
    """The lines of a folder's text file without trailing blank ones, and its faults in words."""
    files = sorted(path for path in place.glob("*.txt") if not path.name.startswith("."))
    if len(files) != 1:
        return [], [
            f"{len(files)} text files ({abbreviate([path.name for path in files])})"
            if files
            else "no text file"
        ]
    try:
        text = files[0].read_text(encoding="utf-8-sig").rstrip()
    except UnicodeDecodeError as error:
        return [], [f"a text file that is not UTF-8 ({files[0].name}: {error.reason} at byte {error.start})"]
    return text.split("\n") if text else [], [] if text else [f"an empty text file ({files[0].name})"]


def split_line(line: str) -> tuple[str, str] | None:
    """Instruction and label of a line; None for a malformed line."""
    parts = [part.strip() for part in line.split(LABEL)]
    return (parts[0], parts[1]) if len(parts) == 2 and all(parts) else None


def parse_case(scene: str, image: Path, mask: Path, line: str) -> ReasonEditCase:
    """One case, from a well-formed line."""
    stored, texts = EncodedImage(str(image)), split_line(line)
    assert texts is not None
    instruction, label = texts
    return ReasonEditCase(
        Case(f"{scene}/{image.stem}", stored, instruction, SCENES[scene], stored.digest()[:16]), mask, label
    )


def read_mask(path: Path) -> GreyMask:
    """A mask as stored. Raises FileNotFoundError or ValueError for an image that can't be read."""
    return load_mask(path).grey
