"""The result of an inspection as tables in a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from src.data.lint import KINDS
from src.inspection.label_precision import TITLES
from src.inspection.summary import SCORES, RewardSummary
from src.records import PERSPECTIVES


def print_tables(
    summary: RewardSummary, label_precision: Sequence[tuple[str, Sequence[str]]], clean: float
) -> None:
    """Print scores, the precision of labels and findings."""
    console = Console(width=120)
    console.print(counts_table(summary))
    if label_precision:
        title = f"Share of clean triplets (oracle at least {clean:g}) among those labelled good"
        console.print(rich_table(title, ["perspective", *TITLES], label_precision))
    if summary.findings:
        rows = [
            (kind, [KINDS[kind].level, str(number), KINDS[kind].title])
            for kind, number in summary.findings.items()
        ]
        console.print(rich_table("Findings", ["kind", "level", "number", "what"], rows, left=(0, 1, 3)))
    else:
        console.print("no findings")


def counts_table(summary: RewardSummary) -> Table:
    """Tabulate per perspective: how often each score was given, the mean, the shares below 5 and with a text
    that says that nothing failed, and the number of failed verdicts.
    """
    rows = []
    for perspective, part in zip(PERSPECTIVES, summary.perspectives, strict=True):
        mean = "-" if part.mean is None else f"{part.mean:.2f}"
        shares = ["-" if share is None else f"{100 * share:.1f} %" for share in (part.below_5, part.nothing)]
        rows.append((perspective.value, [*map(str, part.counts), mean, *shares, str(part.failed)]))
    titles = ["perspective", *map(str, SCORES), "mean", "below 5", '"None"', "failed"]
    judge = summary.judge or "no judge"
    title = f"{summary.rated} complete rewards of {summary.triplets} triplets, by {judge}"
    return rich_table(title, titles, rows)


def rich_table(
    title: str, titles: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], left: Sequence[int] = (0,)
) -> Table:
    """Build a table whose first column holds names; other columns are right-aligned unless in `left`."""
    table = Table(title=title)
    for place, name in enumerate(titles):
        table.add_column(name, justify="left" if place in left else "right")
    for name, cells in rows:
        table.add_row(name, *cells)
    return table
