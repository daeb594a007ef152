"""Functions that configs can call, as in `precision: ${cpu_precision:}`. Importing this module registers
them.

No heavy library is imported before a config asks for what only it knows.
"""

import json
import os
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

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


def is_posterior(prediction: str) -> bool:
    """Whether a process's prediction is the one for which a backbone puts out how sure it is."""
    return prediction == "posterior"


def command_name() -> str | None:
    """The entry point that runs, as in "train"; None outside of one."""
    return HydraConfig.get().job.config_name if HydraConfig.initialized() else None


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
    is_posterior,
    command_name,
    sweep_name,
    run_title,
    sweep_title,
    run_name,
):
    OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)
