"""What a selection kept of the triplets on the page, and what it lost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from src.data.lint import LintEntry
from src.data.only import SelectedLine, selected_lines
from src.data.rewards import first_ids
from src.inspection.summary import SCORES, complete_scores, nearest_score
from src.records import PERSPECTIVES

Selected = Mapping[str, SelectedLine]
"""Lines of a selection by the id of their row."""


@final
@dataclass(frozen=True)
class KeptScores:
    """One perspective before and after.

    Attributes:
        before, after: mean score of all triplets and of those kept; None without any.
        kept, lost: number of triplets at each score nearest to 0, 1, ..., 5.
    """

    before: float | None
    after: float | None
    kept: list[int]
    lost: list[int]


@final
@dataclass(frozen=True)
class CurationSummary:
    """All triplets by a selection.

    Attributes:
        kept, lost, unnamed: numbers; unnamed ones are not in the selection at all.
        others: rows that it names and that are not among the triplets.
        reasons: why rows are lost, with numbers.
        scores: by perspective, of fully rated triplets.
        types: by edit type, triplets and those kept.
    """

    kept: int
    lost: int
    unnamed: int
    others: int
    reasons: dict[str, int]
    scores: dict[str, KeptScores]
    types: dict[str, tuple[int, int]]


def read_selected(path: str | Path, ids: Sequence[str]) -> Selected:
    """The lines of a selection.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that names no row, or it names none of these.
    """
    found = {line.id: line for line in selected_lines(path)}
    if not any(id in found for id in ids):
        raise ValueError(
            f"{path} names none of {len(ids)} triplets: it names {first_ids(list(found)[:4])}, the triplets "
            f"are {first_ids(ids[:4])}; give the data that it was made of"
        )
    return found


def summarise_curation(entries: Sequence[LintEntry], selected: Selected) -> CurationSummary:
    """Compute all numbers."""
    named = [(entry, selected[entry.id]) for entry in entries if entry.id in selected]
    kept = [entry for entry, line in named if line.kept]
    lost = [entry for entry, line in named if not line.kept]
    return CurationSummary(
        len(kept),
        len(lost),
        len(entries) - len(named),
        len(selected.keys() - {entry.id for entry in entries}),
        dict(Counter(line.reason or "no reason given" for _, line in named if not line.kept).most_common()),
        kept_scores(kept, lost),
        kept_types(entries, kept),
    )


def kept_scores(kept: Sequence[LintEntry], lost: Sequence[LintEntry]) -> dict[str, KeptScores]:
    """Each perspective before and after."""
    ours, theirs = complete_scores(kept), complete_scores(lost)
    every = np.concatenate([ours, theirs])
    return {
        perspective.value: KeptScores(
            float(every[:, index].mean()) if len(every) else None,
            float(ours[:, index].mean()) if len(ours) else None,
            *(_counts(part[:, index].tolist()) for part in (ours, theirs)),
        )
        for index, perspective in enumerate(PERSPECTIVES)
    }


def _counts(scores: Sequence[float]) -> list[int]:
    counted = Counter(map(nearest_score, scores))
    return [counted[score] for score in SCORES]


def kept_types(entries: Sequence[LintEntry], kept: Sequence[LintEntry]) -> dict[str, tuple[int, int]]:
    """By edit type, the number of triplets and of those kept; {} where there are no types."""
    whole, ours = (Counter(entry.edit_type for entry in part) for part in (entries, kept))
    return {name: (whole[name], ours[name]) for name in sorted(whole)} if set(whole) - {""} else {}
