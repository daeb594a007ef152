"""The result of an inspection as a folder: page, figures, numbers and findings."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import final

from src.data.lint import Finding, LintEntry, verdicts_of
from src.files import write_atomically
from src.inspection.clouds import count_words
from src.inspection.curation import CurationSummary, Selected
from src.inspection.figures import draw_clouds, draw_correlations, draw_examples, draw_histograms
from src.inspection.label_precision import TITLES
from src.inspection.page import TripletCard, triplet_card, write_inspection_page
from src.inspection.summary import RewardSummary, choose_examples, findings_by_row
from src.inspection.triplet_source import TripletSource
from src.pages import thumbnail
from src.records import PERSPECTIVES, Image


@final
@dataclass(frozen=True)
class Inspection:
    """The result of an inspection.

    Attributes:
        source: of the triplets, for the images that are shown.
        entries: all triplets.
        findings: of the linter, in order.
        summary: all numbers.
        label_precision: rows of label_precision.py; [] where the truth is unknown.
        selected: lines of a selection; {} where none is shown.
        curation: what it kept and lost.
    """

    source: TripletSource
    entries: Sequence[LintEntry]
    findings: Sequence[Finding]
    summary: RewardSummary
    label_precision: Sequence[tuple[str, Sequence[str]]]
    selected: Selected = field(default_factory=dict)
    curation: CurationSummary | None = None


def write_inspection(
    inspection: Inspection, folder: Path, per_score: int, per_kind: int, font: Path | None
) -> list[TripletCard]:
    """Write everything, the page last.

    Args:
        inspection: the result.
        folder: new, or of an earlier inspection.
        per_score, per_kind: see `choose_examples`.
        font: of the word clouds; None for the default.

    Returns:
        The triplets shown.

    Raises:
        NotWrittenError: the folder can't be written to.
    """
    entries, findings, summary = inspection.entries, inspection.findings, inspection.summary
    chosen = choose_examples(entries, findings, per_score, per_kind, inspection.selected)
    examples = [entries[place] for place in chosen]
    images = {entry.row: thumbnails_of(inspection.source, entry) for entry in examples}
    about = findings_by_row(findings)
    cards = [
        triplet_card(entry, images[entry.row], about.get(entry.row, ()), inspection.selected.get(entry.id))
        for entry in examples
    ]
    words = [count_words(feedback_of_perspective(entries, index), font) for index in range(len(PERSPECTIVES))]
    draw_histograms(summary, folder / "histograms.png")
    clouds = draw_clouds(words, folder / "word_clouds.png", font)
    draw_correlations(summary, folder / "correlations.png")
    for index, perspective in enumerate(PERSPECTIVES):
        figure = folder / f"examples_{perspective}.png"
        if not draw_examples(examples, index, images.__getitem__, figure):
            figure.unlink(missing_ok=True)  # an earlier inspection's
    lines = [
        json.dumps({**asdict(finding), "level": finding.level}, ensure_ascii=False) for finding in findings
    ]
    write_atomically(folder / "findings.jsonl", "".join(f"{line}\n" for line in lines))
    content = asdict(summary)
    if inspection.label_precision:
        content["label_precision"] = {
            name: dict(zip(TITLES, cells, strict=True)) for name, cells in inspection.label_precision
        }
    if inspection.curation is not None:
        content["curation"] = asdict(inspection.curation)
    write_atomically(folder / "summary.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    write_inspection_page(
        folder / "index.html",
        summary,
        cards,
        findings,
        words,
        clouds,
        inspection.label_precision,
        inspection.curation,
    )
    return cards


def feedback_of_perspective(entries: Sequence[LintEntry], index: int) -> list[str]:
    """Collect the feedback of one perspective, without failed verdicts, whose text is no feedback."""
    return [verdict.feedback for _, verdict in verdicts_of(entries, index) if verdict.status != "failed"]


def thumbnails_of(source: TripletSource, entry: LintEntry) -> tuple[Image, Image] | None:
    """Original and edited at the size at which they are shown; None where there are none that can be read."""
    if entry.problem is not None:
        return None
    try:
        pair = source.images(entry.row)
    except (ValueError, FileNotFoundError):
        return (
            None  # with check_images=false this is the first try; the card then says that there is no image
        )
    return None if pair is None else (thumbnail(pair[0]), thumbnail(pair[1]))
