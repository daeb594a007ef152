"""What all trainings do around their network: warnings, loggers, Lightning's trainer, and what a stop, a lost
process or a number that isn't finite is told as.

Heavy libraries are imported where they are needed: commands check their arguments before.
"""

import logging
import math
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src import launch, memory, slurm
from src.command_line import pasteable
from src.files import alone_in, remove_leftovers
from src.settings.value_types import check_types
from src.sweeps.trainings import following_steps
from src.tracking.settings import logger_nodes

if TYPE_CHECKING:
    from lightning_fabric.plugins.environments import ClusterEnvironment
    from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
    from pytorch_lightning.loggers import Logger

QUIET = (
    r".*Experiment logs directory .* exists and is not empty",  # the run folder holds more than the log
    r".*LeafSpec.*",
    r".*does not have many workers.*",
    r".*This DataLoader will create \d+ worker processes.*",  # more than there are cores: they wait for disks
    r".*module\(s\) in eval mode at the start of training.*",  # frozen parts are
    r".*`.*` is deprecated.*",
    r".*The `srun` command is available on your system but is not used.*",  # a sweep's jobs need none
)
"""Warnings of Lightning that say nothing about this project."""


ENDLESS: Mapping[str, tuple[int | None, ...]] = {"max_steps": (-1,), "max_epochs": (-1, None)}
"""What Lightning takes for no end, in the settings of the trainer that say how long to train."""


RATES = ("lr", "weight_decay")
"""Endings of an optimiser's settings that can't be below 0."""


def check_numbers(cfg: DictConfig, least: Mapping[str, int | None]) -> None:
    """Raise ValueError for settings that are no whole numbers or too small, among them a training of no
    steps, and for rates of the optimiser below 0.

    Args:
        cfg: with `trainer` and `seed`.
        least: further settings, with the smallest that each may be; None for any.
    """
    lengths = {f"trainer.{name}": 1 for name, end in ENDLESS.items() if cfg.trainer.get(name, -1) not in end}
    launch.check_whole_numbers(cfg, {"seed": None, **least, **lengths})
    rates = OmegaConf.select(cfg, "algorithm.optimizer") or {}
    for name, value in rates.items():
        if name.endswith(RATES) and isinstance(value, int | float) and not 0.0 <= value < math.inf:
            raise ValueError(f"algorithm.optimizer.{name}={value}: a finite number, 0 or more, is needed")


def resumed_checkpoint(
    cfg: DictConfig, folder: str, network: str, settings: str, parts: Mapping[str, DictConfig]
) -> Path | None:
    """The checkpoint to go on from, if there is one, checked before any network is built.

    Args:
        cfg: with `resume` and `trainer`.
        folder: of the run.
        network: the config of the network, as YAML.
        settings: all else that the weights depend on, as YAML.
        parts: of the config, by their names in `settings`; what they set to trainer.max_steps may change when
            more steps are wanted.

    Raises:
        ValueError: a checkpoint of another network or with other settings, as `check_resumable`.
    """
    from src.callbacks.resume import Steps, check_resumable, checkpoint_to_resume

    found = checkpoint_to_resume(cfg.resume, Path(folder))
    if found is not None:
        steps = Steps(cfg.trainer.get("max_steps", -1), following_steps(parts))
        check_resumable(found, network, settings, cfg.resume == "auto", steps)
    return found


def begin(cfg: DictConfig, config_name: str, train: Callable[[DictConfig, str], None]) -> None:
    """Train in the run folder, alone in it: of two trainings there, each would resume the other's
    checkpoints.

    Args:
        cfg: the entry point's, complete.
        config_name: of the entry point.
        train: does it, given the config and the folder.

    Raises:
        ValueError: settings that can't be used, before anything is built.
    """
    launch.check_shared_folder()
    folder = HydraConfig.get().runtime.output_dir
    if launch.is_first_process():
        print(f"training in {folder}: the data is checked first", file=sys.stderr, flush=True)
    from pytorch_lightning.utilities import rank_zero_only

    check_types(cfg, config_name)  # once more, as the classes of libraries can be asked now
    check_machine(cfg)

    for message in QUIET:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # devices and tips; ours is run.json
    if cfg.keep_memory:
        memory.keep_freed()
    with alone_in(Path(folder), "training") if rank_zero_only.rank == 0 else nullcontext():  # for all ranks
        train(cfg, folder)


