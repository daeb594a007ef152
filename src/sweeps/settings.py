"""The settings that a job's result depends on: their fingerprint, and differences as text.

Jobs with equal settings are the same job, however their commands spell it, and run once.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.differences import ABSENT, differing_leaves
from src.sweeps.titles import MACHINERY


def whole_config(cfg: DictConfig) -> dict[str, Any]:
    """A config without machinery, resolved."""
    named = OmegaConf.masked_copy(cfg, [str(name) for name in cfg if name != "logger"])
    tree = OmegaConf.to_container(named, resolve=True)
    assert isinstance(tree, dict)
    return {str(name): value for name, value in tree.items() if name not in MACHINERY}


def fingerprint(settings: Mapping[str, Any]) -> str:
    """16 hex digits, the same for equal settings; 5 equals 5.0, True doesn't equal 1."""
    text = json.dumps({name: _plain(value) for name, value in settings.items()}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def changed_settings(saved: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """Settings in which two jobs differ, as "trainer.max_steps was 100 and is 200"."""
    plain_saved, plain_present = ({name: _plain(tree[name]) for name in tree} for tree in (saved, present))
    return [
        f"{name} was {saved.get(name, ABSENT)} and is {present.get(name, ABSENT)}"
        for name in sorted(name for name, _, _ in differing_leaves(plain_saved, plain_present))
    ]


def first_few(found: Sequence[str], most: int = 4) -> str:
    """The first items of a list, for an error of one line."""
    return "; ".join(found[:most]) + (f"; and {len(found) - most} more" if len(found) > most else "")


def common_settings(jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings that all jobs share."""
    if not jobs:
        return {}
    return {
        name: value
        for name, value in jobs[0].items()
        if all(name in job and _plain(job[name]) == _plain(value) for job in jobs)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool):
        return f"bool {value}"
    return value
