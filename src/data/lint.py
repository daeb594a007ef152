"""A linter of reward data: pure functions of triplets and their rewards, each of which lists findings.

    python -m src.inspect_rewards data=... rewards_file=rewards.jsonl leakage=[DIR]
    python experiments/linter.py     # share of planted faults that it finds, and of false alarms

When a score and a text contradict each other: a 5 says that nothing failed, so a text that names a failure
contradicts it; if a judge does so habitually (`habit`), its 5 means "good enough", and this is only a hint.
The reverse needs more care: annotators overlook mild failures (ours omits 15 % of those that are worth 3
points or more), and a score may be off by a point, so "None" at 2, 3 or 4 is noise that training must cope
with. At 0 or 1 it is a contradiction (`silent_below`; give 5 for a judge that is told to name every failure).
Praise contradicts the same scores. A text that names the wrong failure can't be detected here.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal, final

import numpy as np

from src.data.feedback_sentiment import Polarity, polarity_of
from src.data.perceptual_hash import (
    PerceptualHash,
    block_difference,
    candidate_pairs,
    hash_array,
    largest_change,
    perceptual_hash,
)
from src.images import NewImage
from src.records import MAX_SCORE, PERSPECTIVES, Image, Perspective, Reward, Verdict

Level = Literal["fault", "hint"]


@final
@dataclass(frozen=True)
class FindingKind:
    """A kind of finding.

    Attributes:
        level: a "fault" should be corrected or dropped, a "hint" looked at.
        title: in a few words.
        why: its effect on training, or its cause.
    """

    level: Level
    title: str
    why: str


KINDS: Mapping[str, FindingKind] = {
    "silent_low": FindingKind(
        "fault",
        '"None" at a score of 0 or 1',
        "the text says that nothing failed, the score that nearly everything did",
    ),
    "failure_at_5": FindingKind(
        "fault",
        "a failure named at a score of 5",
        "5 means that nothing failed; an editor asked for 5 learns the failure",
    ),
    "mild_at_5": FindingKind(
        "hint",
        "a failure named at 5, as this judge often does",
        "its 5 means good enough; the texts may be right or too strict",
    ),
    "praise_low": FindingKind(
        "fault",
        "praise at a score of 0 or 1",
        "score and text were mixed up, or the scale was read upside down",
    ),
    "success_contradicts": FindingKind("fault", "success against its score", "yes at 0 or 1, or no at 5"),
    "unedited": FindingKind(
        "fault",
        "nothing edited, yet following scored high",
        "original and edited are the same image, or look the same",
    ),
    "duplicate": FindingKind(
        "fault", "the same pair of images twice", "counts twice in training, and leaks between splits"
    ),
    "near_duplicate": FindingKind(
        "hint", "nearly the same pair of images", "the same triplet in another size or file"
    ),
    "judged_twice": FindingKind(
        "fault", "judged twice, far apart", "the judge contradicts itself, or two judges disagree"
    ),
    "leak": FindingKind(
        "fault", "an image of a benchmark", "an editor trained on it has seen the answer, or the question"
    ),
    "unreadable": FindingKind("fault", "an image that can't be read", "the triplet can't be trained on"),
    "constant": FindingKind("fault", "always the same score", "a judge that does not look"),
    "copied": FindingKind(
        "hint", "the same score in all perspectives", "one verdict written down three times"
    ),
    "failed": FindingKind("fault", "many failed verdicts", "the remaining ones may not be a fair sample"),
    "repeated_text": FindingKind(
        "fault", "the same text in most rows", "a judge, or a parser, that answers with a phrase"
    ),
    "swapped": FindingKind(
        "hint", "texts of two perspectives swapped", "each talks of what the other should"
    ),
}
"""Every kind of finding, in display order."""


@final
@dataclass(frozen=True)
class LintLimits:
    """Thresholds of the linter; conf/inspect_rewards.yaml sets them.

    Attributes:
        silent_below: "None", praise or success contradicts a score below this.
        high: a following score of at least this is high.
        unseen: images that differ by no more than this, 0..255, on a grid of 32 x 32 look the same
            (perceptual_hash.py).
        far_apart: least difference, in points, between two scores of one triplet and perspective.
        near_bits: most bits, of 64, in which the perceptual hashes of one image may differ.
        near_blocks: most that the 16 x 16 thumbnails of one image may differ, 0..255.
        habit: share of a perspective's 5s with a failure named beyond which this is a habit of the judge, not
            a slip.
        failed: most failed verdicts, as a share.
        constant: least share of the most frequent score, or of rows with three equal scores.
        repeated: most rows with one text other than "None", as a share.
        fewest: least number of verdicts for which shares are computed.
    """

    silent_below: float = 2.0
    high: float = 3.0
    unseen: float = 8.0
    far_apart: float = 3.0
    near_bits: int = 8
    near_blocks: float = 16.0
    habit: float = 0.08
    failed: float = 0.05
    constant: float = 0.98
    repeated: float = 0.5
    fewest: int = 20


@final
@dataclass(frozen=True, eq=False)
class PairHashes:
    """Hashes of a triplet's images.

    Attributes:
        original, edited: see perceptual_hash.py.
        change: the largest difference of their blocks, 0..255.
    """

    original: PerceptualHash
    edited: PerceptualHash
    change: float


@final
@dataclass(frozen=True, eq=False)
class LintEntry:
    """A triplet as the linter sees it.

    Attributes:
        row: its place in the dataset, or in the reward file.
        id: of the triplet.
        instruction: "" where only the reward is known.
        reward: of the judge that is inspected; None if there is none.
        others: rewards of the same triplet by other judges, or by the same under another key.
        hashes: of its images; None where there are none or they were skipped.
        problem: why the row or its images can't be read.
        edit_type: "" where the dataset has none.
    """

    row: int
    id: str
    instruction: str = ""
    reward: Reward | None = None
    others: tuple[Reward, ...] = ()
    hashes: PairHashes | None = None
    problem: str | None = None
    edit_type: str = ""


@final
@dataclass(frozen=True)
class Finding:
    """Something suspicious.

    Attributes:
        kind: a key of KINDS.
        row, id: of the triplet; None for a finding about the judge as a whole.
        perspective: None for a finding about the images.
        what: one sentence, with the values.
        other: the other triplet, judge or benchmark image, if there is one.
    """

    kind: str
    row: int | None
    id: str | None
    perspective: str | None
    what: str
    other: str | None = None

    @property
    def level(self) -> Level:
        """See FindingKind."""
        return KINDS[self.kind].level


@final
@dataclass(frozen=True, eq=False)
class KnownImage:
    """An image that must not be in training data.

    Attributes:
        name: of the image.
        where: the benchmark or folder.
        hashed: see perceptual_hash.py.
    """

    name: str
    where: str
    hashed: PerceptualHash


def hash_pair(original: Image, edited: NewImage) -> PairHashes:
    """Hash a triplet's images."""
    return PairHashes(perceptual_hash(original), perceptual_hash(edited), largest_change(original, edited))


