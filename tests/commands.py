"""Commands as users type them, and small trainings for them."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from killing import Command

SMALL = (
    "model.backbone.unet.block_out_channels=[16,16]",
    "model.backbone.text_encoder.hidden_size=16",
    "model.backbone.text_encoder.num_hidden_layers=1",
)
"""Overrides that make the tiny backbone small enough for a test."""

UNET = ("+experiment=reward_synthetic", "model/backbone=tiny", "model/process=preconditioned")
"""The reward stage of a backbone that trains in a second."""

LEAN = (
    *UNET,
    *SMALL,
    "~callbacks.previews",
    "~callbacks.scores",
    "data.dataset.length=64",
    "data.dataset.cache=null",
    "data.num_workers=0",
    "trainer.log_every_n_steps=1",
)

TRAINING = (
    *UNET,
    *SMALL,
    "~callbacks.previews",
    "~callbacks.scores",
    "data.dataset.length=64",
    "data.dataset.cache=null",
    "data.batch_size=2",
    "data.num_workers=0",
    "trainer.log_every_n_steps=1",
    "trainer.precision=32-true",
    "trainer.max_steps=12",
    "callbacks.checkpoint.every_n_train_steps=3",
)


def run(*arguments: str, module: str = "src.train") -> subprocess.CompletedProcess[str]:
    """Run a command to its end in a forked process."""
    with TemporaryDirectory() as folder:
        output, errors = Path(folder) / "output", Path(folder) / "errors"
        code = Command(module, *arguments, log=output, errors=errors).ended(500)
        texts = (file.read_bytes().decode(errors="replace") for file in (output, errors))
        return subprocess.CompletedProcess((module, *arguments), code, *texts)


def run_interpreter(*arguments: str, module: str = "src.train") -> subprocess.CompletedProcess[str]:
    """Run a command in a new interpreter, as a shell does: 10 CPU seconds of imports. Training in several
    processes needs it, as Lightning starts the others by repeating the command line.
    """
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False, timeout=500
    )


def only_error(stderr: str, code: int) -> str:
    """The last line, after checking that only it begins with `error: ` and that no stack is shown."""
    lines = stderr.strip().splitlines()
    assert code == 1, stderr[-2000:]
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:], stderr[-2000:]
    assert "Traceback" not in stderr
    return lines[-1]


def refused(*arguments: str, module: str = "src.train") -> str:
    """The error line of a command, run in a process of its own."""
    done = run(*arguments, module=module)
    return only_error(done.stderr, done.returncode)
