"""Small reward models and contests for tests."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from data.written import pixels, write_image
from omegaconf import OmegaConf
from pytorch_lightning import Callback, Trainer

from src.algorithms.preference import Preference
from src.algorithms.schedules import warmup_cosine
from src.backbones.byte_pairs import BytePairs
from src.callbacks.ema import EMA
from src.callbacks.held_out_accuracy import HeldOutAccuracy
from src.callbacks.last_checkpoint import AtomicCheckpointIO, LastCheckpoint
from src.callbacks.reward_model_checkpoint import RewardModelCheckpoint
from src.data.contest_data import ContestData
from src.data.synthetic_contests import SyntheticContests
from src.records import ASPECTS
from src.reward_model_checkpoint import export_reward_model
from src.reward_models.calibration import Calibration, ScoreMap
from src.reward_models.contest_loss import ContestLoss
from src.reward_models.tiny import TinyScorer
from src.synthetic.world import World

CONFIG = OmegaConf.to_yaml(
    {
        "_target_": "src.reward_models.tiny.TinyScorer",
        "width": 8,
        "picture_size": [32, 32],
        "tokenizer": {"_target_": "src.backbones.byte_pairs.BytePairs", "count": 50},
    }
)


def write_contests(folder: Path, count: int = 12) -> Path:
    """EditReward's training JSON: the better edit is the brighter one."""
    rows = []
    for number in range(count):
        write_image(folder / f"{number}.png", pixels(number, 40, 48))
        for name, shade in (("good", 200), ("bad", 40)):
            noise = pixels(100 + number, 40, 48) // 8
            write_image(folder / f"{number}-{name}.png", (noise + shade).astype(np.uint8))
        row = {"prompt": f"make {number} brighter", "path_src": f"{number}.png", "model1": "a", "model2": "b"}
        row |= {"path1": f"{number}-good.png", "path2": f"{number}-bad.png"}
        scores = {"dim1": (4, 2), "dim2": (3, 1 + number % 2), "overall": (7, 3 + number % 2)}
        for name, (better, worse) in scores.items():
            row |= {f"model1_{name}_score": better, f"model2_{name}_score": worse}
        rows.append(row)
    (folder / "train.json").write_text(json.dumps(rows))
    return folder / "train.json"


def contests(folder: Path, length: int = 24, **settings: Any) -> SyntheticContests:
    """Contests of three edits; all with the same folder are rendered once."""
    return SyntheticContests(World(32), length, 3, cache=folder, **settings)


def write_reward_model(folder: Path) -> Path:
    """A reward model that has learnt nothing, as an export."""
    maps = {aspect: ScoreMap() for aspect in ASPECTS}
    export_reward_model(folder, CONFIG, network().trained_state(), Calibration(maps), ASPECTS, "")
    return folder


def served(source: SyntheticContests, batch_size: int = 4) -> ContestData:
    """The contests as training data; the same are held out."""
    return ContestData(source, batch_size, 0, 0, held_out=source)


def network(seed: int = 0) -> TinyScorer:
    """What CONFIG builds."""
    torch.manual_seed(seed)
    return TinyScorer(BytePairs(50), 8)


def module(source: SyntheticContests, **loss: Any) -> Preference:
    """A training of the network on a source."""
    return Preference(
        network(),
        [source],
        partial(ContestLoss, **loss),
        partial(torch.optim.AdamW, lr=3e-3),
        0,
        partial(warmup_cosine, warmup_steps=2, total_steps=40),
    )


def trained(
    folder: Path,
    source: SyntheticContests,
    steps: int,
    resumed: Path | None = None,
    every: int = 3,
    more: Sequence[Callback] = (),
    **loss: Any,
) -> Preference:
    """Train into a folder as src.train_reward_model does."""
    data, ema, training = served(source), EMA(0.9), module(source, **loss)
    kept = RewardModelCheckpoint(folder, CONFIG, ema, data)
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        callbacks=[
            ema,
            kept,
            HeldOutAccuracy(kept, every),
            *more,
            LastCheckpoint(folder / "checkpoints", every),
        ],
        plugins=[AtomicCheckpointIO()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(training, datamodule=data, ckpt_path=resumed, weights_only=True)
    return training
