"""A stranger's package of 40 lines, outside of the repository, through every command that meets it:
literally, each in an interpreter of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

STRANGER = Path(__file__).parent / "stranger"
SMALL = (
    *("--config-dir", str(STRANGER / "conf"), "+experiment=mine"),
    *("model.backbone.unet.block_out_channels=[16,16]", "model.backbone.text_encoder.hidden_size=16"),
    *("model.backbone.text_encoder.num_hidden_layers=1", "~callbacks.previews", "~callbacks.scores"),
    "trainer.log_every_n_steps=1",
)
EVALUATED = ("limit=2", "sampler.steps=1", "benchmark.ideals=null", "judge=mine")


def typed(module: str, *arguments: str) -> str:
    """What a command prints, as a shell runs it."""
    environment = {**os.environ, "PYTHONPATH": str(STRANGER), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=3600)
    assert done.returncode == 0, f"{module} {' '.join(arguments)}\n{done.stdout[-1500:]}{done.stderr[-1500:]}"
    return done.stdout + done.stderr


def steps(run: Path) -> object:
    return json.loads((run / "run.json").read_text())["steps"]


@pytest.mark.slow
def test_train_resume_sweep_evaluate_and_edit(tmp_path: Path) -> None:
    run, sweep, own = tmp_path / "run", tmp_path / "sweep", ("--config-dir", str(STRANGER / "conf"))
    typed("src.train", *SMALL, f"hydra.run.dir={run}")
    said = typed("src.train", *SMALL, f"hydra.run.dir={run}", "trainer.max_steps=3")
    assert "total_steps is 2 in the checkpoint and 3 here" in said
    assert steps(run) == 3

    asked = f"hydra.launcher.evaluate={json.dumps(EVALUATED)}"
    varied = ("algorithm.optimizer.lr=1e-3,5e-3", "hydra.launcher.probe=false", asked)
    told = typed("src.train", "-m", *SMALL, *varied, f"hydra.sweep.dir={sweep}")
    assert "| lr=0.005 | 5/5/5 | 1 |" in told
    assert told.count("| any | copy input |") == 1
    files = json.loads((sweep / "sweep.json").read_text())["code"].popitem()[1]["files"]
    assert str(STRANGER / "my_package.py") in files

    trusted = (f"checkpoint={run}/editor", "trust=[my_package]")
    typed("src.evaluate", *own, *trusted, *EVALUATED)
    assert (run / "evaluation/synthetic_edit/near/report.md").is_file()
    photo = tmp_path / "photo.png"
    PIL.Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(photo)
    said = typed("src.edit", *trusted, f"image={photo}", "instruction=make it foggy", f"output={tmp_path}/e")
    assert "the editor's own, of its training" in said
    assert (tmp_path / "e/photo.png").is_file()
