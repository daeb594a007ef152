"""The work that is left, done in batches of one size; each edit is written as soon as it is made."""

import time
from collections.abc import Callable, Sequence
from itertools import chain

import torch

from src.diffusion.samplers import Sampler
from src.editing.edit_batch import edit_batch, noise_seed, size_to_edit
from src.editing.edits import append_entries, append_skipped, edit_metadata, edit_path
from src.editing.plan import EditPlan
from src.editing.source_images import DecodedImage, Size, SourceImage, UnusableImage, read_ahead
from src.editor import Editor
from src.images import centre_crop, save_png
from src.progress import with_progress
from src.records import Image


def make_edits(
    plan: EditPlan,
    batches: Sequence[Sequence[SourceImage]],
    load: Callable[[], Editor],
    sampler: Sampler,
    device: torch.device,
) -> None:
    """Edit whole batches and write the edits that are missing.

    Args:
        plan: where they go.
        batches: of `plan`, at least one.
        load: returns the editor on `device`; called after the first batch was read, so that a broken image is
            reported first.
        sampler: steps and guidance.
        device: where to work.

    Raises:
        ValueError: an image that can't be edited, or whose edit is not finite, unless those are skipped; or a
            batch for which the GPU has no room.
        NotWrittenError: the disk is full; everything written is whole.
    """

    def set_aside(broken: UnusableImage) -> None:
        if plan.skipped is None:
            raise ValueError(broken.reason)
        append_skipped(plan.skipped, broken)

    images = read_ahead(batches, plan.missing, plan.framing, set_aside)
    first = next(images)
    editor = load()
    sizes = sizes_to_edit(
        editor,
        [photograph for batch in batches for photograph in batch if plan.missing(photograph)],
        set_aside,
    )
    total = sum(len(batch) for batch in batches)
    for batch in with_progress(chain([first], images), total, "edit", "edits"):
        if batch and batch[0].photograph.size in sizes:
            height, width = sizes[batch[0].photograph.size]
            begun = time.monotonic()
            requests = [each.photograph.request for each in batch]
            made = edit_batch(
                editor,
                [centre_crop(each.image, height, width) for each in batch],
                [request.instruction for request in requests],
                [request.target for request in requests],
                [noise_seed(request.noise_name, request.seed) for request in requests],
                sampler,
                device,
            )
            edited = [(each, image) for each, image in zip(batch, made, strict=True) if image is not None]
            write_edits(plan, edited, begun)
            for each, image in zip(batch, made, strict=True):
                if image is None and plan.missing(each.photograph):
                    set_aside(not_finite_edit(each.photograph, plan))


def sizes_to_edit(
    editor: Editor, photographs: Sequence[SourceImage], set_aside: Callable[[UnusableImage], None]
) -> dict[Size, Size]:
    """Size of an image -> size that the editor's latent can hold. Images too small for it are set aside."""
    sizes: dict[Size, Size] = {}
    for photograph in photographs:
        try:
            sizes[photograph.size] = sizes.get(photograph.size) or size_to_edit(editor, *photograph.size)
        except ValueError as error:
            request = photograph.request
            set_aside(UnusableImage(request, f"{request.where}{request.source}: {error}"))
    return sizes


def not_finite_edit(photograph: SourceImage, plan: EditPlan) -> UnusableImage:
    """An image whose edit is NaN, which would become a black picture."""
    dtype = str(plan.common.get("dtype", "float32"))
    overflow = "" if dtype == "float32" else f", or numbers overflow in {dtype}: try execution=plain"
    request = photograph.request
    return UnusableImage(
        request,
        f"{request.where}the edit of {request.source} is not finite (NaN), so there is none: the weights of "
        f"the editor are broken{overflow}",
    )


def write_edits(plan: EditPlan, edited: Sequence[tuple[DecodedImage, Image]], begun: float) -> None:
    """Write the missing edits of a batch, then their lines in the table. Raises NotWrittenError."""
    written = []
    for each, image in edited:
        request = each.photograph.request
        if plan.missing(each.photograph):
            file = edit_path(plan.output, request)
            save_png(image, file, edit_metadata(request, each.digest, plan.common))
            written.append(request)
            if plan.table is None:
                print(f"{request.source} -> {file}, {image.shape[1]}x{image.shape[0]} pixels", flush=True)
    if plan.table is not None:
        append_entries(plan.table, written, (time.monotonic() - begun) / max(1, len(edited)))
