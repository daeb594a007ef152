"""Step 1 of an evaluation: the edits of one row as PNG files, with a record of how they were made.

    <run>/evaluation/<benchmark>/<generation>/generation.json
    <run>/evaluation/<benchmark>/<generation>/edits/<case id>.png
    <run>/evaluation/<benchmark>/<generation>/candidates/<number>/...    other noise, for best-of-N

Photographs are edited at the size given by the sampler's `resize`, and their edits are saved at that size. A
case of several turns is edited turn by turn; each turn's edit is saved under the turn's id and becomes the
original of the next turn.

An edit is a function of (case, seed, target reward, checkpoint, sampler), up to rounding that depends on the
size of the batch. A missing edit is therefore made in the batch it belongs to, so that a stopped generation
resumes on any number of processes and ends with the same files, bit for bit.
"""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from src.batching import same_size_batches
from src.data.transforms import MOST_DEVIATION, Size
from src.differences import unlike_request
from src.diffusion.samplers import Sampler
from src.editing.edit_batch import edit_batch, noise_seed, size_to_edit
from src.editor import Editor
from src.evaluation.benchmark import Benchmark
from src.evaluation.case_images import abbreviate, frame_case, turns_of
from src.evaluation.generation_folder import SETTINGS, Generation, Settings, read_settings
from src.evaluation.targets import TargetRow, requested_reward
from src.files import discard, is_written, remove_leftovers, write_atomically
from src.finite import NotFiniteError
from src.images import (
    Framing,
    centre_crop,
    image_size,
    load_image,
    native,
    require_file,
    save_png,
)
from src.progress import with_progress
from src.records import Case, Image


def check_generation(generation: Generation, settings: Settings) -> None:
    """Raise ValueError if the folder holds edits made with other settings; the message names them."""
    path = generation.folder / SETTINGS
    different = unlike_request(read_settings(path), settings) if path.exists() else []
    if different:
        raise ValueError(
            f"{generation.folder} holds edits made otherwise ({'; '.join(different)}); say "
            "overwrite=true to make them again, or output=DIR"
        )


def start_generation(generation: Generation, settings: Settings, overwrite: bool) -> None:
    """Record how the edits are made, or check that existing ones were made in the same way.

    Args:
        overwrite: delete existing edits and rewards.

    Raises:
        ValueError: see check_generation.
    """
    path = generation.folder / SETTINGS
    if overwrite and path.exists():
        discard(generation.folder)
    remove_leftovers(generation.folder, below=True)
    check_generation(generation, settings)
    if not path.exists():
        write_atomically(path, json.dumps(settings, indent=2) + "\n")


def missing_edits(generation: Generation, cases: Sequence[Case]) -> list[Case]:
    """The cases without an edit. A file that exists is whole, because edits are renamed into place."""
    return [case for case in cases if not is_written(generation.edit_path(case))]


def check_resolutions(editor: Editor, cases: Sequence[Case], framing: Framing = native) -> dict[Size, Size]:
    """Size of a framed case -> the size at which it is edited, which the editor's latent can hold.

    A photograph loses a rim that the latent can't hold; an image in memory was made for the editor and loses
    nothing.

    Args:
        editor: its latent decides.
        cases: with their images in memory or stored.
        framing: maps a photograph's size to that of its edit.

    Raises:
        ValueError: the latent can't hold an image, which is named; a broken photograph.
        FileNotFoundError: a photograph is missing.
    """
    held: dict[Size, Size] = {}
    for case in cases:
        size = frame_case(case, framing).size
        if size in held:
            continue
        try:
            held[size] = size if isinstance(case.image, np.ndarray) else size_to_edit(editor, *size)
            editor.check_resolution(*held[size])
        except ValueError as error:
            raise ValueError(f"case {case.id}, {size[1]}x{size[0]} pixels: {error}") from error
    return held


def unfinished_batches(
    generation: Generation, cases: Sequence[Case], batch_size: int, framing: Framing = native
) -> list[list[Case]]:
    """The batches of a row in which an edit is missing. Which cases share a batch does not depend on which
    edits exist.
    """
    return [
        batch
        for batch in same_size_batches(cases, lambda case: frame_case(case, framing).size, batch_size)
        if missing_edits(generation, batch)
    ]


