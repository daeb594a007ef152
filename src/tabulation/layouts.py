"""How the paper's Tables 1, 2, 4, 5 and 6 are laid out: which rows belong in them, and what is said of each."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from src.tabulation.naming import integrations_of, signals_of
from src.tabulation.runs import RunRow

TARGET = re.compile(r"(\d(?:\.\d+)?)/(\d(?:\.\d+)?)/(\d(?:\.\d+)?)(\+text)?")
"""A row that is named after the reward asked for."""

YES = "✓"


@dataclass(frozen=True)
class Place:
    """Where a row stands in a table.

    Attributes:
        name: of its line, by which it can be a reference and finds the paper's numbers.
        labels: below the label columns.
        order: lines are sorted by it.
    """

    name: str
    labels: tuple[str, ...]
    order: tuple[float, ...] = ()


@dataclass(frozen=True)
class Layout:
    """One of the paper's tables.

    Attributes:
        number: in the paper.
        title: one line.
        label_columns: titles.
        place: a row's place for the target reward asked for ("5/5/5"); None where it does not belong in the
            table.
        told: parts of the config that the labels tell; any other difference between runs is named in a note.
        reference: the line that the others are compared with; None for the first.
        images: whether the numbers are image metrics, not a judge's.
        needs: what a row lacks that has no place, for the message where none has.
    """

    number: int
    title: str
    label_columns: tuple[str, ...]
    place: Callable[[RunRow, str], Place | None]
    told: tuple[str, ...]
    reference: str | None
    images: bool
    needs: str


def is_at_target(row: RunRow, target: str) -> bool:
    """Whether a row's edits were made for the target reward; rows that have a name of their own (edits made
    elsewhere) count as such.
    """
    return row.row.name == target or not TARGET.match(row.row.name)


def by_method(row: RunRow, target: str) -> Place | None:
    """Table 1 and 2: rows that go by a name of their own, and runs, which are named by what differs."""
    name = row.row.name
    best_of_n = re.match(rf"{re.escape(target)} (?=best of )", name)
    if not is_at_target(row, target) and not best_of_n:
        return None
    return Place("", (name.removeprefix(target).strip() if best_of_n else "" if name == target else name, ""))


def by_signal(row: RunRow, target: str) -> Place | None:
    """Table 4: what the reward says."""
    if row.settings is None or "model" not in row.settings or not is_at_target(row, target):
        return None
    signals = signals_of(row.settings)
    marks = tuple(YES if name in signals else "" for name in ("score", "text"))
    return Place(" + ".join(signals) or "none", marks, tuple(float(bool(mark)) for mark in reversed(marks)))


def by_integration(row: RunRow, target: str) -> Place | None:
    """Table 5: where the reward enters."""
    if row.settings is None or "model" not in row.settings or not is_at_target(row, target):
        return None
    parts = integrations_of(row.settings)
    if "released" in parts:
        return Place("released", ("released code", "released code"), (3.0,))
    addition = "into the time embedding" if "time embedding" in parts else YES if "addition" in parts else ""
    attention = YES if "attention" in parts else ""
    return Place(
        " + ".join(parts) or "none",
        (attention, addition),
        (2.0 * bool(addition) + bool(attention), float(addition not in ("", YES))),
    )


def by_target(row: RunRow, target: str) -> Place | None:
    """Table 6: the reward asked for; `target` makes no difference."""
    asked = TARGET.fullmatch(row.row.name)
    if asked is None:
        return None
    *scores, text = asked.groups()
    return Place(
        row.row.name, (*scores, "of a failed edit" if text else ""), (*map(float, scores), float(bool(text)))
    )


NEEDS_CONFIG = (
    "a row at the target reward in a run folder with .hydra/config.yaml, editor/ or checkpoints/last.ckpt"
)
LAYOUTS = {
    "table1": Layout(
        1,
        "Comparison of methods",
        ("Method", "Edit data"),
        by_method,
        (),
        None,
        False,
        "a row at the target reward",
    ),
    "table2": Layout(
        2,
        "Image metrics",
        ("Method", "Edit data"),
        by_method,
        (),
        None,
        True,
        "a row at the target reward with image metrics",
    ),
    "table4_reward_signal": Layout(
        4,
        "Which reward signal helps",
        ("Score", "Text"),
        by_signal,
        ("model.reward_encoder", "model.integration"),
        "none",
        False,
        NEEDS_CONFIG,
    ),
    "table5_integration": Layout(
        5,
        "Where the reward enters",
        ("Attention", "Addition"),
        by_integration,
        ("model.integration",),
        "none",
        False,
        NEEDS_CONFIG,
    ),
    "table6_inference_score": Layout(
        6,
        "The reward asked for at inference",
        ("F", "P", "Q", "Text"),
        by_target,
        (),
        "5/5/5",
        False,
        "a row like 3/3/3 (targets=table6)",
    ),
}
"""By the names of conf/sweep, where a table is a sweep."""


def layout_named(name: str) -> Layout:
    """A table of the paper.

    Raises:
        ValueError: no such table.
    """
    if name not in LAYOUTS:
        raise ValueError(f"table={name}: choose from {', '.join(LAYOUTS)}, or table=null for all rows")
    return LAYOUTS[name]
