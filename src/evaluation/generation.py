"""Step 1 of an evaluation: the edits of one row as PNG files, beside a record of how they were made.

    <run>/evaluation/<benchmark>/<generation>/generation.json
    <run>/evaluation/<benchmark>/<generation>/edits/<case id>.png
    <run>/evaluation/<benchmark>/<generation>/candidates/<number>/...    the same with other noise, for best-of-N

An edit is a function of (case, seed, target reward, checkpoint, sampler), up to the rounding of batches of different sizes: a stopped generation goes
on where it was, on any number of processes, and ends with the same files, bit for bit, because an edit that is missing is made again in the company
of the batch that it belongs to.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeVar

import torch

from src.data.dataset import to_pictures, to_tensor
from src.diffusion.samplers import Sampler
from src.editor import Editor
from src.evaluation.benchmark import Benchmark
from src.evaluation.progress import counted
from src.evaluation.targets import Target, reward_asked
from src.files import discard, remove_leftovers, write_atomically
from src.pictures import load_image, save_png
from src.records import Case, Triplet
from src.seeds import fold_seed

T = TypeVar("T")

Settings = Mapping[str, object]
"""JSON-able: everything that the edits of a generation depend on."""


@dataclass(frozen=True)
class Generation:
    """One row's edits on disk.

    Attributes:
        name: the row's name ("0/0/0+text").
        folder: holds generation.json and one folder per judge.
        edits: holds the pictures; elsewhere than in `folder` when they were made elsewhere.
    """

    name: str
    folder: Path
    edits: Path

    def edit_path(self, case: Case) -> Path:
        """Where the edit of a case lies.

        Raises:
            ValueError: a case id that leads out of the folder.
        """
        relative = PurePosixPath(case.id)
        if relative.is_absolute() or ".." in relative.parts:
            raise ValueError(f"case id {case.id!r} leads out of {self.edits}; rename the case")
        return self.edits / f"{case.id}.png"

    def triplets(self, cases: Sequence[Case]) -> Iterator[Triplet]:
        """The cases with their edits, read one by one.

        Raises:
            FileNotFoundError: an edit is missing.
            ValueError: an edit is broken.
        """
        return (Triplet(case, load_image(self.edit_path(case))) for case in cases)


def folder_name(row: str) -> str:
    """A row's name as a folder name: "0/0/0+text" becomes "0-0-0+text", "copy input" becomes "copy_input"."""
    return row.replace("/", "-").replace(" ", "_")


def start_generation(generation: Generation, settings: Settings, overwrite: bool) -> None:
    """Record how the edits are made, or check that those already there were made in the same way.

    Args:
        overwrite: throw away what is there, edits and rewards.

    Raises:
        ValueError: the folder holds edits made otherwise; the message names what differs.
    """
    path = generation.folder / "generation.json"
    if overwrite and path.exists():
        discard(generation.folder)
    remove_leftovers(generation.folder, below=True)
    if path.exists():
        different = differences(read_settings(path), settings)
        if different:
            raise ValueError(
                f"{generation.folder} holds edits made otherwise ({'; '.join(different)}); say overwrite=true to make them anew, or output=DIR"
            )
        return
    write_atomically(path, json.dumps(settings, indent=2) + "\n")


def read_settings(path: Path) -> Settings:
    """What a generation.json says.

    Raises:
        ValueError: the file is not a JSON object with a name.
    """
    try:
        settings = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); say overwrite=true to make its edits anew") from error
    if not isinstance(settings, dict) or "name" not in settings:
        raise ValueError(f"{path} does not say how its edits were made; say overwrite=true to make them anew")
    return settings


def generations_in(folder: Path) -> list[Generation]:
    """The generations below a benchmark's folder, in order of their folder names."""
    found = []
    for path in sorted(folder.glob("*/generation.json")):
        settings = read_settings(path)
        found.append(Generation(str(settings["name"]), path.parent, Path(str(settings.get("edits", path.parent / "edits")))))
    return found


def differences(old: Settings, new: Settings) -> list[str]:
    """What differs, value by value: "seed: 0 there, 1 asked for"."""
    before, after = dict(leaves(old)), dict(leaves(json.loads(json.dumps(new))))
    names = [*before, *(name for name in after if name not in before)]
    return [
        f"{name}: {before.get(name, 'nothing')} there, {after.get(name, 'nothing')} asked for"
        for name in names
        if before.get(name) != after.get(name)
    ]


