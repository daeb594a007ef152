"""Train an editor.

    python -m src.train +experiment=reward_synthetic
    python -m src.train -m +experiment=reward_synthetic model/integration=none,attention,addition,both
    python -m src.train +experiment=reward_synthetic start=STAGE_1/editor   # the paper's two stages: start from an editor trained without rewards
    python -m src.train +experiment=reward_inspix2pix data.dataset.folder=DIR data.precomputed=CACHE   # no autoencoder and text encoder in memory
    python -m src.train +experiment=reward_synthetic hydra.run.dir=RUN      # go on after a kill: the same command and the folder of the run

Leaves in the run folder: metrics.csv, previews/, checkpoints/last.ckpt, editor/ (the export), run.json,
broken_rows.jsonl (rows that can't be used).
"""

import json
import logging
import os
import sys
import warnings
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.utilities import rank_zero_only

from src import checkpoint, launch, memory
from src.algorithms.editor_module import NO_CHAT_SUPPORT
from src.backbones.frozen import FrozenEncoders
from src.callbacks.editor_checkpoint import EditorCheckpoint
from src.callbacks.free_encoders import FreeEncoders
from src.callbacks.last_checkpoint import AtomicCheckpointIO, TrainingStopped
from src.callbacks.provenance import Provenance
from src.callbacks.run_record import RunRecord
from src.data.check import BROKEN_ROWS
from src.data.datamodule import EditData
from src.data.precomputed import PrecomputedConditions
from src.data.rows import CHAT_SAMPLES
from src.editor import Editor
from src.files import alone_in, remove_leftovers
from src.missing_settings import check_complete
from src.sweeps.launcher import SweepInterface
from src.sweeps.titles import sweep_axes
from src.tracking.settings import settings_told

QUIET = (
    r".*Experiment logs directory .* exists and is not empty",  # the run folder holds more than the log
    r".*LeafSpec.*",
    r".*does not have many workers.*",
    r".*module\(s\) in eval mode at the start of training.*",  # frozen parts are
    r".*`.*` is deprecated.*",
)
"""Warnings of Lightning that say nothing about this project."""

EDITING = ("previews", "scores")
"""Callbacks that edit images, and so need what editing needs."""


def main(cfg: DictConfig) -> None:
    """Train in the run folder, alone in it: of two trainings there, each would go on from the other's
    checkpoints.
    """
    for message in QUIET:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # devices and tips; ours is run.json
    check_complete(cfg)
    launch.check_shared_folder()
    if cfg.keep_memory:
        memory.keep_freed()
    folder = HydraConfig.get().runtime.output_dir
    with alone_in(Path(folder), "training") if rank_zero_only.rank == 0 else nullcontext():  # for all ranks
        train(cfg, folder)


def train(cfg: DictConfig, folder: str) -> None:
    """Data, editor, algorithm, callbacks, trainer, fit; data first, as its errors are the cheapest to find."""
    seed_everything(cfg.seed, workers=True, verbose=False)
    data = instantiate(cfg.data)
    report = data.check(Path(folder, BROKEN_ROWS))
    if report is not None and rank_zero_only.rank == 0:
        print(f"data: {report}", file=sys.stderr)
    model_config, settings = OmegaConf.to_yaml(cfg.model, resolve=True), settings_of(cfg)
    resumed = checkpoint_to_resume(cfg.resume, Path(folder))
    if resumed is not None:
        check_resumable(resumed, model_config, settings, by_itself=cfg.resume == "auto")
    editor = instantiate(cfg.model)
    if cfg.start is not None and resumed is None:
        checkpoint.start_from(editor, Path(cfg.start))
    editor.check_resolution(*data.image_size)
    precomputed = data.precomputed if isinstance(data, EditData) else None
    if precomputed is not None:
        check_encoders(editor, precomputed)
    algorithm = instantiate(cfg.algorithm)(editor=editor)
    if report is not None and report.counts.get(CHAT_SAMPLES) and not algorithm.supports_chat:
        raise ValueError(NO_CHAT_SUPPORT)

    ema = instantiate(cfg.callbacks.ema)
    told = settings_told(cfg, os.environ, {"axes": sweep_axes(), "folder": folder})
    callbacks = [
        ema,
        RunRecord(folder),
        EditorCheckpoint(folder, model_config, data.image_size, ema, settings),
    ]
    callbacks += [Provenance(folder, told, cfg.start, OmegaConf.select(cfg, "data.rewards.path"))]
    callbacks += [] if precomputed is None else [FreeEncoders()]
    callbacks += [instantiate(node) for name, node in cfg.callbacks.items() if name not in ("ema", *EDITING)]
    editing = {
        "folder": folder,
        "ema": ema,
        "target": instantiate(cfg.target_reward),
        "sampler": instantiate(cfg.sampler),
    }
    callbacks += [instantiate(cfg.callbacks[name], **editing) for name in EDITING if name in cfg.callbacks]
    extras = {"logger": instantiate(cfg.logger), "callbacks": callbacks, "plugins": [AtomicCheckpointIO()]}
    trainer: Trainer = instantiate(cfg.trainer, **extras, default_root_dir=folder)
    for part in ("", "checkpoints", "editor", "previews"):
        remove_leftovers(Path(folder, part))
    try:
        trainer.fit(algorithm, datamodule=data, ckpt_path=resumed, weights_only=True)
    except (TrainingStopped, SystemExit) as stop:
        # with several processes, one of them speaks for all; Lightning ends an interrupted training by a
        # SystemExit without a word
        if not trainer.is_global_zero:
            sys.exit(1)
        what = (
            str(stop)
            if isinstance(stop, TrainingStopped)
            else f"interrupted at step {trainer.global_step} of {trainer.max_steps}"
        )
        raise launch.Interrupted(f"{what}; the same command with hydra.run.dir={folder} goes on") from None
    if trainer.is_global_zero:
        print(folder)


