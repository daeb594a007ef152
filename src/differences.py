"""What differs between two trees of settings."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

ABSENT = "absent"
"""Stands for the value of a setting that one of two trees lacks."""


def leaves(tree: Mapping[str, Any], prefix: str = "", into_lists: bool = False) -> Iterator[tuple[str, Any]]:
    """The settings of a tree, nested ones by dotted names: ("sampler.steps", 30).

    Args:
        tree: nested mappings.
        prefix: put before every name.
        into_lists: take lists apart as well, as in ("layers.0.width", 64).
    """
    for name, value in tree.items():
        if into_lists and isinstance(value, list):
            value = {str(index): child for index, child in enumerate(value)}
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.", into_lists)
        else:
            yield f"{prefix}{name}", value


def differing_leaves(
    old: Mapping[str, Any], new: Mapping[str, Any], into_lists: bool = False
) -> list[tuple[str, Any, Any]]:
    """Name, old value and new value of each setting that is not equal; ABSENT where a tree lacks it.

    Settings of `old` come first, in its order, then those that only `new` has.
    """
    before, after = dict(leaves(old, into_lists=into_lists)), dict(leaves(new, into_lists=into_lists))
    return [
        (name, before.get(name, ABSENT), after.get(name, ABSENT))
        for name in before | after
        if before.get(name, ABSENT) != after.get(name, ABSENT)
    ]


def unlike_request(recorded: Mapping[str, Any], requested: Mapping[str, Any]) -> list[str]:
    """How what was recorded differs from what is requested now: "seed: 0 there, 1 asked for".

    Args:
        recorded: read from a JSON file.
        requested: JSON-able; a setting of None equals one that is absent.
    """
    return [
        f"{name}: {'nothing' if old is ABSENT else old} there, {'nothing' if new is ABSENT else new} asked "
        "for"
        for name, old, new in differing_leaves(recorded, json.loads(json.dumps(requested)))
        if any(value is not None and value is not ABSENT for value in (old, new))
    ]
