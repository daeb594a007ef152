"""The card of a judge: what it was tried on, how it did, and whether it passed, as JSON, as an image and as
a table.

Laws are shares of cases, a tie counting half: 0.5 is what a judge without eyes gets. Correlations and growing
flaws give such a judge 0. Intervals are clustered by photograph: Student's for means and shares
(statistics.py), a bootstrap of whole photographs for correlations, which with eight of them is somewhat too
narrow. Pass or fail is decided by the value; the interval says how sure that is.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from rich.table import Table

from src.evaluation.judge_battery import EVERYDAY, EXACT, GROWING, SHUFFLED, SWAPPED, UNEDITED, Probe
from src.evaluation.statistics import Interval, clustered_interval
from src.files import replacing, write_atomically
from src.judges.agreement import kappa, rank_correlation
from src.records import MAX_SCORE, PERSPECTIVES, Reward
from src.seeds import fold_seed

DRAWS = 1000
FEWEST_CLUSTERS = 5
"""Fewer photographs, drawn with replacement, say nothing of a correlation."""

CLEAR = 2.0
"""A law is asked of a case only if the truth obeys it by so many points."""

KEPT = 4.0
"""The least score for keeping everything that was to be kept."""

GOOD, BAD, NEUTRAL = "#228833", "#cc3311", "#777777"


@dataclass(frozen=True)
class Check:
    """One thing that a judge has to show.

    Attributes:
        name: what.
        value: how it did; None where there is no answer that would tell.
        interval: 95 %, or None.
        needed: the threshold.
        at_least: whether the value has to reach the threshold, or must not pass it.
        n: of how many triplets or cases.
        scale: the largest possible value, for drawing.
        asked: False for what this judge isn't asked (yes or no, in annotation mode); it then isn't held
            against him.
    """

    name: str
    value: float | None
    interval: Interval | None
    needed: float
    n: int
    at_least: bool = True
    scale: float = 1.0
    asked: bool = True

    @property
    def passed(self) -> bool:
        """Without an answer to what was asked, nothing is passed."""
        if self.value is None:
            return not self.asked
        return self.value >= self.needed if self.at_least else self.value <= self.needed


@dataclass(frozen=True)
class Asked:
    """A probe, what the judge said of it, and the truth."""

    probe: Probe
    said: Reward
    truth: Reward


@dataclass(frozen=True)
class Card:
    """A judge's card.

    Attributes:
        judge, fingerprint: who was tried.
        world: what on: version, image size, number of everyday triplets and of cases.
        checks: all of them have to be passed.
        cost: of the trial, as far as the judge tells; per triplet.
        details: mean scores per kind of triplet, statuses, the curves drawn.
        note: printed on the card, for judges that are none ("a fake: ...").
    """

    judge: str
    fingerprint: str
    world: Mapping[str, Any]
    checks: tuple[Check, ...]
    cost: Mapping[str, float | None]
    details: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the judge may be trusted for training data."""
        return all(check.passed for check in self.checks)


def checks_of(
    asked: Sequence[Asked], again: Sequence[tuple[Reward, Reward]], thresholds: Mapping[str, float]
) -> tuple[Check, ...]:
    """All checks.

    Args:
        asked: everyday triplets and probes.
        again: rewards of the same triplets, asked twice.
        thresholds: by name: correlation, told_apart, kept, falls, kappa, retest, failures.
    """
    common = [each for each in asked if each.probe.kind == EVERYDAY]
    scores, truth = scores_of([each.said for each in common]), scores_of([each.truth for each in common])
    places = [each.probe.triplet.case.photograph for each in common]
    checks = []
    for index, perspective in enumerate(PERSPECTIVES):
        value, interval, n = correlation(scores[:, index], truth[:, index], places)
        checks.append(
            Check(
                f"{perspective.value} ranks as the truth does", value, interval, thresholds["correlation"], n
            )
        )
    for kind in (SHUFFLED, UNEDITED, SWAPPED):
        checks.append(told_apart(asked, kind, thresholds["told_apart"]))
    checks.append(share_kept(asked, thresholds["kept"]))
    for flaw in GROWING:
        checks.append(falls(asked, flaw, thresholds["falls"]))
    for index, perspective in enumerate(PERSPECTIVES):
        checks.append(
            yes_or_no(common, index, f"{perspective.value}: yes and no (kappa)", thresholds["kappa"])
        )
    checks.append(spread(again, thresholds["retest"]))
    failed = float(np.mean([each.said.failed for each in asked]))
    checks.append(
        Check("rewards that failed", failed, None, thresholds["failures"], len(asked), at_least=False)
    )
    return tuple(checks)


