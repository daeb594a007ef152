"""A page in the browser for one editor: a picture, an instruction, and a slider for each score asked for.

    make app      # with the demo's editor, or the one that comes with this repository
    python -m src.app checkpoint=runs/.../editor
    python -m src.app checkpoint=runs/.../editor judge=gpt4o budget_usd=5   # its verdict beside each edit
    python -m src.app checkpoint=... sampler=paper address=0.0.0.0 port=8080

It shows the edit under the original with a divider to drag, and a strip of edits over scores from 0 to 5. It
needs gradio (`make setup` installs it, or pip install "gradio>=6"), fetches nothing, and is served to this
machine alone unless address= says otherwise; what is uploaded is deleted when it ends, by Ctrl+C.
"""

import signal
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.utils import instantiate
from omegaconf import DictConfig

from src import launch
from src.app_page.server import private_folder, reserve, served

if TYPE_CHECKING:
    from src.app_page.workbench import Workbench

GRADIO = "gradio"


def main(cfg: DictConfig) -> None:
    """Check the whole request, load the editor, and serve the page until it is interrupted."""
    check_request(cfg)
    reserved = reserve(cfg.address, cfg.port)
    from src import memory

    if cfg.keep_memory:
        memory.keep_freed()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uploads are deleted then, too
    with private_folder() as folder:
        workbench = workbench_of(cfg, folder)
        from src.app_page.page import build_page

        with served(build_page(workbench), reserved, cfg.most_megabytes) as url:
            print(f"{url}  (Ctrl+C ends it)", flush=True)
            wait()


def workbench_of(cfg: DictConfig, folder: Path) -> "Workbench":
    """What the config describes, with its examples in a folder. Raises what a judge or an editor raises that
    can't be used.
    """
    from src import loading
    from src.app_page.workbench import Workbench
    from src.judges.photo_judge import PhotoJudge
    from src.trained_sampler import told

    judge = None if cfg.judge is None else PhotoJudge(instantiate(cfg.judge))
    editor = loading.editor_of(cfg)
    line = told(cfg.sampler, Path(cfg.checkpoint))
    print(f"{line}\n" if line else "", end="", file=sys.stderr, flush=True)
    examples = instantiate(cfg.examples).write(folder, editor)
    return Workbench(editor, judge, examples, cfg.seed, str(Path(cfg.checkpoint)), cfg.batch_size)


def check_request(cfg: DictConfig) -> None:
    """Raise ValueError if the command lacks something, before anything is read."""
    if not cfg.checkpoint:
        raise ValueError("checkpoint=... is missing; see the head of src/app.py for a command")
    if find_spec(GRADIO) is None:
        raise ValueError('the page needs gradio, which is not installed: pip install "gradio>=6"')
    if cfg.weights not in ("ema", "raw"):
        raise ValueError(f"weights={cfg.weights}: choose ema or raw")
    launch.check_whole_numbers(
        cfg, {"port": 0, "most_megabytes": 1, "most_pixels": 1, "batch_size": 1, "seed": None}
    )
    if cfg.port > 65535:
        raise ValueError(f"port={cfg.port}: ports end at 65535")


def wait() -> None:
    """Return when the user interrupts, or the process is asked to end."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    launch.entry_point(main, "app")
