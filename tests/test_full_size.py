"""Full-size editors on two CPU cores within 24 GiB: a training step; export and a real photograph edited (30
GB of disk).
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import config
from data.written import reward, write_tree
from hydra.utils import instantiate
from PIL import Image
from skimage import data as photographs

from src.algorithms.denoising import Denoising, draw
from src.batch import EncodedBatch, Moments, Reading, TextTokens
from src.resolvers import cpu_precision
from src.reward_file import append_rewards

MOST_MEMORY = 24 * 2**20
"""In KiB, as getrusage counts."""


def run(module: str, *arguments: str) -> str:
    """Runs a command as a child of this process, so that its memory is counted."""
    done = subprocess.run(
        [sys.executable, "-m", f"src.{module}", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_one_step_export_and_edit(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    append_rewards(
        tmp_path / "rewards.jsonl",
        [reward(f"{prompt:07d}/{seed}") for prompt in range(2) for seed in (7, 31)],
    )
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
    edit = [
        "image=" + str(tmp_path / "astronaut.png"),
        "instruction=make it night",
        f"output={tmp_path / 'edited'}",
        "resize=256",
    ]
    run("edit", f"checkpoint={folder / 'editor'}", *edit, "sampler=paper", "sampler.steps=2")
    assert Image.open(tmp_path / "edited/astronaut.png").size == (256, 256)
    assert np.array(Image.open(tmp_path / "edited/astronaut.png")).std() > 0
    run("export", f"checkpoint={folder / 'editor'}", f"output={tmp_path / 'mine'}")
    assert (tmp_path / "mine/unet/diffusion_pytorch_model.safetensors").stat().st_size > 3.4e9
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < MOST_MEMORY


@pytest.mark.slow
def test_a_step_of_reward_smartedit_needs_no_language_model() -> None:
    """The full-size U-Net with integration and reward encoder, on conditions that lie ready: AdamW steps
    within 24 GiB; no reader is built.
    """
    torch.manual_seed(0)
    model = instantiate(config("+experiment=reward_smartedit", "model.backbone.base.pretrained=null").model)
    module = Denoising(model, lambda named: torch.optim.AdamW([p for _, p in named], lr=1e-5), seed=0)
    assert sum(p.numel() for p in model.backbone.base.unet.parameters()) > 850e6
    windows = TextTokens(torch.randn(1, 77, 768), torch.ones(1, 77, dtype=torch.bool))
    batch = EncodedBatch(
        ids=["a"],
        original=torch.randn(1, 4, 32, 32),
        edited=Moments(torch.randn(1, 4, 32, 32), torch.rand(1, 4, 32, 32)),
        instructions=["make it night"],
        scores=torch.tensor([[5.0, 4.0, 3.0]]),
        feedback=[("None", "None", "None")],
        reading=Reading(windows, torch.randn(1, 320, 16, 16)),
        recall=lambda texts: TextTokens(
            windows.tokens.expand(len(texts), -1, -1), windows.mask.expand(len(texts), -1)
        ),
    )
    optimizer = module.configure_optimizers()
    before = model.backbone.base.unet.conv_in.weight.detach().clone()
    start = time.monotonic()
    for step in range(2):
        with torch.autocast(
            "cpu", torch.bfloat16, enabled=cpu_precision() == "bf16-mixed"
        ):  # emulated, it takes half an hour
            losses = module.losses(batch, draw(0, step, 0, range(1), (4, 32, 32)))
        losses.minimised.backward()
        optimizer.step()
        optimizer.zero_grad()
    print(
        f"{(time.monotonic() - start) / 2:.1f} s per step, "
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB"
    )
    assert not torch.equal(model.backbone.base.unet.conv_in.weight, before)
    assert model.backbone.reader.network is None
    assert model.backbone.base.text_encoder.network is None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < MOST_MEMORY
