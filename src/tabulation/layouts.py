"""The layouts of the paper's Tables 1, 2, 4, 5 and 6: which rows belong in them, and their labels."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from src.tabulation.naming import integrations_of, signals_of
from src.tabulation.runs import RunRow

TARGET = re.compile(r"(\d(?:\.\d+)?)/(\d(?:\.\d+)?)/(\d(?:\.\d+)?)(\+text)?")
"""Matches a row that is named after its target reward."""

YES = "✓"


@final
@dataclass(frozen=True)
class Place:
    """The place of a row in a table.

    Attributes:
        name: of its line; finds the reference and the paper's numbers.
        labels: below the label columns.
        order: lines are sorted by it.
    """

    name: str
    labels: tuple[str, ...]
    order: tuple[float, ...] = ()


@final
@dataclass(frozen=True)
class Layout:
    """One of the paper's tables.

    Attributes:
        number: in the paper.
        title: one line.
        label_columns: titles.
        place: a row's place, given the name of the row that represents a run ("5/5/5"); None for a row that
            does not belong in the table.
        explained: parts of the config that the labels express; a note names other differences between runs.
        reference: the line that the others are compared with; None for the first.
        images: whether the numbers are image metrics, not a judge's.
        needs: what rows must be, for the error when none has a place.
    """

    number: int
    title: str
    label_columns: tuple[str, ...]
    place: Callable[[RunRow, str], Place | None]
    explained: tuple[str, ...]
    reference: str | None
    images: bool
    needs: str


def represents_run(row: RunRow, own: str) -> bool:
    """Whether a row represents its run; rows with a name of their own (edits made elsewhere) do."""
    return row.row.name == own or not TARGET.match(row.row.name)


def by_method(row: RunRow, own: str) -> Place | None:
    """Tables 1 and 2: rows with a name of their own, and runs, which are named by what differs."""
    name = row.row.name
    best_of_n = re.match(rf"{re.escape(own)} (?=best of )", name)
    if not represents_run(row, own) and not best_of_n:
        return None
    return Place("", (name.removeprefix(own).strip() if best_of_n else "" if name == own else name, ""))


def by_signal(row: RunRow, own: str) -> Place | None:
    """Table 4: the reward signals."""
    if row.settings is None or "model" not in row.settings or not represents_run(row, own):
        return None
    signals = signals_of(row.settings)
    marks = tuple(YES if name in signals else "" for name in ("score", "text"))
    return Place(" + ".join(signals) or "none", marks, tuple(float(bool(mark)) for mark in reversed(marks)))


def by_integration(row: RunRow, own: str) -> Place | None:
    """Table 5: where the reward enters the network."""
    if row.settings is None or "model" not in row.settings or not represents_run(row, own):
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


def by_target(row: RunRow, own: str) -> Place | None:
    """Table 6: the target reward; `own` is not used."""
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
"""By name; a table that is a sweep has the name of its file in conf/sweep."""


def layout_named(name: str) -> Layout:
    """Return a layout.

    Raises:
        ValueError: no such table.
    """
    if name not in LAYOUTS:
        raise ValueError(
            f"table={name}: choose from {', '.join(LAYOUTS)}, table3 of a human study, a benchmark of the "
            "field (gedit, imgedit, imgedit_uge, rise), or table=null for all"
        )
    return LAYOUTS[name]