def leaves(settings: Settings, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Settings one by one, nested ones by names with dots: ("sampler.steps", 30)."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def missing_edits(generation: Generation, cases: Sequence[Case]) -> list[Case]:
    """The cases whose edit is not there yet; a file that is there is whole, because edits are renamed into place."""
    return [case for case in cases if not is_there(generation.edit_path(case))]


def is_there(edit: Path) -> bool:
    """Whether an edit was written. An empty file is what a loss of power can leave of a renamed one."""
    return edit.exists() and edit.stat().st_size > 0


def check_resolutions(editor: Editor, cases: Sequence[Case]) -> None:
    """Raise ValueError, naming the case, unless the editor's latent can hold every case's picture."""
    checked: set[tuple[int, int]] = set()
    for case in cases:
        height, width = case.original.shape[:2]
        if (height, width) in checked:
            continue
        try:
            editor.check_resolution(height, width)
        except ValueError as error:
            raise ValueError(f"case {case.id}, {width}x{height} pixels: {error}") from error
        checked.add((height, width))


def open_batches(generation: Generation, cases: Sequence[Case], batch_size: int) -> list[list[Case]]:
    """The batches of a row that lack an edit. Which cases share a batch does not depend on what is there already."""
    return [batch for batch in same_size_batches(cases, lambda case: case.original.shape, batch_size) if missing_edits(generation, batch)]


def make_edits(
    generation: Generation,
    batches: Sequence[Sequence[Case]],
    target: Target,
    benchmark: Benchmark,
    editor: Editor,
    sampler: Sampler,
    seed: int,
    device: torch.device,
    number: int = 0,
) -> int:
    """Edit whole batches and write, as soon as a batch is done, those of its edits that are missing.

    Args:
        generation: where they go.
        batches: cases to be edited together; see `open_batches`.
        target: the reward asked for.
        benchmark: knows the feedback of failed edits.
        editor: on `device`.
        sampler: steps and guidance.
        seed: of the noise; that of a case is a function of this and its id.
        device: where the editor is.
        number: of the candidate, for best-of-N; 0 is the ordinary edit.

    Returns:
        How many edits were written.
    """
    written = 0
    for batch in counted(batches, sum(len(batch) for batch in batches), f"edit {generation.name}", "edits"):
        with torch.inference_mode():
            edited = editor.edit(
                to_tensor([case.original for case in batch]).to(device),
                [case.instruction for case in batch],
                [reward_asked(target, case, benchmark) for case in batch],
                [noise_seed(case, seed, number) for case in batch],
                sampler,
            )
        for case, image in zip(batch, to_pictures(edited), strict=True):
            if not is_there(generation.edit_path(case)):
                save_png(image, generation.edit_path(case), {"instruction": case.instruction, "row": generation.name, "seed": str(seed)})
                written += 1
    return written


def noise_seed(case: Case, seed: int, number: int = 0) -> int:
    """The seed of an edit's noise: each candidate has its own, however many are asked for; number 0 is the ordinary edit."""
    return fold_seed("noise", case.id, seed, number) if number else fold_seed("noise", case.id, seed)


def same_size_batches(things: Sequence[T], size: Callable[[T], object], batch_size: int) -> list[list[T]]:
    """Batches of things of one size, each size in the order of the things.

    Raises:
        ValueError: batch_size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    by_size: dict[object, list[T]] = {}
    for thing in things:
        by_size.setdefault(size(thing), []).append(thing)
    return [group[start : start + batch_size] for group in by_size.values() for start in range(0, len(group), batch_size)]


def check_foreign_edits(generation: Generation, cases: Sequence[Case], all_ids: set[str]) -> list[str]:
    """Compare a folder of edits made elsewhere with a benchmark, by file name.

    Args:
        cases: those that will be judged.
        all_ids: ids of the whole benchmark.

    Returns:
        Names of the files that belong to no case.

    Raises:
        FileNotFoundError: no such folder, or cases without an edit, named.
    """
    if not generation.edits.is_dir():
        raise FileNotFoundError(f"no folder of edits {generation.edits}; edits=DIR takes a folder of <case id>.png")
    missing = [case.id for case in missing_edits(generation, cases)]
    if missing:
        raise FileNotFoundError(f"{generation.edits} lacks the edits of {len(missing)} of {len(cases)} cases: {_some(missing)}")
    present = {path.relative_to(generation.edits).with_suffix("").as_posix() for path in generation.edits.rglob("*.png")}
    return sorted(present - all_ids)


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
