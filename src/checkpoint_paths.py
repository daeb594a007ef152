"""What `checkpoint=` may name, told by its place alone: a .ckpt, an exported editor/, a pipeline folder, or
the id of a pipeline on the hub. Needs no heavy library.
"""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent

SETTINGS = "editor.yaml"
"""The file that makes a pipeline folder an editor: its model config, image size and sampler."""

INDEX = "model_index.json"
"""The file that makes a folder a diffusers pipeline."""

IN_RUNS = ("editor", "best")
"""The folders of editors in a run folder: at the end, and best by the hold-out judge."""

RECORD = "run.json"
"""The file that makes a folder a run folder."""


def is_hub_id(path: Path) -> bool:
    """Whether a path that is not there may be an id of the hub: `owner/name`, and no folder `owner` here."""
    parts = path.parts
    is_name = len(parts) == 2 and not parts[0].startswith((".", "~", "/"))
    is_ours = path.suffix == ".ckpt" or path.name == "editor"
    is_here = path.exists() or Path(parts[0]).exists() or shipped(path) is not None
    return is_name and not is_ours and not is_here


def shipped(path: Path) -> Path | None:
    """What the repository holds by this relative path, where a command runs elsewhere; None for nothing."""
    there = REPOSITORY / path
    return there if not path.is_absolute() and there.exists() and not path.exists() else None


def is_stock(path: Path) -> bool:
    """Whether a checkpoint is a diffusers pipeline that others published, and no export of ours."""
    return is_hub_id(path) or ((path / INDEX).is_file() and not (path / SETTINGS).exists())


def check_there(path: Path) -> None:
    """Raise FileNotFoundError if there is no such checkpoint; whether the hub has it is asked later."""
    own = shipped(path)
    if own is not None:
        raise FileNotFoundError(f"no checkpoint at {path} in {Path.cwd()}; the repository's is {own}")
    if not path.exists() and not is_hub_id(path):
        raise FileNotFoundError(
            f"no checkpoint at {path}; give a .ckpt file, an exported editor/ folder, or a folder or hub id "
            "of an InstructPix2Pix or FLUX.2-klein pipeline"
        )


def run_folder_of(path: Path) -> Path:
    """The folder that the results of a checkpoint belong to: runs/x/y for runs/x/y/checkpoints/last.ckpt and
    runs/x/y/editor, the folder of a loose file, and runs/NAME for an editor that lies in no run folder (a
    stock pipeline, an export, what was converted or is shipped), as what lies beside it is not its own.
    """
    if is_stock(path):
        return Path("runs", "-".join(path.parts) if is_hub_id(path) else path.resolve().name)
    folder = path.resolve().parent
    if path.is_dir() and path.resolve().name not in IN_RUNS and not (folder / RECORD).exists():
        return Path("runs", path.resolve().name)
    return folder.parent if folder.name == "checkpoints" else folder
