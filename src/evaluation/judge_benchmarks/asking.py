"""A judge of this project asked about the edits of a benchmark: every edit once, its rewards in a reward
file, so that what was answered is never asked again.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from src.evaluation.judge_benchmarks.answers import Answers, completed
from src.evaluation.judge_benchmarks.stored_pictures import SeveralPictures
from src.evaluation.judging import JudgedCase, judge_row
from src.judges.judge import Judge
from src.records import ASPECTS, PERSPECTIVES, Candidate, Case, Image, Reward, StoredImage, Triplet


def ask(
    judge: Judge,
    edits: Sequence[tuple[Case, Candidate]],
    folder: Path,
    batch_size: int,
    retry_failed: bool = False,
) -> Answers:
    """The judge's scores of edits. Those of several originals are left out, which counts as failed.

    Args:
        judge: asked about what the reward file doesn't have.
        edits: see `JudgeBenchmark.edits`.
        folder: of the reward file.
        batch_size: edits per question.
        retry_failed: ask again where it failed before.

    Raises:
        FileNotFoundError: a picture isn't here.
    """
    asked = [(case, edit) for case, edit in edits if not isinstance(case.image, SeveralPictures)]
    triplets = (Triplet(replace(case, id=edit.id), _decoded(edit.picture)) for case, edit in asked)
    judged = judge_row(
        triplets,
        len(asked),
        judge,
        folder / "rewards.jsonl",
        judge.name,
        batch_size,
        retry_failed=retry_failed,
    )
    left = len(edits) - len(asked)
    notes = (f"{left} edits of several originals were not asked about and count as failed",) if left else ()
    return Answers(judge.name, "scores", {case.id: scores_of(case) for case in judged}, notes=notes)


def _decoded(picture: Image | StoredImage) -> Image:
    return picture if isinstance(picture, np.ndarray) else picture.decode()


def scores_of(case: JudgedCase) -> dict[str, float]:
    """A reward as scores by aspect; a reward of which a perspective failed is a failure."""
    reward: Reward | None = case.reward
    if reward is None or reward.failed:
        return dict.fromkeys(ASPECTS, math.nan)
    named = {
        perspective.value: float(verdict.score)
        for perspective, verdict in zip(PERSPECTIVES, reward.verdicts, strict=True)
        if verdict.score is not None
    }
    return completed(named)
