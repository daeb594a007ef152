"""How every entry point starts: Hydra, seeds, one-line errors, one process per sweep job. The only file that knows the Hydra runtime.

    if __name__ == "__main__":
        launch.entry_point(main, "train")

An error is one stderr line beginning `error: ` and exit code 1; set MULTI_REWARD_TRACEBACK=1 to see the stack. In a sweep every job runs
`python -m <this entry point>` in a process and folder of its own, so that DDP inside a sweep works, writes `log.txt` there, and a failing job
doesn't stop the others.
"""

import json
import os
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import seed_everything

from src.files import NotWrittenError

CONF = Path(__file__).resolve().parent.parent / "conf"
TRACEBACK = "MULTI_REWARD_TRACEBACK"
# Left by a job's DDP or by the scheduler, these would make the next job believe that it is a rank of somebody else's run.
RANK_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "HYDRA_FULL_ERROR")
RANK_PREFIXES = ("MASTER_", "SLURM_", "SUBMITIT_", "TORCHELASTIC_")

SWEEP, AXES = "MULTI_REWARD_SWEEP", "MULTI_REWARD_AXES"
"""What a job of a sweep is told: the name of the sweep's folder, and the overrides in which the jobs differ, as a JSON list."""

MACHINERY = ("logger", "trainer", "device", "num_workers", "output", "steps", "keep_memory", "overwrite", "retry_failed")
"""Settings that change where and how something runs and not what comes out: no part of a run's name."""

LONGEST_TITLE = 100
"""Characters of a run's name."""


class Stopped(Exception):  # noqa: N818  # nothing went wrong
    """A user ended a task, which says how to go on."""


Task = Callable[[DictConfig], None]


def cpu_precision() -> str:
    """The Lightning precision that this processor is fastest in: bf16 only where it multiplies bf16 numbers in hardware (AMX or AVX-512); elsewhere
    bf16 is emulated, and several times slower than fp32. Available to configs as `${cpu_precision:}`.
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
    """The Lightning precision that a device is fastest in, that of `accelerator` unless named. Available to configs as `${fast_precision:}`."""
    return "bf16-mixed" if (device or accelerator()) == "gpu" else cpu_precision()


def fast_dtype(device: str | None = None) -> str:
    """The number format of that precision. Available to configs as `${fast_dtype:}`."""
    return "bfloat16" if fast_precision(device) == "bf16-mixed" else "float32"


def command_name() -> str | None:
    """The entry point that runs, "train", or None where there is none. Available to configs as `${command_name:}`."""
    return HydraConfig.get().job.config_name if HydraConfig.initialized() else None


def sweep_name() -> str | None:
    """The name of the sweep that this process is a job of, or None. Available to configs as `${sweep_name:}`."""
    return os.environ.get(SWEEP)


def sweep_axes() -> dict[str, str]:
    """The values of this job in what its sweep varies, by short names: {"integration": "both"}; empty outside of a sweep."""
    return dict(short_names(json.loads(os.environ.get(AXES, "[]"))))


def overrides_of(run: Path) -> dict[str, str]:
    """The overrides of the command that made a run folder, by short names; empty where they aren't known."""
    file = run / ".hydra" / "overrides.yaml"
    return dict(short_names([str(override) for override in OmegaConf.load(file)])) if file.is_file() else {}


def run_title() -> str | None:
    """A name for this run that says what is special about it: "integration=both"; None where nothing is. Available to configs as `${run_title:}`."""
    if AXES in os.environ:
        return titled(json.loads(os.environ[AXES]))
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    return titled([override for override in overrides if re.split(r"[.=@/]", override.lstrip("+~"))[0] not in MACHINERY])


def titled(overrides: Sequence[str]) -> str | None:
    """Overrides as a name for a run: "reward_synthetic, integration=both"; None if there are none."""
    parts = [value if name == "experiment" else f"{name}={value}" for name, value in short_names(overrides)]
    return ", ".join(parts)[:LONGEST_TITLE] or None


def varied(overrides: Sequence[str], command: Sequence[str]) -> list[str]:
    """A job's overrides that do not stand in the sweep's command as they are, and so differ between its jobs."""
    given = {argument.lower() for argument in command}  # Hydra writes a=true as a=True, and ~a as ~a=null
    return [override for override in overrides if not {override.lower(), override.lower().removesuffix("=null")} & given]


def short_names(overrides: Sequence[str]) -> list[tuple[str, str]]:
    """Overrides as (last part of the name, value): ("integration", "both"). Paths are cut to their last two parts. Names that would be the same stay
    long, with dots as underscores, since dashboards take dots for a nested value.
    """
    pairs = [override.lstrip("+~").partition("=")[::2] for override in overrides]
    last = [re.split(r"[./@]", name)[-1] for name, _ in pairs]
    return [
        (short if last.count(short) == 1 else re.sub(r"[./@]", "_", name), "/".join(value.strip("/").split("/")[-2:]))
        for short, (name, value) in zip(last, pairs, strict=True)
    ]


