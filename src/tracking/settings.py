"""What a dashboard is told about a run's settings: all of the config, and no secret.

Keys and tokens are not in any config of this project, but in the environment; what a user writes into a
config all the same is hidden here.
"""

import re
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

HIDDEN = "(hidden)"

SECRET_NAME = re.compile(r"(api_?key|access_?key|token|secret|passwd|password|credentials?)$", re.IGNORECASE)
"""Entries of a config, and variables of the environment, whose names end so hold a secret."""

SHORTEST = 8
"""Characters of a secret; a shorter value of such a variable ("1", "none") stands in too many texts that mean
something else.
"""


def loggable_settings(
    cfg: DictConfig, environment: Mapping[str, str], more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The resolved config with every secret hidden, and without the node `logger`, which says where all this
    goes.

    Args:
        cfg: an entry point's config.
        environment: whose secrets must not be found in it.
        more: entries beside those of the config.
    """
    told = OmegaConf.masked_copy(cfg, [str(name) for name in cfg if name != "logger"])
    secrets = [
        value for name, value in environment.items() if SECRET_NAME.search(name) and len(value) >= SHORTEST
    ]
    tree = OmegaConf.to_container(told, resolve=True)
    assert isinstance(tree, dict)
    return _without({**tree, **(more or {})}, sorted(secrets, key=len, reverse=True))


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
