"""A curation on disk: selection.jsonl names every row, the best first, with whether and why it is kept;
curation.json tells the rule, the judge and the counts.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Float, Int, Int8

from src.curation.row_facts import RowFacts
from src.curation.rules import WORDS, Candidates, Reason, Rule, Threshold
from src.curation.scored_rows import ScoredRows, open_files, reward_of
from src.evaluation.selection import Selection
from src.files import replacing, write_atomically
from src.json_files import read_json
from src.records import MAX_SCORE, PERSPECTIVES

SELECTION, RECORD = "selection.jsonl", "curation.json"
BINS = int(MAX_SCORE) + 1


@final
@dataclass(frozen=True, eq=False)
class Curated:
    """What a rule made of scored rows.

    Attributes:
        rows, facts: all of them.
        utility: of each, less what `lower_bound` takes off; NaN where its reward failed.
        reason: a `Reason` of each.
        ranked: places, the best first; rows that could not be chosen come last.
    """

    rows: ScoredRows
    facts: RowFacts
    utility: Float[np.ndarray, " n"]
    reason: Int8[np.ndarray, " n"]
    ranked: Int[np.ndarray, " n"]

    @property
    def kept(self) -> Bool[np.ndarray, " n"]:
        """Rows that are kept."""
        return self.reason == Reason.KEPT

    @property
    def usable(self) -> Bool[np.ndarray, " n"]:
        """Rows that could have been."""
        return (self.reason != Reason.FAILED) & (self.reason != Reason.ABSENT)


def curate(
    rows: ScoredRows,
    facts: RowFacts,
    rule: Rule,
    selection: Selection,
    seed: int,
    lower_bound: float = 0.0,
) -> Curated:
    """Let a rule choose.

    Args:
        rows, facts: what is known of each row.
        rule: chooses.
        selection: how three scores become a utility.
        seed: decides between equals, and what is drawn; a draw is independent of how equals are decided.
        lower_bound: so many deviations are taken off scores and utility before the rule sees them.

    Raises:
        ValueError: no row can be chosen, or none is, or the rule needs facts that are not known, or
            deviations that the judge doesn't say.
    """
    check_known(facts, rule)
    scores, utility = rows.scores, np.where(rows.failed, np.nan, selection.utility(rows.scores))
    if lower_bound:
        check_deviations(rows, lower_bound)
        scores = scores - lower_bound * rows.deviations
        utility = utility - lower_bound * selection.deviation(rows.deviations)
    reason = np.full(len(rows), Reason.ABSENT, np.int8)
    reason[rows.failed] = Reason.FAILED
    usable = np.flatnonzero(facts.there & ~rows.failed)
    if not len(usable):
        raise ValueError(
            f"none of {len(rows)} rows can be kept: {int(rows.failed.sum())} have a failed verdict, the "
            "others are no usable rows of the dataset"
        )
    order = rows.order("curate", type(rule).__name__, seed)
    candidates = Candidates(
        scores[usable],
        utility[usable],
        order[usable],
        facts.types,
        facts.type_of[usable],
        facts.photograph[usable],
        facts.bytes[usable],
    )
    reason[usable] = rule.reasons(candidates)
    check_any_kept(candidates, reason[usable])
    is_out = np.ones(len(rows), bool)
    is_out[usable] = False
    ranked = np.lexsort((order, -np.nan_to_num(utility), is_out))
    return Curated(rows, facts, utility, reason, ranked)


def check_deviations(rows: ScoredRows, lower_bound: float) -> None:
    """Raise ValueError if there is a row whose judge doesn't say how sure it is."""
    lacking = int((np.isnan(rows.deviations).any(axis=1) & ~rows.failed).sum())
    if lacking:
        raise ValueError(
            f"lower_bound={lower_bound:g} takes off so many deviations, and {lacking} of {len(rows)} rewards "
            f"by {rows.judge} say none: have the rows judged by a reward model (judge=reward_model), or say "
            "lower_bound=0"
        )


def check_known(facts: RowFacts, rule: Rule) -> None:
    """Raise ValueError if the rule asks for what is known of no row."""
    known = {
        "edit_type": len(facts.types) > 1,
        "photograph": bool((facts.photograph >= 0).any()),
        "bytes": bool((facts.bytes >= 0).any()),
    }
    lacking = [name for name in known if name in rule.asks and not known[name]]
    if lacking:
        raise ValueError(
            f"the rule asks for each row's {' and '.join(lacking)}, which no reward file holds and the data "
            "don't tell: give data=, the dataset that was judged, or rows_file=, the rows.jsonl of an "
            f"earlier curation, with {' and '.join(lacking)}"
        )


def check_any_kept(rows: Candidates, reasons: Int8[np.ndarray, " n"]) -> None:
    """Raise ValueError, with what is highest, if nothing is kept."""
    if (reasons == Reason.KEPT).any():
        return
    highest = ", ".join(
        f"{name} {value:g}" for name, value in zip(PERSPECTIVES, rows.scores.max(axis=0), strict=True)
    )
    raise ValueError(
        f"the rule keeps none of {len(rows)} rows: the highest utility is {rows.utility.max():g}, the "
        f"highest scores are {highest}; ask for less"
    )


