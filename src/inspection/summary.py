"""Reward data in numbers: the content of summary.json and of the tables on the page."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import final

import numpy as np
from jaxtyping import Float

from src.data.feedback_sentiment import Polarity, polarity_of
from src.data.lint import KINDS, Finding, LintEntry, shorten
from src.data.only import SelectedLine
from src.records import MAX_SCORE, NO_FAILURE, PERSPECTIVES
from src.reward_file import UsageFields
from src.seeds import fold_seed

SCORES = tuple(range(int(MAX_SCORE) + 1))
MOST_LISTED = 10
QUOTED = re.compile(r"(?<!\w)'.*?'(?!\w)|\"[^\"]*\"")
"""A quoted part; the apostrophe of "can't" is not a quote."""


@final
@dataclass(frozen=True)
class PerspectiveSummary:
    """One perspective over all triplets.

    Attributes:
        scored, failed: numbers of verdicts.
        mean: of the scores; None if there are none.
        counts: number of scores nearest to 0, 1, ..., 5.
        below_5: share of the scores.
        nothing: share of texts that say that nothing failed.
        polarities: for each score 0..5, number of texts of each polarity (see feedback_sentiment.py).
        texts: the most frequent texts that name something, with their numbers.
        success: share of "yes" where the judge answered yes or no; None if it never did.
    """

    scored: int
    failed: int
    mean: float | None
    counts: list[int]
    below_5: float | None
    nothing: float | None
    polarities: list[dict[str, int]]
    texts: list[tuple[str, int]]
    success: float | None


@final
@dataclass(frozen=True)
class RewardSummary:
    """All triplets.

    Attributes:
        name: of the data.
        judge: whose rewards.
        triplets: number of them.
        rated: with three scores.
        incomplete: with a reward that failed in some perspective.
        unrated: without a reward.
        unused: rewards of other triplets.
        unread: triplets whose images were skipped or can't be read.
        following, preserving, quality: see PerspectiveSummary.
        correlations: Spearman's, in the order of PERSPECTIVES; None where one score is always the same.
        statuses: number of verdicts by status.
        reasons: texts of failed verdicts, with numbers; ids and numbers in them are replaced, so that similar
            texts count together.
        usage: sums of the judge's counts, each with the number of rewards that have it.
        used: texts in the usage (the model), with numbers.
        types: triplets, and mean scores, by edit type.
        findings: number by kind.
    """

    name: str
    judge: str
    triplets: int
    rated: int
    incomplete: int
    unrated: int
    unused: int
    unread: int
    following: PerspectiveSummary
    preserving: PerspectiveSummary
    quality: PerspectiveSummary
    correlations: list[list[float | None]]
    statuses: dict[str, int]
    reasons: list[tuple[str, int]]
    usage: dict[str, tuple[float, int]]
    used: dict[str, dict[str, int]]
    types: dict[str, tuple[int, list[float | None]]]
    findings: dict[str, int]

    @property
    def perspectives(self) -> tuple[PerspectiveSummary, PerspectiveSummary, PerspectiveSummary]:
        """In the order of PERSPECTIVES."""
        return self.following, self.preserving, self.quality


def summarise(
    name: str,
    judge: str,
    entries: Sequence[LintEntry],
    findings: Sequence[Finding],
    usages: Sequence[UsageFields] = (),
    unused: int = 0,
) -> RewardSummary:
    """Compute all numbers; nothing in them is random.

    Args:
        name: of the data.
        judge: whose rewards.
        entries: all triplets.
        findings: of the linter.
        usages: what each reward cost.
        unused: number of rewards of other triplets.
    """
    rewards = [entry.reward for entry in entries if entry.reward is not None]
    verdicts = [verdict for reward in rewards for verdict in reward.verdicts]
    incomplete = sum(reward.failed for reward in rewards)
    counted = Counter(finding.kind for finding in findings)
    following, preserving, quality = (
        perspective_summary(entries, index) for index in range(len(PERSPECTIVES))
    )
    return RewardSummary(
        name,
        judge,
        len(entries),
        len(rewards) - incomplete,
        incomplete,
        len(entries) - len(rewards),
        unused,
        sum(entry.hashes is None for entry in entries),
        following,
        preserving,
        quality,
        correlations(complete_scores(entries)),
        dict(Counter(verdict.status for verdict in verdicts)),
        Counter(
            normalise_reason(verdict.feedback) for verdict in verdicts if verdict.status == "failed"
        ).most_common(MOST_LISTED),
        usage_sums(usages),
        usage_texts(usages),
        type_means(entries),
        {kind: counted[kind] for kind in KINDS if counted[kind]},
    )


def perspective_summary(entries: Sequence[LintEntry], index: int) -> PerspectiveSummary:
    """Compute the numbers of one perspective."""
    verdicts = [entry.reward.verdicts[index] for entry in entries if entry.reward is not None]
    answered = [(verdict.score, verdict) for verdict in verdicts if verdict.score is not None]
    scores = np.array([score for score, _ in answered])
    rated = [(nearest_score(score), polarity_of(verdict.feedback)) for score, verdict in answered]
    numbers = Counter(rated)
    texts = Counter(
        verdict.feedback
        for (_, verdict), (_, polarity) in zip(answered, rated, strict=True)
        if polarity is not Polarity.NOTHING
    )
    successes = [verdict.success for _, verdict in answered if verdict.success is not None]
    return PerspectiveSummary(
        len(answered),
        len(verdicts) - len(answered),
        float(scores.mean()) if answered else None,
        [sum(score == place for score, _ in rated) for place in SCORES],
        float(np.mean(scores < MAX_SCORE)) if answered else None,
        sum(polarity is Polarity.NOTHING for _, polarity in rated) / len(rated) if rated else None,
        [{polarity.value: numbers[score, polarity] for polarity in Polarity} for score in SCORES],
        texts.most_common(MOST_LISTED),
        float(np.mean(successes)) if successes else None,
    )


def nearest_score(score: float) -> int:
    """Round a score to the nearest whole one; halves round up."""
    return int(np.floor(score + 0.5))


def complete_scores(entries: Sequence[LintEntry]) -> Float[np.ndarray, "n 3"]:
    """Stack the scores of complete rewards."""
    complete = [entry.reward for entry in entries if entry.reward is not None and not entry.reward.failed]
    return np.array(
        [[verdict.score for verdict in reward.verdicts] for reward in complete], dtype=float
    ).reshape(len(complete), len(PERSPECTIVES))


def correlations(scores: Float[np.ndarray, "n 3"]) -> list[list[float | None]]:
    """Compute Spearman's rank correlation of each pair of perspectives; None where it is not defined."""
    from scipy.stats import spearmanr  # takes half a second to import

    varied = [len(scores) > 1 and np.ptp(scores[:, index]) > 0 for index in range(scores.shape[1])]
    return [
        [
            float(spearmanr(scores[:, one], scores[:, other])[0])  # pyright: ignore[reportArgumentType]
            if varied[one] and varied[other]
            else None
            for other in range(len(varied))
        ]
        for one in range(len(varied))
    ]