def correlation(
    scores: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"], clusters: Sequence[str]
) -> tuple[float | None, Interval | None, int]:
    """Spearman's correlation, its interval over photographs, and of how many scores it is; None of fewer than
    two.
    """
    there = np.isfinite(scores)
    value = rank_correlation(scores, truth)
    names = np.asarray(clusters)
    members = [np.flatnonzero((names == name) & there) for name in sorted(set(clusters))]
    members = [each for each in members if len(each)]
    if math.isnan(value) or len(members) < FEWEST_CLUSTERS:
        return (None if math.isnan(value) else value), None, int(there.sum())
    rng = np.random.default_rng(fold_seed("correlation"))
    drawn = []
    for _ in range(DRAWS):
        rows = np.concatenate([members[each] for each in rng.integers(0, len(members), len(members))])
        drawn.append(rank_correlation(scores[rows], truth[rows]))
    low, high = np.nanpercentile(drawn, (2.5, 97.5))
    return value, Interval(float(low), float(high)), int(there.sum())


def told_apart(asked: Sequence[Asked], kind: str, needed: float) -> Check:
    """How often the exact edit gets more points for following than this kind of probe of the same case."""
    exact, other = by_case(asked, EXACT), by_case(asked, kind)
    values, places = [], []
    for case in exact:
        true, said = (
            scores_of(each)[:, 0]
            for each in ([exact[case].truth, other[case].truth], [exact[case].said, other[case].said])
        )
        if true[0] - true[1] >= CLEAR and np.isfinite(said).all():
            values.append(float(said[0] > said[1]) + 0.5 * float(said[0] == said[1]))
            places.append(exact[case].probe.triplet.case.photograph)
    return of_mean(f"following: exact edit above {kind}", values, places, needed)


def share_kept(asked: Sequence[Asked], needed: float) -> Check:
    """How often an unedited image is said to keep everything."""
    there = [each for each in by_case(asked, UNEDITED).values() if each.said.preserving.score is not None]
    values = [float((each.said.preserving.score or 0.0) >= KEPT) for each in there]
    return of_mean(
        "preserving: unedited keeps everything",
        values,
        [each.probe.triplet.case.photograph for each in there],
        needed,
    )


def falls(asked: Sequence[Asked], flaw: str, needed: float) -> Check:
    """How steadily quality falls as a flaw grows: minus the rank correlation of score and severity in a case,
    on average; 0 if it never moves.
    """
    values, places = [], []
    for case, exact in by_case(asked, EXACT).items():
        steps = [(0.0, exact.said.quality.score)]
        steps += [
            (each.probe.severity, each.said.quality.score)
            for each in asked
            if each.probe.kind == flaw and each.probe.case == case
        ]
        known = np.array(
            [(severity, score) for severity, score in steps if score is not None], dtype=float
        ).reshape(-1, 2)
        if len(known) >= 3:
            values.append(-rank_correlation(known[:, 0], known[:, 1]))
            places.append(exact.probe.triplet.case.photograph)
    return of_mean(f"quality falls with {flaw}", values, places, needed)


def yes_or_no(common: Sequence[Asked], index: int, name: str, needed: float) -> Check:
    """Agreement with the truth on success, beyond chance."""
    pairs = [(each.said.verdicts[index], each.truth.verdicts[index].success) for each in common]
    told = [(said.success, true) for said, true in pairs if said.success is not None]
    if not told:
        return Check(name, None, None, needed, 0, asked=all(said.status == "failed" for said, _ in pairs))
    said, true = (np.array(each, dtype=bool) for each in zip(*told, strict=True))
    return Check(name, kappa(said, true), None, needed, len(told))


def spread(again: Sequence[tuple[Reward, Reward]], needed: float) -> Check:
    """Mean distance, in points, of two scores for the same triplet."""
    gaps = np.abs(scores_of([one for one, _ in again]) - scores_of([two for _, two in again]))
    known = gaps[np.isfinite(gaps)]
    value = float(known.mean()) if len(known) else None
    return Check(
        "asked twice: points apart", value, None, needed, len(again), at_least=False, scale=MAX_SCORE
    )


