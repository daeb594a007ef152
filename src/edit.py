"""Edit an image, every image of a folder, or the rows of a list, with an instruction and a target reward.

    python -m src.edit checkpoint=runs/.../last.ckpt image=photo.jpg instruction="make the sky purple"
    python -m src.edit checkpoint=... image=photos/ instruction="..." target_reward.scores=[5,0,5] seed=3
    # one edit per row: image, instruction, ... (src/editing/requests.py)
    python -m src.edit checkpoint=... list=edits.csv batch_size=8 output=edited
    torchrun --nproc-per-node 4 -m src.edit checkpoint=... list=edits.csv      # four processes share the rows

Writes `<name>.png` with instruction, seed and reward in its text metadata; for a single image
`<name>_strip.png`, original beside edit; for a list `edits.jsonl` and `contact_sheet.png` with its first
rows. After an interruption the same command resumes: edits that are there are not made again.
"""

import os
import sys
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from src import launch, memory
from src.editing.edits import (
    SKIPPED,
    TABLE,
    edit_metadata,
    edit_path,
    finished_edits,
    scores_text,
    start_skipped,
    start_table,
)
from src.editing.plan import EditPlan
from src.editing.requests import check_edit_paths, read_list, requests_for
from src.editing.source_images import SourceImage, UnusableImage, decode_source, measure_sizes
from src.files import NotWrittenError, is_written, remove_leftovers
from src.images import NewImage, centre_crop, contact_sheet, framing_for, load_image, save_png
from src.json_files import read_json_lines

SHEET = "contact_sheet.png"
SHEET_ROWS = 12


def main(cfg: DictConfig) -> None:
    """Check the whole request, then load the model and edit."""
    check_request(cfg)
    import torch

    from src import checkpoint
    from src.editing.batches import make_edits
    from src.editor import Editor
    from src.ranks import device_of, join_ranks, leave_ranks

    if cfg.keep_memory:
        memory.keep_freed()
    ranks = join_ranks()
    try:
        plan = ranks.run_on_first(lambda: make_plan(cfg))
        batches = plan.batches(cfg.batch_size)[ranks.rank :: ranks.world]
        if batches:
            torch.manual_seed(cfg.seed)  # of frozen parts without weights, which an editor doesn't save
            path, device = Path(str(cfg.checkpoint)), device_of(cfg.device)
            execution = instantiate(cfg.execution)

            def load() -> Editor:
                return execution.prepare(checkpoint.load_editor(path, cfg.weights, cfg.trust).to(device))

            make_edits(plan, batches, load, instantiate(cfg.sampler), device)
        ranks.wait()
    finally:
        leave_ranks()
    if ranks.rank == 0:
        print_summary(plan)


def make_plan(cfg: DictConfig) -> EditPlan:
    """Check everything but the pixels.

    Raises:
        ValueError, FileNotFoundError: a fault of the command, the list, the images, the checkpoint or the
            edits that exist.
        NotWrittenError: the output folder isn't writable.
    """
    from src import checkpoint
    from src.ranks import device_of
    from src.trained_sampler import trained_with

    device_of(cfg.device)
    path, output, source = (Path(str(place)) for place in (cfg.checkpoint, cfg.output, cfg.list or cfg.image))
    trained = trained_with(path)
    target, sampler = instantiate(cfg.target_reward), instantiate(cfg.sampler)
    requests = (
        read_list(source, cfg.seed, target)
        if cfg.list
        else requests_for(source, str(cfg.instruction), cfg.seed, target)
    )
    check_edit_paths(requests, output, [SHEET] if cfg.list else [])
    check_writable(output)
    framing = framing_for(cfg.resize, min(trained.size))
    looks = measure_sizes(requests, framing, cfg.most_pixels)
    broken = [look for look in looks if isinstance(look, UnusableImage)]
    photographs = [look for look in looks if isinstance(look, SourceImage)]
    if broken and (cfg.on_error == "fail" or not photographs):
        more = (
            f" (and {len(broken) - 1} more of {len(looks)}; on_error=skip edits the others)"
            if len(broken) > 1
            else ""
        )
        raise ValueError(f"{broken[0].reason}{more}")

    tell(cfg, path, trained.size)
    common = {
        "checkpoint": checkpoint.content_hash(path),
        "weights": cfg.weights,
        "sampler": sampler.settings(),
        "resize": cfg.resize,
    }
    common["dtype"] = cfg.execution.dtype  # the other ways of computing change an edit's last digits only
    made = finished_edits(photographs, output, common, cfg.overwrite)
    table, skipped = (
        (output / TABLE if cfg.list else None),
        (output / SKIPPED if cfg.on_error == "skip" else None),
    )
    remove_leftovers(output, below=any("/" in request.id for request in requests))
    if table is not None:
        start_table(table, [photograph.request for photograph in photographs], made)
    if skipped is not None:
        start_skipped(skipped, broken)
    return EditPlan(photographs, made, framing, common, output, table, skipped)