def normalise_reason(reason: str) -> str:
    """Replace what differs from row to row in a reason: quoted parts and numbers."""
    if reason == NO_FAILURE:
        return "no reason given"
    return shorten(re.sub(r"\d+(\.\d+)?", "#", QUOTED.sub("…", reason)), 160)


def usage_sums(usages: Sequence[UsageFields]) -> dict[str, tuple[float, int]]:
    """Sum each number in the usages; with the number of usages that have it."""
    found: dict[str, tuple[float, int]] = {}
    for usage in usages:
        for name, value in usage.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                total, number = found.get(name, (0.0, 0))
                found[name] = total + value, number + 1
    return found


def usage_texts(usages: Sequence[UsageFields]) -> dict[str, dict[str, int]]:
    """Count each text in the usages, without fields whose text differs for nearly every triplet (an answer's
    id).
    """
    names = dict.fromkeys(name for usage in usages for name, value in usage.items() if isinstance(value, str))
    counted = {name: Counter(str(usage[name]) for usage in usages if name in usage) for name in names}
    return {
        name: dict(counter.most_common()) for name, counter in counted.items() if len(counter) <= MOST_LISTED
    }


def type_means(entries: Sequence[LintEntry]) -> dict[str, tuple[int, list[float | None]]]:
    """Count triplets and average scores by edit type; {} where the dataset has no types, or too many."""
    groups: dict[str, list[LintEntry]] = {}
    for entry in entries:
        if entry.edit_type:
            groups.setdefault(entry.edit_type, []).append(entry)
    if len(groups) > 3 * MOST_LISTED:
        return {}
    found = {}
    for name in sorted(groups):
        scores = complete_scores(groups[name])
        found[name] = (
            len(groups[name]),
            [float(mean) for mean in scores.mean(axis=0)] if len(scores) else [None] * len(PERSPECTIVES),
        )
    return found


