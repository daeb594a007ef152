"""The full-size InsPix2Pix on two CPU cores within 24 GiB: one training step, export, and a real photograph edited. 30 GB of disk."""

import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data.written import reward, write_tree
from PIL import Image
from skimage import data as photographs

from src.reward_file import append_rewards

MOST_MEMORY = 24 * 2**20
"""In KiB, as getrusage counts."""


def run(module: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", f"src.{module}", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_one_step_export_and_edit(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    append_rewards(tmp_path / "rewards.jsonl", [reward(f"{prompt:07d}/{seed}") for prompt in range(2) for seed in (7, 31)])
    run(
        "train",
        "+experiment=reward_inspix2pix",
        "model.backbone.pretrained=null",
        f"data.dataset.folder={write_tree(tmp_path / 'tree', prompts=2)}",
        "data.dataset.extension=png",
        "data.dataset.split=all",
        "data.batch_size=1",
        "data.num_workers=0",
        "+rewards@data.rewards=reward_file",
        f"data.rewards.path={tmp_path / 'rewards.jsonl'}",
        "trainer=cpu",
        "trainer.max_steps=1",
        "~callbacks.previews",
        f"hydra.run.dir={folder}",
    )
    Image.fromarray(photographs.astronaut()).save(tmp_path / "astronaut.png")
    edit = ["image=" + str(tmp_path / "astronaut.png"), "instruction=make it night", f"output={tmp_path / 'edited'}", "resize=256"]
    run("edit", f"checkpoint={folder / 'editor'}", *edit, "sampler=paper", "sampler.steps=2")
    assert Image.open(tmp_path / "edited/astronaut.png").size == (256, 256)
    assert np.array(Image.open(tmp_path / "edited/astronaut.png")).std() > 0
    run("export", f"checkpoint={folder / 'editor'}", f"target={tmp_path / 'mine'}")
    assert (tmp_path / "mine/unet/diffusion_pytorch_model.safetensors").stat().st_size > 3.4e9
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < MOST_MEMORY
