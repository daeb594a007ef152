"""Figures of judges that others published, read from published.yaml, and what they are by their own
definition.

A published figure belongs beside one of ours only if protocol, labels and tie rule are the same; the yaml
says which. Where it is printed of counts, the counts are worked out again: a cell that no count of the whole
set gives has another denominator, and a total that its parts don't add up to is printed with what they give.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, final

import yaml

FILE = Path(__file__).with_name("published.yaml")


@final
@dataclass(frozen=True)
class PublishedFigure:
    """One figure.

    Attributes:
        judge: as the source names it.
        figure: benchmark/protocol/labels/rule, as in our keys.
        printed: as printed.
        scale: printed = scale x ours.
        source: where.
        means: the rule that it should have by its own definition; "" where it has it.
        note: what is different.
        corrected: what the published parts of it give, in the printed unit; None where there are none.
    """

    judge: str
    figure: str
    printed: str
    scale: float
    source: str
    means: str = ""
    note: str = ""
    corrected: float | None = None

    @property
    def value(self) -> float:
        """In our unit."""
        return float(self.printed) / self.scale

    def is_of(self, judge: str) -> bool:
        """Whether a judge of this name is meant: "gpt4o_0shot" is "GPT-4o"."""
        return plain(judge) == plain(self.judge)


def plain(name: str) -> str:
    """A judge's name without spelling."""
    return re.sub(r"[^a-z0-9.@]", "", re.sub(r"_?(0|zero)[-_]?shot$", "", name.lower()))


@cache
def published_figures() -> tuple[PublishedFigure, ...]:
    """All figures."""
    entries: Sequence[Mapping[str, Any]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return tuple(
        PublishedFigure(
            str(judge),
            entry["figure"],
            str(printed),
            float(entry["scale"]),
            entry["source"],
            entry.get("means", ""),
            " ".join(part for part in (entry.get("note", ""), _denominator(entry, str(printed))) if part),
            _from_parts(entry, str(judge), entries),
        )
        for entry in entries
        for judge, printed in entry["judges"]
    )


def published_for(benchmark: str) -> list[PublishedFigure]:
    """The figures on a benchmark."""
    return [figure for figure in published_figures() if figure.figure.partition("/")[0] == benchmark]


def count_behind(printed: str, n: int) -> int | None:
    """How many of n are a printed percentage; None if no number is."""
    digits = len(printed.partition(".")[2])
    count = round(float(printed) / 100 * n)
    return count if f"{100 * count / n:.{digits}f}" == printed else None


def _denominator(entry: Mapping[str, Any], printed: str) -> str:
    """What is odd about a percentage of a known number."""
    if "of" not in entry or "parts" in entry or count_behind(printed, entry["of"]) is not None:
        return ""
    fewer = next(
        (n for n in range(entry["of"] - 1, entry["of"] - 12, -1) if count_behind(printed, n) is not None),
        None,
    )
    if fewer is None:
        return f"no count out of {entry['of']}, nor of a few less, gives it"
    return f"no count out of {entry['of']} gives it; {count_behind(printed, fewer)}/{fewer} does"


def _from_parts(entry: Mapping[str, Any], judge: str, entries: Sequence[Mapping[str, Any]]) -> float | None:
    """The total of a judge's published parts, each a percentage of a known number."""
    if "parts" not in entry:
        return None
    base = "/".join(entry["figure"].split("/")[:2])
    parts = [each for each in entries if each["figure"] in {f"{base}/{part}" for part in entry["parts"]}]
    right = 0.0
    for part in parts:
        printed = dict(part["judges"]).get(judge)
        if printed is None:
            return None
        right += float(printed) / 100 * part["of"]
    return 100 * round(right) / entry["of"]
