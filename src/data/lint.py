"""What is suspicious about reward data: pure functions of triplets and their rewards, each of which lists
findings.

    python -m src.inspect_rewards data=... rewards_file=rewards.jsonl leakage=[DIR]
    python experiments/linter.py     # how many planted faults it finds, and how often it cries wolf

What counts as a contradiction between score and text. A 5 says that nothing failed, so a text that names a
failure contradicts it; a judge who does that all the time (`habit`) means "good enough" by 5, and then it is
only a hint. The reverse needs more care: annotators overlook mild failures (ours leaves out 15 % of those
that are worth 3 points or more), and a score may be a point off, so a "None" at 2, 3 or 4 is the noise that
training must live with. At 0 or 1 it is a contradiction (`silent_below`; with a judge that is told to name
every failure, say 5). Praise contradicts the same scores. A text that names the wrong failure can't be told
from the right one here.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

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


@dataclass(frozen=True)
class FindingKind:
    """A kind of finding.

    Attributes:
        level: a "fault" is to be corrected or dropped, a "hint" looked at.
        title: in a few words.
        why: what it does to a training, or what causes it.
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
        "original and edited are the same picture, or look the same to an eye",
    ),
    "duplicate": FindingKind(
        "fault", "the same pair of pictures twice", "counts twice in training, and leaks between splits"
    ),
    "near_duplicate": FindingKind(
        "hint", "nearly the same pair of pictures", "the same triplet in another size or file"
    ),
    "judged_twice": FindingKind(
        "fault", "judged twice, far apart", "the judge does not repeat itself, or two judges disagree"
    ),
    "leak": FindingKind(
        "fault", "a picture of a benchmark", "an editor trained on it has seen the answer, or the question"
    ),
    "unreadable": FindingKind("fault", "a picture that can't be read", "the triplet can't be trained on"),
    "constant": FindingKind("fault", "always the same score", "a judge that does not look"),
    "copied": FindingKind(
        "hint", "the same score in all perspectives", "one verdict written down three times"
    ),
    "failed": FindingKind("fault", "many failed verdicts", "what is left may not be a fair sample"),
    "repeated_text": FindingKind(
        "fault", "the same text in most rows", "a judge, or a parser, that answers with a phrase"
    ),
    "swapped": FindingKind(
        "hint", "texts of two perspectives swapped", "each talks of what the other should"
    ),
}
"""Every kind of finding, in the order shown."""


@dataclass(frozen=True)
class LintLimits:
    """Where normal ends.

    Attributes:
        silent_below: "None", praise or success contradicts a score below this.
        high: a following score from here on is high.
        unseen: images that differ by no more than this, 0..255, on a grid of 32 x 32 look the same
            (fingerprints.py).
        far_apart: points between two scores of one triplet and perspective.
        near_bits: of 64 in a perceptual hash, up to which two images may be the same.
        near_blocks: the same for their 16 x 16 thumbnails, up to which they are.
        habit: share of a perspective's 5s with a failure named, from which on this is a habit of the judge
            and no longer a slip.
        failed: share of failed verdicts.
        constant: share of the most frequent score, or of rows with three equal scores.
        repeated: share of the most frequent text, "None" aside.
        fewest: verdicts from which on shares are looked at.
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


@dataclass(frozen=True, eq=False)
class PairHashes:
    """What is kept of a triplet's images.

    Attributes:
        original, edited: see fingerprints.py.
        change: the largest difference of their blocks, 0..255.
    """

    original: PerceptualHash
    edited: PerceptualHash
    change: float


@dataclass(frozen=True, eq=False)
class LintEntry:
    """A triplet as the linter sees it.

    Attributes:
        row: its place in the dataset, or in the reward file.
        id: of the triplet.
        instruction: "" where only the reward is known.
        reward: of the judge who is inspected; None if there is none.
        others: rewards of the same triplet by other judges, or by the same under another key.
        look: None where the images are not there or were not looked at.
        problem: why the images can't be read.
        edit_type: "" where the dataset has none.
    """

    row: int
    id: str
    instruction: str = ""
    reward: Reward | None = None
    others: tuple[Reward, ...] = ()
    look: PairHashes | None = None
    problem: str | None = None
    edit_type: str = ""


@dataclass(frozen=True)
class Finding:
    """Something suspicious.

    Attributes:
        kind: a key of KINDS.
        row, id: of the triplet; None if it is about the judge as a whole.
        perspective: None if it is about the images.
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
        """See Kind."""
        return KINDS[self.kind].level


