"""The card of a judge: its tests, its results and whether it passed, as JSON, as an image and as a table.

Comparisons are shares of cases, ties counting half, so a blind judge gets 0.5; correlations and growing flaws
give such a judge 0. Intervals are clustered by photograph: Student's for means and shares (statistics.py),
and for correlations a bootstrap of whole photographs, which is somewhat too narrow with eight of them. The
value decides about pass or fail; the interval says how certain that is.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from rich.table import Table

from src.evaluation.judge_battery import EVERYDAY, EXACT, GROWING, SHUFFLED, SWAPPED, UNEDITED, JudgeProbe
from src.evaluation.statistics import Interval, clustered_interval
from src.files import replacing, write_atomically
from src.judges.agreement import cohen_kappa, rank_correlation
from src.records import MAX_SCORE, PERSPECTIVES, Reward
from src.seeds import fold_seed

DRAWS = 1000
FEWEST_CLUSTERS = 5
"""A bootstrap of fewer photographs says nothing about a correlation."""

CLEAR = 2.0
"""A case counts for a comparison only if its true scores differ by at least this."""

KEPT = 4.0
"""The least score that says that everything was preserved."""

GOOD, BAD, NEUTRAL = "#228833", "#cc3311", "#777777"


@final
@dataclass(frozen=True)
class JudgeCheck:
    """One requirement of a judge.

    Attributes:
        name: for readers.
        value: the result; None where the judge gave no usable answer.
        interval: 95 %, or None.
        needed: the threshold.
        n: number of triplets or cases.
        at_least: whether the value must reach the threshold (True) or must not exceed it (False).
        scale: the largest possible value, for drawing.
        asked: False for what this judge isn't asked (yes or no, in annotation mode); it then can't fail.
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
        """Whether the requirement is met; a question without any answer is a failure."""
        if self.value is None:
            return not self.asked
        return self.value >= self.needed if self.at_least else self.value <= self.needed


@final
@dataclass(frozen=True)
class ProbeResult:
    """A probe, the judge's reward and the true one."""

    probe: JudgeProbe
    judged: Reward
    truth: Reward


@final
@dataclass(frozen=True)
class JudgeCard:
    """A judge's card.

    Attributes:
        judge, fingerprint: of the judge under test.
        world: version and image size of the synthetic world, number of everyday triplets and of cases.
        checks: all must be passed.
        cost: of the test per triplet, as far as the judge counts it.
        details: mean scores per kind of triplet, statuses, the curves drawn.
        note: printed on the card, for judges that aren't real ("a fake: ...").
    """

    judge: str
    fingerprint: str
    world: Mapping[str, Any]
    checks: tuple[JudgeCheck, ...]
    cost: Mapping[str, float | None]
    details: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the judge may label training data."""
        return all(check.passed for check in self.checks)


def all_checks(
    results: Sequence[ProbeResult], again: Sequence[tuple[Reward, Reward]], thresholds: Mapping[str, float]
) -> tuple[JudgeCheck, ...]:
    """All checks.

    Args:
        results: everyday triplets and probes.
        again: pairs of rewards of the same triplet, asked twice.
        thresholds: by name: correlation, told_apart, kept, falls, kappa, retest, failures.
    """
    common = [each for each in results if each.probe.kind == EVERYDAY]
    scores, truth = (
        score_matrix([each.judged for each in common]),
        score_matrix([each.truth for each in common]),
    )
    places = [each.probe.triplet.case.photograph for each in common]
    checks = []
    for index, perspective in enumerate(PERSPECTIVES):
        value, interval, n = clustered_correlation(scores[:, index], truth[:, index], places)
        checks.append(
            JudgeCheck(
                f"{perspective.value} ranks as the truth does", value, interval, thresholds["correlation"], n
            )
        )
    for kind in (SHUFFLED, UNEDITED, SWAPPED):
        checks.append(check_separation(results, kind, thresholds["told_apart"]))
    checks.append(check_preserved(results, thresholds["kept"]))
    for flaw in GROWING:
        checks.append(check_decline(results, flaw, thresholds["falls"]))
    for index, perspective in enumerate(PERSPECTIVES):
        checks.append(
            check_success(common, index, f"{perspective.value}: yes and no (kappa)", thresholds["kappa"])
        )
    checks.append(check_retest(again, thresholds["retest"]))
    failed = float(np.mean([each.judged.failed for each in results]))
    checks.append(
        JudgeCheck("rewards that failed", failed, None, thresholds["failures"], len(results), at_least=False)
    )
    return tuple(checks)


def clustered_correlation(
    scores: Float[np.ndarray, " n"], truth: Float[np.ndarray, " n"], clusters: Sequence[str]
) -> tuple[float | None, Interval | None, int]:
    """Spearman's correlation (None for fewer than two scores), its interval over photographs, and the number
    of scores.
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