def write_selection(curated: Curated, path: Path) -> None:
    """Write a line per row, the best first. Raises NotWrittenError, ValueError for rewards that changed."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(_selection_lines(curated))


def _selection_lines(curated: Curated) -> Iterator[str]:
    rank = 0
    with open_files(curated.rows.files) as opened:
        for place in map(int, curated.ranked):
            reason = Reason(int(curated.reason[place]))
            is_ranked = reason not in (Reason.FAILED, Reason.ABSENT)
            rank += is_ranked
            utility = float(curated.utility[place])
            line = {
                "id": reward_of(curated.rows, place, opened).id,
                "utility": None if np.isnan(utility) else round(utility, 6),
                "rank": rank if is_ranked else None,
                "kept": reason is Reason.KEPT,
                "reason": WORDS[reason],
            }
            yield json.dumps(line, ensure_ascii=False) + "\n"


@final
@dataclass(frozen=True)
class ScoreChange:
    """One score before and after.

    Attributes:
        before, after: number of rows at each score nearest to 0, 1, ... 5.
        mean_before, mean_after: of the rows that could be kept, and of those that are.
    """

    before: list[int]
    after: list[int]
    mean_before: float
    mean_after: float


@final
@dataclass(frozen=True)
class CurationRecord:
    """The content of curation.json.

    Attributes:
        request: all settings.
        judge: whose rewards; fingerprints of it, where an annotation tells them.
        ids: digest of the rewarded rows, whatever their order.
        rows, kept: numbers; of rows, all with a reward.
        lost: rows that are not kept by reason.
        unrated, unusable: rows of the dataset without a reward, and that can't be used.
        superseded: lines of rows that were rewarded again.
        types: by edit type, rows that could be kept and that are.
        photographs: of the rows that are kept; None where unknown.
        scores: by perspective, and of the utility.
        lowest_kept, highest_lost: utilities, the latter of rows that could be kept; None if there is none.
        could_differ: of the kept, how many could be others had no verdict failed; for thresholds, how many
            more could be kept.
    """

    request: Mapping[str, Any]
    judge: str
    fingerprints: list[str]
    ids: str
    rows: int
    kept: int
    lost: Mapping[str, int]
    unrated: int
    unusable: int
    superseded: int
    types: Mapping[str, list[int]]
    photographs: int | None
    scores: Mapping[str, ScoreChange]
    lowest_kept: float
    highest_lost: float | None
    could_differ: int


def record_of(
    curated: Curated, rule: Rule, request: Mapping[str, Any], fingerprints: list[str]
) -> CurationRecord:
    """Count everything."""
    kept, usable, facts = curated.kept, curated.usable, curated.facts
    reasons = np.bincount(curated.reason, minlength=len(Reason))
    lost = curated.utility[usable & ~kept]
    failed = int(reasons[Reason.FAILED])
    return CurationRecord(
        request,
        curated.rows.judge,
        fingerprints,
        curated.rows.digest(),
        len(curated.rows),
        int(kept.sum()),
        {
            WORDS[reason]: int(reasons[reason])
            for reason in Reason
            if reason is not Reason.KEPT and reasons[reason]
        },
        facts.unrated,
        facts.unusable,
        curated.rows.superseded,
        kept_by_type(curated),
        _photographs(facts.photograph[kept]),
        score_changes(curated),
        float(curated.utility[kept].min()),
        float(lost.max()) if len(lost) else None,
        failed if isinstance(rule, Threshold) else min(failed, int(kept.sum())),
    )


def _photographs(numbers: Int[np.ndarray, " kept"]) -> int | None:
    return None if (numbers < 0).all() else len(np.unique(numbers[numbers >= 0]))


def kept_by_type(curated: Curated) -> dict[str, list[int]]:
    """By edit type, in the order of their names, the number of usable rows and of those kept."""
    facts = curated.facts
    usable, kept = (
        np.bincount(facts.type_of[rows], minlength=len(facts.types))
        for rows in (curated.usable, curated.kept)
    )
    counts = {name: [int(usable[place]), int(kept[place])] for place, name in enumerate(facts.types)}
    return {name: counts[name] for name in sorted(counts) if counts[name][0]}


def score_changes(curated: Curated) -> dict[str, ScoreChange]:
    """Of each perspective and of the utility, as far as they are not the same."""
    columns = dict(zip(PERSPECTIVES, curated.rows.scores.T, strict=True)) | {"utility": curated.utility}
    return {str(name): _change(values, curated) for name, values in columns.items()}


def _change(values: Float[np.ndarray, " n"], curated: Curated) -> ScoreChange:
    before, after = values[curated.usable], values[curated.kept]
    counts = [_at_each_score(part) for part in (before, after)]
    return ScoreChange(counts[0], counts[1], round(float(before.mean()), 6), round(float(after.mean()), 6))


def _at_each_score(values: Float[np.ndarray, " n"]) -> list[int]:
    return np.bincount(np.floor(values + 0.5).astype(int).clip(min=0), minlength=BINS).tolist()


def write_record(record: CurationRecord, path: Path) -> None:
    """Write curation.json. Raises NotWrittenError."""
    write_atomically(path, json.dumps(asdict(record), indent=2, ensure_ascii=False) + "\n")


def kept_like(folder: Path, rows: ScoredRows) -> dict[str, int]:
    """How many rows of each edit type another selection of the same rows kept.

    Raises:
        FileNotFoundError: no curation there.
        ValueError: it is of other rows.
    """
    path = (folder.parent if folder.name == SELECTION else folder) / RECORD
    if not path.is_file():
        raise FileNotFoundError(f"like={folder}: there is no {path}; give the folder of a curation")
    found = read_json(path)
    ids = found.get("ids") if isinstance(found, dict) else None
    if ids != rows.digest():
        raise ValueError(
            f"like={folder} chose among other rows (their digest is {ids}, here {rows.digest()}): "
            "give the same rewards"
        )
    return {name: kept for name, (_, kept) in found["types"].items() if kept}