def generate_edits(
    generation: Generation,
    batches: Sequence[Sequence[Case]],
    target: TargetRow,
    benchmark: Benchmark,
    editor: Editor,
    sampler: Sampler,
    seed: int,
    device: torch.device,
    framing: Framing = native,
    candidate: int = 0,
) -> int:
    """Edit whole batches; after each turn of a batch, write its missing edits.

    Args:
        generation: where the edits go.
        batches: cases that are edited together; see `unfinished_batches`.
        target: the target reward.
        benchmark: knows the feedback on failed edits.
        editor: on `device`.
        sampler: steps and guidance.
        seed: of the noise, which is a function of this and the case id.
        device: where the editor is.
        framing: maps a photograph's size to that of its edit.
        candidate: number for best-of-N; 0 is the ordinary edit.

    Returns:
        The number of edits written.

    Raises:
        NotFiniteError: edits that are NaN, after all others have been written; with the cases' names.
        ValueError, FileNotFoundError: a photograph that can't be read; a size that the latent can't hold; a
            batch for which the GPU has no room.
    """
    written, broken = 0, []
    held = check_resolutions(editor, [batch[0] for batch in batches if batch], framing)
    for batch in with_progress(
        batches, sum(len(batch) for batch in batches), f"edit {generation.name}", "edits"
    ):
        images, lost = load_originals(batch, framing, held), set[int]()
        for step in range(max(len(turns_of(case)) for case in batch)):
            acting = [
                index for index, case in enumerate(batch) if len(turns_of(case)) > step and index not in lost
            ]
            if not acting:
                break
            turns = [turns_of(batch[index])[step] for index in acting]
            lacking = [turn for turn in turns if not is_written(generation.edit_path(turn))]
            if lacking:
                rewards = [requested_reward(target, batch[index], benchmark) for index in acting]
                seeds = [noise_seed(turn.id, seed, candidate) for turn in turns]
                made = edit_batch(
                    editor,
                    [images[index] for index in acting],
                    [turn.instruction for turn in turns],
                    rewards,
                    seeds,
                    sampler,
                    device,
                    "sampler.resize",
                )
            else:
                made = [load_image(generation.edit_path(turn)) for turn in turns]
            for index, turn, image in zip(acting, turns, made, strict=True):
                if image is None:
                    broken.append(turn.id)
                    lost.add(index)  # nor are there the turns that begin with it
                    continue
                images[index] = image
                if turn in lacking:
                    save_png(
                        image,
                        generation.edit_path(turn),
                        {"instruction": turn.instruction, "row": generation.name, "seed": str(seed)},
                    )
                    written += 1
    if broken:
        raise NotFiniteError(
            f"{len(broken)} edits of {generation.name} are not finite (NaN), of {abbreviate(broken)}: they "
            "are no pictures and are not judged. The editor's weights are broken, or guidance too strong; "
            f"the others are in {generation.edits}"
        )
    return written


def load_originals(batch: Sequence[Case], framing: Framing, held: Mapping[Size, Size]) -> list[Image]:
    """The editor's input images; a photograph shared by several cases of the batch is read once.

    Raises:
        ValueError, FileNotFoundError: a photograph that can't be read.
    """
    read: dict[object, Image] = {}
    for case in batch:
        if id(case.image) in read:
            continue
        small = frame_case(case, framing)
        read[id(case.image)] = centre_crop(small.original, *held[small.size])
    return [read[id(case.image)] for case in batch]


def edits_of_other_shape(generation: Generation, cases: Sequence[Case]) -> list[str]:
    """The edits whose aspect ratio differs from that of their originals, with both sizes; nothing is decoded.

    Raises:
        ValueError: an edit or a photograph that can't be read.
        FileNotFoundError: one that is gone.
    """
    found = []
    for case in cases:
        path = generation.edit_path(case)
        (height, width), (rows, columns) = case.size, image_size(require_file(path), str(path))
        if abs(columns * height / (rows * width) - 1) > MOST_DEVIATION:
            found.append(f"{case.id}, {columns}x{rows} for {width}x{height}")
    return found


def check_external_edits(generation: Generation, cases: Sequence[Case], all_ids: set[str]) -> list[str]:
    """Compare a folder of edits made elsewhere with the cases of a benchmark, by file name.

    Args:
        cases: those to judge.
        all_ids: ids of the whole benchmark.

    Returns:
        The files that belong to no case.

    Raises:
        FileNotFoundError: no such folder, or cases without an edit, named.
    """
    if not generation.edits.is_dir():
        raise FileNotFoundError(
            f"no folder of edits {generation.edits}; edits=DIR takes a folder of <case id>.png"
        )
    missing = [case.id for case in missing_edits(generation, cases)]
    if missing:
        raise FileNotFoundError(
            f"{generation.edits} lacks the edits of {len(missing)} of {len(cases)} cases: "
            f"{abbreviate(missing)}"
        )
    present = {
        path.relative_to(generation.edits).with_suffix("").as_posix()
        for path in generation.edits.rglob("*.png")
    }
    return sorted(present - all_ids)