def lint(
    entries: Sequence[LintEntry], known: Sequence[KnownImage] = (), limits: LintLimits | None = None
) -> list[Finding]:
    """List all findings, by kind in the order of KINDS, then by row."""
    limits = LintLimits() if limits is None else limits
    found = [
        *find_contradictions(entries, limits),
        *find_unedited(entries, limits),
        *find_duplicates(entries, limits),
        *find_disagreements(entries, limits),
        *find_leaks(entries, known, limits),
        *find_unreadable(entries),
        *find_habits(entries, limits),
    ]
    order = list(KINDS)
    return sorted(
        found, key=lambda finding: (order.index(finding.kind), -1 if finding.row is None else finding.row)
    )


def verdicts_of(entries: Sequence[LintEntry], index: int) -> list[tuple[LintEntry, Verdict]]:
    """List the verdicts of one perspective, failed ones included, with their triplets."""
    return [(entry, entry.reward.verdicts[index]) for entry in entries if entry.reward is not None]


def find_contradictions(entries: Sequence[LintEntry], limits: LintLimits) -> list[Finding]:
    """Find texts, and answers on success, that contradict their score."""
    found = []
    for index, perspective in enumerate(PERSPECTIVES):
        verdicts = verdicts_of(entries, index)
        seen = [
            (entry, kind, what)
            for entry, verdict in verdicts
            for kind, what in contradictions_in(verdict, limits)
        ]
        best = sum(verdict.score is not None and verdict.score >= MAX_SCORE for _, verdict in verdicts)
        often = (
            best >= limits.fewest and sum(kind == "failure_at_5" for _, kind, _ in seen) > limits.habit * best
        )
        for entry, kind, what in seen:
            found.append(
                Finding(
                    "mild_at_5" if often and kind == "failure_at_5" else kind,
                    entry.row,
                    entry.id,
                    perspective.value,
                    what,
                )
            )
    return found