def fit(
    cfg: DictConfig,
    folder: str,
    module: "LightningModule",
    data: "LightningDataModule",
    callbacks: Sequence["Callback"],
    resumed: Path | None,
    written: Sequence[str],
) -> "Trainer":
    """Train to the end.

    Args:
        cfg: the entry point's, with `trainer`, `logger` and `resume`.
        folder: of the run.
        module, data: what is trained, on what.
        callbacks: the first averages the weights; a record of the run and a watch over its processes follow
            it.
        resumed: the checkpoint to go on from.
        written: folders of the run that callbacks write into.

    Raises:
        ValueError: a number that isn't finite, or a process that is gone.
        Interrupted: a signal ended it; the message says how to go on.
    """
    from src.callbacks.last_checkpoint import AtomicCheckpointIO, TrainingStopped
    from src.callbacks.rank_watch import RankWatch
    from src.callbacks.run_record import RunRecord
    from src.callbacks.start_lines import StartLines
    from src.finite import NotFiniteError

    record = RunRecord(folder)

    def end(message: str) -> None:
        record.fail(trainer, message)
        launch.fail_at_once(message)

    ranks = RankWatch(end)
    first, *others = callbacks
    plugins = [AtomicCheckpointIO(), *cluster_environment()]
    all_callbacks = [first, record, ranks, StartLines(folder, data), *others]
    extras: dict[str, Any] = {"logger": loggers(cfg, folder), "callbacks": all_callbacks, "plugins": plugins}
    interval, steps = cfg.trainer.get("log_every_n_steps"), cfg.trainer.get("max_steps") or -1
    if interval is not None and 0 < steps < interval:
        extras["log_every_n_steps"] = steps  # so that a short trial has its numbers, too
    # where Lightning looks for checkpoints that it wrote itself in a job of SLURM; those of an older version
    # of this program lie in the run folder, and would be resumed in spite of resume=null
    own_folder = str(Path(folder, "checkpoints"))
    trainer: Trainer = instantiate(cfg.trainer, **extras, default_root_dir=own_folder)
    for part in ("", "checkpoints", *written):
        remove_leftovers(Path(folder, part))
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resumed, weights_only=True)
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
        out_of_time = isinstance(stop, TrainingStopped) and stop.out_of_time
        if not trainer.is_global_zero:
            sys.exit(0 if out_of_time else 1)  # srun may end all tasks when one fails
        interrupted = f"interrupted at step {trainer.global_step} of {trainer.max_steps}"
        what = str(stop) if isinstance(stop, TrainingStopped) else interrupted
        if out_of_time:
            what += f"; {queue_again(cfg.resume)}"
        again = pasteable("hydra.run.dir", folder)
        raise launch.Interrupted(f"{what}; the same command with {again} goes on") from None
    return trainer


def check_machine(cfg: DictConfig) -> None:
    """Raise ValueError for a GPU that isn't there."""
    accelerator = str(cfg.trainer.get("accelerator"))
    if accelerator not in ("gpu", "cuda"):
        return
    import torch

    if not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise ValueError(
            f"trainer.accelerator={accelerator}: PyTorch finds no GPU on this machine; trainer=cpu trains "
            "without"
        )


def loggers(cfg: DictConfig, folder: str) -> list["Logger"]:
    """Those that the command names, and metrics.csv whatever it names."""
    from src.callbacks.metrics_file import MetricsFile

    named = [instantiate(node) for node in logger_nodes(cfg)]
    own = [] if any(isinstance(logger, MetricsFile) for logger in named) else [MetricsFile(folder)]
    return [*own, *named]


def cluster_environment() -> list["ClusterEnvironment"]:
    """How Lightning learns of its ranks in an allocation of SLURM: from srun, or as everywhere else where
    srun didn't start them. Its own answer to SLURM's warning, checkpoints in mid-step, is left out, as
    LastCheckpoint has one. [] outside of SLURM.
    """
    from lightning_fabric.plugins.environments import (
        LightningEnvironment,
        SLURMEnvironment,
        TorchElasticEnvironment,
    )

    if TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return []
    return [SLURMEnvironment(auto_requeue=False) if slurm.is_in_step() else LightningEnvironment()]


def queue_again(resume: str | None) -> str:
    """Let SLURM begin this process's job again, unless it would start over; what came of it."""
    job = slurm.job_number()
    if job is None or resume != "auto" or not launch.has_fixed_folder():
        return "not queued again, which needs hydra.run.dir=RUN and resume=auto"
    print(f"out of time, asking SLURM to queue job {job} again", file=sys.stderr, flush=True)
    try:
        slurm.requeue(job)  # its SIGTERM may come before the answer
    except ValueError as error:
        return f"not queued again ({error})"
    return f"job {job} is queued again"