def check_separation(results: Sequence[ProbeResult], kind: str, needed: float) -> JudgeCheck:
    """How often the exact edit scores higher in following than this kind of probe of the same case."""
    exact, other = results_by_case(results, EXACT), results_by_case(results, kind)
    values, places = [], []
    for case in exact:
        true, judged = (
            score_matrix(each)[:, 0]
            for each in ([exact[case].truth, other[case].truth], [exact[case].judged, other[case].judged])
        )
        if true[0] - true[1] >= CLEAR and np.isfinite(judged).all():
            values.append(float(judged[0] > judged[1]) + 0.5 * float(judged[0] == judged[1]))
            places.append(exact[case].probe.triplet.case.photograph)
    return check_of_mean(f"following: exact edit above {kind}", values, places, needed)


def check_preserved(results: Sequence[ProbeResult], needed: float) -> JudgeCheck:
    """How often an unedited image gets at least KEPT points for preserving."""
    there = [
        each
        for each in results_by_case(results, UNEDITED).values()
        if each.judged.preserving.score is not None
    ]
    values = [float((each.judged.preserving.score or 0.0) >= KEPT) for each in there]
    return check_of_mean(
        "preserving: unedited keeps everything",
        values,
        [each.probe.triplet.case.photograph for each in there],
        needed,
    )


def check_decline(results: Sequence[ProbeResult], flaw: str, needed: float) -> JudgeCheck:
    """How steadily quality falls as a flaw grows: the negative rank correlation of score and severity within
    a case, averaged; 0 if the score never moves.
    """
    values, places = [], []
    for case, exact in results_by_case(results, EXACT).items():
        steps = [(0.0, exact.judged.quality.score)]
        steps += [
            (each.probe.severity, each.judged.quality.score)
            for each in results
            if each.probe.kind == flaw and each.probe.case == case
        ]
        known = np.array(
            [(severity, score) for severity, score in steps if score is not None], dtype=float
        ).reshape(-1, 2)
        if len(known) >= 3:
            values.append(-rank_correlation(known[:, 0], known[:, 1]))
            places.append(exact.probe.triplet.case.photograph)
    return check_of_mean(f"quality falls with {flaw}", values, places, needed)


def check_success(common: Sequence[ProbeResult], index: int, name: str, needed: float) -> JudgeCheck:
    """Agreement with the truth on success, beyond chance."""
    pairs = [(each.judged.verdicts[index], each.truth.verdicts[index].success) for each in common]
    answered = [(judged.success, true) for judged, true in pairs if judged.success is not None]
    if not answered:
        return JudgeCheck(
            name, None, None, needed, 0, asked=all(judged.status == "failed" for judged, _ in pairs)
        )
    judged, true = (np.array(each, dtype=bool) for each in zip(*answered, strict=True))
    return JudgeCheck(name, cohen_kappa(judged, true), None, needed, len(answered))


def check_retest(again: Sequence[tuple[Reward, Reward]], needed: float) -> JudgeCheck:
    """Mean difference in points of two scores for the same triplet."""
    gaps = np.abs(score_matrix([one for one, _ in again]) - score_matrix([two for _, two in again]))
    known = gaps[np.isfinite(gaps)]
    value = float(known.mean()) if len(known) else None
    return JudgeCheck(
        "asked twice: points apart", value, None, needed, len(again), at_least=False, scale=MAX_SCORE
    )


def check_of_mean(name: str, values: Sequence[float], places: Sequence[str], needed: float) -> JudgeCheck:
    """A check of a mean over cases."""
    numbers = np.array(values, dtype=float)
    if len(numbers) == 0:
        return JudgeCheck(name, None, None, needed, 0)
    interval = clustered_interval(numbers, places)
    if interval is not None:
        interval = Interval(max(interval.low, -1.0), min(interval.high, 1.0))
    return JudgeCheck(name, float(numbers.mean()), interval, needed, len(numbers))


def results_by_case(results: Sequence[ProbeResult], kind: str) -> dict[int, ProbeResult]:
    """The probes of a kind by their case."""
    return {each.probe.case: each for each in results if each.probe.kind == kind}


def score_matrix(rewards: Sequence[Reward]) -> Float[np.ndarray, "n 3"]:
    """Scores by perspective, NaN where a verdict failed."""
    return np.array(
        [
            [math.nan if verdict.score is None else verdict.score for verdict in each.verdicts]
            for each in rewards
        ]
    ).reshape(-1, 3)


