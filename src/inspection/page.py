"""One self-contained HTML page about reward data, with thumbnails of the triplets it shows; it loads nothing.

The template engine escapes everything that comes from the data, and a content security policy forbids the
page to load anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from src.data.feedback_sentiment import Polarity, polarity_of
from src.data.lint import KINDS, Finding, LintEntry
from src.data.only import SelectedLine
from src.files import write_atomically
from src.inspection.clouds import WordCounts
from src.inspection.curation import CurationSummary
from src.inspection.figures import COLOURS
from src.inspection.summary import SCORES, RewardSummary
from src.pages import SMALL, template_environment, webp_data_uri
from src.records import NO_FAILURE, PERSPECTIVES, Image

TEMPLATE = "page.html"
LONGEST_ID = 48

MOST_FINDINGS = 200
"""Findings listed of each kind; findings.jsonl has all."""


@final
@dataclass(frozen=True)
class CardVerdict:
    """One perspective of a card.

    Attributes:
        perspective, status, feedback: as in the reward.
        score: "4", "3.5"; "-" if it failed.
        place: the nearest whole score, or "failed"; the page filters by it.
        nothing: whether the text says that nothing failed.
        success: "yes", "no" or "".
    """

    perspective: str
    score: str
    place: str
    status: str
    feedback: str
    nothing: bool
    success: str


@final
@dataclass(frozen=True)
class TripletCard:
    """One triplet on the page.

    Attributes:
        entry: the triplet.
        images: original and edited as data URIs; None where there are none.
        verdicts: in the order of PERSPECTIVES; empty for one without a reward.
        findings: about it.
        selected: what a selection says of it; None where it says nothing.
        small: whether its images are so small that their pixels are shown as squares.
    """

    entry: LintEntry
    images: tuple[str, str] | None
    verdicts: Sequence[CardVerdict]
    findings: Sequence[Finding]
    selected: SelectedLine | None = None
    small: bool = False

    @property
    def status(self) -> str:
        """Status of the reward: failed or repaired if any verdict is, unrated if there is none."""
        statuses = {verdict.status for verdict in self.verdicts}
        return next((status for status in ("failed", "repaired", "ok") if status in statuses), "unrated")


def triplet_card(
    entry: LintEntry,
    images: tuple[Image, Image] | None,
    findings: Sequence[Finding],
    selected: SelectedLine | None = None,
) -> TripletCard:
    """Describe a triplet for the page."""
    verdicts = (
        []
        if entry.reward is None
        else [
            CardVerdict(
                perspective.value,
                "-" if verdict.score is None else f"{verdict.score:g}",
                "failed" if verdict.score is None else str(int(verdict.score + 0.5)),
                verdict.status,
                "no reason given"
                if verdict.status == "failed" and verdict.feedback == NO_FAILURE
                else verdict.feedback,
                verdict.status != "failed" and polarity_of(verdict.feedback) is Polarity.NOTHING,
                {True: "yes", False: "no", None: ""}[verdict.success],
            )
            for perspective, verdict in zip(PERSPECTIVES, entry.reward.verdicts, strict=True)
        ]
    )
    shown = None if images is None else (webp_data_uri(images[0]), webp_data_uri(images[1]))
    is_small = images is not None and max(images[0].shape[:2]) <= SMALL
    return TripletCard(entry, shown, verdicts, findings, selected, is_small)


def write_inspection_page(
    path: Path,
    summary: RewardSummary,
    cards: Sequence[TripletCard],
    findings: Sequence[Finding],
    words: Sequence[WordCounts],
    clouds: Sequence[Image | None],
    label_precision: Sequence[tuple[str, Sequence[str]]] = (),
    curation: CurationSummary | None = None,
) -> None:
    """Write the page.

    Args:
        path: index.html.
        summary: all numbers.
        cards: the triplets shown.
        findings: of the linter, in order.
        words: of each perspective's feedback.
        clouds: their word clouds, None where there is no word.
        label_precision: rows of label_precision.py; () where the truth is unknown.
        curation: what a selection kept and lost; None where none is shown.

    Raises:
        NotWrittenError: the file can't be written.
    """
    templates = template_environment(Path(__file__).parent)
    templates.filters |= {
        "percent": format_percent,
        "number": format_mean,
        "amount": format_amount,
        "brief": shorten_id,
    }
    listed: dict[str, list[Finding]] = {}
    for finding in findings:
        listed.setdefault(finding.kind, []).append(finding)
    text = templates.get_template(TEMPLATE).render(
        summary=summary,
        perspectives=list(
            zip([perspective.value for perspective in PERSPECTIVES], summary.perspectives, strict=True)
        ),
        colours={perspective.value: colour for perspective, colour in COLOURS.items()},
        scores=SCORES,
        polarities=[polarity.value for polarity in Polarity],
        nothing=Polarity.NOTHING.value,
        failure=Polarity.FAILURE.value,
        kinds=KINDS,
        findings={kind: found[:MOST_FINDINGS] for kind, found in listed.items()},
        cards=cards,
        shown={card.entry.row for card in cards},
        clouds=[None if image is None else webp_data_uri(image) for image in clouds],
        words=[undrawable_note(counted.undrawable) for counted in words],
        label_precision=label_precision,
        curation=curation,
    )
    write_atomically(path, text)


def undrawable_note(counts: Mapping[str, int]) -> str:
    """Say which words the font can't draw; "" if it can draw all."""
    if not counts:
        return ""
    often = sorted(counts, key=lambda word: (-counts[word], word))[:5]
    subject = "1 word has" if len(counts) == 1 else f"{len(counts)} words have"
    more = ", …" if len(counts) > 5 else ""
    return f"{subject} letters that the font lacks, not drawn ({', '.join(often)}{more}): font=PATH"


def format_percent(share: float | None) -> str:
    """Format a share as "63.3 %"; "-" for None."""
    return "-" if share is None else f"{100 * share:.1f} %"


def format_mean(value: float | None) -> str:
    """Format a mean as "4.50"; "-" for None."""
    return "-" if value is None else f"{value:.2f}"


def format_amount(value: float) -> str:
    """Format an amount as "132,655", "163.4" or "0.0061"."""
    if float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"


def shorten_id(id: str) -> str:
    """Shorten an id to fit a line: beginning and end of a content hash."""
    return id if len(id) <= LONGEST_ID else f"{id[:12]}…{id[-6:]}"
