"""Train an editor.

    python -m src.train +experiment=reward_synthetic
    python -m src.train -m +experiment=reward_synthetic model/integration=none,attention,addition,both
    # the paper's two stages: start from an editor trained without rewards
    python -m src.train +experiment=reward_synthetic start=STAGE_1/editor
    # neither autoencoder nor text encoder in memory
    python -m src.train +experiment=reward_inspix2pix data.dataset.folder=DIR data.precomputed=CACHE
    # continue after a kill: the same command and the folder of the run
    python -m src.train +experiment=reward_synthetic hydra.run.dir=RUN

Leaves in the run folder: metrics.csv, previews/, checkpoints/last.ckpt, editor/ (the export), run.json, and
broken_rows.jsonl (rows that can't be used).
"""

import logging
import os
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src import launch, memory
from src.command_line import pasteable
from src.files import alone_in, remove_leftovers
from src.missing_settings import check_complete
from src.sweeps.launcher import SweepInterface
from src.sweeps.titles import sweep_axes
from src.sweeps.trainings import is_trained, training_depends_on, training_settings
from src.tracking.settings import loggable_settings

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
    """Train in the run folder, alone in it: of two trainings there, each would resume the other's
    checkpoints.
    """
    check_complete(cfg)
    steps = {"trainer.max_steps": None} if "max_steps" in cfg.trainer else {}
    launch.check_whole_numbers(cfg, {"seed": None, "data.batch_size": 1, **steps})
    launch.check_shared_folder()
    from pytorch_lightning.utilities import rank_zero_only

    for message in QUIET:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # devices and tips; ours is run.json
    if cfg.keep_memory:
        memory.keep_freed()
    folder = HydraConfig.get().runtime.output_dir
    with alone_in(Path(folder), "training") if rank_zero_only.rank == 0 else nullcontext():  # for all ranks
        train(cfg, folder)


def train(cfg: DictConfig, folder: str) -> None:
    """Seed, data, editor, algorithm, callbacks, trainer, fit; data first, as its errors are the cheapest to
    find.
    """
    from pytorch_lightning import Trainer, seed_everything
    from pytorch_lightning.utilities import rank_zero_only

    from src import checkpoint
    from src.backbones.backbone import NO_CHAT_SUPPORT
    from src.callbacks.editor_checkpoint import EditorCheckpoint
    from src.callbacks.free_encoders import FreeEncoders, check_encoders
    from src.callbacks.last_checkpoint import AtomicCheckpointIO, TrainingStopped
    from src.callbacks.provenance import Provenance
    from src.callbacks.rank_watch import RankWatch
    from src.callbacks.resume import check_resumable, checkpoint_to_resume
    from src.callbacks.run_record import RunRecord
    from src.data.datamodule import EditData
    from src.data.problems import BROKEN_ROWS
    from src.data.rows import CHAT_SAMPLES
    from src.finite import NotFiniteError

    seed_everything(cfg.seed, workers=True, verbose=False)
    data = instantiate(cfg.data)
    report = data.check(Path(folder, BROKEN_ROWS))
    if report is not None and rank_zero_only.rank == 0:
        print(f"data: {report}", file=sys.stderr)
    model_config, settings = (
        OmegaConf.to_yaml(cfg.model, resolve=True),
        OmegaConf.to_yaml(training_settings(cfg)),
    )
    tell_trust(cfg)
    resumed = checkpoint_to_resume(cfg.resume, Path(folder))
    if resumed is not None:
        check_resumable(resumed, model_config, settings, found_by_itself=cfg.resume == "auto")
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
    logged = loggable_settings(cfg, os.environ, {"axes": sweep_axes(), "folder": folder})
    record = RunRecord(folder)

    def end(message: str) -> None:
        record.fail(trainer, message)
        launch.fail_at_once(message)

    ranks = RankWatch(end)
    callbacks = [
        ema,
        record,
        ranks,
        EditorCheckpoint(folder, model_config, data.image_size, ema, settings),
        Provenance(folder, logged, cfg.start, OmegaConf.select(cfg, "data.rewards.path")),
        *([] if precomputed is None else [FreeEncoders()]),
    ]
    callbacks += [instantiate(node) for name, node in cfg.callbacks.items() if name not in ("ema", *EDITING)]
    target, sampler = instantiate(cfg.target_reward), instantiate(cfg.sampler)
    editing = {"folder": folder, "ema": ema, "target": target, "sampler": sampler}
    callbacks += [instantiate(cfg.callbacks[name], **editing) for name in EDITING if name in cfg.callbacks]
    extras = {"logger": instantiate(cfg.logger), "callbacks": callbacks, "plugins": [AtomicCheckpointIO()]}
    trainer: Trainer = instantiate(cfg.trainer, **extras, default_root_dir=folder)
    for part in ("", "checkpoints", "editor", "previews"):
        remove_leftovers(Path(folder, part))
    try:
        trainer.fit(algorithm, datamodule=data, ckpt_path=resumed, weights_only=True)
    except NotFiniteError as error:
        last = Path(folder, "checkpoints", "last.ckpt")
        kept = "no checkpoint was written before"
        if last.exists():
            kept = f"{pasteable('resume', last)} goes on from before"
        raise ValueError(f"{error}; {kept}") from error
    except RuntimeError as error:
        gone = ranks.gone(within_s=3.0)  # a collective then fails with pages about sockets
        if gone is None:
            raise
        record.fail(trainer, gone)
        raise ValueError(gone) from error
    except (TrainingStopped, SystemExit) as stop:
        # with several processes, one of them speaks for all; Lightning ends an interrupted training by a
        # SystemExit without a message
        if not trainer.is_global_zero:
            sys.exit(1)
        interrupted = f"interrupted at step {trainer.global_step} of {trainer.max_steps}"
        what = str(stop) if isinstance(stop, TrainingStopped) else interrupted
        again = pasteable("hydra.run.dir", folder)
        raise launch.Interrupted(f"{what}; the same command with {again} goes on") from None
    if trainer.is_global_zero:
        print(folder)


def tell_trust(cfg: DictConfig) -> None:
    """Say, before anything is built, what loading the editor will need.

    Raises:
        ValueError: an editor that could not be loaded again at all.
    """
    from pytorch_lightning.utilities import rank_zero_only

    from src.trust import check_trust, needed_trust

    check_trust(cfg.trust)
    model = OmegaConf.to_container(cfg.model, resolve=True)
    assert isinstance(model, dict)
    lacking = needed_trust({str(name): node for name, node in model.items()}, cfg.trust)
    if lacking and rank_zero_only.rank == 0:
        print(
            "warning: this editor is made of more than conf/model names: every command that loads it will "
            f"need trust=[{','.join([*cfg.trust, *lacking])}], which silences this warning as well",
            file=sys.stderr,
        )


SWEEPS = SweepInterface(training_depends_on, is_trained)
"""What sweeps need to know."""

if __name__ == "__main__":
    launch.entry_point(main, "train", SWEEPS)