def of_mean(name: str, values: Sequence[float], places: Sequence[str], needed: float) -> Check:
    """A check of a mean over cases."""
    numbers = np.array(values, dtype=float)
    if len(numbers) == 0:
        return Check(name, None, None, needed, 0)
    interval = clustered_interval(numbers, places)
    if interval is not None:
        interval = Interval(max(interval.low, -1.0), min(interval.high, 1.0))
    return Check(name, float(numbers.mean()), interval, needed, len(numbers))


def by_case(asked: Sequence[Asked], kind: str) -> dict[int, Asked]:
    """The probes of a kind by their case."""
    return {each.probe.case: each for each in asked if each.probe.kind == kind}


def scores_of(rewards: Sequence[Reward]) -> Float[np.ndarray, "n 3"]:
    """Scores by perspective, NaN where a verdict failed."""
    return np.array(
        [
            [math.nan if verdict.score is None else verdict.score for verdict in each.verdicts]
            for each in rewards
        ]
    ).reshape(-1, 3)


def details_of(asked: Sequence[Asked]) -> dict[str, Any]:
    """What the image shows beside the checks: mean scores per kind and severity, the judge's and the true
    ones, and statuses.
    """
    kinds: dict[str, Any] = {}
    for kind, severity in dict.fromkeys((each.probe.kind, each.probe.severity) for each in asked):
        members = [each for each in asked if (each.probe.kind, each.probe.severity) == (kind, severity)]
        said, true = (
            scores_of(rewards)
            for rewards in ([each.said for each in members], [each.truth for each in members])
        )
        means = [
            float(column[np.isfinite(column)].mean()) if np.isfinite(column).any() else None
            for column in said.T
        ]
        kinds[f"{kind} {severity:g}" if severity else kind] = {
            "n": len(members),
            "judge": means,
            "truth": true.mean(axis=0).tolist(),
        }
    common = [each for each in asked if each.probe.kind == EVERYDAY]
    statuses = [verdict.status for each in asked for verdict in each.said.verdicts]
    return {
        "mean_scores": kinds,
        "everyday": {
            "judge": [[verdict.score for verdict in each.said.verdicts] for each in common],
            "truth": [[verdict.score for verdict in each.truth.verdicts] for each in common],
        },
        "verdicts": {status: statuses.count(status) for status in ("ok", "repaired", "failed")},
    }


