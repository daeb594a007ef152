"""Edits of a pipeline folder in a process without this repository, and the same edits here."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch
from conftest import config
from hydra.utils import instantiate

from src.diffusion.samplers import seeded_noise
from src.editor import Editor
from src.records import TargetReward

FEEDBACK = ("the circle is still there", "None", "None")

SERVER = """
import json, os, sys, traceback
import diffusers, numpy as np, torch
from diffusers import DiffusionPipeline, StableDiffusionInstructPix2PixPipeline
from PIL import Image

def edit(folder, arrays, out, scheduler, steps):
    data = np.load(arrays)
    code = folder + "/pipeline.py"
    pipeline = DiffusionPipeline.from_pretrained(folder, custom_pipeline=code, trust_remote_code=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config)
    pipeline.scheduler.set_timesteps(steps)
    scale = float(pipeline.scheduler.init_noise_sigma)
    latents = torch.from_numpy(data["noise"]) * (1 + scale**2) ** 0.5 / scale
    images = [Image.fromarray(image) for image in data["images"]]
    text = ("the circle is still there", "None", "None")
    rewarded = os.path.isdir(folder + "/reward_adapter")
    noise = {"latents": latents, "generator": [torch.Generator().manual_seed(seed) for seed in (7, 8)]}
    asked = {"reward_scores": [(5, 2, 3), (0, 1, 4)], "reward_text": text} if rewarded else {}
    edits = pipeline(["make it night", "remove it"], images, steps, **asked, **noise, output_type="np")
    np.save(out, edits.images)
    assert not any(name == "src" or name.startswith("src.") for name in sys.modules)

for line in sys.stdin:
    child = os.fork()
    if not child:
        try:
            edit(*json.loads(line))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""
"""Forks a process for each edit, so that libraries are imported once and no edit knows of another."""


@cache
def server() -> subprocess.Popen[str]:
    """The one of this test process; it ends with it, as its input does."""
    return subprocess.Popen(
        [sys.executable, "-c", SERVER], cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def edits(model: Editor, images: np.ndarray, steps: int = 4, eta: float = 0.0) -> torch.Tensor:
    sampler = instantiate(config("sampler=paper", name="edit").sampler, steps=steps, eta=eta)
    originals = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    targets = [TargetReward((5, 2, 3), FEEDBACK), TargetReward((0, 1, 4), FEEDBACK)]
    return model.edit(originals, ["make it night", "remove it"], targets, [7, 8], sampler)


def elsewhere(folder: Path, images: np.ndarray, scheduler: str, steps: int) -> torch.Tensor:
    """What `folder/editor` makes of images (b, h, w, 3) in a process without this repository: (b, 3, h, w)
    in [0, 1].
    """
    noise = seeded_noise([7, 8], (4, images.shape[1] // 4, images.shape[2] // 4), 0).numpy()
    np.savez(folder / "in.npz", images=images, noise=noise)
    request = [*(str(folder / name) for name in ("editor", "in.npz", "out.npy")), scheduler, steps]
    process = server()
    print(json.dumps(request), file=process.stdin, flush=True)
    assert process.stdout.readline() == "0\n", "the traceback is in this test's stderr"
    return torch.from_numpy(np.load(folder / "out.npy")).permute(0, 3, 1, 2)
