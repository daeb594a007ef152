"""The result of an inspection sent to a logger of Lightning."""

from collections.abc import Sequence
from pathlib import Path

from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from src.images import load_image
from src.inspection.page import TripletCard
from src.inspection.summary import RewardSummary
from src.records import PERSPECTIVES


def log_inspection(
    logger: Logger, folder: Path, summary: RewardSummary, cards: Sequence[TripletCard]
) -> None:
    """Send numbers to any logger, figures to those that show them, and the examples as a table to wandb."""
    logger.log_metrics({f"rewards/{name}": value for name, value in summary_numbers(summary).items()}, step=0)
    figures = {path.stem: load_image(path) for path in sorted(folder.glob("*.png"))}
    if isinstance(logger, TensorBoardLogger):
        for name, image in figures.items():
            logger.experiment.add_image(f"rewards/{name}", image, 0, dataformats="HWC")
    elif isinstance(logger, WandbLogger):
        for name, image in figures.items():
            logger.log_image(f"rewards/{name}", [image], step=0)
        titles = [
            "id",
            "instruction",
            *(f"{perspective} {what}" for perspective in PERSPECTIVES for what in ("score", "feedback")),
            "findings",
        ]
        logger.log_table("rewards/examples", titles, [example_row(card) for card in cards], step=0)
    logger.finalize("success")


def summary_numbers(summary: RewardSummary) -> dict[str, float]:
    """Flatten a summary to metric names and numbers."""
    numbers: dict[str, float] = {
        "triplets": summary.triplets,
        "rated": summary.rated,
        "incomplete": summary.incomplete,
    }
    for perspective, part in zip(PERSPECTIVES, summary.perspectives, strict=True):
        more = {"mean": part.mean, "below_5": part.below_5, "nothing": part.nothing, "failed": part.failed}
        numbers |= {f"{perspective}/{name}": value for name, value in more.items() if value is not None}
    numbers |= {f"findings/{kind}": number for kind, number in summary.findings.items()}
    return {name: float(value) for name, value in numbers.items()}


def example_row(card: TripletCard) -> list[str]:
    """Turn an example into a row of a table; scores are texts, as one may have failed."""
    verdicts = [text for verdict in card.verdicts for text in (verdict.score, verdict.feedback)]
    return [
        card.entry.id,
        card.entry.instruction,
        *(verdicts or [""] * (2 * len(PERSPECTIVES))),
        ", ".join(dict.fromkeys(finding.kind for finding in card.findings)),
    ]
