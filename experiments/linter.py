"""Measures how many planted faults the linter of reward data finds in synthetic triplets with the noisy
annotator, and how many false alarms it raises.

    python experiments/linter.py 20000 experiments/results/linter.md   # half an hour on one core
    python experiments/linter.py 2000 experiments/results/linter.md    # 3 minutes

Each kind of fault is planted in separate rows. An alarm on an untouched row may be right, because the
annotator errs by itself: the oracle, which measures the image, decides. "None" at a score of 0 or 1 is a
mistake where the oracle gives less than 3 (too bad to overlook), a failure named at 5 where it gives less
than 4.5 (the 5 is wrong). Any other alarm is false.
"""

import io
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import numpy as np
import PIL.Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from src.data.feedback_sentiment import Polarity, polarity_of
from src.data.lint import KINDS, Finding, KnownImage, LintEntry, hash_pair, lint
from src.data.perceptual_hash import perceptual_hash
from src.files import write_atomically
from src.progress import with_progress
from src.records import NO_FAILURE, PERSPECTIVES, Image, Reward, Scores, Verdict
from src.synthetic.annotation import FORGIVABLE
from src.synthetic.measure import measure
from src.synthetic.world import World

CLEAN = 4.5
SHARE = 0.01
"""Share of the rows that each kind of fault is planted in."""

PHRASE = "the picture has flaws"
"""A text that a lazy judge repeats."""
NOTHING = ("None", "none.", "No issues found", "N/A", "Nothing failed.", "no visible problems")
PRAISE = (
    "The instruction was followed perfectly.",
    "Excellent edit, exactly what was asked for",
    "All details are well preserved",
    "The picture is sharp and clear, without any artifacts",
    "Very good quality",
    "Well done!",
    "The background was kept perfectly, no unintended changes",
    "High-quality result with no visible distortions",
    "The hat was added successfully and looks realistic and clean",
    "Accurately carried out",
)
"""Praise as judges word it; written for this test, so other wordings may be missed."""


@dataclass(frozen=True)
class FaultLine:
    """One line of the result table.

    Attributes:
        kind: of fault, with the way of planting if there are several.
        planted, found: numbers of rows; found means as this kind.
        alarms: untouched rows with this finding; None if counted in the line above.
        false: alarms that the oracle does not confirm.
    """

    kind: str
    planted: int
    found: int
    alarms: int | None
    false: int | None


@dataclass(frozen=True, eq=False)
class LinterData:
    """Triplets of the synthetic world before planting.

    Attributes:
        world: that they belong to.
        entries: with the annotator's rewards.
        truth: the oracle's scores.
    """

    world: World
    entries: list[LintEntry]
    truth: list[Scores]


def sample_triplets(world: World, count: int) -> LinterData:
    """Samples `count` training triplets."""
    entries, truth = [], []
    for portion in with_progress(
        [range(start, min(start + 64, count)) for start in range(0, count, 64)], count, "making", "triplets"
    ):
        for index in portion:
            triplet, reward = world.rewarded_triplet("train", 0, index)
            entries.append(
                LintEntry(
                    index,
                    triplet.case.id,
                    triplet.case.instruction,
                    reward,
                    hashes=hash_pair(triplet.case.original, triplet.edited),
                )
            )
            truth.append(measure(world.ground_truth(triplet.case.id), triplet.edited).scores)
    return LinterData(world, entries, truth)


def verdict_of(entry: LintEntry, index: int) -> Verdict:
    """The verdict of a rated entry in one perspective."""
    assert entry.reward is not None
    return entry.reward.verdicts[index]


def with_verdict(entry: LintEntry, index: int, verdict: Verdict) -> LintEntry:
    """The entry with another verdict in one perspective."""
    assert entry.reward is not None
    return replace(entry, reward=replace(entry.reward, **{PERSPECTIVES[index].value: verdict}))


def jpeg(image: Image, quality: int = 75) -> Image:
    """The image after JPEG compression."""
    content = io.BytesIO()
    PIL.Image.fromarray(image).save(content, format="JPEG", quality=quality)
    return np.asarray(PIL.Image.open(content).convert("RGB"))


