"""Names of runs in a table: the settings in which a run differs from the others.

Settings that don't affect what is learnt (paths, loggers, devices) are ignored, and so are seeds, which
distinguish repetitions of one cell.
"""

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from src.differences import leaves
from src.tabulation.runs import RunRow, Settings

IGNORED = re.compile(
    r"(evaluation\.)?seed|name|keep_memory|resume|trust(\..*)?|target_reward\..*|logger(\..*)?|sampler\..*|ledger"
    r"|judge_mode|callbacks\.(?!ema\.).*|algorithm\.compiled|data\.num_workers|(.*\.)?cache"
    r"|trainer\.(accelerator|devices|num_nodes|strategy|enable_.*|log_every_n_steps|default_root_dir|logger|"
    r"use_distributed_sampler)(\..*)?"
)
"""Entries of a config that don't affect what a run learns."""

REWARD_PARTS = ("model.reward_encoder", "model.integration")
ABSENT = "absent"
CLASS = "._target_"
FIRST = ("model", "start", "data", "algorithm", "trainer")
"""Parts of a config that name a run before others."""


def signals_of(settings: Settings) -> tuple[str, ...]:
    """List the reward signals of an editor: () for none, ("score",), ("text",) or ("score", "text")."""
    model = settings.get("model") or {}
    encoder = model.get("reward_encoder")
    if not encoder or not model.get("integration"):
        return ()
    return tuple(str(signal) for signal in encoder.get("signals", ()))


def integrations_of(settings: Settings) -> tuple[str, ...]:
    """List where the reward enters an editor: () for nowhere, ("attention",), ("addition",), ("time
    embedding",), combinations, ("released",).
    """
    model = settings.get("model") or {}
    if not signals_of(settings):
        return ()
    node = model["integration"]
    parts = (
        [node["parts"][name] for name in sorted(node["parts"], reverse=True)] if "parts" in node else [node]
    )
    return tuple(_integration(part) for part in parts)


def _integration(node: Mapping[str, Any]) -> str:
    name = str(node.get("_target_", "")).rpartition(".")[2].lower()
    return "time embedding" if name == "addition" and node.get("where") == "time_embedding" else name


def facets(settings: Settings) -> dict[str, str]:
    """Describe a run by the choices that users make, in words."""
    backbone = (
        str(((settings.get("model") or {}).get("backbone") or {}).get("_target_", ""))
        .rpartition(".")[2]
        .removesuffix("Backbone")
    )
    signals, integrations = signals_of(settings), integrations_of(settings)
    return {
        "backbone": backbone,
        "reward": f"reward by {' and '.join(signals)}" if signals else "no reward",
        "integration": f"through {' and '.join(integrations)}" if integrations else "",
    }


def learning_settings(settings: Settings) -> dict[str, Hashable]:
    """Flatten a config to dotted names, without entries that don't affect what a run learns."""
    found = {name: _hashable(value) for name, value in leaves(settings) if not IGNORED.fullmatch(name)}
    if not signals_of(settings):
        # an editor without a reward is the same wherever it would enter
        found = {name: value for name, value in found.items() if not name.startswith(REWARD_PARTS)}
    return found


def _hashable(value: object) -> Hashable:
    return (
        tuple(_hashable(each) for each in value)
        if isinstance(value, list)
        else value
        if isinstance(value, Hashable)
        else str(value)
    )


def differing_settings(
    all_settings: Sequence[Settings], without: Sequence[str] = ()
) -> dict[str, list[Hashable]]:
    """Find the entries in which runs differ, with the value of each run.

    Where classes differ only the class is listed, as the settings then differ, too.

    Args:
        all_settings: of the runs.
        without: parts of the config to leave out.
    """
    flat = [learning_settings(settings) for settings in all_settings]
    rewarded = [bool(signals_of(settings)) for settings in all_settings]
    found: dict[str, list[Hashable]] = {}
    for name in dict.fromkeys(name for each in flat for name in each):
        of_reward = name.startswith(REWARD_PARTS)
        values = [
            each.get(name, ABSENT) for each, has in zip(flat, rewarded, strict=True) if has or not of_reward
        ]
        if len(set(values)) > 1 and not _below(name, without):
            found[name] = [each.get(name, ABSENT) for each in flat]
    classes = [name for name in found if name.endswith(CLASS)]
    return {
        name: values
        for name, values in found.items()
        if name in classes or not _below(name, [each.removesuffix(CLASS) for each in classes])
    }


def _below(name: str, parts: Sequence[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def row_names(rows: Sequence[RunRow], known: Sequence[Hashable], short: bool = False) -> list[str]:
    """Name each row so that names distinguish what `known` does not: the user's own names, choices in words,
    then entries as key=value.

    An entry is used, in every row, only if those before it leave runs of different settings together. Rows
    with unknown settings are named by their run folder.

    Args:
        rows: of a table.
        known: what the table already says of each.
        short: leave only the last part of a key where no other key that differs ends in it.
    """
    keys: list[tuple[Hashable, ...]] = []
    words: list[list[str]] = []
    for label, row in zip(known, rows, strict=True):
        own = row.report.name
        folder = None if row.settings is not None or own is not None else str(row.report.run)
        keys.append((label, folder, own))
        unnamed = [] if folder is None or list(known).count(label) == 1 else [folder]
        words.append(unnamed if own is None else [own])

    def distinguish(values: Sequence[Hashable], text_of: Callable[[int], str]) -> None:
        values_of: dict[Hashable, set[Hashable]] = {}
        for before, value in zip(keys, values, strict=True):
            values_of.setdefault(before, set()).add(value)
        if all(len(same) == 1 for same in values_of.values()):
            return
        for index, value in enumerate(values):
            keys[index] = (*keys[index], value)
            if rows[index].settings is not None and text_of(index):
                words[index].append(text_of(index))

    in_words = [facets(row.settings or {}) for row in rows]
    for facet in ("backbone", "reward", "integration"):
        distinguish([each[facet] for each in in_words], lambda index, facet=facet: in_words[index][facet])
    flat = [{} if row.settings is None else learning_settings(row.settings) for row in rows]
    entries = sorted(dict.fromkeys(name for each in flat for name in each), key=_rank)
    shown = _short_names(entries, flat) if short else {}
    for name in entries:
        values, key = [each.get(name, ABSENT) for each in flat], shown.get(name, setting_name(name))
        distinguish(
            values,
            lambda index, key=key, values=values: f"{key}={setting_text(values[index])}",
        )
    return [", ".join(each) for each in words]


def _short_names(entries: Sequence[str], flat: Sequence[Mapping[str, Hashable]]) -> dict[str, str]:
    """The last part of each entry that differs and ends as no other one does."""
    differing = [name for name in entries if len({each.get(name, ABSENT) for each in flat}) > 1]
    last = [setting_name(name).rpartition(".")[2] for name in differing]
    return {name: end for name, end in zip(differing, last, strict=True) if last.count(end) == 1}


def _rank(name: str) -> tuple[int, bool]:
    """Sort classes before their settings, part by part."""
    part = name.partition(".")[0]
    return FIRST.index(part) if part in FIRST else len(FIRST), not name.endswith(CLASS)


def setting_name(name: str) -> str:
    """Shorten the name of an entry: "data.dataset" for "data.dataset._target_"."""
    return name.removeprefix("model.").removesuffix(CLASS)


def setting_text(value: Hashable) -> str:
    """Format a value of a config; of a class its last name."""
    if isinstance(value, tuple):
        return "[" + ",".join(setting_text(each) for each in value) + "]"
    text = "null" if value is None else str(value)
    return text.rpartition(".")[2] if text.startswith("src.") else text
