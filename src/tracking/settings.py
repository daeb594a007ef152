"""A run's settings for a dashboard: all of the config, without secrets.

This project's configs hold no keys or tokens, the environment does; what a user writes into a config anyway
is hidden here.
"""

import re
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

HIDDEN = "(hidden)"

SECRET_NAME = re.compile(r"(api_?key|access_?key|token|secret|passwd|password|credentials?)$", re.IGNORECASE)
"""Config entries and environment variables with such names hold secrets."""

SHORTEST = 8
"""Least characters of a secret; a shorter value of such a variable ("1", "none") occurs in too many other
texts.
"""


def loggable_settings(
    cfg: DictConfig, environment: Mapping[str, str], more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The resolved config with every secret hidden, and without the node `logger`, which says where it goes.

    Args:
        cfg: an entry point's config.
        environment: variables whose secrets must not appear.
        more: entries besides those of the config.
    """
    shown = OmegaConf.masked_copy(cfg, [str(name) for name in cfg if name != "logger"])
    secrets = [
        value for name, value in environment.items() if SECRET_NAME.search(name) and len(value) >= SHORTEST
    ]
    tree = OmegaConf.to_container(shown, resolve=True)
    assert isinstance(tree, dict)
    return _without({**tree, **(more or {})}, sorted(secrets, key=len, reverse=True))


def logger_nodes(cfg: DictConfig) -> list[Any]:
    """The nodes of a config that build loggers, one for each name of logger=[csv,wandb]; [] for none."""
    node = cfg.get("logger")
    if node is None:
        return []
    return [node] if "_target_" in node else [each for each in node.values() if each is not None]


def _without(node: Any, secrets: list[str]) -> Any:
    if isinstance(node, dict):
        return {
            str(name): HIDDEN
            if isinstance(child, str) and SECRET_NAME.search(str(name))
            else _without(child, secrets)
            for name, child in node.items()
        }
    if isinstance(node, list):
        return [_without(child, secrets) for child in node]
    if isinstance(node, str):
        for secret in secrets:
            node = node.replace(secret, HIDDEN)
    return node
