"""The Hydra launcher that hands the jobs of `python -m src.train -m ...` to this folder
(conf/hydra/launcher).

Hydra composes each job; every job then runs `python -m <entry point>` in a process and folder of its own, so
that DDP inside a sweep works.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, final

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from src.differences import leaves
from src.environment import commit
from src.files import LOCK
from src.sweeps.code import code_fingerprints, code_hash
from src.sweeps.matching import Cell
from src.sweeps.settings import whole_config
from src.sweeps.sources import sources_of
from src.sweeps.titles import sweep_title, varied_overrides


@final
@dataclass(frozen=True)
class SweepInterface:
    """What sweeps need to know of an entry point.

    Attributes:
        depends_on: gives what a result depends on, as a tree, and raises an error for a config that can't be
            run; two jobs with equal trees are the same job.
        is_trained: whether a run folder holds a finished training; None for entry points that don't train.
        results: gives the folder whose reports a job adds to, where that isn't its own.
        check_machine: raises an error for a config that can't run on this machine; a cluster's jobs run on
            others.
    """

    depends_on: Callable[[DictConfig], Mapping[str, Any]] = whole_config
    is_trained: Callable[[Path], bool] | None = None
    results: Callable[[DictConfig], Path] | None = None
    check_machine: Callable[[DictConfig], None] | None = None


@final
@dataclass(frozen=True)
class SweepableTask:
    """A Hydra task function that brings what sweeps need to know, as Hydra hands it to the launcher.

    Attributes:
        name: of the entry point, which --config-name leaves as it is.
        run: the task.
        check: raises ValueError for overrides of an evaluation that don't compose.
        sweeps: what its sweeps need to know.
    """

    name: str
    run: Callable[[DictConfig], None]
    check: Callable[[Sequence[str]], None]
    sweeps: SweepInterface

    def __call__(self, cfg: DictConfig) -> None:
        """Run the task."""
        self.run(cfg)


@final
class JobLauncher(Launcher):
    """Runs all jobs of a sweep. The arguments are those of conf/hydra/launcher."""

    def __init__(
        self,
        jobs: int,
        gpus_per_job: int,
        evaluate: Sequence[str] | None,
        code: str,
        probe: bool,
        dry_run: bool,
        cluster: str | None = None,
        submission: Mapping[str, Any] | None = None,
    ) -> None:
        self.jobs, self.gpus_per_job, self.evaluate, self.code = jobs, gpus_per_job, evaluate, code
        self.probe, self.dry_run, self.cluster = probe, dry_run, cluster
        self.submission = {name: value for name, value in (submission or {}).items() if value is not None}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra has composed."""
        assert isinstance(task_function, SweepableTask)
        self.context, self.task, self.config = hydra_context, task_function, config
        self.sweeps = task_function.sweeps

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the jobs that are left; all must be right before the first begins.

        Raises:
            ValueError, FileNotFoundError: one can't be run, or the folder holds another sweep.
            JobsFailed: some failed.
        """
        folder = Path(str(self.config.hydra.sweep.dir))
        # Hydra writes the last command that was tried; sweep.json records what was done
        (folder / "multirun.yaml").unlink(missing_ok=True)
        try:
            self._conduct(job_overrides, folder)
        except (ValueError, FileNotFoundError):
            if {path.name for path in folder.iterdir()} <= {LOCK}:
                shutil.rmtree(folder)  # nothing was begun in it
            raise
        return []

    def _conduct(self, job_overrides: Sequence[Sequence[str]], folder: Path) -> None:
        """Compose the jobs and run those that are left."""
        from src.sweeps.conduct import (  # reads reports, and needs what evaluation needs
            SweepRequest,
            run_sweep,
        )

        trains = self.sweeps.is_trained is not None
        evaluate = list(self.evaluate) if trains and self.evaluate is not None else None
        sources = sources_of(sys.argv[1:])
        if evaluate is not None:
            self.task.check([*sources.search_path, *evaluate])
        entry_point = f"src.{self.task.name}"
        cells = [self._cell(list(overrides), entry_point, folder) for overrides in job_overrides]
        request = SweepRequest(
            name=sweep_title(_root_=self.config),
            entry_point=entry_point,
            command=shlex.join(["python", "-m", entry_point, *sys.argv[1:]]),
            folder=folder,
            cells=cells,
            is_trained=self.sweeps.is_trained,
            evaluate=evaluate,
            code=self.code,
            jobs=self.jobs,
            gpus_per_job=self.gpus_per_job,
            gpus=visible_gpus(),
            probe=self.probe,
            dry_run=self.dry_run,
            cluster=self.cluster,
            submission=self.submission,
            sources=sources,
        )
        run_sweep(request, commit)

    def _cell(self, overrides: list[str], entry_point: str, folder: Path) -> Cell:
        """A job, with what its result depends on."""
        cfg = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(cfg):
            cfg.hydra.job.num, cfg.hydra.job.id, cfg.hydra.runtime.output_dir = 0, "0", str(folder / "0")
        earlier = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(cfg)  # interpolations ask it
        try:
            task = OmegaConf.masked_copy(cfg, [str(name) for name in cfg if name != "hydra"])
            if self.sweeps.check_machine is not None and self.cluster != "slurm" and not self.dry_run:
                self.sweeps.check_machine(task)
            settings = dict(leaves(self.sweeps.depends_on(task), into_lists=True))
            results = None if self.sweeps.results is None else self.sweeps.results(task)
        finally:
            HydraConfig.instance().cfg = earlier
        given = [override for override in overrides if not override.lstrip("+").startswith("sweep=")]
        axes = varied_overrides(given, sys.argv[1:])
        files = code_fingerprints(entry_point, settings)
        trust = tuple(str(entry) for entry in task.get("trust") or ())
        return Cell(tuple(given), tuple(axes), settings, files, code_hash(files), results, trust)


def visible_gpus() -> list[str]:
    """The GPUs that jobs may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    if not torch.cuda.is_available():
        return []
    everything = ",".join(map(str, range(torch.cuda.device_count())))
    return [gpu for gpu in os.environ.get("CUDA_VISIBLE_DEVICES", everything).split(",") if gpu]


def register_launcher(module: str = "hydra_plugins.multi_reward") -> None:
    """Make JobLauncher known to Hydra, which takes launchers from no other package than hydra_plugins."""
    plugins = (
        Plugins.instance()
    )  # has looked for installed ones, so the package can be ours where there are none
    package = sys.modules.setdefault("hydra_plugins", ModuleType("hydra_plugins"))
    ours = sys.modules[module] = ModuleType(module)
    package.__dict__["multi_reward"], ours.__dict__[JobLauncher.__name__] = ours, JobLauncher
    JobLauncher.__module__ = module
    plugins.register(JobLauncher)
