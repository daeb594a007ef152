"""Edits on disk, and the lists beside them.

    <output>/<id>.png        with instruction, seed, reward, checkpoint, sampler, sha256 of the original
    <output>/edits.jsonl     for a list: a line per edit, in the order in which they were made
    <output>/skipped.jsonl   with on_error=skip: a line per image that can't be edited

Because each edit records how it was made, none is made twice and none is mistaken for another.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from src.differences import leaves, unlike_request
from src.editing.requests import EditRequest
from src.editing.source_images import SourceImage, UnusableImage, source_digests
from src.files import append_lines, is_written, write_atomically
from src.images import read_png_text

TABLE = "edits.jsonl"
SKIPPED = "skipped.jsonl"
COLUMNS = {"id", "source", "output", "instruction", "seed", "scores", "feedback", "seconds"}


def edit_path(output: Path, request: EditRequest) -> Path:
    """Where the edit of a request goes."""
    return output / f"{request.id}.png"


def edit_metadata(request: EditRequest, digest: str, common: Mapping[str, object]) -> dict[str, str]:
    """Everything that an edit depends on, for the metadata of its file.

    Args:
        request: the edit.
        digest: sha256 of the original's file.
        common: shared by all edits of a command: checkpoint, weights, sampler, resize.
    """
    own = {
        "instruction": request.instruction,
        "seed": request.seed,
        "target_scores": scores_text(request),
        "target_feedback": "; ".join(request.target.feedback),
        "source": request.source.name,
        "noise_name": request.noise_name,
        "source_sha256": digest,
    }
    return {name: str(value) for name, value in leaves({**own, **common})}


def scores_text(request: EditRequest) -> str:
    """The target scores, as 5/5/5."""
    return "/".join(f"{score:g}" for score in request.target.scores)


def finished_edits(
    photographs: Sequence[SourceImage], output: Path, common: Mapping[str, object], overwrite: bool
) -> set[str]:
    """Ids of the edits that exist and were made with these settings.

    Args:
        photographs: the images to edit.
        output: the folder of the edits.
        common: see `edit_metadata`.
        overwrite: treat an edit made with other settings as missing.

    Raises:
        ValueError: an edit was made with other settings; the message names them.
    """
    there = [
        photograph.request for photograph in photographs if is_written(edit_path(output, photograph.request))
    ]
    digests = source_digests([request.source for request in there])
    different = {}
    for request in there:
        wrong = describe_mismatch(
            edit_path(output, request), edit_metadata(request, digests[request.source], common)
        )
        if wrong:
            different[request.id] = f"{request.where}{edit_path(output, request)} {wrong}"
    if different and not overwrite:
        more = f", and so are {len(different) - 1} more" if len(different) > 1 else ""
        raise ValueError(
            f"{next(iter(different.values()))}{more}; say overwrite=true to make it again, or give another "
            "output=DIR"
        )
    return {request.id for request in there} - set(different)


def describe_mismatch(file: Path, asked: Mapping[str, str]) -> str | None:
    """How an existing edit differs from the request, in words; None if it does not."""
    try:
        told = read_png_text(file)
    except ValueError:
        return "is there and is no readable image"
    if "checkpoint" not in told:
        return "is there and is no edit of src.edit"
    different = unlike_request({name: told[name] for name in asked if name in told}, asked)
    rest = f" and {len(different) - 3} more" if len(different) > 3 else ""
    return f"was made otherwise ({'; '.join(different[:3])}{rest})" if different else None


def table_entry(request: EditRequest, seconds: float | None) -> dict[str, object]:
    """A line of the table; `seconds` is the edit's share of its batch's time, None if the process was killed
    before recording it.
    """
    return {
        "id": request.id,
        "source": str(request.source),
        "output": f"{request.id}.png",
        "instruction": request.instruction,
        "seed": request.seed,
        "scores": list(request.target.scores),
        "feedback": list(request.target.feedback),
        "seconds": seconds,
    }


def start_table(path: Path, requests: Sequence[EditRequest], made: set[str]) -> None:
    """Bring the table up to date: one line per existing edit, and the lines of other lists; lines that a kill
    or another command made wrong are removed.

    Raises:
        ValueError: a file of this name that is not such a table.
        NotWrittenError: the folder isn't writable.
    """
    asked = {request.id: table_entry(request, None) for request in requests}
    kept: dict[str, dict[str, object]] = {}
    for entry in read_table(path):
        id = str(entry["id"])
        if id not in asked or (id in made and entry | {"seconds": None} == asked[id]):
            kept[id] = entry
    lost = {id: asked[id] for id in asked if id in made and id not in kept}
    write_atomically(path, "".join(json_line(entry) for entry in (kept | lost).values()))


def read_table(path: Path) -> list[dict[str, object]]:
    """The complete lines of a table; a last line without its line end was cut off by a kill. No file means no
    lines.

    Raises:
        ValueError: a line that src.edit did not write.
    """
    if not path.exists():
        return []
    entries = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or set(entry) != COLUMNS:
            raise ValueError(
                f"{path}:{number} is no line of a table of edits, which this file would become; give another "
                "output=DIR"
            )
        entries.append(entry)
    return entries


def append_entries(path: Path, requests: Sequence[EditRequest], seconds: float) -> None:
    """Add edits that were just written; each took `seconds`. Raises NotWrittenError."""
    append_lines(path, "".join(json_line(table_entry(request, round(seconds, 3))) for request in requests))


def start_skipped(path: Path, broken: Sequence[UnusableImage]) -> None:
    """List the images that can't be edited, replacing the list of an earlier command; no file if there are
    none. Raises NotWrittenError.
    """
    if broken:
        write_atomically(path, "".join(skipped_line(each) for each in broken))
    else:
        path.unlink(missing_ok=True)


def append_skipped(path: Path, broken: UnusableImage) -> None:
    """Add an image that turned out to be broken. Raises NotWrittenError."""
    append_lines(path, skipped_line(broken))


def skipped_line(broken: UnusableImage) -> str:
    """The line of JSON for an image that can't be edited."""
    return json_line({"id": broken.request.id, "source": str(broken.request.source), "reason": broken.reason})


def json_line(entry: Mapping[str, object]) -> str:
    """One line of JSON, line end included."""
    return json.dumps(entry, ensure_ascii=False) + "\n"
