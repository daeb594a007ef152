"""How every entry point starts: Hydra, seeds, one-line errors, sweeps. The only file that knows the Hydra
runtime.

    if __name__ == "__main__":
        launch.entry_point(main, "train")

An error is one stderr line beginning `error: ` and exit code 1; set MULTI_REWARD_TRACEBACK=1 to see the
stack. In a sweep every job runs `python -m <this entry point>` in a process and folder of its own, so that
DDP inside a sweep works; what a sweep is, is in src/sweeps.
"""

import json
import os
import re
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, final

import hydra
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.errors import HydraException, InstantiationException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict
from pytorch_lightning import seed_everything

from src.callbacks.run_record import commit
from src.differences import leaves
from src.files import LOCK, NotWrittenError
from src.renamed_keys import check_renamed
from src.sweeps.code import code_hash, code_of
from src.sweeps.conduct import Request, conduct
from src.sweeps.matching import Cell
from src.sweeps.running import JobsFailed
from src.sweeps.work import AXES, SWEEP

CONF = Path(__file__).resolve().parent.parent / "conf"
TRACEBACK = "MULTI_REWARD_TRACEBACK"
MACHINERY = (
    "logger",
    "trainer",
    "device",
    "num_workers",
    "output",
    "steps",
    "keep_memory",
    "overwrite",
    "retry_failed",
)
"""Settings that change where and how something runs and not what comes out: no part of a run's name."""

LONGEST_TITLE = 100
"""Characters of a run's name."""


class Stopped(Exception):  # noqa: N818  # nothing went wrong
    """A user ended a task, which says how to go on."""


Task = Callable[[DictConfig], None]


@final
@dataclass(frozen=True)
class Swept:
    """What sweeps need to know of an entry point.

    Attributes:
        depends_on: gives what a result depends on, as a tree, and raises an error for a config that can't be
            run; two jobs of which it is equal are the same job.
        is_trained: whether a run folder holds a finished training; None for entry points that don't train.
        results: gives the folder whose reports a job adds to, where that isn't its own.
    """

    depends_on: Callable[[DictConfig], Mapping[str, Any]]
    is_trained: Callable[[Path], bool] | None = None
    results: Callable[[DictConfig], Path] | None = None


def cpu_precision() -> str:
    """The Lightning precision that this processor is fastest in: bf16 only where it multiplies bf16 numbers
    in hardware (AMX or AVX-512); elsewhere bf16 is emulated, and several times slower than fp32. Available to
    configs as `${cpu_precision:}`.
    """
    information = Path("/proc/cpuinfo")
    features = set(information.read_text().split()) if information.exists() else set()
    return "bf16-mixed" if features & {"amx_bf16", "avx512_bf16"} else "32-true"


def accelerator() -> str:
    """Lightning's name of the fastest device here, "gpu" or "cpu". Available to configs as `${accelerator:}`."""
    return "gpu" if torch.cuda.is_available() else "cpu"


def on_cpu() -> bool:
    """Whether the fastest device here is the CPU. Available to configs as `${on_cpu:}`."""
    return accelerator() == "cpu"


def fast_precision(device: str | None = None) -> str:
    """The Lightning precision that a device is fastest in, that of `accelerator` unless named. Available to
    configs as `${fast_precision:}`.
    """
    return "bf16-mixed" if (device or accelerator()) == "gpu" else cpu_precision()


def fast_dtype(device: str | None = None) -> str:
    """The number format of that precision. Available to configs as `${fast_dtype:}`."""
    return "bfloat16" if fast_precision(device) == "bf16-mixed" else "float32"


def command_name() -> str | None:
    """The entry point that runs, "train", or None where there is none. Available to configs as
    `${command_name:}`.
    """
    return HydraConfig.get().job.config_name if HydraConfig.initialized() else None


def sweep_name() -> str | None:
    """The name of the sweep that this process is a job of, or None. Available to configs as `${sweep_name:}`."""
    return os.environ.get(SWEEP)