def contradictions_in(verdict: Verdict, limits: LintLimits) -> list[tuple[str, str]]:
    """List contradictions within one verdict, as kind and sentence."""
    if verdict.score is None:
        return []
    polarity = polarity_of(verdict.feedback)
    low, best = verdict.score < limits.silent_below, verdict.score >= MAX_SCORE
    found = []
    if polarity is Polarity.NOTHING and low:
        found.append(("silent_low", f"score {verdict.score:g}, but the text says {verdict.feedback!r}"))
    if polarity is Polarity.PRAISE and low:
        found.append(
            ("praise_low", f"score {verdict.score:g}, but the text praises: {shorten(verdict.feedback)!r}")
        )
    if polarity is Polarity.FAILURE and best:
        found.append(
            (
                "failure_at_5",
                f"score {verdict.score:g}, but the text names a failure: {shorten(verdict.feedback)!r}",
            )
        )
    if (verdict.success is True and low) or (verdict.success is False and best):
        found.append(
            (
                "success_contradicts",
                f"success is {'yes' if verdict.success else 'no'} at score {verdict.score:g}",
            )
        )
    return found


def find_unedited(entries: Sequence[LintEntry], limits: LintLimits) -> list[Finding]:
    """Find pairs without a visible change whose following is scored high."""
    found = []
    for entry in entries:
        if entry.hashes is None or entry.reward is None or entry.hashes.change > limits.unseen:
            continue
        score = entry.reward.following.score
        if score is not None and score >= limits.high:
            same = entry.hashes.original.digest == entry.hashes.edited.digest
            seen = (
                "the edited image is the original"
                if same
                else f"no part differs by more than {entry.hashes.change:.0f} of 255"
            )
            found.append(
                Finding(
                    "unedited",
                    entry.row,
                    entry.id,
                    Perspective.FOLLOWING.value,
                    f"following {score:g}, but {seen}",
                )
            )
    return found


def find_duplicates(entries: Sequence[LintEntry], limits: LintLimits) -> list[Finding]:
    """Find pairs of images that repeat an earlier pair, exactly or nearly; the original alone may recur."""
    found = []
    first: dict[tuple[bytes, bytes], LintEntry] = {}
    for entry, hashes in hashed_entries(entries):
        before = first.setdefault((hashes.original.digest, hashes.edited.digest), entry)
        if before is not entry:
            same = is_same_instruction(before.instruction, entry.instruction)
            words = "the same instruction" if same else f"the instruction {shorten(before.instruction)!r}"
            found.append(
                Finding(
                    "duplicate",
                    entry.row,
                    entry.id,
                    None,
                    f"both images are those of row {before.row}, with {words}",
                    before.id,
                )
            )
    different = [(entry, hashes) for (entry, hashes) in hashed_entries(first.values())]
    hashed = (
        hash_array([hashes.original for _, hashes in different]),
        hash_array([hashes.edited for _, hashes in different]),
    )
    listed: set[int] = set()
    for later, earlier in candidate_pairs(hashed, hashed, limits.near_bits, earlier_only=True):
        (entry, hashes), (before, earlier_hashes) = different[later], different[earlier]
        apart = max(
            block_difference(hashes.original.thumbnail, earlier_hashes.original.thumbnail),
            block_difference(hashes.edited.thumbnail, earlier_hashes.edited.thumbnail),
        )
        if later not in listed and apart <= limits.near_blocks:
            listed.add(later)
            what = (
                f"both images look like those of row {before.row}: "
                f"no part differs by more than {apart:.0f} of 255"
            )
            found.append(Finding("near_duplicate", entry.row, entry.id, None, what, before.id))
    return found