def tell(cfg: DictConfig, path: Path, size: tuple[int, int]) -> None:
    """Say which sampler is used where the command does not, and why edits may be small."""
    from src.trained_sampler import told

    height, width = size
    short = (
        f"the editor was trained on images of {width}x{height} pixels, and edits at a short side of "
        f"{min(size)}: resize=keep or resize=PIXELS edits larger"
    )
    lines = [told(cfg.sampler, path), short if cfg.resize == "trained" else None]
    print("".join(f"{line}\n" for line in lines if line), end="", file=sys.stderr, flush=True)


def check_request(cfg: DictConfig) -> None:
    """Raise ValueError if the command is incomplete or contradicts itself, before anything is read."""
    lacking = [] if cfg.checkpoint else ["checkpoint=EDITOR"]
    lacking += [] if cfg.image or cfg.list else ["image=PATH (an image or a folder of images) or list=PATH"]
    asks = cfg.list or str(cfg.instruction or "").strip()
    lacking += [] if asks else ['instruction="in any words"']
    if len(lacking) > 1:
        raise ValueError(f"give {', '.join(lacking)}; python -m src.edit --help has examples")
    if not cfg.checkpoint:
        raise ValueError("checkpoint=... is missing; see the head of src/edit.py for a command")
    if bool(cfg.image) == bool(cfg.list):
        raise ValueError(
            "give either image=PATH (an image or a folder of images) or list=PATH (a .csv or .jsonl file)"
        )
    if cfg.image and not str(cfg.instruction or "").strip():
        raise ValueError("instruction=... is missing; see the head of src/edit.py for a command")
    if cfg.list and cfg.instruction:
        raise ValueError(
            "each row of a list has its own instruction; leave out instruction=..., or give image=... in "
            "place of list=..."
        )
    if cfg.list and Path(str(cfg.list)).resolve() == (Path(str(cfg.output)) / TABLE).resolve():
        raise ValueError(f"the table of the edits would overwrite list={cfg.list}; choose another output=DIR")
    for name, values in (("weights", ("ema", "raw")), ("on_error", ("fail", "skip"))):
        if cfg[name] not in values:
            raise ValueError(f"{name}={cfg[name]}: choose {' or '.join(values)}")
    launch.check_whole_numbers(cfg, {"batch_size": 1, "most_pixels": 1, "seed": None})


def check_writable(folder: Path) -> None:
    """Raise NotWrittenError unless files can be created in a folder, which need not exist yet."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = "may not be written to" if there.is_dir() else "is no folder"
        raise NotWrittenError(
            f"the edits can't be written to {folder}: {there} {reason}; choose another output=DIR"
        )


def print_summary(plan: EditPlan) -> None:
    """Print what was done; draw a strip for a single image, a contact sheet for a list."""
    there = [
        photograph
        for photograph in plan.photographs
        if is_written(edit_path(plan.output, photograph.request))
    ]
    skipped = len(read_json_lines(plan.skipped)) if plan.skipped is not None and plan.skipped.exists() else 0
    if plan.table is not None or plan.made or skipped:
        listed = f", {skipped} photographs left out ({plan.skipped})" if skipped else ""
        print(f"{len(there) - len(plan.made)} edits made, {len(plan.made)} were there{listed}: {plan.output}")
    if plan.table is not None and there:
        save_png(side_by_side(plan, there[:SHEET_ROWS]), plan.output / SHEET)
        print(plan.table, plan.output / SHEET, sep="\n")
    if plan.table is None and len(plan.photographs) == 1 and there:
        file = edit_path(plan.output, there[0].request)
        strip = file.with_name(f"{file.stem}_strip.png")
        digest = decode_source(there[0], plan.framing).digest
        save_png(side_by_side(plan, there), strip, edit_metadata(there[0].request, digest, plan.common))
        print(strip)


def side_by_side(plan: EditPlan, photographs: list[SourceImage]) -> NewImage:
    """Originals beside edits, titled with the scores and instruction."""
    rows, titles = [], []
    for photograph in photographs:
        edited = load_image(edit_path(plan.output, photograph.request))
        rows.append([centre_crop(decode_source(photograph, plan.framing).image, *edited.shape[:2]), edited])
        titles.append(f"{scores_text(photograph.request)}\n{photograph.request.instruction}")
    return contact_sheet(rows, ["original", "edit"], titles, cell=256)


if __name__ == "__main__":
    launch.entry_point(main, "edit")