def sweep_axes() -> dict[str, str]:
    """The values of this job in what its sweep varies, by short names: {"integration": "both"}; empty outside
    of a sweep.
    """
    return dict(short_names(json.loads(os.environ.get(AXES, "[]"))))


def overrides_of(run: Path) -> dict[str, str]:
    """The overrides of the command that made a run folder, by short names; empty where they aren't known."""
    file = run / ".hydra" / "overrides.yaml"
    return dict(short_names([str(override) for override in OmegaConf.load(file)])) if file.is_file() else {}


def run_title() -> str | None:
    """A name for this run that says what is special about it: "integration=both"; None where nothing is.
    Available to configs as `${run_title:}`.
    """
    if AXES in os.environ:
        return titled(json.loads(os.environ[AXES]))
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    return titled(
        [override for override in overrides if re.split(r"[.=@/]", override.lstrip("+~"))[0] not in MACHINERY]
    )


def titled(overrides: Sequence[str]) -> str | None:
    """Overrides as a name for a run: "reward_synthetic, integration=both"; None if there are none."""
    parts = [value if name == "experiment" else f"{name}={value}" for name, value in short_names(overrides)]
    return ", ".join(parts)[:LONGEST_TITLE] or None


def varied(overrides: Sequence[str], command: Sequence[str]) -> list[str]:
    """A job's overrides that do not stand in the sweep's command as they are, and so differ between its jobs."""
    given = {argument.lower() for argument in command}  # Hydra writes a=true as a=True, and ~a as ~a=null
    return [
        override
        for override in overrides
        if not {override.lower(), override.lower().removesuffix("=null")} & given
    ]


def short_names(overrides: Sequence[str]) -> list[tuple[str, str]]:
    """Overrides as (last part of the name, value): ("integration", "both"). Paths are cut to their last two
    parts. Names that would be the same stay long, with dots as underscores, since dashboards take dots for a
    nested value.
    """
    pairs = [override.lstrip("+~").partition("=")[::2] for override in overrides]
    last = [re.split(r"[./@]", name)[-1] for name, _ in pairs]
    return [
        (
            short if last.count(short) == 1 else re.sub(r"[./@]", "_", name),
            "/".join(value.strip("/").split("/")[-2:]),
        )
        for short, (name, value) in zip(last, pairs, strict=True)
    ]


def swept(*, _root_: DictConfig) -> str:
    """The name of the sweep in a command: of its config in conf/sweep, or its axes, "integration-seed".
    Available to configs as `${swept:}`.
    """
    chosen = _root_.hydra.runtime.choices.get("sweep")
    if chosen:
        return chosen if isinstance(chosen, str) else "-".join(chosen)
    given = [
        f"{axis}={values}" for axis, values in (_root_.hydra.sweeper.get("params") or {}).items()
    ] + list(_root_.hydra.overrides.task)
    axes = [
        override
        for override in OverridesParser.create().parse_overrides(given)
        if override.is_sweep_override()
    ]
    return (
        "-".join(name for name, _ in short_names([f"{axis.get_key_element()}=" for axis in axes])) or "sweep"
    )


def run_of(path: str | None) -> str:
    """The run that a checkpoint or an export belongs to, as a part of a name: "reward-3" for
    runs/reward/3/editor. Available to configs as `${run_of:...}`.
    """
    if path is None:
        return "evaluate"
    folder = Path(path)
    folder = folder.parent if folder.suffix == ".ckpt" else folder
    folder = folder.parent if folder.name in ("checkpoints", "editor") else folder
    return "-".join(part for part in folder.parts[-2:] if part not in ("/", "runs", ".."))


for resolver in (
    cpu_precision,
    accelerator,
    on_cpu,
    fast_precision,
    fast_dtype,
    command_name,
    sweep_name,
    run_title,
    swept,
    run_of,
):
    OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)


