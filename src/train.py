"""Train an editor.

    python -m src.train +experiment=reward_synthetic
    python -m src.train -m +experiment=reward_synthetic model/integration=none,attention,addition,both

Leaves in the run folder: metrics.csv, previews/, checkpoints/last.ckpt, editor/ (the export), run.json.
"""

import logging
import warnings
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer

from src import checkpoint, launch
from src.callbacks.editor_checkpoint import EditorCheckpoint
from src.callbacks.run_record import RunRecord

QUIET = (
    r".*Experiment logs directory .* exists and is not empty",  # the run folder holds more than the log
    r".*LeafSpec.*",
    r".*does not have many workers.*",
    r".*`.*` is deprecated.*",
)
"""Warnings of Lightning that say nothing about this project."""


def main(cfg: DictConfig) -> None:
    """Data, editor, algorithm, callbacks, trainer, fit; data first, as its errors are the cheapest to find."""
    for message in QUIET:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # devices and tips; ours is run.json
    folder = HydraConfig.get().runtime.output_dir
    data = instantiate(cfg.data)
    model_config = OmegaConf.to_yaml(cfg.model, resolve=True)
    if cfg.resume:
        refuse_other_configuration(cfg.resume, model_config)
    editor = instantiate(cfg.model)
    editor.check_resolution(*data.picture_size)
    algorithm = instantiate(cfg.algorithm)(editor=editor)

    ema = instantiate(cfg.callbacks.ema)
    callbacks = [ema, RunRecord(folder), EditorCheckpoint(folder, model_config, data.picture_size, ema)]
    callbacks += [instantiate(node) for name, node in cfg.callbacks.items() if name not in ("ema", "previews")]
    if "previews" in cfg.callbacks:
        target = instantiate(cfg.target_reward)
        callbacks.append(instantiate(cfg.callbacks.previews, folder=folder, ema=ema, target=target, sampler=instantiate(cfg.sampler)))
    trainer: Trainer = instantiate(cfg.trainer, logger=instantiate(cfg.logger), callbacks=callbacks, default_root_dir=folder)
    trainer.fit(algorithm, datamodule=data, ckpt_path=cfg.resume, weights_only=True)
    if trainer.is_global_zero:
        print(folder)


def refuse_other_configuration(path: str, model_config: str) -> None:
    """Raise ValueError naming what differs, before any model is built, if a checkpoint to resume has another model config."""
    differences = checkpoint.config_differences(checkpoint.read(Path(path))["editor_config"], model_config)
    if differences:
        raise ValueError(f"{path} can't be resumed, its model differs: {'; '.join(differences[:5])}")


if __name__ == "__main__":
    launch.entry_point(main, "train")