def write_card(card: Card, folder: Path) -> None:
    """Write card.json and card.png.

    Raises:
        NotWrittenError: no room.
    """
    checks = [{**asdict(check), "passed": check.passed} for check in card.checks]
    content = {
        "judge": card.judge,
        "passed": card.passed,
        "note": card.note,
        "checks": checks,
        "cost": dict(card.cost),
        "world": dict(card.world),
    }
    content |= {"fingerprint": card.fingerprint, **card.details}
    write_atomically(folder / "card.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    with replacing(folder / "card.png") as partial:
        draw_card(card, partial)


def card_table(card: Card) -> Table:
    """The checks, for the terminal."""
    table = Table(title=f"{card.judge}: {verdict_of(card)}", title_justify="left")
    for title in ("check", "value", "95 %", "needed", "of", ""):
        table.add_column(title, justify="left" if title in ("check", "") else "right")
    for check in card.checks:
        interval = "" if check.interval is None else f"{check.interval.low:.2f} to {check.interval.high:.2f}"
        value = (
            f"{check.value:.2f}" if check.value is not None else "no answer" if check.asked else "not asked"
        )
        needed = f"{'at least' if check.at_least else 'at most'} {check.needed:g}"
        table.add_row(check.name, value, interval, needed, str(check.n), mark_of(check))
    return table


def verdict_of(card: Card) -> str:
    """Passed or not, and how many checks were missed."""
    missed = sum(not check.passed for check in card.checks)
    return "passed" if card.passed else f"not passed ({missed} of {len(card.checks)} checks missed)"


def mark_of(check: Check) -> str:
    """Of one check."""
    return "-" if not check.asked else "passed" if check.passed else "MISSED"


def draw_card(card: Card, path: Path) -> None:
    """The image: checks on the left, scores against the truth and growing flaws on the right."""
    figure = plt.figure(figsize=(13, 7.2), layout="constrained")
    panels = [["checks", *PERSPECTIVES], ["checks", *GROWING]]
    axes = figure.subplot_mosaic(panels, width_ratios=[2.2, 1, 1, 1])
    draw_checks(axes["checks"], card)
    for index, perspective in enumerate(PERSPECTIVES):
        draw_scores(axes[perspective], card, index)
    for flaw in GROWING:
        draw_growth(axes[flaw], card, flaw)
    figure.suptitle(
        f"{card.judge}: {verdict_of(card)}",
        fontsize=15,
        fontweight="bold",
        color=GOOD if card.passed else BAD,
    )
    words = [
        f"{card.world['everyday']} everyday triplets, {card.world['cases']} cases probed, {card.world['size']} px, world {card.world['version']}"
    ]
    words += [
        f"{name.replace('_', ' ')} {f'{value:,.0f}' if value >= 100 else f'{value:.3g}'}"
        for name, value in card.cost.items()
        if value is not None
    ]
    figure.supxlabel("   |   ".join([*words, *([card.note] if card.note else [])]), fontsize=8, color=NEUTRAL)
    figure.savefig(path, dpi=110, format="png")
    plt.close(figure)


def draw_checks(axis: Axes, card: Card) -> None:
    """A bar per check, the threshold as a line across it."""
    for row, check in enumerate(card.checks):
        colour = NEUTRAL if not check.asked else GOOD if check.passed else BAD
        value = 0.0 if check.value is None else check.value / check.scale
        axis.barh(row, value, color=colour, height=0.6, alpha=0.85)
        if check.interval is not None:
            axis.plot(
                [check.interval.low / check.scale, check.interval.high / check.scale],
                [row, row],
                color="black",
                linewidth=1.2,
            )
        axis.plot([check.needed / check.scale] * 2, [row - 0.42, row + 0.42], color="black", linewidth=2.2)
        words = "no answer" if check.asked else "not asked"
        if check.value is not None:
            words = f"{check.value:.2f}" + (" points" if check.scale != 1 else "")
        sign = "≥" if check.at_least else "≤"
        axis.text(
            1.03,
            row,
            f"{words}  ({sign} {check.needed:g})",
            va="center",
            fontsize=9,
            color=colour,
            transform=axis.get_yaxis_transform(),
        )
    axis.set_yticks(range(len(card.checks)), [check.name for check in card.checks], fontsize=9)
    axis.invert_yaxis()
    lowest = min((check.value or 0.0 for check in card.checks), default=0.0)
    axis.set_xlim(min(0.0, lowest, -0.02), 1.02)
    axis.axvline(0, color=NEUTRAL, linewidth=0.8)
    axis.set_title("checks; the upright line is what is needed", fontsize=10, loc="left")
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)


def draw_scores(axis: Axes, card: Card, index: int) -> None:
    """The judge's scores of everyday triplets over the true ones."""
    common = card.details["everyday"]
    pairs = [
        (true[index], said[index])
        for true, said in zip(common["truth"], common["judge"], strict=True)
        if said[index] is not None
    ]
    axis.plot([0, MAX_SCORE], [0, MAX_SCORE], color=NEUTRAL, linewidth=0.8, linestyle=":")
    if pairs:
        axis.scatter(*zip(*pairs, strict=True), s=14, alpha=0.45, color="#4477aa", edgecolors="none")
    axis.set(xlim=(-0.2, 5.2), ylim=(-0.2, 5.2), xlabel="true score", xticks=range(6), yticks=range(6))
    axis.set_title(PERSPECTIVES[index].value, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    if index == 0:
        axis.set_ylabel("judge's score")


def draw_growth(axis: Axes, card: Card, flaw: str) -> None:
    """Mean quality as a flaw grows, the judge's and the true one."""
    means = card.details["mean_scores"]
    steps = [(0.0, means[EXACT])]
    steps += [
        (float(name.removeprefix(f"{flaw} ")), row)
        for name, row in means.items()
        if name.startswith(f"{flaw} ")
    ]
    place = PERSPECTIVES.index(PERSPECTIVES[2])
    known = [(severity, row["judge"][place]) for severity, row in steps if row["judge"][place] is not None]
    axis.plot(
        [severity for severity, _ in steps],
        [row["truth"][place] for _, row in steps],
        color=NEUTRAL,
        linestyle="--",
        label="true",
    )
    axis.plot(
        *zip(*known, strict=True) if known else ([], []),
        color="#4477aa",
        marker="o",
        markersize=4,
        label="judge",
    )
    axis.set(xlim=(-0.05, 1.05), ylim=(-0.2, 5.2), xlabel=f"severity of {flaw}")
    axis.spines[["top", "right"]].set_visible(False)
    if flaw == GROWING[0]:
        axis.set_ylabel("mean quality")
        axis.legend(fontsize=8, frameon=False, loc="lower left")
