"""Settings that a command was not given and can't do without, all in one sentence."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

CONF = Path(__file__).resolve().parent.parent / "conf"
MISSING = re.compile(r"\?\?\?|[A-Z]+_FOLDER")
"""Values that stand for one of the user's: OmegaConf's, and names such as SMARTEDIT_FOLDER where ??? would
leave an inherited default in place.
"""


def missing_settings(cfg: DictConfig) -> list[str]:
    """Dotted names of the settings without a value. Interpolations are not followed."""
    return [
        name
        for name, value in _leaves(OmegaConf.to_container(cfg, resolve=False))
        if isinstance(value, str) and MISSING.fullmatch(value)
    ]


def check_complete(cfg: DictConfig) -> None:
    """Raise ValueError, naming all of them, if settings have no value; for a config of which all is used."""
    names = missing_settings(cfg)
    if names:
        raise ValueError(request_for(names))


def request_for(names: list[str]) -> str:
    """Ask for settings: what each is, and a file with an example command."""
    choices = _chosen_files() if HydraConfig.initialized() else {}
    asked = [f"{name}=...{_comment(name, choices)}" for name in names]
    files = [file for package, file in choices.items() if package == "experiment"]
    files += [file for package, file in choices.items() if names[0].startswith(f"{package}.")]
    example = f"; see {files[0].relative_to(CONF.parent)}" if files else ""
    return f"give {' and '.join(asked)}{example}"


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        for name, child in node.items():
            yield from _leaves(child, f"{prefix}{name}.")
    else:
        yield prefix[:-1], node


def _chosen_files() -> dict[str, Path]:
    """The yaml files of the chosen options by the package that they fill, the innermost first."""
    files = {
        group.partition("@")[2] or group.replace("/", "."): CONF / group.partition("@")[0] / f"{option}.yaml"
        for group, option in HydraConfig.get().runtime.choices.items()
        if isinstance(option, str)
    }
    files[""] = CONF / f"{HydraConfig.get().job.config_name}.yaml"
    return {
        package: files[package]
        for package in sorted(files, key=len, reverse=True)
        if files[package].is_file()
    }


def _comment(name: str, files: Mapping[str, Path]) -> str:
    """What the yaml says of a setting, in parentheses; nothing where it says nothing."""
    line = re.compile(rf"\s*{re.escape(name.split('.')[-1])}: *(?:{MISSING.pattern}) *# *(.+)")
    for package, file in files.items():
        if package == "experiment" or name.startswith(f"{package}." if package else ""):
            for found in map(line.fullmatch, file.read_text(encoding="utf-8").splitlines()):
                if found is not None:
                    return f" ({found[1]})"
    return ""
