"""What a training's result depends on, and whether a run folder holds a finished training."""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.data.reach import rows_settings
from src.differences import leaves
from src.sweeps.titles import OF_TRAINER

COMMON = ("precision", "accumulate_grad_batches", "gradient_clip_val")
"""Settings of the trainer that are always named."""

STEPS = re.compile(r"\$\{\.*trainer\.max_steps\}")

ASKING = ("ledger", "limits", "price", "retry_failed", "base_url", "key_variable", "timeout")
"""Settings of a judge that its answers don't depend on."""

LENGTHS = ("max_steps", "min_steps", "max_epochs", "min_epochs", "max_time")
"""Settings of the trainer that may change when a training is resumed."""


def training_settings(cfg: DictConfig) -> dict[str, Any]:
    """The settings of src.train that the weights depend on, besides the model's."""
    data = {
        name: value
        for name, value in rows_settings(resolved(cfg.data)).items()
        if name not in ("num_workers", "check")
    }
    return {
        "seed": cfg.seed,
        "start": cfg.start,
        "algorithm": _without_asking(resolved(cfg.algorithm)),
        "data": data,
        "ema": resolved(cfg.callbacks.ema),
        "trainer": trainer_settings(cfg),
    }


def trainer_settings(cfg: DictConfig) -> dict[str, Any]:
    """The trainer's settings that the weights depend on: all but its machinery and how long it runs."""
    trainer = {name: value for name, value in _of_trainer(cfg).items() if name not in LENGTHS}
    return dict.fromkeys(COMMON) | trainer


def schedules(cfg: DictConfig) -> dict[str, DictConfig]:
    """The parts of src.train's config that may follow trainer.max_steps, by their names in
    `training_settings`.
    """
    return {"algorithm": cfg.algorithm, "data": cfg.data, "ema": cfg.callbacks.ema}


def following_steps(parts: Mapping[str, DictConfig]) -> set[str]:
    """Names in the settings of a training of what its config sets to trainer.max_steps: the length of a
    schedule.

    Args:
        parts: of the config, by their names in the settings.
    """
    trees = {name: OmegaConf.to_container(node, resolve=False) for name, node in parts.items()}
    return {name for name, value in leaves(trees) if STEPS.search(str(value))}


def training_depends_on(cfg: DictConfig) -> Mapping[str, Any]:
    """What a training's result depends on: equal for the same training, however it is spelt and wherever it
    runs.

    Raises:
        FileNotFoundError: no checkpoint to start from.
    """
    settings, model = training_settings(cfg), resolved(cfg.model)
    if model["reward_encoder"] is None or model["integration"] is None:
        model |= {"reward_encoder": None, "integration": None}  # the same editor
    if cfg.start is not None:
        settings["start"] = f"weights {start_hash(str(cfg.start))}"
    trainer = resolved(cfg.trainer)
    # each takes a batch of its own
    processes = {"processes": [trainer.get("devices"), trainer.get("num_nodes", 1)]}
    steps = {"max_steps": None} | _of_trainer(cfg)
    return {**_without_caches(settings), "model": model, "trainer": settings["trainer"] | steps | processes}


def _of_trainer(cfg: DictConfig) -> dict[str, Any]:
    """The trainer's settings without its machinery."""
    return {name: value for name, value in resolved(cfg.trainer).items() if name not in OF_TRAINER}


@lru_cache
def start_hash(path: str) -> str:
    """Short content hash of the weights that a training starts from."""
    if not Path(path).exists():
        raise FileNotFoundError(
            f"no checkpoint at start={path}; give a .ckpt file or an exported editor/ folder"
        )
    from src import checkpoint  # imports torch

    return checkpoint.content_hash(Path(path))[:16]


def is_trained(folder: Path) -> bool:
    """Whether a run folder holds a finished training."""
    record = folder / "run.json"
    if not record.is_file() or not (folder / "editor").is_dir():
        return False
    return json.loads(record.read_text())["status"] == "finished"


def resolved(node: DictConfig) -> dict[str, Any]:
    """A node with its interpolations followed. Raises an error of OmegaConf's if a value is missing."""
    tree = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    assert isinstance(tree, dict)
    return {str(name): value for name, value in tree.items()}


def _without_asking(algorithm: dict[str, Any]) -> dict[str, Any]:
    """The settings of an algorithm without how its judge, if there is one, is asked."""

    def shortened(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: shortened(child) for name, child in node.items() if name not in ASKING}
        return node

    rewards = algorithm.get("rewards")
    if not isinstance(rewards, dict) or "judge" not in rewards:
        return algorithm
    return algorithm | {"rewards": rewards | {"judge": shortened(rewards["judge"])}}


def _without_caches(node: Any) -> Any:
    """A tree without the folders that keep what could be computed again."""
    if isinstance(node, dict):
        return {name: _without_caches(child) for name, child in node.items() if name != "cache"}
    return node
