"""Edits on disk, and the lists beside them.

    <output>/<id>.png        instruction, seed, reward, checkpoint, sampler, and the sha256 of the photograph, as text metadata
    <output>/edits.jsonl     for a list: a line per edit, in the order in which they were made
    <output>/skipped.jsonl   with on_error=skip: a line per photograph that can't be edited

As an edit says how it was made, none is made twice and none is taken for another.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from src.differences import leaves, unlike_request
from src.editing.requests import EditRequest
from src.editing.source_images import SourceImage, UnusableImage, digest_files
from src.files import append_lines, is_written, write_atomically
from src.images import read_png_text

TABLE = "edits.jsonl"
SKIPPED = "skipped.jsonl"
COLUMNS = {"id", "source", "output", "instruction", "seed", "scores", "feedback", "seconds"}


def edit_path(output: Path, request: EditRequest) -> Path:
    """Where the edit of a request goes."""
    return output / f"{request.id}.png"


def edit_metadata(request: EditRequest, digest: str, common: Mapping[str, object]) -> dict[str, str]:
    """All that an edit depends on, as its file says it.

    Args:
        request: what was asked for.
        digest: sha256 of the photograph's file.
        common: what all edits of a command share: checkpoint, weights, sampler, resize.
    """
    own = {
        "instruction": request.instruction,
        "seed": request.seed,
        "target_scores": scores_text(request),
        "target_feedback": "; ".join(request.target.feedback),
        "source": request.source.name,  # the noise depends on it
        "source_sha256": digest,
    }
    return {name: str(value) for name, value in leaves({**own, **common})}


def scores_text(request: EditRequest) -> str:
    """The scores asked for, as 5/5/5."""
    return "/".join(f"{score:g}" for score in request.target.scores)


def finished_edits(
    photographs: Sequence[SourceImage], output: Path, common: Mapping[str, object], overwrite: bool
) -> set[str]:
    """The ids of the edits that are there, made as they are asked for.

    Args:
        photographs: those to be edited.
        output: the folder of the edits.
        common: see `edit_metadata`.
        overwrite: take one that was made otherwise for one that is not there.

    Raises:
        ValueError: an edit was made otherwise; the message names what differs.
    """
    there = [
        photograph.request for photograph in photographs if is_written(edit_path(output, photograph.request))
    ]
    digests = digest_files([request.source for request in there])
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
            f"{next(iter(different.values()))}{more}; say overwrite=true to make it anew, or give another output=DIR"
        )
    return {request.id for request in there} - set(different)


def describe_mismatch(file: Path, asked: Mapping[str, str]) -> str | None:
    """In what an edit that is there differs from what is asked for, in words; None if in nothing."""
    try:
        told = read_png_text(file)
    except ValueError:
        return "is there and is no readable picture"
    if "checkpoint" not in told:
        return "is there and is no edit of src.edit"
    different = unlike_request({name: told[name] for name in asked if name in told}, asked)
    rest = f" and {len(different) - 3} more" if len(different) > 3 else ""
    return f"was made otherwise ({'; '.join(different[:3])}{rest})" if different else None


def table_entry(request: EditRequest, seconds: float | None) -> dict[str, object]:
    """A line of the table; the seconds are the edit's share of its batch, None where a kill came before they
    were written.
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
    """Leave one line for each edit that is there, and the lines of other lists; those that a kill, or another
    command, made wrong go.

    Raises:
        ValueError: a file of this name that is no such table.
        NotWrittenError: the folder can't be written to.
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
    """The whole lines of a table; one without its line end was being written when its process was killed. No
    file, no lines.

    Raises:
        ValueError: a line that is none of ours.
    """
    if not path.exists():
        return []
    entries = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            break
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or set(entry) != COLUMNS:
            raise ValueError(
                f"{path}:{number} is no line of a table of edits, which this file would become; give another output=DIR"
            )
        entries.append(entry)
    return entries


def append_entries(path: Path, requests: Sequence[EditRequest], seconds: float) -> None:
    """Add edits that were just written, each of which took so many seconds. Raises NotWrittenError."""
    append_lines(path, "".join(json_line(table_entry(request, round(seconds, 3))) for request in requests))


def start_skipped(path: Path, broken: Sequence[UnusableImage]) -> None:
    """List what can't be edited in place of what an earlier command listed; nothing to list, no file. Raises
    NotWrittenError.
    """
    if broken:
        write_atomically(path, "".join(skipped_line(each) for each in broken))
    else:
        path.unlink(missing_ok=True)


def append_skipped(path: Path, broken: UnusableImage) -> None:
    """Add a photograph that turned out to be broken. Raises NotWrittenError."""
    append_lines(path, skipped_line(broken))


def skipped_line(broken: UnusableImage) -> str:
    """A photograph that can't be edited as one line of JSON."""
    return json_line({"id": broken.request.id, "source": str(broken.request.source), "reason": broken.reason})


def json_line(entry: Mapping[str, object]) -> str:
    """One line of JSON, line end included."""
    return json.dumps(entry, ensure_ascii=False) + "\n"
