"""Logs an evaluation: numbers of each row, histograms of its scores, the gallery, and on Weights & Biases a
table of edits.

Everything is named `<benchmark>/<judge>/<row>/...`, so that numbers of different benchmarks or judges never
share a chart. Every logger gets the numbers, tensorboard also histograms and gallery, Weights & Biases also
the table and the files with their lineage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import wandb
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from src import checkpoint
from src.evaluation.generation_folder import Generation, folder_name, generations_in
from src.evaluation.report import Report, ReportRow, read_report, row_order
from src.images import load_image
from src.judges.judge import Judge
from src.records import MAX_SCORE, PERSPECTIVES, Case, Image, Reward
from src.reward_file import read_rewards
from src.tracking.wandb_run import Artifact, WandbRun, editor_artifact, report_artifact, rewards_artifact

BINS = 20
"""Bins of a histogram over [0, 5], a quarter of a point each."""

Cell = str | float | Image | None


@final
@dataclass(frozen=True)
class EditedRow:
    """A row of the report whose edits are on disk.

    Attributes:
        row: as in the report.
        generation: its edits.
        rewards: all lines of its reward file by the report's judge, in order; they include the scores of
            `row`.
    """

    row: ReportRow
    generation: Generation
    rewards: Sequence[Reward]

    def feedback(self, id: str, scores: Sequence[float | None]) -> str:
        """The judge's feedback, a line per perspective, from when it gave a case these scores; "" if it is
        not in the reward file.
        """
        for reward in reversed(self.rewards):
            if reward.id == id and [verdict.score for verdict in reward.verdicts] == list(scores):
                return feedback_text(reward)
        return ""


@final
@dataclass(frozen=True)
class EditTable:
    """One line per case.

    Attributes:
        titles: of the columns: id, type, instruction, original, then for each row edit, three scores and
            feedback.
        lines: one cell per title; a missing edit or score is None.
    """

    titles: tuple[str, ...]
    lines: tuple[tuple[Cell, ...], ...]


def report_metrics(report: Report) -> dict[str, float]:
    """All numbers of a report's rows by `<benchmark>/<judge>/<row>/...`: coverage, score and acc per
    perspective, image metrics.
    """
    numbers: dict[str, float] = {}
    for row in report.rows:
        place = f"{metric_prefix(report)}/{folder_name(row.name)}"
        numbers[f"{place}/coverage"] = row.means.coverage
        for perspective, summary in zip(PERSPECTIVES, row.means.summaries, strict=True):
            numbers |= {
                f"{place}/{perspective}/{what}": value
                for what, value in (("score", summary.score), ("acc", summary.acc))
                if value is not None
            }
        numbers |= {f"{place}/{key}": mean for key, mean in image_metric_means(row).items()}
    return numbers


def image_metric_means(row: ReportRow) -> dict[str, float]:
    """Means of the image metrics by name ("magicbrush/clip_i"); empty if none were measured."""
    return {
        key: float(measured.mean) for key, measured in row.image_metrics.items() if measured.mean is not None
    }


def metric_prefix(report: Report) -> str:
    """The prefix of the names of a report's numbers: "synthetic_edit/oracle"."""
    return f"{folder_name(report.benchmark)}/{folder_name(report.judge)}"


def score_histograms(report: Report) -> dict[str, np.ndarray]:
    """The scores of each row's cases in each perspective, (cases with a score,) in [0, 5], by the name of the
    histogram.
    """
    found = {}
    for row in report.rows:
        for index, perspective in enumerate(PERSPECTIVES):
            scores = [case.scores[index] for case in row.cases]
            found[f"{metric_prefix(report)}/{folder_name(row.name)}/{perspective}/scores"] = np.array(
                [each for each in scores if each is not None], float
            )
    return {name: scores for name, scores in found.items() if scores.size}


def cases_to_log(cases: Sequence[Case], most: int) -> list[Case]:
    """At most `most` cases, balanced over edit types, in order.

    Raises:
        ValueError: a negative number.
    """
    if most < 0:
        raise ValueError(f"logged_cases={most}: give 0 or more")
    places: dict[str, list[int]] = {}
    for place, case in enumerate(cases):
        places.setdefault(case.edit_type, []).append(place)
    in_turn = sorted((turn, place) for of_type in places.values() for turn, place in enumerate(of_type))
    return [cases[place] for place in sorted(place for _, place in in_turn[:most])]


def edit_table(cases: Sequence[Case], rows: Sequence[EditedRow]) -> EditTable:
    """The table of the cases with the edits of each row, their scores and feedback."""
    titles = ["id", "type", "instruction", "original"]
    titles += [f"{each.row.name} {what}" for each in rows for what in ("edit", *PERSPECTIVES, "feedback")]
    by_id = [{case.id: case.scores for case in each.row.cases} for each in rows]
    lines = []
    for case in cases:
        cells: list[Cell] = [case.id, case.edit_type, case.instruction, case.original]
        for each, known in zip(rows, by_id, strict=True):
            path = each.generation.edit_path(case)
            scores = known.get(case.id, (None, None, None))
            cells += [load_image(path) if path.exists() else None, *scores, each.feedback(case.id, scores)]
        lines.append(tuple(cells))
    return EditTable(tuple(titles), tuple(lines))


