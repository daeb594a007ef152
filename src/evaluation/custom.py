"""Your own benchmark: images and instructions, with whatever else is known of the right edits.

    python -m src.evaluate checkpoint=runs/.../last.ckpt benchmark=custom benchmark.source=mine/ sampler=paper

    image,instruction,type,target,mask,caption_local,photograph
    a.jpg,make the sky purple,local,a_purple.png,a_mask.png,a purple sky,

The source is such a list (.csv or .jsonl; relative paths start at its folder), or a folder with a
metadata.jsonl or metadata.csv, where `file_name` may replace `image` as in an imagefolder. Required: image
and instruction. Optional:

    id                  names the edit's file; by default `<image's stem>-<number>`
    type                row of the per-type table
    photograph          cases of one photograph form a cluster; by default those of one image
    target              the right edit
    mask                transparent, or else white, where the edit may change the original
    caption_<kind>      what the right edit shows, of the kinds in KINDS
    captions            the same in JSON lines: {kind: text}

Protocol: one edit per case, all cases in the means.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import final

import numpy as np
from jaxtyping import Bool

from src.data.lists import Fields, ListColumns, nonempty_fields, read_list_file, text_field
from src.data.reach import Reach
from src.data.rows import EncodedImage, first_duplicate
from src.editing.requests import edit_name
from src.evaluation.benchmark import Benchmark, Reference
from src.evaluation.case_images import abbreviate, read_region
from src.evaluation.references import copy_of_input
from src.records import Case, Feedback, Image, Triplet

KINDS = ("local", "global")
"""Kinds of captions, as in MagicBrush: of what was edited, and of the whole image."""

OPTIONAL = ("id", "type", "photograph", "target", "mask", "captions", *(f"caption_{kind}" for kind in KINDS))
LISTS = ("metadata.jsonl", "metadata.csv")


@final
@dataclass(frozen=True)
class CustomCase:
    """A case and what its row says of the right edit."""

    case: Case
    target: Path | None
    mask: Path | None
    captions: Mapping[str, str]


@final
class Custom(Benchmark):
    """The rows of a list, in order. Files are read when needed.

    Args:
        source: the list, or a folder with one.
        title: the benchmark's name in paths and tables.
        judged_height: height in pixels of original and edit for the judge; None keeps the size of the edit.
    """

    def __init__(self, source: str | Path, title: str = "custom", judged_height: int | None = 512) -> None:
        if not title or title != PurePosixPath(title).name or title.startswith("."):
            raise ValueError(
                f"benchmark.title={title!r} names a folder of results: letters without slashes are needed"
            )
        self.source = Path(source)
        self.title = title
        self.judged_height = judged_height

    @property
    def name(self) -> str:
        """See Benchmark."""
        return self.title

    def cases(self) -> Sequence[Case]:
        """The rows.

        Raises:
            FileNotFoundError: no such list; images that are missing, named.
            ValueError: a row that can't be used, with its line; duplicate ids.
        """
        return [known.case for known in self._known.values()]

    def ground_truth(self, case: Case) -> Image | None:
        """The row's target image. Raises as EncodedImage."""
        target = self._known[case.id].target
        return None if target is None else EncodedImage(str(target)).decode()

    def failed_feedback(self, case: Case) -> Feedback | None:
        """Unknown."""
        return None

    def captions(self, case: Case) -> Mapping[str, str]:
        """The captions of the row."""
        return self._known[case.id].captions

    def edit_region(self, case: Case) -> Bool[np.ndarray, "h w"] | None:
        """The area that the row's mask leaves open, at the size of the original. Raises as EncodedImage."""
        mask = self._known[case.id].mask
        return None if mask is None else read_region(mask, case.size)

    def mask(self, case: Case) -> None:
        """None: the protocol does not weight pixels."""

    def references(self) -> Sequence[Reference]:
        """Copying the input; the right edits, if every row has one."""
        if any(known.target is None for known in self._known.values()):
            return (copy_of_input(),)
        return copy_of_input(), Reference(
            "exact target", lambda cases: (Triplet(case, self._target(case)) for case in cases)
        )

    def _target(self, case: Case) -> Image:
        target = self._known[case.id].target
        assert target is not None
        return EncodedImage(str(target)).decode()

    @cached_property
    def _known(self) -> dict[str, CustomCase]:
        path = find_list(self.source)
        is_own = not self.source.is_dir()
        known = read_custom_cases(path, Reach(path.parent, is_own, remedy=f"give benchmark.source={path}"))
        return {each.case.id: each for each in known}


