"""Edits of a pipeline folder in a process that has never heard of this repository, and the same edits here."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from conftest import config
from hydra.utils import instantiate

from src.diffusion.samplers import seeded_noise
from src.editor import Editor
from src.records import TargetReward

FEEDBACK = ("the circle is still there", "None", "None")

ELSEWHERE = """
import os, sys, torch, numpy as np
import diffusers
from diffusers import DiffusionPipeline
from PIL import Image

assert not any(name == "src" or name.startswith("src.") for name in sys.modules)
folder, arrays, out, scheduler, steps = sys.argv[1:]
data = np.load(arrays)
pipeline = DiffusionPipeline.from_pretrained(folder, custom_pipeline=folder + "/pipeline.py", trust_remote_code=True)
pipeline.set_progress_bar_config(disable=True)
pipeline.scheduler = getattr(diffusers, scheduler).from_config(pipeline.scheduler.config)
pipeline.scheduler.set_timesteps(int(steps))
scale = float(pipeline.scheduler.init_noise_sigma)
latents = torch.from_numpy(data["noise"]) * (1 + scale**2) ** 0.5 / scale
images = [Image.fromarray(image) for image in data["images"]]
text = ("the circle is still there", "None", "None")
rewarded = os.path.isdir(folder + "/reward_adapter")
noise = {"latents": latents, "generator": [torch.Generator().manual_seed(seed) for seed in (7, 8)]}
asked = {"reward_scores": [(5, 2, 3), (0, 1, 4)], "reward_text": text} if rewarded else {}
edits = pipeline(["make it night", "remove it"], images, int(steps), **asked, **noise, output_type="np")
np.save(out, edits.images)
assert not any(name == "src" or name.startswith("src.") for name in sys.modules)
"""


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
    command = [
        sys.executable,
        "-c",
        ELSEWHERE,
        str(folder / "editor"),
        str(folder / "in.npz"),
        str(folder / "out.npy"),
        scheduler,
        str(steps),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return torch.from_numpy(np.load(folder / "out.npy")).permute(0, 3, 1, 2)