def feedback_text(reward: Reward) -> str:
    """A judge's feedback, a line per perspective, with failed verdicts marked."""
    said = [
        f"{perspective}: {'(failed) ' if verdict.status == 'failed' else ''}{verdict.feedback}"
        for perspective, verdict in zip(PERSPECTIVES, reward.verdicts, strict=True)
    ]
    return "\n".join(said)


def edited_rows(folder: Path, report: Report, judge: Judge) -> list[EditedRow]:
    """The rows of a report whose edits are in the benchmark's folder, in the order of the report."""
    rows = {row.name: row for row in report.rows}
    found = []
    for generation in generations_in(folder):
        if generation.name in rows:
            rewards = read_rewards(generation.folder / judge.name / "rewards.jsonl")
            found.append(
                EditedRow(
                    rows[generation.name],
                    generation,
                    [reward for reward in rewards if reward.judge == judge.name],
                )
            )
    return sorted(found, key=lambda each: row_order(each.row.name))


def evaluated_editor(path: Path) -> Artifact:
    """The artifact of a checkpoint's editor: the run's export if it has the same weights, since the training
    logged that.
    """
    content_hash = checkpoint.content_hash(path)
    export = path.resolve().parent.parent / "editor"
    if (
        path.is_file()
        and (export / "config.yaml").is_file()
        and checkpoint.content_hash(export) == content_hash
    ):
        return editor_artifact(export, content_hash)
    return editor_artifact(path, content_hash)


def log_evaluation(
    logger: Logger,
    folder: Path,
    judge: Judge,
    cases: Sequence[Case],
    most: int,
    editor: Path | None,
    settings: Mapping[str, Any],
) -> None:
    """Log a reported evaluation and finish the logger's run.

    Args:
        logger: csv, tensorboard or Weights & Biases.
        folder: of the benchmark, with the edits; its judge's folder has report and gallery.
        judge: of the report.
        cases: those of the report.
        most: number of cases in the table of edits.
        editor: the checkpoint that made the edits; None if they were made elsewhere.
        settings: shown with the run.

    Raises:
        ValueError: a negative number of cases, or an unreadable report.
    """
    where = folder / judge.name
    report = read_report(where / "report.json")
    numbers, histograms, gallery = (
        report_metrics(report),
        score_histograms(report),
        load_image(where / "gallery.png"),
    )
    place = metric_prefix(report)
    if isinstance(logger, WandbRun):
        rows = edited_rows(folder, report, judge)
        logger.log_hyperparams(dict(settings))
        shown: dict[str, Any] = {f"{place}/gallery": wandb.Image(gallery)}
        shown |= {
            name: wandb.Histogram(np_histogram=np.histogram(scores, BINS, (0, MAX_SCORE)))
            for name, scores in histograms.items()
        }
        if most:
            shown[f"{place}/edits"] = _wandb_table(edit_table(cases_to_log(cases, most), rows))
        logger.log_metrics(numbers | shown, step=0)
        if logger.artifacts != "none":
            _log_lineage(logger, folder, judge, report, rows, editor)
        logger.finalize("success")
        return
    logger.log_metrics(numbers, step=0)
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_image(f"{place}/gallery", gallery, 0, dataformats="HWC")
        for name, scores in histograms.items():
            logger.experiment.add_histogram(
                name, scores, 0, bins=np.linspace(0, MAX_SCORE, BINS + 1).tolist()
            )
    logger.finalize("success")


def _log_lineage(
    logger: WandbRun,
    folder: Path,
    judge: Judge,
    report: Report,
    rows: Sequence[EditedRow],
    editor: Path | None,
) -> None:
    """Log the editor as an input, and the reward files of all rows and the report as outputs."""
    if editor is not None:
        logger.use_files(evaluated_editor(editor))
    files = {each.row.name: each.generation.folder / judge.name / "rewards.jsonl" for each in rows}
    for name, file in files.items():
        if file.exists():
            logger.log_files(
                rewards_artifact(file, {"benchmark": report.benchmark, "judge": report.judge, "row": name})
            )
    logger.log_files(report_artifact(folder / judge.name, report.benchmark, report.judge))


def _wandb_table(table: EditTable) -> wandb.Table:
    lines: list[Any] = [
        [wandb.Image(cell) if isinstance(cell, np.ndarray) else cell for cell in line] for line in table.lines
    ]
    return wandb.Table(columns=list(table.titles), data=lines)
