"""The strength of edits as a dial without a model: original + strength (edit - original), judged anew.

An editor that changes more has more to spoil, so preserving and quality of two editors compare only where
both follow equally well. Every row is dialled from weaker to stronger edits, which gives a curve of
preserving and of quality over following, and two rows are compared where both curves pass one following
score. Both are dialled: dialling one alone flatters it, as shrinking any edit towards the original raises
preserving and quality. Not to be confused with the reward dial (dial.py), which asks an editor for other
scores.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float

from src.evaluation.best_of_n import is_paid
from src.evaluation.comparison import CaseScores
from src.evaluation.report import markdown_table, row_order
from src.evaluation.statistics import (
    Estimate,
    Interval,
    interval_of,
    jackknife_estimate,
    with_trainings,
)
from src.files import replacing, write_atomically
from src.json_files import read_finite_json
from src.judges.judge import Judge
from src.records import MAX_SCORE, PERSPECTIVES, Image, Triplet

FILE = "strength.json"
IMAGE = "strength.png"
WHOLE = 1.0
"""The strength of the edit itself."""

COMMON = 0.8
"""Rows are matched at this share of the following score of the one that follows less."""


@final
@dataclass(frozen=True)
class Arm:
    """A row at several strengths.

    Attributes:
        name: the row's.
        strengths: rising; 1 is the edit itself.
        cases: the scores at each strength, of the same cases in the same order.
    """

    name: str
    strengths: tuple[float, ...]
    cases: tuple[tuple[CaseScores, ...], ...]


@final
@dataclass(frozen=True)
class Matched:
    """Two rows dialled to one following score.

    Attributes:
        row, against: names.
        following: the mean score at which they are compared.
        strengths: of the two rows there.
        differences: of preserving and quality, `row` less `against`.
        ci95: of these, by a jackknife over photographs, and over trainings where there are several; None with
            fewer than two photographs, or where some photographs alone decide whether the score is reached.
        n, clusters: numbers of cases and photographs.
    """

    row: str
    against: str
    following: float
    strengths: tuple[float, float]
    differences: tuple[float, float]
    ci95: tuple[Interval | None, Interval | None]
    n: int
    clusters: int


def with_strength(original: Image, edited: Image, strength: float) -> Image:
    """The edit drawn weaker or stronger: original + strength (edited - original), rounded and clipped.

    Args:
        original, edited: of one shape.
        strength: 0 is the original, 1 the edit.

    Raises:
        ValueError: different shapes.
    """
    if original.shape != edited.shape:
        raise ValueError(
            f"an edit can't be dialled against an original of another shape: {edited.shape} and "
            f"{original.shape}"
        )
    base = original.astype(np.float64)
    return np.clip(np.rint(base + strength * (edited - base)), 0, 255).astype(np.uint8)


def dialled(triplet: Triplet, strength: float) -> Triplet:
    """A triplet with its edit at another strength. Raises as `with_strength`."""
    return Triplet(triplet.case, with_strength(triplet.case.original, triplet.edited, strength))


def check_price(strengths: Sequence[float], judge: Judge, allowed: bool) -> None:
    """Raise ValueError if a judge with a price would be asked again for every strength, unless allowed."""
    if is_paid(judge) and not allowed:
        raise ValueError(
            f"strength={list(strengths)} asks {judge.name}, which has a price, {len(strengths)} more times "
            "about every edit: say strength_paid=true, or leave it out"
        )


def matched(
    arm: Arm,
    other: Arm,
    trainings: Sequence[tuple[Arm, Arm]] = (),
    following: float | None = None,
) -> Matched | None:
    """Compare two rows where both follow equally well.

    Args:
        arm, other: the rows; with several trainings, averaged over them by `averaged`.
        trainings: the same of single trainings, for their spread.
        following: the common mean score; None for COMMON times the lower of the two at strength 1.

    Returns:
        None if they have no case in common, or the strengths at hand don't reach that score.
    """
    first, second, photographs = _common_scores(arm, other)
    if not photographs:
        return None
    if following is None:
        following = COMMON * min(
            float(scores[each.strengths.index(WHOLE), :, 0].mean())
            for each, scores in ((arm, first), (other, second))
        )
    own, theirs = (
        at_following(each.strengths, scores.mean(1), following)
        for each, scores in ((arm, first), (other, second))
    )
    if own is None or theirs is None:
        return None
    single = [found for pair in trainings if (found := matched(*pair, following=following)) is not None]
    intervals = []
    for index in (1, 2):
        estimate = jackknife_estimate(
            lambda kept, index=index: _difference_at(
                (arm, first[:, kept]), (other, second[:, kept]), following, index
            ),
            photographs,
        )
        intervals.append(_interval(estimate, [each.differences[index - 1] for each in single]))
    return Matched(
        arm.name,
        other.name,
        following,
        (own[0], theirs[0]),
        (own[1] - theirs[1], own[2] - theirs[2]),
        (intervals[0], intervals[1]),
        len(photographs),
        len(set(photographs)),
    )


def _interval(estimate: Estimate | None, single: Sequence[float]) -> Interval | None:
    if estimate is None:
        return None
    whole = with_trainings(estimate, single)
    return interval_of(whole.mean, whole.error, whole.freedom)


def _difference_at(
    one: tuple[Arm, Float[np.ndarray, "s n 3"]],
    two: tuple[Arm, Float[np.ndarray, "s n 3"]],
    following: float,
    index: int,
) -> float:
    own, theirs = (at_following(arm.strengths, scores.mean(1), following) for arm, scores in (one, two))
    return float("nan") if own is None or theirs is None else own[index] - theirs[index]


def at_following(
    strengths: Sequence[float], means: Float[np.ndarray, "s 3"], following: float
) -> tuple[float, float, float] | None:
    """Strength, preserving and quality where a row's curve first reaches a following score; linear between
    the strengths at hand, None if none of its segments holds the score.
    """
    for index in range(len(strengths) - 1):
        low, high = float(means[index, 0]), float(means[index + 1, 0])
        if low <= following <= high:
            part = 0.0 if high == low else (following - low) / (high - low)
            strength = strengths[index] + part * (strengths[index + 1] - strengths[index])
            between = means[index] + part * (means[index + 1] - means[index])
            return strength, float(between[1]), float(between[2])
    return None


def averaged(name: str, arms: Sequence[Arm]) -> Arm:
    """The mean over trainings of each case at each strength.

    Raises:
        ValueError: different strengths or cases.
    """
    first = arms[0]
    for other in arms[1:]:
        if other.strengths != first.strengths:
            raise ValueError(
                f"{name} was dialled to {first.strengths} and to {other.strengths}: judge them alike"
            )
        if _ids(other) != _ids(first):
            raise ValueError(f"{name} was dialled over {len(_ids(first))} and {len(_ids(other))} other cases")
    scores = np.mean([_scores(arm) for arm in arms], axis=0)
    cases = tuple(
        tuple(
            CaseScores(case.id, case.photograph, _numbers(scores[place, index]))
            for index, case in enumerate(members)
        )
        for place, members in enumerate(first.cases)
    )
    return Arm(name, first.strengths, cases)


def _numbers(scores: Float[np.ndarray, " 3"]) -> tuple[float | None, float | None, float | None]:
    following, preserving, quality = (None if np.isnan(score) else float(score) for score in scores)
    return following, preserving, quality


def _ids(arm: Arm) -> list[str]:
    return [case.id for case in arm.cases[0]]


def _scores(arm: Arm) -> Float[np.ndarray, "s n 3"]:
    """All scores; NaN where one is missing."""
    return np.array([[case.scores for case in members] for members in arm.cases], dtype=float)


def _common_scores(
    arm: Arm, other: Arm
) -> tuple[Float[np.ndarray, "s n 3"], Float[np.ndarray, "t n 3"], list[str]]:
    """The scores of the cases that both arms have at all of their strengths, and their photographs."""
    first, second = _scores(arm), _scores(other)
    places = {id: index for index, id in enumerate(_ids(other))}
    pairs = [
        (index, places[case.id], case.photograph)
        for index, case in enumerate(arm.cases[0])
        if case.id in places
        and np.isfinite(first[:, index]).all()
        and np.isfinite(second[:, places[case.id]]).all()
    ]
    own, theirs = [index for index, *_ in pairs], [index for _, index, _ in pairs]
    return first[:, own], second[:, theirs], [photograph for *_, photograph in pairs]


def write_arms(folder: Path, arms: Sequence[Arm], judge: str, fingerprint: str) -> None:
    """Write strength.json, with the rows of earlier evaluations by the same judge, and strength.png."""
    kept = [arm for arm in read_arms(folder, fingerprint) if arm.name not in {each.name for each in arms}]
    together = sorted([*arms, *kept], key=lambda arm: row_order(arm.name))
    content = {"judge": judge, "fingerprint": fingerprint, "rows": [asdict(arm) for arm in together]}
    write_atomically(folder / FILE, json.dumps(content, allow_nan=False) + "\n")
    with replacing(folder / IMAGE, durable=False) as partial:
        draw_arms(together, judge, partial)


def read_arms(folder: Path, fingerprint: str) -> list[Arm]:
    """The rows that were dialled; none by another judge.

    Raises:
        ValueError: strength.json is malformed.
    """
    path = folder / FILE
    if not path.exists():
        return []
    try:
        content = read_finite_json(path)
        if content["fingerprint"] != fingerprint:
            return []
        return [_arm(row) for row in content["rows"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a record of strengths ({type(error).__name__}: {error}); delete it and evaluate "
            "again"
        ) from error


def _arm(row: Mapping[str, Any]) -> Arm:
    cases = []
    for members in row["cases"]:
        scored = []
        for case in members:
            following, preserving, quality = case["scores"]
            scored.append(CaseScores(case["id"], case["photograph"], (following, preserving, quality)))
        cases.append(tuple(scored))
    return Arm(row["name"], tuple(row["strengths"]), tuple(cases))


HEADER = ("row", "strength", *(perspective.value for perspective in PERSPECTIVES))
MATCHED_HEADER = ("row", "against", "following", "strengths", "P difference", "Q difference")
NOTES = (
    "Strength: original + strength (edit - original), judged anew; mean scores. Below, both rows are dialled "
    f"to one following score, {COMMON:g} times that of the one that follows less: differences there, with "
    "their 95 % interval (jackknife over photographs)."
)


def matched_cells(found: Matched) -> list[str]:
    """The cells below MATCHED_HEADER."""
    cells = [
        found.row,
        found.against,
        f"{found.following:.2f}",
        " / ".join(f"{strength:.2f}" for strength in found.strengths),
    ]
    for difference, interval in zip(found.differences, found.ci95, strict=True):
        within = "" if interval is None else f" [{interval.low:+.2f}, {interval.high:+.2f}]"
        cells.append(f"{difference:+.2f}{within}")
    return cells


def strength_section(folder: Path, fingerprint: str) -> list[str]:
    """The section of report.md about strengths; empty if there is none by this judge."""
    arms = read_arms(folder, fingerprint)
    if not arms:
        return []
    lines = []
    for arm in arms:
        for strength, means in zip(arm.strengths, np.nanmean(_scores(arm), axis=1), strict=True):
            lines.append([arm.name, f"{strength:g}", *(f"{mean:.2f}" for mean in means)])
    pairs = [found for other in arms[1:] if (found := matched(arms[0], other)) is not None]
    table = (
        [markdown_table(MATCHED_HEADER, [matched_cells(found) for found in pairs], names=2)] if pairs else []
    )
    return [
        "## Strength of the edits\n",
        markdown_table(HEADER, lines, names=1),
        f"{NOTES}\n",
        *table,
        f"![strength]({IMAGE})\n",
    ]


def draw_arms(arms: Sequence[Arm], judge: str, path: Path) -> None:
    """Preserving and quality over following, a curve per row, its edits as they are as a large dot."""
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
    for arm in arms:
        means = np.nanmean(_scores(arm), axis=1)
        for index, axis in zip((1, 2), axes, strict=True):
            (line,) = axis.plot(means[:, 0], means[:, index], ".-", linewidth=1.4, label=arm.name)
            whole = arm.strengths.index(WHOLE)
            axis.plot(means[whole, 0], means[whole, index], "o", color=line.get_color(), markersize=8)
    for index, axis in zip((1, 2), axes, strict=True):
        axis.set(xlabel="following", ylabel=PERSPECTIVES[index].value, ylim=(0, MAX_SCORE + 0.1))
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(fontsize=8, frameon=False, loc="lower left")
    figure.suptitle(
        f"Edits drawn weaker and stronger, mean scores by {judge}; large dots: as they are", fontsize=11
    )
    figure.savefig(path, dpi=120, format="png")
    plt.close(figure)
