"""Functions that configs can call, as in `precision: ${cpu_precision:}`. Importing this module registers
them.

No heavy library is imported before a config asks for what only it knows.
"""

import json
import os
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from src.sweeps.titles import AXES, SWEEP, run_name, sweep_title, title, without_machinery


def cpu_precision() -> str:
    """The Lightning precision that this processor is fastest in: bf16 only where it multiplies bf16 numbers
    in hardware (AMX or AVX-512); elsewhere bf16 is emulated, and several times slower than fp32.
    """
    information = Path("/proc/cpuinfo")
    features = set(information.read_text().split()) if information.exists() else set()
    return "bf16-mixed" if features & {"amx_bf16", "avx512_bf16"} else "32-true"


def accelerator() -> str:
    """Lightning's name of the fastest device here, "gpu" or "cpu"."""
    import torch

    return "gpu" if torch.cuda.is_available() else "cpu"


def on_cpu() -> bool:
    """Whether the fastest device here is the CPU."""
    return accelerator() == "cpu"


def fast_precision(device: str | None = None) -> str:
    """The Lightning precision that a device is fastest in, by default that of `accelerator`."""
    return "bf16-mixed" if (device or accelerator()) == "gpu" else cpu_precision()


def fast_dtype(device: str | None = None) -> str:
    """The number format of `fast_precision`."""
    return "bfloat16" if fast_precision(device) == "bf16-mixed" else "float32"


def on_photographs(value: Any, other: Any, *, _root_: DictConfig) -> Any:
    """The first value where a small backbone trains on photographs of one's own, the second elsewhere: on the
    synthetic world, or for a backbone that comes with weights.
    """
    is_small = OmegaConf.select(_root_, "photographs") is not None
    return value if is_small and OmegaConf.select(_root_, "data.words") is None else other


def if_given(value: Any, given: Any, missing: Any) -> Any:
    """A setting that depends on whether another one is null."""
    return missing if value is None else given


def is_posterior(prediction: str) -> bool:
    """Whether a process's prediction is the one for which a backbone puts out how sure it is."""
    return prediction == "posterior"


def of_editor(checkpoint: str | None, name: str) -> Any:
    """A setting of the sampler that an editor was trained with, "guidance.text"; None without an editor."""
    from src import trained_sampler

    return trained_sampler.of_editor(checkpoint, name)


def world_size(checkpoint: str | None, otherwise: int) -> int:
    """The size of the images that an editor was trained on, if the synthetic world has that size."""
    if checkpoint is None:
        return otherwise
    from src.synthetic.world import SIZES
    from src.trained_sampler import trained_with

    size = min(trained_with(Path(str(checkpoint))).size)
    return size if size in SIZES else otherwise


def command_name() -> str | None:
    """The entry point that runs, as in "train"; None outside of one."""
    return HydraConfig.get().job.config_name if HydraConfig.initialized() else None


def judge_name(*, _root_: DictConfig) -> str:
    """What the judge's yaml calls it, or else the option of the group that was chosen; "oracle", the default,
    where a config is composed outside of a command.
    """
    name = OmegaConf.select(_root_, "judge.name")
    if name is not None or not HydraConfig.initialized():
        return str(name or "oracle")
    return str(HydraConfig.get().runtime.choices["judge"])


def sweep_name() -> str | None:
    """The folder name of the sweep that this process is a job of; None outside of a sweep."""
    return os.environ.get(SWEEP)


def run_title() -> str | None:
    """A name for this run that says what is special about it: "integration=both"; None where nothing is."""
    if AXES in os.environ:
        return title(json.loads(os.environ[AXES]))
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    return title(without_machinery(overrides))


for resolver in (
    cpu_precision,
    accelerator,
    on_cpu,
    fast_precision,
    fast_dtype,
    if_given,
    is_posterior,
    on_photographs,
    of_editor,
    world_size,
    command_name,
    judge_name,
    sweep_name,
    run_title,
    sweep_title,
    run_name,
):
    OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
