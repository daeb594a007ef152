"""The data of a report page: texts, scores and size-limited images of every case, as one tree for JSON.

Scores come from the report; feedback and success from the reward files, namely from the reward with the
report's scores.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from src.batching import batches_of
from src.data.kept_cases import FOLDER, KeptCase, kept_cases
from src.evaluation.comparison import CaseScores
from src.evaluation.generation_folder import Generation, generations_in
from src.evaluation.report import row_order
from src.images import load_image
from src.pages import encode_webp, thumbnail
from src.progress import with_progress
from src.records import NO_FAILURE, Image, Reward
from src.reward_file import read_rewards
from src.tabulation.runs import RunReport

SIZES = ((256, 80), (192, 75), (160, 70), (128, 65), (96, 60), (64, 50))
"""Longer side and quality of a thumbnail, tried in this order until it is small enough."""

INSIDE = 0.72
"""Share of a page's bytes for images before base64 turns 3 bytes into 4; the rest is for text."""


@final
@dataclass(frozen=True)
class EditColumn:
    """One generation on the page.

    Attributes:
        name: on the page.
        generation: its edits.
        scores: of the report, by case id.
        rewards: of the reward file, by case id, the latest last.
    """

    name: str
    generation: Generation
    scores: Mapping[str, CaseScores]
    rewards: Mapping[str, Sequence[Reward]]


@final
@dataclass
class ThumbnailStore:
    """The images of a page, each once.

    Attributes:
        most: bytes that an image may have.
        contents: in base64, in the order in which they were added.
    """

    most: int
    contents: list[str] = field(default_factory=list)
    places: dict[bytes, int] = field(default_factory=dict)

    def add(self, image: Image) -> int:
        """Add an image, small enough; return its index in `contents`."""
        digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
        if digest not in self.places:
            self.places[digest] = len(self.contents)
            self.contents.append(b64encode(fit_webp(image, self.most)).decode())
        return self.places[digest]


def fit_webp(image: Image, most: int) -> bytes:
    """Encode an image as WebP in at most `most` bytes, or else at the smallest of SIZES."""
    content = encode_webp(thumbnail(image))
    for side, quality in SIZES:
        if len(content) <= most:
            break
        content = encode_webp(thumbnail(image, side), quality, exact=False)
    return content


def run_names(reports: Sequence[RunReport]) -> list[str]:
    """Name the run of each report by its path below the common folder; "" for a single one."""
    if len(reports) == 1:
        return [""]
    parts = [run_report.run.resolve().parts for run_report in reports]
    common = 0
    while all(len(path) > common + 1 for path in parts) and len({path[common] for path in parts}) == 1:
        common += 1
    return ["/".join(path[common:]) for path in parts]


def full_name(run: str, row: str) -> str:
    """A row's name on a page of several runs."""
    return f"{run} · {row}" if run else row


def edit_columns(reports: Sequence[RunReport], names: Sequence[str] | None) -> list[EditColumn]:
    """List the generations with edits, run by run.

    Args:
        reports: on one benchmark by one judge.
        names: rows to show, in this order; None for all.

    Raises:
        ValueError: a name that no row with edits has.
    """
    found = []
    for run_report, run in zip(reports, run_names(reports), strict=True):
        rows = {row.name: row for row in run_report.report.rows}
        generations = [
            made
            for made in generations_in(run_report.folder.parent)
            if made.name in rows and rows[made.name].made_by
        ]
        for made in sorted(generations, key=lambda made: row_order(made.name)):
            scores = {case.id: case for case in rows[made.name].cases}
            found.append(
                EditColumn(
                    full_name(run, made.name),
                    made,
                    scores,
                    _rewards(made.folder / run_report.report.judge, run_report.report.judge),
                )
            )
    if names is None:
        return found
    for name in names:
        if not any(name in (column.name, column.generation.name) for column in found):
            raise ValueError(
                f"gallery={list(names)}: no row {name!r} with edits; "
                f"there are {', '.join(column.name for column in found)}"
            )
    return [column for name in names for column in found if name in (column.name, column.generation.name)]


def _rewards(folder: Path, judge: str) -> dict[str, list[Reward]]:
    found: dict[str, list[Reward]] = {}
    for reward in read_rewards(folder / "rewards.jsonl"):
        if reward.judge == judge:
            found.setdefault(reward.id, []).append(reward)
    return found


def all_cases(reports: Sequence[RunReport]) -> list[tuple[KeptCase, Path]]:
    """List the cases of all runs that some model was scored on, each once, with the folder of its images."""
    scored = {
        case.id
        for run_report in reports
        for row in run_report.report.rows
        if row.made_by
        for case in row.cases
    }
    found: dict[str, tuple[KeptCase, Path]] = {}
    for run_report in reports:
        for case in kept_cases(run_report.folder.parent):
            if case.id in scored:
                found.setdefault(case.id, (case, run_report.folder.parent / FOLDER))
    return list(found.values())


def page_data(
    cases: Sequence[tuple[KeptCase, Path]], columns: Sequence[EditColumn], megabytes: float
) -> tuple[dict[str, Any], list[str]]:
    """Build the data of the page's script: a tree in which images are numbers, and the images as WebP in
    base64.

    Args:
        cases: with their folders, see `all_cases`.
        columns: see `edit_columns`.
        megabytes: size limit of all images together.

    Raises:
        ValueError: no room for anything.
    """
    if megabytes <= 0:
        raise ValueError(f"page_megabytes={megabytes:g}: a page with images needs some room, 40 for instance")
    number = len(cases) * (2 + len(columns))
    images = ThumbnailStore(int(INSIDE * megabytes * 2**20 / max(1, number)))
    listed: list[dict[str, Any]] = []
    for batch in with_progress(batches_of(cases, 16), len(cases), "page", "cases"):
        listed += [_case(case, folder, columns, images) for case, folder in batch]
    return {"columns": [column.name for column in columns], "cases": listed}, images.contents


def _case(
    case: KeptCase, folder: Path, columns: Sequence[EditColumn], images: ThumbnailStore
) -> dict[str, Any]:
    return {
        "id": case.id,
        "type": case.edit_type,
        "photograph": case.photograph,
        "instruction": case.instruction,
        "original": images.add(load_image(folder / case.original)),
        "target": None if case.target is None else images.add(load_image(folder / case.target)),
        "edits": [_edit(case, column, images) for column in columns],
    }


def _edit(case: KeptCase, column: EditColumn, images: ThumbnailStore) -> dict[str, Any]:
    """Describe an edit: its image (null if it is gone), and score, success and feedback by perspective."""
    path = column.generation.edits / f"{case.id}.png"
    scores = column.scores[case.id].scores if case.id in column.scores else (None, None, None)
    reward = next(_matching(scores, column.rewards.get(case.id, ())), None)
    return {
        "image": images.add(load_image(path)) if path.is_file() else None,
        "scores": [None if score is None else round(score, 3) for score in scores],
        "success": [None] * 3 if reward is None else [verdict.success for verdict in reward.verdicts],
        "feedback": [""] * 3
        if reward is None
        else ["" if verdict.feedback == NO_FAILURE else verdict.feedback for verdict in reward.verdicts],
        "failed": reward is None or reward.failed,
    }


def _matching(scores: Sequence[float | None], rewards: Sequence[Reward]) -> Iterator[Reward]:
    """Iterate over the rewards with these scores, the latest first."""
    return (
        reward
        for reward in reversed(rewards)
        if all(verdict.score == score for verdict, score in zip(reward.verdicts, scores, strict=True))
    )