def entry_point(task: Task, config_name: str, sweeps: Swept | None = None) -> None:
    """Run `task(cfg)` as a Hydra app on `conf/<config_name>.yaml`; errors become one line and exit code 1.

    Args:
        task: what to do.
        config_name: of the entry point, `src.<config_name>`.
        sweeps: what a sweep of it needs to know; None: a job depends on its whole config.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing a screenful of its own
    errors: list[Exception] = []
    JobLauncher.swept = sweeps or Swept(whole_config)

    def run(cfg: DictConfig) -> None:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise ValueError(f"src.{config_name} has no sweeps: run it once for each value")
        if "seed" in cfg:
            seed_everything(cfg.seed, workers=True, verbose=False)
        try:
            task(cfg)
        except Exception as error:  # noqa: BLE001  # carried out of Hydra, which would print lines of its own, and raised below
            errors.append(error)

    try:
        check_renamed(config_name, sys.argv[1:])
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(run)()
        if errors:
            raise errors[0]
    except KeyboardInterrupt:
        fail("interrupted; what was written so far is kept, the same command goes on")
    except Exception as error:  # noqa: BLE001  # the one place where every error becomes one line
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        fail(one_line(error))


def script(task: Callable[[Sequence[str]], None]) -> None:
    """Run a program that reads its own arguments, without Hydra; what bad input causes becomes one line and
    exit code 1.
    """
    try:
        task(sys.argv[1:])
    except (ValueError, FileNotFoundError, NotWrittenError) as error:
        if os.environ.get(TRACEBACK):
            raise
        fail(one_line(error))


def whole_config(cfg: DictConfig) -> dict[str, Any]:
    """A config without its machinery, its interpolations followed."""
    tree = OmegaConf.to_container(
        OmegaConf.masked_copy(cfg, [str(name) for name in cfg if name != "logger"]), resolve=True
    )
    assert isinstance(tree, dict)
    return {str(name): value for name, value in tree.items() if name not in MACHINERY}


@final
class JobLauncher(Launcher):
    """Hands all jobs of a sweep to src/sweeps. The arguments are those of conf/hydra/launcher."""

    swept: Swept

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
        self.probe, self.dry_run = probe, dry_run
        self.cluster, self.submission = (
            cluster,
            {name: value for name, value in (submission or {}).items() if value is not None},
        )

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra has composed."""
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run what is left of the jobs; all must be right before the first begins.

        Raises:
            ValueError, FileNotFoundError: one can't be run, or the folder holds another sweep.
            JobsFailed: some failed.
        """
        folder = Path(str(self.config.hydra.sweep.dir))
        (folder / "multirun.yaml").unlink(
            missing_ok=True
        )  # Hydra's, of the last command that was tried; sweep.json is of what was done
        try:
            self._conduct(job_overrides, folder)
        except (ValueError, FileNotFoundError):
            if {path.name for path in folder.iterdir()} <= {LOCK}:
                shutil.rmtree(folder)  # nothing was begun in it
            raise
        return []

    def _conduct(self, job_overrides: Sequence[Sequence[str]], folder: Path) -> None:
        """Compose the jobs and run what is left of them."""
        trains = self.swept.is_trained is not None
        evaluate = list(self.evaluate) if trains and self.evaluate is not None else None
        if evaluate is not None:
            composed("evaluate", *evaluate)
        entry_point = f"src.{self.config.hydra.job.config_name}"
        cells = [self._cell(list(overrides), entry_point, folder) for overrides in job_overrides]
        gpus = (
            os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(torch.cuda.device_count()))))
            if torch.cuda.is_available()
            else ""
        )
        command = shlex.join(["python", "-m", entry_point, *sys.argv[1:]])
        request = Request(
            name=swept(_root_=self.config),
            entry_point=entry_point,
            command=command,
            folder=folder,
            cells=cells,
            is_trained=self.swept.is_trained,
            evaluate=evaluate,
            code=self.code,
            jobs=self.jobs,
            gpus_per_job=self.gpus_per_job,
            gpus=[gpu for gpu in gpus.split(",") if gpu],
            probe=self.probe,
            dry_run=self.dry_run,
            cluster=self.cluster,
            submission=self.submission,
        )
        conduct(request, commit)

    def _cell(self, overrides: list[str], entry_point: str, folder: Path) -> Cell:
        """A job, with what its result depends on."""
        cfg = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(cfg):
            cfg.hydra.job.num, cfg.hydra.job.id, cfg.hydra.runtime.output_dir = 0, "0", str(folder / "0")
        earlier = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(cfg)  # interpolations ask it
        try:
            task = OmegaConf.masked_copy(cfg, [str(name) for name in cfg if name != "hydra"])
            settings = dict(leaves(self.swept.depends_on(task), into_lists=True))
            results = None if self.swept.results is None else self.swept.results(task)
        finally:
            HydraConfig.instance().cfg = earlier
        given = [override for override in overrides if not override.lstrip("+").startswith("sweep=")]
        files = code_of(entry_point, settings)
        return Cell(
            tuple(given), tuple(varied(given, sys.argv[1:])), settings, files, code_hash(files), results
        )


def _register(launcher: type[Launcher], module: str = "hydra_plugins.multi_reward") -> None:
    """Make a launcher known to Hydra, which takes launchers from no other package than hydra_plugins."""
    plugins = (
        Plugins.instance()
    )  # has looked for installed ones, so that the package can be ours where there are none
    package = sys.modules.setdefault("hydra_plugins", ModuleType("hydra_plugins"))
    launcher.__module__ = module
    ours = sys.modules[module] = ModuleType(module)
    package.__dict__["multi_reward"], ours.__dict__[launcher.__name__] = ours, launcher
    plugins.register(launcher)


_register(JobLauncher)


def composed(config_name: str, *overrides: str) -> DictConfig:
    """The config that the entry point `config_name` would get with these overrides, for an entry point that
    needs a node of another one's.
    """
    check_renamed(config_name, overrides)
    if GlobalHydra.instance().is_initialized():
        return compose(config_name, overrides=list(overrides))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(config_name, overrides=list(overrides))


def fail(message: str) -> None:
    """Print the error line and exit with code 1; of several processes, only the first one's begins with
    "error: ".
    """
    sys.stdout.flush()
    rank = next(
        (os.environ[name] for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ), "0"
    )
    print(f"error: {message}" if rank == "0" else f"rank {rank}: {message}", file=sys.stderr, flush=True)
    sys.exit(1)


def check_shared_folder() -> None:
    """Raise ValueError if torchrun or srun started several of us and each would take a time-stamped run
    folder of its own.
    """
    processes = os.environ.get("WORLD_SIZE" if "TORCHELASTIC_RUN_ID" in os.environ else "SLURM_NTASKS", "1")
    if int(processes) > 1 and not any(
        override.startswith("hydra.run.dir=") for override in HydraConfig.get().overrides.hydra
    ):
        raise ValueError(
            f"{processes} processes were started, each of which would take a run folder of its own: give hydra.run.dir=RUN"
        )


def one_line(error: BaseException) -> str:
    """The message of an error as one line, without the wrapping of Hydra and of torch's workers."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    text = str(error)
    if re.match(r"Caught \w+ in DataLoader worker", text):
        # an error of a worker arrives as the same type, with the whole stack for a message; its last line is
        # what was raised
        text = text.rstrip().splitlines()[-1].partition(": ")[2]
    message = " ".join(text.split()) or type(error).__name__
    # messages of our own are complete sentences; those of libraries are often only understood with their type
    # ("KeyError: 'x'")
    complete = isinstance(
        error, ValueError | FileNotFoundError | NotWrittenError | Stopped | JobsFailed | HydraException
    )
    return message if complete else f"{type(error).__name__}: {message}"