def check_encoders(editor: Editor, precomputed: PrecomputedConditions) -> None:
    """Raise ValueError naming what differs unless this editor's encoders made the conditions; weights that
    are not on this machine are warned of.
    """
    if not isinstance(editor.backbone, FrozenEncoders):
        raise ValueError(
            f"{type(editor.backbone).__name__} can't be trained on the conditions in {precomputed.folder}: it trains its text encoder, which then "
            "makes others of the same texts; leave out data.precomputed"
        )
    absent = precomputed.check_encoders(editor.backbone.encoder_digests())
    if absent and rank_zero_only.rank == 0:
        print(
            f"warning: {', '.join(absent)} are not on this machine and were not compared with those of {precomputed.folder}",
            file=sys.stderr,
        )
    if editor.reward_encoder is not None and editor.reward_encoder.uses_text:
        precomputed.check_windows(editor.reward_encoder.windows)


def settings_of(cfg: DictConfig) -> str:
    """What the weights depend on besides the model, as YAML."""
    return OmegaConf.to_yaml(settings_tree(cfg))


def settings_tree(cfg: DictConfig) -> dict[str, Any]:
    """The same as a tree."""
    data = {name: value for name, value in resolved(cfg.data).items() if name not in ("num_workers", "check")}
    of_trainer = resolved(cfg.trainer)
    trainer = {
        name: of_trainer.get(name) for name in ("precision", "accumulate_grad_batches", "gradient_clip_val")
    }
    rest = {"seed": cfg.seed, "start": cfg.start, "algorithm": resolved(cfg.algorithm)}
    return rest | {"data": data, "ema": resolved(cfg.callbacks.ema), "trainer": trainer}


def resolved(node: DictConfig) -> dict[str, Any]:
    """A node with its interpolations followed."""
    tree = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    assert isinstance(tree, dict)
    return {str(name): value for name, value in tree.items()}


def depends_on(cfg: DictConfig) -> dict[str, Any]:
    """What a training's result depends on, for sweeps: equal for the same training, however it is spelt and
    wherever it runs.

    Raises:
        FileNotFoundError: no checkpoint to start from.
    """
    settings, model = settings_tree(cfg), resolved(cfg.model)
    if model["reward_encoder"] is None or model["integration"] is None:
        model |= {"reward_encoder": None, "integration": None}  # the same editor
    if cfg.start is not None:
        settings["start"] = f"weights {start_hash(str(cfg.start))}"
    trainer = resolved(cfg.trainer)
    # each process takes a batch of its own
    steps = {
        "max_steps": trainer.get("max_steps"),
        "processes": [trainer.get("devices"), trainer.get("num_nodes", 1)],
    }
    return {**_without_caches(settings), "model": model, "trainer": settings["trainer"] | steps}


@lru_cache
def start_hash(path: str) -> str:
    """Short content hash of the weights that a training begins with."""
    if not Path(path).exists():
        raise FileNotFoundError(
            f"no checkpoint at start={path}; give a .ckpt file or an exported editor/ folder"
        )
    return checkpoint.content_hash(Path(path))[:16]


def _without_caches(node: Any) -> Any:
    """A tree without the folders in which what could be computed again is kept."""
    if isinstance(node, dict):
        return {name: _without_caches(child) for name, child in node.items() if name != "cache"}
    return node


def is_trained(folder: Path) -> bool:
    """Whether a run folder holds a finished training."""
    record = folder / "run.json"
    return (
        record.is_file()
        and (folder / "editor").is_dir()
        and json.loads(record.read_text())["status"] == "finished"
    )


def checkpoint_to_resume(resume: str | None, folder: Path) -> Path | None:
    """The checkpoint to go on from: `resume`, or for "auto" the one of the run folder if there is one."""
    if resume != "auto":
        return None if resume is None else Path(resume)
    last = folder / "checkpoints" / "last.ckpt"
    return last if last.exists() else None


def check_resumable(path: Path, model_config: str, settings: str, by_itself: bool) -> None:
    """Raise ValueError naming what differs, before any model is built, if a checkpoint to resume has another
    model config.

    Other settings of the training are an error if it was found in the run folder (`by_itself`), and a warning
    if the user named it.
    """
    saved = checkpoint.read(path)
    differences = checkpoint.config_differences(saved["editor_config"], model_config)
    if differences:
        raise ValueError(f"{path} can't be resumed, its model differs: {'; '.join(differences[:5])}")
    differences = checkpoint.config_differences(saved.get("settings") or settings, settings)
    if differences and by_itself:
        raise ValueError(
            f"{path} is of a training with other settings: {'; '.join(differences[:5])}; "
            f"take another run folder, or say resume={path} to go on with these all the same, or resume=null to start anew"
        )
    if differences:
        print(
            f"warning: {path} is of a training with other settings: {'; '.join(differences)}", file=sys.stderr
        )
    print(f"continuing {path} at step {saved['global_step']}", file=sys.stderr)


SWEEPS = SweepInterface(depends_on, is_trained)
"""What sweeps need to know."""

if __name__ == "__main__":
    launch.entry_point(main, "train", SWEEPS)
