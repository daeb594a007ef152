"""Turn run folders into tables (Markdown, LaTeX, HTML, CSV) and into a page that shows every edit.

    python -m src.tabulate runs/a runs/b                          # all rows, a table per benchmark and judge
    python -m src.tabulate runs/a runs/b output=[table.md,table.tex,table.html,table.csv]
    python -m src.tabulate runs/sweep table=table4_reward_signal  # the paper's Table 4, ours and published
    python -m src.tabulate runs/a runs/b page=report.html         # table, chart, gallery: one offline file
    python -m src.tabulate runs/a runs/b against=runs/no_reward   # rows against their namesakes in that run
    python -m src.tabulate runs/a runs/b against=0/0/0            # rows of a run against its own row 0/0/0

A folder may be a run or hold runs at any depth: every `evaluation/<benchmark>/<judge>/report.json` below it
is read.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, ListConfig

from src import launch
from src.files import write_atomically
from src.tabulation.csv import csv_tables
from src.tabulation.general import comparison_tables, general_tables
from src.tabulation.html import html_tables
from src.tabulation.latex import latex_tables
from src.tabulation.markdown import markdown_tables
from src.tabulation.page import write_report_page
from src.tabulation.paper_tables import paper_table
from src.tabulation.runs import find_reports, select_reports
from src.tabulation.table import Table

FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    ".md": markdown_tables,
    ".tex": latex_tables,
    ".html": html_tables,
    ".csv": csv_tables,
}


def main(cfg: DictConfig) -> None:
    """Find the reports, print the tables, write the files requested."""
    if not cfg.runs:
        raise ValueError("give one or more run folders: python -m src.tabulate runs/a runs/b")
    outputs = output_files(cfg.output)
    formats = FORMATS | {".tex": partial(latex_tables, across=cfg.across)}
    if cfg.page is not None and Path(cfg.page).suffix != ".html":
        raise ValueError(f"page={cfg.page}: the page is HTML, give a name that ends in .html")
    reports = select_reports(
        find_reports([Path(run) for run in cfg.runs]), cfg.benchmark_name, cfg.judge_name
    )
    against = None if cfg.against is None else str(cfg.against)
    if cfg.table is not None:
        tables = [paper_table(reports, cfg.table, str(cfg.row), against, cfg.published)]
    else:
        tables = general_tables(reports) + ([] if against is None else comparison_tables(reports, against))
    print(markdown_tables(tables), end="")
    for path in outputs:
        write_atomically(path, formats[path.suffix](tables))
    if cfg.page is not None:
        print(f"\n{write_report_page(Path(cfg.page), reports, cfg.gallery, float(cfg.page_megabytes))}")


def output_files(output: str | ListConfig | None) -> list[Path]:
    """List the files to write.

    Raises:
        ValueError: an unknown extension.
    """
    names = [] if output is None else [output] if isinstance(output, str) else list(output)
    paths = [Path(name) for name in names]
    for path in paths:
        if path.suffix not in FORMATS:
            raise ValueError(f"output={path}: the extension selects the format, one of {', '.join(FORMATS)}")
    return paths


def with_positional_runs(arguments: Sequence[str]) -> list[str]:
    """Turn plain paths among Hydra overrides into `runs=[...]`; overrides and flags stay unchanged. A path
    that exists is one, even if it looks like an override.
    """
    paths = [
        argument
        for argument in arguments
        if not argument.startswith("-") and ("=" not in argument or Path(argument).exists())
    ]
    if not paths:
        return list(arguments)
    quoted = ",".join(QuotedString(path, Quote.single).with_quotes() for path in paths)
    return [*(argument for argument in arguments if argument not in paths), f"runs=[{quoted}]"]


if __name__ == "__main__":
    sys.argv[1:] = with_positional_runs(sys.argv[1:])
    launch.entry_point(main, "tabulate")