def find_list(source: Path) -> Path:
    """The list itself, or the list in a folder.

    Raises:
        FileNotFoundError: no such path, or a folder without a list.
    """
    if not source.is_dir():
        return source
    path = next((source / name for name in LISTS if (source / name).is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"no {' or '.join(LISTS)} in {source}; benchmark.source is a folder with one, or a .csv or "
            ".jsonl file"
        )
    return path


def read_custom_cases(path: Path, reach: Reach) -> list[CustomCase]:
    """All rows; a list that the user names may name any file, that of a folder those in it. Raises as
    `Custom.cases`.
    """
    image = "file_name" if has_file_name_column(path) else "image"
    seen: Counter[str] = Counter()
    known, places = [], []
    for where, fields in read_list_file(path, ListColumns((image, "instruction"), OPTIONAL)):
        try:
            known.append(parse_row(fields, image, reach, seen))
        except ValueError as error:
            raise ValueError(f"{where}{error}") from error
        places.append(where)
    twice = first_duplicate([each.case.id for each in known])
    if twice is not None:
        raise ValueError(
            f"{places[twice[1]]}the id {known[twice[1]].case.id!r} is that of another row, too; give each "
            "row its own in the column id"
        )
    files = [
        (place, file)
        for place, each in zip(places, known, strict=True)
        for file in referenced_files(each)
        if not file.is_file()
    ]
    if files:
        raise FileNotFoundError(
            f"{files[0][0]}{len(files)} images are missing ({abbreviate([str(file) for _, file in files])}); "
            "no case is left out"
        )
    return known


def has_file_name_column(path: Path) -> bool:
    """Whether a list names its images in a column file_name, as an imagefolder does."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as opened:
        return "file_name" in opened.readline()


def parse_row(fields: Fields, image: str, reach: Reach, seen: Counter[str]) -> CustomCase:
    """The case of a row.

    Args:
        fields: of the row.
        image: name of the column with the original.
        reach: where relative paths start, and which files may be named.
        seen: rows so far by the name of their image; this row is added.

    Raises:
        ValueError: a field that is not text, or an id that leads out of the folder of the edits.
    """
    given = nonempty_fields(fields)
    original = text_field(given, image)
    stem = Path(original).stem
    seen[stem] += 1
    id = text_field(given, "id", edit_name(Path(original), seen[stem]))
    parts = PurePosixPath(id).parts
    if not parts or PurePosixPath(id).is_absolute() or ".." in parts or parts[-1].startswith("."):
        raise ValueError(f"id is {id!r}: the name of an image in the folder of the edits is needed")
    target, mask = (
        reach.file(text_field(given, name), name) if name in given else None for name in ("target", "mask")
    )
    captions = {
        kind: text_field(given, f"caption_{kind}") for kind in KINDS if f"caption_{kind}" in given
    } | parse_captions(given)
    case = Case(
        id,
        EncodedImage(str(reach.file(original, image))),
        text_field(given, "instruction"),
        text_field(given, "type", "all"),
        text_field(given, "photograph", original),
    )
    return CustomCase(case, target, mask, captions)


def parse_captions(given: Fields) -> dict[str, str]:
    """The captions of the field `captions`. Raises ValueError if they are malformed."""
    captions = given.get("captions", {})
    if not isinstance(captions, Mapping) or not all(
        kind in KINDS and isinstance(text, str) for kind, text in captions.items()
    ):
        raise ValueError(f"captions is {captions!r}: texts by their kind ({', '.join(KINDS)}) are needed")
    return {str(kind): str(text) for kind, text in captions.items()}


def referenced_files(known: CustomCase) -> list[Path]:
    """The images that a row names."""
    assert isinstance(known.case.image, EncodedImage)
    return [
        Path(known.case.image.where),
        *(file for file in (known.target, known.mask) if file is not None),
    ]
