"""Names of runs and sweeps, made of the overrides that set them apart."""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from src.command_line import unquoted

SWEEP, AXES = "MULTI_REWARD_SWEEP", "MULTI_REWARD_AXES"
"""Environment variables of a sweep's jobs: the name of the sweep's folder, and the overrides in which the
jobs differ, as a JSON list.
"""

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
    "trust",
)
"""Settings that change where and how something runs and not what comes out: no part of a run's title."""

OF_TRAINER = (
    *(
        "_target_",
        "accelerator",
        "devices",
        "num_nodes",
        "strategy",
        "plugins",
        "default_root_dir",
        "profiler",
    ),
    *("logger", "callbacks", "log_every_n_steps", "enable_progress_bar", "enable_model_summary"),
    *("enable_checkpointing", "enable_autolog_hparams", "use_distributed_sampler", "num_sanity_val_steps"),
    *("limit_val_batches", "limit_test_batches", "limit_predict_batches", "check_val_every_n_epoch"),
    *("val_check_interval", "benchmark", "inference_mode", "detect_anomaly", "model_registry"),
)
"""The machinery among the trainer's settings; all others may change the weights. How many processes there are
changes them, too, but is told by devices and num_nodes.
"""

LONGEST_TITLE = 100
"""Characters of a run's title."""


def short_names(overrides: Sequence[str]) -> list[tuple[str, str]]:
    """Overrides as (last part of the name, value): ("integration", "both"). Paths are cut to their last two
    parts, what is deleted (~callbacks.scores) is "none". Names that would be the same stay long, with dots as
    underscores, since dashboards take dots for a nested value.
    """
    pairs = [_name_and_value(override) for override in overrides]
    last = [re.split(r"[./@]", name)[-1] for name, _ in pairs]
    return [
        (
            short if last.count(short) == 1 else re.sub(r"[./@]", "_", name),
            "/".join(value.strip("/").split("/")[-2:]),
        )
        for short, (name, value) in zip(last, pairs, strict=True)
    ]


def _name_and_value(override: str) -> tuple[str, str]:
    """The two sides of an override, the value without Hydra's quotes."""
    name, _, value = override.lstrip("+~").partition("=")
    if override.startswith("~"):
        return name, "none"
    return name, unquoted(value)


def title(overrides: Sequence[str]) -> str | None:
    """Overrides as a title for a run: "reward_synthetic, integration=both"; None if there are none."""
    parts = [value if name == "experiment" else f"{name}={value}" for name, value in short_names(overrides)]
    return ", ".join(parts)[:LONGEST_TITLE] or None


def without_machinery(overrides: Sequence[str]) -> list[str]:
    """The overrides that change what comes out of a run."""
    return [override for override in overrides if not _is_machinery(override)]


def _is_machinery(override: str) -> bool:
    first, *rest = re.split(r"[.@/]", override.lstrip("+~").partition("=")[0])
    return rest[0] in OF_TRAINER if first == "trainer" and rest else first in MACHINERY


def varied_overrides(overrides: Sequence[str], command: Sequence[str]) -> list[str]:
    """A job's overrides that the sweep's command doesn't contain literally, and so differ between jobs."""
    given = {argument.lower() for argument in command}  # Hydra writes a=true as a=True, and ~a as ~a=null
    return [
        override
        for override in overrides
        if not {override.lower(), override.lower().removesuffix("=null")} & given
    ]


def sweep_axes() -> dict[str, str]:
    """The values of this job in what its sweep varies, by short names: {"integration": "both"}; empty outside
    of a sweep.
    """
    return dict(short_names(json.loads(os.environ.get(AXES, "[]"))))


def overrides_of(run: Path) -> dict[str, str]:
    """The overrides of the command that made a run folder, by short names; empty where they aren't known."""
    file = run / ".hydra" / "overrides.yaml"
    return dict(short_names([str(override) for override in OmegaConf.load(file)])) if file.is_file() else {}


def sweep_title(*, _root_: DictConfig) -> str:
    """The name of the sweep in a command: of its config in conf/sweep, or its axes, "integration-seed"."""
    chosen = _root_.hydra.runtime.choices.get("sweep")
    if chosen:
        return chosen if isinstance(chosen, str) else "-".join(chosen)
    axes = [f"{axis}={values}" for axis, values in (_root_.hydra.sweeper.get("params") or {}).items()]
    given = OverridesParser.create().parse_overrides([*axes, *_root_.hydra.overrides.task])
    swept = [f"{override.get_key_element()}=" for override in given if override.is_sweep_override()]
    return "-".join(name for name, _ in short_names(swept)) or "sweep"


def run_name(path: str | None) -> str:
    """The run that a checkpoint or an export belongs to, as a part of a name: "reward-3" for
    runs/reward/3/editor; "evaluate" without one.
    """
    if path is None:
        return "evaluate"
    folder = Path(path)
    folder = folder.parent if folder.suffix == ".ckpt" else folder
    folder = folder.parent if folder.name in ("checkpoints", "editor") else folder
    return "-".join(part for part in folder.parts[-2:] if part not in ("/", "runs", ".."))