@dataclass(frozen=True, eq=False)
class KnownImage:
    """A image that should not be in training data.

    Attributes:
        name: of the image.
        where: the benchmark or folder.
        print: its fingerprint.
    """

    name: str
    where: str
    print: PerceptualHash


def hash_pair(original: Image, edited: NewImage) -> PairHashes:
    """What is kept of a triplet's images."""
    return PairHashes(perceptual_hash(original), perceptual_hash(edited), largest_change(original, edited))


def lint(
    entries: Sequence[LintEntry], known: Sequence[KnownImage] = (), limits: LintLimits | None = None
) -> list[Finding]:
    """Everything that is suspicious, by kind in the order of KINDS, then by row."""
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
    """The verdicts of one perspective, failed ones included, with their triplets."""
    return [(entry, entry.reward.verdicts[index]) for entry in entries if entry.reward is not None]


def find_contradictions(entries: Sequence[LintEntry], limits: LintLimits) -> list[Finding]:
    """Texts, and answers on success, that don't fit their score."""
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
    """Kind and sentence of what contradicts itself in one verdict."""
    if verdict.score is None:
        return []
    said, low, best = (
        polarity_of(verdict.feedback),
        verdict.score < limits.silent_below,
        verdict.score >= MAX_SCORE,
    )
    found = []
    if said is Polarity.NOTHING and low:
        found.append(("silent_low", f"score {verdict.score:g}, but the text says {verdict.feedback!r}"))
    if said is Polarity.PRAISE and low:
        found.append(
            ("praise_low", f"score {verdict.score:g}, but the text praises: {shorten(verdict.feedback)!r}")
        )
    if said is Polarity.FAILURE and best:
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
    """Pairs without a visible change whose following is scored high."""
    found = []
    for entry in entries:
        if entry.look is None or entry.reward is None or entry.look.change > limits.unseen:
            continue
        score = entry.reward.following.score
        if score is not None and score >= limits.high:
            same = entry.look.original.digest == entry.look.edited.digest
            seen = (
                "the edited picture is the original"
                if same
                else f"no part differs by more than {entry.look.change:.0f} of 255"
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
    """The same pair of images again, bit for bit or nearly; other edits of the same original are fine. The
    first of several is not listed.
    """
    found = []
    first: dict[tuple[bytes, bytes], LintEntry] = {}
    for entry, look in hashed_entries(entries):
        before = first.setdefault((look.original.digest, look.edited.digest), entry)
        if before is not entry:
            same = is_same_instruction(before.instruction, entry.instruction)
            words = "the same instruction" if same else f"the instruction {shorten(before.instruction)!r}"
            found.append(
                Finding(
                    "duplicate",
                    entry.row,
                    entry.id,
                    None,
                    f"both pictures are those of row {before.row}, with {words}",
                    before.id,
                )
            )
    different = [(entry, look) for (entry, look) in hashed_entries(first.values())]
    prints = (
        hash_array([look.original for _, look in different]),
        hash_array([look.edited for _, look in different]),
    )
    listed: set[int] = set()
    for later, earlier in candidate_pairs(prints, prints, limits.near_bits, earlier_only=True):
        (entry, look), (before, like) = different[later], different[earlier]
        apart = max(
            block_difference(look.original.thumbnail, like.original.thumbnail),
            block_difference(look.edited.thumbnail, like.edited.thumbnail),
        )
        if later not in listed and apart <= limits.near_blocks:
            listed.add(later)
            what = f"both pictures look like those of row {before.row}: no part differs by more than {apart:.0f} of 255"
            found.append(Finding("near_duplicate", entry.row, entry.id, None, what, before.id))
    return found


def find_disagreements(entries: Sequence[LintEntry], limits: LintLimits) -> list[Finding]:
    """Scores of one triplet that lie far apart: by two judges, by one judge twice, or of the same images
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
        if entry.look is not None:
            words = " ".join(entry.instruction.lower().split())
            before = first.setdefault((entry.look.original.digest, entry.look.edited.digest, words), entry)
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
    """Images that are, or look like, one that should not be there; each image of the data is compared
    once, in the row where it stands first.
    """
    if not known:
        return []
    places: dict[bytes, tuple[LintEntry, str, PerceptualHash]] = {}
    for entry, look in hashed_entries(entries):
        for name, each in (("original", look.original), ("edited picture", look.edited)):
            places.setdefault(each.digest, (entry, name, each))
    images = list(places.values())
    found: dict[int, Finding] = {}
    for place, number in candidate_pairs(
        (hash_array([each for _, _, each in images]),),
        (hash_array([each.print for each in known]),),
        limits.near_bits,
    ):
        entry, name, each = images[place]
        other = known[number]
        apart = block_difference(each.thumbnail, other.print.thumbnail)
        if place not in found and apart <= limits.near_blocks:
            like = "is" if each.digest == other.print.digest else "looks like"
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
    """Triplets whose images can't be read."""
    return [
        Finding("unreadable", entry.row, entry.id, None, entry.problem)
        for entry in entries
        if entry.problem is not None
    ]


def find_habits(entries: Sequence[LintEntry], limits: LintLimits) -> list[Finding]:
    """What is suspicious about the judge as a whole. Nothing is said of a handful of verdicts."""
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
    """Kind and sentence of what is suspicious about the verdicts of one perspective."""
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
        r"\b(instruction\w*|requested|edit|executed|(not|never|partly|half|fully|poorly) (\w+ )?(done|added|removed|made|applied|followed|executed|"
        r"chang\w+|replaced|turned|recolou?red|painted|moved)|should have been|by mistake|wrong)\b"
    ),
    Perspective.PRESERVING: re.compile(
        r"\b(background|unintended\w*|disappeared|lost|missing|preserv\w*|kept|identity|non-edit\w*|unrelated|(has|have|was|were) (changed|moved|"
        r"shifted|replaced|altered)|another colou?r|different one|as before|colou?r cast|tinted)\b"
    ),
    Perspective.QUALITY: re.compile(
        r"\b(blur\w*|nois\w*|grain\w*|artifacts?|artefacts?|compress\w*|blocks?|bands?|banding|sharp\w*|distort\w*|lighting|shadows?|resolution|"
        r"unnatural\w*|realis\w*|out of focus|pixelated|flaws|looks? (bad|right)|steps)\b"
    ),
}
"""Words that belong to one perspective, in English."""


def find_swapped_texts(entries: Sequence[LintEntry], limits: LintLimits) -> list[Finding]:
    """Perspectives whose texts talk of each other's subject. Only a swap of most rows shows."""
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
            what = f"{share[speaking, about]:.0%} of its texts speak of {about}, {share[speaking, speaking]:.0%} of {speaking}"
            found.append(Finding("swapped", None, None, speaking.value, what, about.value))
    return found


def hashed_entries(entries: Iterable[LintEntry]) -> list[tuple[LintEntry, PairHashes]]:
    """The triplets whose images were looked at."""
    return [(entry, entry.look) for entry in entries if entry.look is not None]


def is_same_instruction(first: str, second: str) -> bool:
    """Whether two instructions differ in nothing but capitals and spaces."""
    return first.lower().split() == second.lower().split()


def shorten(text: str, length: int = 90) -> str:
    """The text, or its beginning."""
    return text if len(text) <= length else text[: length - 1] + "…"
