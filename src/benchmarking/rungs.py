"""What the processes of the benchmark do: write its files, and measure one rung with the experiment's own
parts.
"""

import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer

from src import memory
from src.backbones.frozen import FrozenEncoders
from src.benchmarking.clock import Clock, matrix_rate
from src.benchmarking.files import Shapes, photograph_squares, write_conditions, write_image_tree
from src.benchmarking.loading import BatchReader, measure_loading
from src.benchmarking.measurement import RungMeasurement
from src.benchmarking.sampling import Edits, measure_sampling
from src.benchmarking.training import DISTINCT_BATCHES, TimedSteps, first_batches, measure_training
from src.data.collate import to_tensor
from src.data.datamodule import EditData
from src.data.rewards import WithRewards
from src.ranks import device_of


def write_files(cfg: DictConfig, folder: Path) -> None:
    """Write a tree of images with rewards, and precomputed conditions of it, and name them in the config."""
    cfg.size = cfg.sizes[cfg.device]
    tree = write_image_tree(folder / "tree", cfg.files.rows, cfg.files.side)
    OmegaConf.update(cfg, "data.dataset", {"folder": str(tree), "split": "all", "extension": "jpg"})
    rewards = {"_target_": "src.data.rewards.from_reward_file", "path": str(tree / "rewards.jsonl")}
    OmegaConf.update(cfg, "data.rewards", rewards, force_add=True)
    cfg.data.precomputed = None
    data: EditData = instantiate(cfg.data)
    assert isinstance(data.dataset, WithRewards)
    conditions = write_conditions(
        folder / "conditions", data.dataset, data.transform, encoded_shapes(cfg, data)
    )
    cfg.conditions = str(conditions)


def encoded_shapes(cfg: DictConfig, data: EditData) -> Shapes:
    """Shapes of what the backbone's encoders return. Raises ValueError for a backbone that trains its
    encoders.
    """
    # without weights, where they would be random
    with torch.device("meta" if cfg.model.backbone.get("pretrained") is None else "cpu"):
        backbone = instantiate(cfg.model.backbone)
    if not isinstance(backbone, FrozenEncoders):
        raise ValueError(
            f"{type(backbone).__name__} trains its text encoder, and can't be compared with the release"
        )
    return Shapes(backbone.latent_shape(*data.image_size), (cfg.files.text_length, backbone.text_width))


def measure_part(name: str, settings: Mapping[str, Any]) -> Any:
    """Measure one thing in this process: a key of MEASURES."""
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.manual_seed(settings["seed"])
    if settings["keep_memory"]:
        memory.keep_freed()
    else:
        memory.refuse_huge_pages()
    return MEASURES[name](OmegaConf.create(dict(settings)))


def matrices(cfg: DictConfig) -> float:
    """Operations per second in products of large matrices."""
    return matrix_rate(device_of(cfg.device), getattr(torch, cfg.dtype), cfg.matrix_side)


def training(cfg: DictConfig) -> RungMeasurement:
    """Measure steps of the experiment's training."""
    data = instantiate(cfg.data, num_workers=0)
    algorithm = instantiate(cfg.algorithm)(editor=instantiate(cfg.model))
    # the first step counts operations and is never compiled
    untimed = 1 + (max(cfg.size.warm_up, 1) if algorithm.compiled is not None else cfg.size.warm_up)
    steps = TimedSteps(Clock(device_of(cfg.device)), untimed)
    trainer = silent_trainer(
        cfg,
        callbacks=[instantiate(cfg.released), instantiate(cfg.ema), steps],
        max_steps=untimed + cfg.size.timed,
    )
    return measure_training(algorithm, trainer, steps, first_batches(data, trainer, DISTINCT_BATCHES))


def sampling(cfg: DictConfig) -> RungMeasurement:
    """Measure edits by the experiment's sampler."""
    device = device_of(cfg.device)
    editor = instantiate(cfg.model).to(device)
    count, steps = cfg.size.edits, cfg.sampler.steps
    originals = to_tensor(photograph_squares(cfg.sampling_side, count)).to(device)
    edits = Edits(originals, [f"make it night, version {number}" for number in range(count)])
    samplers = {
        number: instantiate(cfg.sampler, steps=number) for number in (1, cfg.size.sampling_steps or steps)
    }
    return measure_sampling(
        editor,
        instantiate(cfg.execution),
        edits,
        instantiate(cfg.released),
        samplers,
        steps,
        cfg.size.warm_up_edits,
        cfg.size.timed_edits,
    )


def loading(cfg: DictConfig) -> RungMeasurement:
    """Measure batches of the experiment's loader."""
    torch.set_num_threads(1)
    data: EditData = instantiate(cfg.data, num_workers=0)
    samples = min(len(data.dataset), cfg.size.samples if data.precomputed is None else len(data.dataset))
    return measure_loading(
        BatchReader(data, silent_trainer(cfg), cfg.tokens), samples, cfg.size.loading_seconds
    )


MEASURES: dict[str, Callable[[DictConfig], Any]] = {
    "training": training,
    "sampling": sampling,
    "loading": loading,
    "matrices": matrices,
}


def silent_trainer(cfg: DictConfig, **more: Any) -> Trainer:
    """The experiment's trainer, which writes nothing."""
    return instantiate(cfg.trainer, logger=False, enable_checkpointing=False, **more)