def card_details(results: Sequence[ProbeResult]) -> dict[str, Any]:
    """What the card shows beside the checks: judged and true mean scores by kind and severity, statuses."""
    kinds: dict[str, Any] = {}
    for kind, severity in dict.fromkeys((each.probe.kind, each.probe.severity) for each in results):
        members = [each for each in results if (each.probe.kind, each.probe.severity) == (kind, severity)]
        judged, true = (
            score_matrix(rewards)
            for rewards in ([each.judged for each in members], [each.truth for each in members])
        )
        means = [
            float(column[np.isfinite(column)].mean()) if np.isfinite(column).any() else None
            for column in judged.T
        ]
        kinds[f"{kind} {severity:g}" if severity else kind] = {
            "n": len(members),
            "judge": means,
            "truth": true.mean(axis=0).tolist(),
        }
    common = [each for each in results if each.probe.kind == EVERYDAY]
    statuses = [verdict.status for each in results for verdict in each.judged.verdicts]
    return {
        "mean_scores": kinds,
        "everyday": {
            "judge": [[verdict.score for verdict in each.judged.verdicts] for each in common],
            "truth": [[verdict.score for verdict in each.truth.verdicts] for each in common],
        },
        "verdicts": {status: statuses.count(status) for status in ("ok", "repaired", "failed")},
    }


def write_card(card: JudgeCard, folder: Path) -> None:
    """Write card.json and card.png.

    Raises:
        NotWrittenError: the disk is full.
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


def card_table(card: JudgeCard) -> Table:
    """The checks, for the terminal."""
    table = Table(title=f"{card.judge}: {card_verdict(card)}", title_justify="left")
    for title in ("check", "value", "95 %", "needed", "of", ""):
        table.add_column(title, justify="left" if title in ("check", "") else "right")
    for check in card.checks:
        interval = "" if check.interval is None else f"{check.interval.low:.2f} to {check.interval.high:.2f}"
        value = (
            f"{check.value:.2f}" if check.value is not None else "no answer" if check.asked else "not asked"
        )
        needed = f"{'at least' if check.at_least else 'at most'} {check.needed:g}"
        table.add_row(check.name, value, interval, needed, str(check.n), check_mark(check))
    return table


def card_verdict(card: JudgeCard) -> str:
    """Passed or not, and the number of failed checks."""
    missed = sum(not check.passed for check in card.checks)
    return "passed" if card.passed else f"not passed ({missed} of {len(card.checks)} checks missed)"


def check_mark(check: JudgeCheck) -> str:
    """The result of a check in a word."""
    return "-" if not check.asked else "passed" if check.passed else "MISSED"


def draw_card(card: JudgeCard, path: Path) -> None:
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
        f"{card.judge}: {card_verdict(card)}",
        fontsize=15,
        fontweight="bold",
        color=GOOD if card.passed else BAD,
    )
    words = [
        f"{card.world['everyday']} everyday triplets, {card.world['cases']} cases probed, "
        f"{card.world['size']} px, world {card.world['version']}"
    ]
    words += [
        f"{name.replace('_', ' ')} {f'{value:,.0f}' if value >= 100 else f'{value:.3g}'}"
        for name, value in card.cost.items()
        if value is not None
    ]
    figure.supxlabel("   |   ".join([*words, *([card.note] if card.note else [])]), fontsize=8, color=NEUTRAL)
    figure.savefig(path, dpi=110, format="png")
    plt.close(figure)


def draw_checks(axis: Axes, card: JudgeCard) -> None:
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


def draw_scores(axis: Axes, card: JudgeCard, index: int) -> None:
    """The judge's scores of everyday triplets over the true ones."""
    common = card.details["everyday"]
    pairs = [
        (true[index], judged[index])
        for true, judged in zip(common["truth"], common["judge"], strict=True)
        if judged[index] is not None
    ]
    axis.plot([0, MAX_SCORE], [0, MAX_SCORE], color=NEUTRAL, linewidth=0.8, linestyle=":")
    if pairs:
        axis.scatter(*zip(*pairs, strict=True), s=14, alpha=0.45, color="#4477aa", edgecolors="none")
    axis.set(xlim=(-0.2, 5.2), ylim=(-0.2, 5.2), xlabel="true score", xticks=range(6), yticks=range(6))
    axis.set_title(PERSPECTIVES[index].value, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    if index == 0:
        axis.set_ylabel("judge's score")


def draw_growth(axis: Axes, card: JudgeCard, flaw: str) -> None:
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