def choose_examples(
    entries: Sequence[LintEntry],
    findings: Sequence[Finding],
    per_score: int,
    per_kind: int,
    selected: Mapping[str, SelectedLine] | None = None,
) -> list[int]:
    """Choose the entries that the page shows: their places in order, the same at every call.

    Args:
        entries: all triplets.
        findings: of the linter.
        per_score: number at each score of each perspective, and of failed ones.
        per_kind: number of each kind of finding, with the triplets they resemble, and of each reason of a
            selection.
        selected: lines of a selection by id; None where none is shown.
    """
    chosen: set[int] = set()

    def draw(places: Sequence[int], count: int, *what: str | int) -> None:
        """Draw until `count` of these places are chosen."""
        left = sorted(set(places) - chosen)
        chosen.update(
            Random(fold_seed("examples", *what)).sample(
                left, min(len(left), max(0, count - (len(places) - len(left))))
            )
        )

    place_of = {entry.row: place for place, entry in enumerate(entries)}
    named = {entry.id: place for place, entry in reversed(list(enumerate(entries)))}
    for kind in KINDS:
        rows = [finding for finding in findings if finding.kind == kind and finding.row is not None]
        found = Random(fold_seed("findings", kind)).sample(rows, min(len(rows), per_kind))
        chosen.update(place_of[finding.row] for finding in found if finding.row is not None)
        chosen.update(
            named[finding.other]
            for finding in found
            if kind in ("duplicate", "near_duplicate") and finding.other in named
        )
    for index, perspective in enumerate(PERSPECTIVES):
        scored = [
            (place, entry.reward.verdicts[index].score)
            for place, entry in enumerate(entries)
            if entry.reward is not None
        ]
        for score in SCORES:
            draw(
                [place for place, given in scored if given is not None and nearest_score(given) == score],
                per_score,
                perspective.value,
                score,
            )
        draw([place for place, given in scored if given is None], per_score, perspective.value, "failed")
    reasons: dict[str, list[int]] = {}
    for place, entry in enumerate(entries):
        if selected and entry.id in selected:
            reasons.setdefault(selected[entry.id].reason, []).append(place)
    for reason, places in reasons.items():
        draw(places, per_kind, "selection", reason)
    if not chosen:
        draw(range(len(entries)), per_score * len(SCORES), "unrated")
    return sorted(chosen)


def findings_by_row(findings: Sequence[Finding]) -> Mapping[int, list[Finding]]:
    """Group findings by row."""
    found: dict[int, list[Finding]] = {}
    for finding in findings:
        if finding.row is not None:
            found.setdefault(finding.row, []).append(finding)
    return found