def resized(image: Image, factor: float) -> Image:
    """The image scaled by a factor."""
    height, width = image.shape[:2]
    return np.asarray(
        PIL.Image.fromarray(image).resize(
            (round(width * factor), round(height * factor)), PIL.Image.Resampling.LANCZOS
        )
    )


def cropped(image: Image, share: float = 0.9) -> Image:
    """The centre of an image."""
    height, width = image.shape[:2]
    top, left = (round(side * (1 - share) / 2) for side in (height, width))
    return image[top : height - top, left : width - left]


DISTURBANCES: dict[str, Callable[[Image], Image]] = {
    "JPEG 75": jpeg,
    "half the size": lambda image: resized(image, 0.5),
    "1.5 times the size, JPEG 90": lambda image: jpeg(resized(image, 1.5), 90),
}


def plant_faults(
    data: LinterData, rng: Random
) -> tuple[list[LintEntry], dict[str, set[int]], list[KnownImage]]:
    """Plants faults: the new entries, the rows of each fault, and the benchmark images that some of them
    leak.
    """
    entries, rows = list(data.entries), dict[str, set[int]]()
    each = max(6, round(SHARE * len(entries)))
    free = list(range(len(entries)))
    rng.shuffle(free)

    def take(
        kind: str, fits: Callable[[LintEntry], bool] = lambda entry: True, many: int = each
    ) -> list[int]:
        chosen = [row for row in free if fits(entries[row])][:many]
        free[:] = [row for row in free if row not in set(chosen)]
        rows[kind] = set(chosen)
        return chosen

    for row in take("silent_low"):
        entries[row] = with_verdict(
            entries[row], rng.randrange(3), Verdict(float(rng.randrange(2)), None, rng.choice(NOTHING))
        )
    for index, perspective in enumerate(PERSPECTIVES):

        def failing(entry: LintEntry, index: int = index) -> bool:
            verdict = entry.reward.verdicts[index] if entry.reward else Verdict(5.0)
            return (
                polarity_of(verdict.feedback) is Polarity.FAILURE
                and verdict.score is not None
                and verdict.score <= 3
            )

        for row in take(f"failure_at_5, {perspective}", failing, each // 3):
            entries[row] = with_verdict(
                entries[row], index, replace(verdict_of(entries[row], index), score=5.0)
            )
    for row in take("praise_low"):
        entries[row] = with_verdict(
            entries[row], rng.randrange(3), Verdict(float(rng.randrange(2)), None, rng.choice(PRAISE))
        )
    for row in take("success_contradicts"):
        best = rng.random() < 0.5
        verdict = (
            Verdict(5.0, False, NO_FAILURE)
            if best
            else Verdict(float(rng.randrange(2)), True, "this is not the right edit")
        )
        entries[row] = with_verdict(entries[row], rng.randrange(3), verdict)
    for name, disturb in {
        "": lambda image: image,
        ", edited image through JPEG 85": lambda image: jpeg(image, 85),
    }.items():
        for row in take(f"unedited{name}", many=each // 2):
            original = data.world.triplet("train", 0, row).case.original
            high = with_verdict(entries[row], 0, Verdict(float(rng.randrange(4, 6)), None, NO_FAILURE))
            entries[row] = replace(high, hashes=hash_pair(original, disturb(original)))

    def earlier(row: int) -> int:
        """An earlier row that stays unchanged, so that the later one is the repeat; any row for the first
        one.
        """
        twin = next((other for other in free if other < row), free[0])
        free.remove(twin)
        return twin

    for row in take("duplicate"):
        twin = entries[earlier(row)]
        entries[row] = replace(
            entries[row],
            hashes=twin.hashes,
            reward=twin.reward,
            instruction=rng.choice((twin.instruction, entries[row].instruction)),
        )
    for name, disturb in DISTURBANCES.items():
        for row in take(f"near_duplicate, {name}", many=each // 3):
            twin = earlier(row)
            triplet = data.world.triplet("train", 0, twin)
            hashes = hash_pair(disturb(triplet.case.original), disturb(triplet.edited))
            entries[row] = replace(entries[row], hashes=hashes, instruction=triplet.case.instruction)
    for row in take("judged_twice"):
        index = rng.randrange(3)
        score = verdict_of(entries[row], index).score
        assert score is not None
        other = rng.choice(
            [value for value in range(6) if abs(value - score) >= 3] or [0 if score > 2 else 5]
        )
        rival = with_verdict(entries[row], index, Verdict(float(other))).reward
        assert rival is not None
        entries[row] = replace(entries[row], others=(replace(rival, key="another"),))
    # leak originals and exact edits of a benchmark into the data
    cases = data.world.benchmark_cases()
    known = {}
    for case in cases:
        for name, image in (
            (case.id, case.original),
            (f"{case.id} (right answer)", data.world.exact_edit(case.id)),
        ):
            print_ = perceptual_hash(image)
            known.setdefault(print_.digest, KnownImage(name, "the benchmark", print_))
    for name, disturb in {
        "": lambda image: image,
        **{f", {name}": each for name, each in DISTURBANCES.items()},
        ", cropped to 90 %": cropped,
    }.items():
        for row in take(f"leak{name}", many=each // 4):
            case = rng.choice(cases)
            image = disturb(case.original if rng.random() < 0.5 else data.world.exact_edit(case.id))
            edited = data.world.triplet("train", 0, row).edited
            pair = (image, edited) if rng.random() < 0.5 else (edited, image)
            entries[row] = replace(entries[row], hashes=hash_pair(*pair))
    return entries, rows, list(known.values())


def is_confirmed(finding: Finding, data: LinterData) -> bool:
    """Whether the oracle confirms an alarm on an untouched row."""
    assert finding.row is not None
    if finding.perspective is None:
        return False
    score = data.truth[finding.row][
        [perspective.value for perspective in PERSPECTIVES].index(finding.perspective)
    ]
    return (finding.kind == "silent_low" and score < FORGIVABLE) or (
        finding.kind in ("failure_at_5", "mild_at_5") and score < CLEAN
    )


def row_fault_lines(data: LinterData, ignored: Sequence[str] = (), seed: int = 0) -> list[FaultLine]:
    """Faults in single rows: planted, found, false alarms. `ignored` kinds are not counted."""
    entries, rows, known = plant_faults(data, Random(seed))
    findings = [finding for finding in lint(entries, known) if finding.kind not in ignored]
    touched = set().union(*rows.values())
    found: list[FaultLine] = []
    for kind in KINDS:
        alike = ("failure_at_5", "mild_at_5") if kind == "failure_at_5" else (kind,)
        flagged = {finding.row for finding in findings if finding.kind in alike}
        alarms = [
            finding
            for finding in findings
            if finding.kind == kind and finding.row is not None and finding.row not in touched
        ]
        false = {finding.row for finding in alarms if not is_confirmed(finding, data)}
        names = [name for name in rows if name.split(",")[0] == kind] or ([kind] if alarms else [])
        for number, name in enumerate(names):
            first, there = number == 0, rows.get(name, set())
            alarmed = len({finding.row for finding in alarms})
            found.append(
                FaultLine(
                    name,
                    len(there),
                    len(there & flagged),
                    alarmed if first else None,
                    len(false) if first else None,
                )
            )
    return found


def habit_lines(data: LinterData, part: int = 1000) -> list[FaultLine]:
    """Faults of a judge as a whole, each planted in every part of the data; alarms on the unchanged parts are
    false.
    """
    parts = [
        data.entries[start : start + part] for start in range(0, len(data.entries) - part + 1, part)
    ] or [data.entries]

    def in_every_part(change: Callable[[Reward, int], Reward]) -> list[list[LintEntry]]:
        return [
            [
                replace(entry, reward=change(entry.reward, place))
                for place, entry in enumerate(entries)
                if entry.reward
            ]
            for entries in parts
        ]

    def swapped(first: int, second: int) -> Callable[[Reward, int], Reward]:
        def swap(reward: Reward, place: int) -> Reward:
            one, other = PERSPECTIVES[first].value, PERSPECTIVES[second].value
            return replace(reward, **{one: reward.verdicts[second], other: reward.verdicts[first]})

        return swap

    failed = Verdict(None, None, "the reply was not JSON", "failed")
    plants = {
        "constant": in_every_part(
            lambda reward, place: replace(reward, quality=replace(reward.quality, score=4.0))
        ),
        "copied": in_every_part(
            lambda reward, place: replace(reward, preserving=reward.following, quality=reward.following)
        ),
        "failed": in_every_part(
            lambda reward, place: replace(reward, preserving=failed) if place % 10 == 0 else reward
        ),
        "repeated_text": in_every_part(
            lambda reward, place: (
                replace(reward, quality=replace(reward.quality, feedback=PHRASE)) if place % 3 else reward
            )
        ),
        "swapped, following and preserving": in_every_part(swapped(0, 1)),
        "swapped, following and quality": in_every_part(swapped(0, 2)),
        "swapped, preserving and quality": in_every_part(swapped(1, 2)),
    }
    clean = Counter(
        kind
        for entries in parts
        for kind in {finding.kind for finding in lint(entries) if finding.row is None}
    )
    found = []
    for name, changed in plants.items():
        kind = name.split(",")[0]
        hits = sum(
            any(finding.kind == kind and finding.row is None for finding in lint(entries))
            for entries in changed
        )
        found.append(FaultLine(name, len(changed), hits, clean[kind], clean[kind]))
    return found


def operating_point(found: Sequence[FaultLine], untouched: int) -> str:
    """Table cells over all kinds: recall without and with crops, false alarms."""

    def recall(counted: Sequence[FaultLine]) -> str:
        hits, plants = (sum(getattr(line, name) for line in counted) for name in ("found", "planted"))
        return f"{100 * hits / plants:.1f} % of {plants}"

    false = sum(line.false or 0 for line in found)
    return (
        f"{recall([line for line in found if 'cropped' not in line.kind])} | {recall(found)} | {false}"
        f" ({100 * false / untouched:.2f} %)"
    )


def markdown(found: Sequence[FaultLine], untouched: int) -> list[str]:
    """The lines as a table; shares refer to the untouched rows, or parts."""
    rows = [
        "| planted fault | level | planted | found | recall | alarms on untouched | of these false |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for line in found:
        shares = [
            "" if number is None else f"{number} ({100 * number / untouched:.2f} %)"
            for number in (line.alarms, line.false)
        ]
        recall = f"{100 * line.found / line.planted:.1f} %" if line.planted else ""
        level = KINDS[line.kind.split(",")[0]].level
        rows.append(
            f"| {line.kind} | {level} | {line.planted} | {line.found} | {recall} | {shares[0]} |"
            f" {shares[1]} |"
        )
    return rows


def main(count: int, target: Path, size: int = 128) -> None:
    """Measures and writes the page."""
    start = time.monotonic()
    data = sample_triplets(World(size), count)
    single, habits = row_fault_lines(data), habit_lines(data)
    untouched = count - sum(line.planted for line in single)
    alarms = sum(line.alarms or 0 for line in single)
    text = [
        "# What the linter of reward data finds",
        "",
        (
            f"`python experiments/linter.py {count} {target}`: {count:,} triplets of the synthetic world"
            f" ({size} px) with the noisy annotator, {time.monotonic() - start:.0f} s."
        ),
        "",
        (
            "Faults in single rows, all kinds together, with and without the hint `mild_at_5`, which is"
            " neither a find nor an alarm in the second line:"
        ),
        "",
        (
            "| findings that count | planted faults found | with crops, which the linter does not claim to"
            " find | false alarms on untouched triplets |"
        ),
        "| --- | --- | --- | --- |",
        f"| all | {operating_point(single, untouched)} |",
        (
            "| without `mild_at_5` |"
            f" {operating_point(row_fault_lines(data, ignored=('mild_at_5',)), untouched)} |"
        ),
        "",
        f"Alarms on untouched triplets are more ({100 * alarms / untouched:.1f} %): the annotator errs by "
        "itself, and the oracle, which measures the images, decides which alarms are right: "
        f'"None" at 0 or 1 where it gives less than {FORGIVABLE:g}, a failure named at 5 where it gives less'
        f" than {CLEAN:g}. "
        "A mild flaw in preserving is often worth a 5 to this annotator, so a failure named there is only a"
        " hint (`mild_at_5`). "
        "The texts that praise, and those that say that nothing failed, were written for this test: other"
        " wordings may be missed.",
        "",
        *markdown(single, untouched),
        "",
        (
            f"Faults of a judge as a whole, in parts of {min(1000, count):,} rows (planted: in every part;"
            " alarms: on the parts as they are):"
        ),
        "",
        *markdown(habits, habits[0].planted),
    ]
    write_atomically(target, "\n".join(text) + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