def find_disagreements(entries: Sequence[LintEntry], limits: LintLimits) -> list[Finding]:
    """Find scores of one triplet that lie far apart: by two judges, by one judge twice, or of the same images
    and instruction under two ids.
    """
    found = []
    first: dict[tuple[bytes, bytes, str], LintEntry] = {}
    for entry in entries:
        rivals = [
            (
                other,
                f"by {other.judge}"
                if entry.reward and other.judge != entry.reward.judge
                else "the other time",
            )
            for other in entry.others
        ]
        if entry.hashes is not None:
            words = " ".join(entry.instruction.lower().split())
            before = first.setdefault(
                (entry.hashes.original.digest, entry.hashes.edited.digest, words), entry
            )
            if before is not entry and before.reward is not None:
                rivals.append((before.reward, f"as row {before.row}"))
        for index, perspective in enumerate(PERSPECTIVES):
            own = None if entry.reward is None else entry.reward.verdicts[index].score
            scored = [
                (score, name, rival.id)
                for rival, name in rivals
                if (score := rival.verdicts[index].score) is not None
            ]
            if own is None or not scored:
                continue
            apart = [abs(score - own) for score, _, _ in scored]
            score, name, other = scored[apart.index(max(apart))]
            if abs(score - own) >= limits.far_apart:
                found.append(
                    Finding(
                        "judged_twice",
                        entry.row,
                        entry.id,
                        perspective.value,
                        f"scored {own:g}, and {score:g} {name}",
                        other,
                    )
                )
    return found


def find_leaks(
    entries: Sequence[LintEntry], known: Sequence[KnownImage], limits: LintLimits
) -> list[Finding]:
    """Find images that are, or look like, a known one; each is reported in its first row only."""
    if not known:
        return []
    places: dict[bytes, tuple[LintEntry, str, PerceptualHash]] = {}
    for entry, hashes in hashed_entries(entries):
        for name, hashed in (("original", hashes.original), ("edited image", hashes.edited)):
            places.setdefault(hashed.digest, (entry, name, hashed))
    images = list(places.values())
    found: dict[int, Finding] = {}
    for place, number in candidate_pairs(
        (hash_array([hashed for _, _, hashed in images]),),
        (hash_array([image.hashed for image in known]),),
        limits.near_bits,
    ):
        entry, name, hashed = images[place]
        other = known[number]
        apart = block_difference(hashed.thumbnail, other.hashed.thumbnail)
        if place not in found and apart <= limits.near_blocks:
            like = "is" if hashed.digest == other.hashed.digest else "looks like"
            found[place] = Finding(
                "leak",
                entry.row,
                entry.id,
                None,
                f"the {name} {like} {other.name} of {other.where}",
                other.name,
            )
    return list(found.values())


def find_unreadable(entries: Sequence[LintEntry]) -> list[Finding]:
    """Find triplets whose images can't be read."""
    return [
        Finding("unreadable", entry.row, entry.id, None, entry.problem)
        for entry in entries
        if entry.problem is not None
    ]


def find_habits(entries: Sequence[LintEntry], limits: LintLimits) -> list[Finding]:
    """Find what is suspicious about the judge as a whole, given enough verdicts."""
    found = []
    for index, perspective in enumerate(PERSPECTIVES):
        verdicts = [verdict for _, verdict in verdicts_of(entries, index)]
        if len(verdicts) >= limits.fewest:
            found += [
                Finding(kind, None, None, perspective.value, what)
                for kind, what in habits_in(verdicts, limits)
            ]
    complete = [entry.reward for entry in entries if entry.reward is not None and not entry.reward.failed]
    equal = sum(len({verdict.score for verdict in reward.verdicts}) == 1 for reward in complete)
    if len(complete) >= limits.fewest and equal >= limits.constant * len(complete):
        found.append(
            Finding("copied", None, None, None, f"{equal} of {len(complete)} rewards have three equal scores")
        )
    return found + find_swapped_texts(entries, limits)


