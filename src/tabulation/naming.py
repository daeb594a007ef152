"""What a run is called in a table: by what its config has and the others' have not.

Settings that say nothing about what is learnt (paths, seeds, loggers, devices) name nobody; the seeds tell
repetitions of one cell apart.
"""

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from src.differences import leaves
from src.tabulation.runs import RunRow, Settings

IGNORED = re.compile(
    r"(evaluation\.)?seed|name|keep_memory|resume|target_reward\..*|logger(\..*)?|sampler\..*|ledger|judge_mode"
    r"|callbacks\.(?!ema\.).*|algorithm\.compiled|data\.num_workers|(.*\.)?cache"
    r"|trainer\.(accelerator|devices|num_nodes|strategy|enable_.*|log_every_n_steps|default_root_dir|logger|use_distributed_sampler)(\..*)?"
)
"""Entries of a config that do not change what a run learns."""

REWARD_PARTS = ("model.reward_encoder", "model.integration")
ABSENT = "absent"
CLASS = "._target_"
FIRST = ("model", "start", "data", "algorithm", "trainer")
"""Parts of a config that name a run before others do."""


def signals_of(settings: Settings) -> tuple[str, ...]:
    """What the reward says to an editor: () (nothing), ("score",), ("text",) or ("score", "text")."""
    model = settings.get("model") or {}
    encoder = model.get("reward_encoder")
    if not encoder or not model.get("integration"):
        return ()
    return tuple(str(signal) for signal in encoder.get("signals", ()))


def integrations_of(settings: Settings) -> tuple[str, ...]:
    """Where the reward enters an editor: () (nowhere), ("attention",), ("addition",), ("time embedding",),
    both, ("released",).
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
    """The choices that users think in, in words."""
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
    """What a run learns by: a config as dotted names, without what says nothing about it."""
    found = {name: _hashable(value) for name, value in leaves(settings) if not IGNORED.fullmatch(name)}
    if not signals_of(settings):
        # how a reward would enter makes no difference to an editor without one
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
    """The entries in which runs differ, with the value of each run.

    Of parts of other classes only the class is named, as their settings differ by themselves.

    Args:
        all_settings: of the runs.
        without: parts of the config that are left out.
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


def row_names(rows: Sequence[RunRow], known: Sequence[Hashable]) -> list[str]:
    """A name for each row that tells apart what `known` does not: choices in words first, then single entries
    as key=value.

    An entry is named, in every row, only where the ones before it leave runs of different settings together.
    Rows whose settings nobody knows are called by their run folder.

    Args:
        rows: of a table.
        known: what the table says of each already.
    """
    told: list[tuple[Hashable, ...]] = []
    words: list[list[str]] = []
    for each, row in zip(known, rows, strict=True):
        folder = None if row.settings is not None else str(row.found.run)
        told.append((each, folder))
        words.append([] if folder is None or list(known).count(each) == 1 else [folder])

    def tell(values: Sequence[Hashable], worded: Callable[[int], str]) -> None:
        kinds: dict[Hashable, set[Hashable]] = {}
        for before, value in zip(told, values, strict=True):
            kinds.setdefault(before, set()).add(value)
        if all(len(each) == 1 for each in kinds.values()):
            return
        for index, value in enumerate(values):
            told[index] = (*told[index], value)
            if rows[index].settings is not None and worded(index):
                words[index].append(worded(index))

    in_words = [facets(row.settings or {}) for row in rows]
    for facet in ("backbone", "reward", "integration"):
        tell([each[facet] for each in in_words], lambda index, facet=facet: in_words[index][facet])
    flat = [{} if row.settings is None else learning_settings(row.settings) for row in rows]
    for name in sorted(dict.fromkeys(name for each in flat for name in each), key=_rank):
        values = [each.get(name, ABSENT) for each in flat]
        tell(
            values,
            lambda index, name=name, values=values: f"{setting_name(name)}={setting_text(values[index])}",
        )
    return [", ".join(each) for each in words]


def _rank(name: str) -> tuple[int, bool]:
    """Classes before their settings, part by part."""
    part = name.partition(".")[0]
    return FIRST.index(part) if part in FIRST else len(FIRST), not name.endswith(CLASS)


def setting_name(name: str) -> str:
    """An entry's name, for people: "data.dataset" for that of its class."""
    return name.removeprefix("model.").removesuffix(CLASS)


def setting_text(value: Hashable) -> str:
    """A value of a config, for people: of a class its last name."""
    if isinstance(value, tuple):
        return "[" + ",".join(setting_text(each) for each in value) + "]"
    text = "null" if value is None else str(value)
    return text.rpartition(".")[2] if text.startswith("src.") else text