for resolver in (cpu_precision, accelerator, on_cpu, fast_precision, fast_dtype, command_name, sweep_name, run_title):
    OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)


def entry_point(task: Task, config_name: str) -> None:
    """Run `task(cfg)` as a Hydra app on `conf/<config_name>.yaml`; errors become one line and exit code 1."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing a screenful of its own
    failures: list[str] = []
    errors: list[Exception] = []

    def run(cfg: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        if hydra_config.mode == RunMode.MULTIRUN:
            failure = _run_job(hydra_config.job.num, list(hydra_config.overrides.task), Path(hydra_config.runtime.output_dir))
            if failure:
                failures.append(failure)
            return
        if "seed" in cfg:
            seed_everything(cfg.seed, workers=True, verbose=False)
        try:
            task(cfg)
        except Exception as error:  # noqa: BLE001  # carried out of Hydra, which would print lines of its own, and raised below
            errors.append(error)

    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(run)()
        if errors:
            raise errors[0]
    except KeyboardInterrupt:
        fail("interrupted; what was written so far is kept, the same command goes on")
    except Exception as error:  # noqa: BLE001  # the one place where every error becomes one line
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        fail(one_line(error))
    if failures:
        fail(f"{len(failures)} of the sweep's jobs failed: {'; '.join(failures)}")


def composed(config_name: str, *overrides: str) -> DictConfig:
    """The config that the entry point `config_name` would get with these overrides, for an entry point that needs a node of another one's."""
    if GlobalHydra.instance().is_initialized():
        return compose(config_name, overrides=list(overrides))
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(config_name, overrides=list(overrides))


def fail(message: str) -> None:
    """Print the error line and exit with code 1; of several processes, only the first one's begins with "error: "."""
    sys.stdout.flush()
    rank = next((os.environ[name] for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ), "0")
    print(f"error: {message}" if rank == "0" else f"rank {rank}: {message}", file=sys.stderr, flush=True)
    sys.exit(1)


def check_shared_folder() -> None:
    """Raise ValueError if torchrun or srun started several of us and each would take a time-stamped run folder of its own."""
    processes = os.environ.get("WORLD_SIZE" if "TORCHELASTIC_RUN_ID" in os.environ else "SLURM_NTASKS", "1")
    if int(processes) > 1 and not any(override.startswith("hydra.run.dir=") for override in HydraConfig.get().overrides.hydra):
        raise ValueError(f"{processes} processes were started, each of which would take a run folder of its own: give hydra.run.dir=RUN")


def one_line(error: BaseException) -> str:
    """The message of an error as one line, without the wrapping of Hydra and of torch's workers."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    text = str(error)
    if re.match(r"Caught \w+ in DataLoader worker", text):
        # an error of a worker arrives as the same type, with the whole stack for a message; its last line is what was raised
        text = text.rstrip().splitlines()[-1].partition(": ")[2]
    message = " ".join(text.split()) or type(error).__name__
    # messages of our own are complete sentences; those of libraries are often only understood with their type ("KeyError: 'x'")
    complete = isinstance(error, ValueError | FileNotFoundError | NotWrittenError | Stopped | HydraException)
    return message if complete else f"{type(error).__name__}: {message}"


def _run_job(number: int, overrides: list[str], folder: Path) -> str | None:
    """One sweep job in its own process; its failure in a few words, or None."""
    spec = sys.modules["__main__"].__spec__
    if spec is None:
        raise RuntimeError("a sweep needs to be started as `python -m src.<entry point>`")
    overrides = [override for override in overrides if not override.lstrip("+").startswith("sweep=")]
    command = [sys.executable, "-m", spec.name, *overrides, "hydra.mode=RUN", f"hydra.run.dir={folder}"]
    environment = {k: v for k, v in os.environ.items() if k not in RANK_VARIABLES and not k.startswith(RANK_PREFIXES)}
    differing = varied(overrides, sys.argv[1:])
    environment |= {SWEEP: folder.parent.name, AXES: json.dumps(differing or overrides)}
    described = " ".join(override for override in overrides if not override.startswith("+experiment=")) or "as it is"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    print(f"job {number}: {described}", flush=True)
    start = time.monotonic()
    with log.open("w") as sink:
        code = subprocess.run(command, env=environment, stdout=sink, stderr=subprocess.STDOUT, check=False).returncode
    seconds = time.monotonic() - start
    if code == 0:
        print(f"job {number}: done in {seconds:.0f} s, {folder}", flush=True)
        return None
    print(f"job {number}: failed after {seconds:.0f} s, see {log}", flush=True)
    errors = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("error: ")]
    reason = errors[-1].removeprefix("error: ") if errors else f"exit code {code}, see {log}"
    return f"job {number} ({described}): {reason}"