def habits_in(verdicts: Sequence[Verdict], limits: LintLimits) -> list[tuple[str, str]]:
    """List what is suspicious about the verdicts of one perspective, as kind and sentence."""
    found = []
    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
    failed = len(verdicts) - len(scores)
    if failed > limits.failed * len(verdicts):
        found.append(
            ("failed", f"{failed} of {len(verdicts)} verdicts failed ({failed / len(verdicts):.0%})")
        )
    if len(scores) < limits.fewest:
        return found
    score, often = Counter(scores).most_common(1)[0]
    if often >= limits.constant * len(scores):
        found.append(("constant", f"{often} of {len(scores)} scores are {score:g}"))
    texts = Counter(
        verdict.feedback
        for verdict in verdicts
        if verdict.score is not None and polarity_of(verdict.feedback) is not Polarity.NOTHING
    )
    text, times = texts.most_common(1)[0] if texts else ("", 0)
    if times > limits.repeated * len(scores):
        found.append(("repeated_text", f"{times} of {len(scores)} texts are {shorten(text)!r}"))
    return found


TOPICS: Mapping[Perspective, re.Pattern[str]] = {
    Perspective.FOLLOWING: re.compile(
        r"\b(instruction\w*|requested|edit|executed|(not|never|partly|half|fully|poorly) (\w+ )?"
        r"(done|added|removed|made|applied|followed|executed|"
        r"chang\w+|replaced|turned|recolou?red|painted|moved)|should have been|by mistake|wrong)\b"
    ),
    Perspective.PRESERVING: re.compile(
        r"\b(background|unintended\w*|disappeared|lost|missing|preserv\w*|kept|identity|non-edit\w*|"
        r"unrelated|(has|have|was|were) (changed|moved|"
        r"shifted|replaced|altered)|another colou?r|different one|as before|colou?r cast|tinted)\b"
    ),
    Perspective.QUALITY: re.compile(
        r"\b(blur\w*|nois\w*|grain\w*|artifacts?|artefacts?|compress\w*|blocks?|bands?|banding|sharp\w*|"
        r"distort\w*|lighting|shadows?|resolution|"
        r"unnatural\w*|realis\w*|out of focus|pixelated|flaws|looks? (bad|right)|steps)\b"
    ),
}
"""English words that belong to one perspective."""


def find_swapped_texts(entries: Sequence[LintEntry], limits: LintLimits) -> list[Finding]:
    """Find perspectives whose texts speak of another one. Only a swap in most rows shows."""
    texts = [
        [
            verdict.feedback.lower()
            for _, verdict in verdicts_of(entries, index)
            if polarity_of(verdict.feedback) is Polarity.FAILURE
        ]
        for index in range(3)
    ]
    if min(map(len, texts)) < limits.fewest:
        return []
    share = {
        (speaking, topic): float(np.mean([TOPICS[topic].search(text) is not None for text in texts[index]]))
        for index, speaking in enumerate(PERSPECTIVES)
        for topic in PERSPECTIVES
    }
    found = []
    for speaking, about in permutations(PERSPECTIVES, 2):
        if share[speaking, about] > max(share[speaking, speaking], share[about, about]) + 0.2:
            own, other = share[speaking, speaking], share[speaking, about]
            what = f"{other:.0%} of its texts speak of {about}, {own:.0%} of {speaking}"
            found.append(Finding("swapped", None, None, speaking.value, what, about.value))
    return found


def hashed_entries(entries: Iterable[LintEntry]) -> list[tuple[LintEntry, PairHashes]]:
    """List the triplets whose images were hashed, with the hashes."""
    return [(entry, entry.hashes) for entry in entries if entry.hashes is not None]


def is_same_instruction(first: str, second: str) -> bool:
    """Whether two instructions differ at most in capitals and spaces."""
    return first.lower().split() == second.lower().split()


def shorten(text: str, length: int = 90) -> str:
    """Cut a text to `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"
