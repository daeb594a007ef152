"""The gallery of a report: one case per edit type, with original, one edit per generation and the ground
truth, and scores under each edit.

The case shown for a type is the one whose edit in the first column (5/5/5 if there is one) has the median
mean score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from src.evaluation.benchmark import Benchmark
from src.evaluation.generation_folder import Generation
from src.images import contact_sheet, save_png
from src.judges.judge import Judge, reward_key
from src.records import Case, Image, Reward
from src.reward_file import read_rewards


@final
@dataclass(frozen=True)
class GalleryColumn:
    """The column of one generation.

    Attributes:
        generation: its edits.
        rewards: of the report's judge, by (id, key).
    """

    generation: Generation
    rewards: Mapping[tuple[str, str], Reward]


def gallery_column(generation: Generation, judge: Judge) -> GalleryColumn:
    """The column of a generation, with its rewards from disk."""
    rewards = read_rewards(generation.folder / judge.name / "rewards.jsonl")
    return GalleryColumn(
        generation, {(reward.id, reward.key): reward for reward in rewards if reward.judge == judge.name}
    )


def write_gallery(
    path: Path,
    cases: Sequence[Case],
    columns: Sequence[GalleryColumn],
    benchmark: Benchmark,
    judge: Judge,
    cell: int = 128,
) -> None:
    """Draw the gallery.

    Args:
        path: the PNG file.
        cases: those of the report.
        columns: from the left; a missing edit leaves its cell empty.
        benchmark: knows the ground truth.
        judge: its fingerprint identifies the reward of an image.
        cell: side of a cell in pixels.
    """
    shown = representative_cases(cases, columns[0] if columns else None)
    exact = [benchmark.ground_truth(case) for case in shown]
    with_exact = any(target is not None for target in exact)
    titles = [
        "original",
        *(column.generation.name for column in columns),
        *(["exact target"] if with_exact else []),
    ]
    images: list[list[Image | None]] = []
    captions: list[list[str]] = []
    for case, target in zip(shown, exact, strict=True):
        edits = [_edit_and_caption(case, column, benchmark, judge) for column in columns]
        images.append([case.original, *(edit for edit, _ in edits), *([target] if with_exact else [])])
        captions.append(["", *(caption for _, caption in edits), *([""] if with_exact else [])])
    row_titles = [f"{case.edit_type}\n{case.instruction}" for case in shown]
    save_png(
        contact_sheet(images, titles, row_titles, captions, cell),
        path,
        {"benchmark": benchmark.name, "judge": judge.name},
    )


def representative_cases(cases: Sequence[Case], column: GalleryColumn | None) -> list[Case]:
    """One case per edit type, in the order of the cases: the one with the median mean score in a column, or
    the first if none was scored.
    """
    means = (
        {}
        if column is None
        else {id: _mean(reward) for (id, _), reward in column.rewards.items() if not reward.failed}
    )
    by_type: dict[str, list[Case]] = {}
    for case in cases:
        by_type.setdefault(case.edit_type, []).append(case)
    chosen = []
    for candidates in by_type.values():
        scored = sorted(
            (case for case in candidates if case.id in means), key=lambda case: (means[case.id], case.id)
        )
        chosen.append(scored[len(scored) // 2] if scored else candidates[0])
    return chosen


def _mean(reward: Reward) -> float:
    scores = [verdict.score for verdict in reward.verdicts if verdict.score is not None]
    return sum(scores) / len(scores)


def _edit_and_caption(
    case: Case, column: GalleryColumn, benchmark: Benchmark, judge: Judge
) -> tuple[Image | None, str]:
    """The edit and its caption, "F 4.0  P 5.0  Q 3.5"."""
    if not column.generation.edit_path(case).exists():
        return None, ""
    (triplet,) = column.generation.judged_triplets([case], benchmark.judged_height)
    edited, reward = triplet.edited, column.rewards.get((case.id, reward_key(triplet, judge.fingerprint)))
    if reward is None:
        return edited, "not judged"
    scores = ("-" if verdict.score is None else f"{verdict.score:.1f}" for verdict in reward.verdicts)
    return edited, "  ".join(f"{letter} {score}" for letter, score in zip("FPQ", scores, strict=True))
