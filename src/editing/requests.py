"""The edits that are requested: of one image, a folder of images, or the rows of a list. No image is opened
here.

    image,instruction,output,seed,following,preserving,quality,feedback_preserving
    photos/a.jpg,make it night,a_night,3,5,0,5,the dog is gone

A list is a CSV file with a header line, or JSON lines with the same names; feedback_following and
feedback_quality exist as well. Only image and instruction are required; the command's options fill the gaps.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import final

from src.data.lists import Fields, ListColumns, nonempty_fields, read_list_file, text_field
from src.image_files import SUFFIXES, images_in, is_hidden
from src.records import PERSPECTIVES, TargetReward, three

SCORES = tuple(perspective.value for perspective in PERSPECTIVES)
FEEDBACK = tuple(f"feedback_{perspective}" for perspective in PERSPECTIVES)
COLUMNS = ListColumns(needed=("image", "instruction"), optional=("output", "seed", *SCORES, *FEEDBACK))


@final
@dataclass(frozen=True)
class EditRequest:
    """One edit to make.

    Attributes:
        id: names the edit's file, `<id>.png`; may hold slashes.
        source: the image.
        instruction: what to do.
        seed: of the noise.
        target: the target reward.
        noise_name: what the noise is drawn for: the output's name if the row gives one, else that of
            `edit_name`.
        where: what an error begins with: "edits.csv:3: ", or "" without a list.
    """

    id: str
    source: Path
    instruction: str
    seed: int
    target: TargetReward
    noise_name: str
    where: str = ""


def edit_name(image: Path, number: int) -> str:
    """The name of an edit that has no other, by which its noise is drawn: the file's name without its ending
    and which edit of an image of this name it is, counted from 1.

    `src.evaluate benchmark=custom` uses it as the case id and `src.edit` for the noise, so that both make the
    same edit of the same image, instruction, reward and seed.
    """
    return f"{image.stem}-{number}"


def requests_for(path: Path, instruction: str, seed: int, target: TargetReward) -> list[EditRequest]:
    """Requests for one image, or for the images of a folder (not of its subfolders) in order of their names.

    Raises:
        FileNotFoundError: no such path, or a folder without images.
    """
    return [
        EditRequest(source.stem, source, instruction, seed, target, edit_name(source, 1))
        for source in find_images(path)
    ]


def find_images(path: Path) -> list[Path]:
    """The image itself, or the images in a folder; other files there are reported on stderr. Raises
    FileNotFoundError.
    """
    if path.is_dir():
        found = images_in(path)
        if not found:
            raise FileNotFoundError(
                f"no images in {path}; image= takes an image or a folder with {', '.join(SUFFIXES)}"
            )
        others = other_files(path, found)
        if others:
            named = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
            print(
                f"warning: {len(others)} files in {path} are left out, their names don't end as images do: "
                f"{named}",
                file=sys.stderr,
            )
        return found
    if not path.exists():
        raise FileNotFoundError(f"no image {path}; image= takes an image or a folder of images")
    return [path]


def other_files(folder: Path, images: Sequence[Path]) -> list[str]:
    """Names of the files in a folder that are neither images nor hidden, sorted."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file not in set(images))
    return [file.name for file in files if not is_hidden(file.relative_to(folder))]


def read_list(path: Path, seed: int, target: TargetReward) -> list[EditRequest]:
    """The rows of a .csv or .jsonl file; relative paths start at its folder.

    Args:
        path: the list.
        seed: for rows without one.
        target: its scores and feedback fill those that a row leaves empty.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another kind of file, a list without rows, or a row that can't be used, with its line.
    """
    requests: list[EditRequest] = []
    counts: Counter[str] = Counter()
    for where, fields in read_list_file(path, COLUMNS):
        try:
            default = EditRequest("", path, "", seed, target, "", where)
            requests.append(parse_request(fields, path.parent, default, counts))
        except ValueError as error:
            raise ValueError(f"{where}{error}") from error
    return requests


def parse_request(fields: Fields, folder: Path, default: EditRequest, counts: Counter[str]) -> EditRequest:
    """The request of one row.

    Args:
        fields: the row.
        folder: where relative paths start.
        default: fills what the row leaves empty.
        counts: rows so far by the name of their image; this row is added.

    Raises:
        ValueError: a field that can't be used.
    """
    given = nonempty_fields(fields)
    source = folder / text_field(given, "image")
    target = default.target
    scores = [parse_number(given, name, score) for name, score in zip(SCORES, target.scores, strict=True)]
    feedback = [text_field(given, name, text) for name, text in zip(FEEDBACK, target.feedback, strict=True)]
    counts[source.stem] += 1
    id = parse_id(given, source.stem)
    return replace(
        default,
        id=id,
        noise_name=id if "output" in given else edit_name(source, counts[source.stem]),
        source=source,
        instruction=text_field(given, "instruction"),
        seed=parse_seed(given, default.seed),
        target=TargetReward(three(scores, "scores"), three(feedback, "feedback")),
    )


def parse_number(given: Fields, name: str, default: float | int) -> float:
    """A number of a row, written as a number or as text."""
    value = given.get(name, default)
    try:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{name} is {value!r}, a number is needed")


def parse_seed(given: Fields, default: int) -> int:
    """A whole number; also 3.0, which spreadsheets make of 3 where other rows have no seed."""
    value = given.get("seed", default)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
        return int(value)
    number = parse_number(given, "seed", default)
    if not number.is_integer():
        raise ValueError(f"seed is {value!r}, a whole number is needed")
    return int(number)


def parse_id(given: Fields, default: str) -> str:
    """The name of the edit, without .png. Raises ValueError if it leads out of the output folder."""
    name = text_field(given, "output", default).removesuffix(".png")
    parts = PurePosixPath(name).parts
    if (
        not parts
        or PurePosixPath(name).is_absolute()
        or ".." in parts
        or name.endswith("/")
        or parts[-1].startswith(".")
    ):
        raise ValueError(f"output is {name!r}: the name of an image in the folder of the edits is needed")
    return PurePosixPath(name).as_posix()


def check_edit_paths(requests: Sequence[EditRequest], output: Path, reserved: Sequence[str]) -> None:
    """Raise ValueError unless every edit has a file of its own that is neither an original nor a reserved
    name.
    """
    originals = {request.source.resolve() for request in requests}
    taken: dict[str, EditRequest] = {}
    for request in requests:
        file = output / f"{request.id}.png"
        if file.resolve() in originals:
            raise ValueError(f"{request.where}the edit would overwrite {file}; choose another output=DIR")
        if file.name in reserved and file.parent == output:
            raise ValueError(
                f"{request.where}{file} has a place for something else; give the edit another name in the "
                "column output"
            )
        if request.id in taken:
            other = taken[request.id]
            how = "give each a name in the column output" if request.where else "rename one"
            raise ValueError(
                f"{request.where}{other.source} and {request.source} would both be edited into {file}; {how}"
            )
        taken[request.id] = request
