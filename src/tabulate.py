"""Turn run folders into tables (Markdown, LaTeX, HTML, CSV) and into a page that shows every edit.

    python -m src.tabulate runs/a runs/b                          # all rows, a table per benchmark and judge
    python -m src.tabulate runs/a runs/b output=[table.md,table.tex,table.html,table.csv]
    python -m src.tabulate runs/sweep table=table4_reward_signal  # the paper's Table 4, ours and published
    python -m src.tabulate runs/a runs/b table=gedit              # GEdit-Bench, ours and published ones
    python -m src.tabulate runs/a runs/b page=report.html         # table, chart, gallery: one offline file
    python -m src.tabulate runs/a runs/b against=runs/no_reward   # rows against their namesakes in that run
    python -m src.tabulate runs/a runs/b against=0/0/0            # rows of a run against its own row 0/0/0
    python -m src.tabulate runs/a runs/b names=[InsPix2Pix,Ours]  # what to call the runs of each folder
    python -m src.tabulate runs/sweep           # a sweep: lines named by what was varied, seeds grouped
    python -m src.tabulate runs/study table=table3                # the paper's Table 3 of a human study

A folder may be a run or hold runs at any depth: every `evaluation/<benchmark>/<judge>/report.json` below it
is read. The folder of a human study (python -m src.study) makes tables of its own.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, ListConfig

from src import launch
from src.files import write_atomically
from src.studies.ratings import read_ratings
from src.studies.study import is_study
from src.studies.tables import TABLE_3, study_tables, table_3
from src.tabulation.csv import csv_tables
from src.tabulation.field_tables import FIELD_TABLES, field_tables
from src.tabulation.general import comparison_tables, general_tables
from src.tabulation.html import html_tables
from src.tabulation.latex import latex_tables
from src.tabulation.markdown import markdown_tables
from src.tabulation.page import write_report_page
from src.tabulation.paper_tables import paper_table
from src.tabulation.runs import RunReport, find_reports, select_reports
from src.tabulation.sweeps import is_sweep, sweep_tables
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
    folders = [Path(run) for run in cfg.runs]
    studies = [folder for folder in folders if is_study(folder)]
    runs = [folder for folder in folders if folder not in studies]
    check_kind(cfg, studies, runs)
    reports = reports_of(runs, cfg)
    tables = [*(run_tables(reports, cfg) if runs else []), *tables_of_studies(studies, cfg)]
    print(markdown_tables(tables), end="")
    for path in outputs:
        write_atomically(path, formats[path.suffix](tables))
    if cfg.page is not None:
        print(f"\n{write_report_page(Path(cfg.page), reports, cfg.gallery, float(cfg.page_megabytes))}")


def check_kind(cfg: DictConfig, studies: Sequence[Path], runs: Sequence[Path]) -> None:
    """Raise ValueError unless the folders are of the kind that the table or page is made of."""
    if cfg.table == TABLE_3 and (runs or not studies):
        raise ValueError(
            f"table={TABLE_3} is made of people's ratings and {runs[0]} is no study: give the folder of one "
            "(python -m src.study)"
        )
    if studies and ((cfg.table not in (None, TABLE_3)) or (cfg.page is not None and not runs)):
        what = f"page={cfg.page}" if cfg.table in (None, TABLE_3) else f"table={cfg.table}"
        raise ValueError(f"{what} is made of evaluated runs and {studies[0]} is a human study: leave one out")


def reports_of(runs: Sequence[Path], cfg: DictConfig) -> list[RunReport]:
    """The reports of the runs that are asked for; none of no run."""
    if not runs:
        return []
    names = None if cfg.names is None else [str(name) for name in cfg.names]
    return select_reports(find_reports(runs, names), cfg.benchmark_name, cfg.judge_name)


def run_tables(reports: Sequence[RunReport], cfg: DictConfig) -> list[Table]:
    """The tables of evaluated runs."""
    against = None if cfg.against is None else str(cfg.against)
    if cfg.table in FIELD_TABLES:
        if against is not None:
            raise ValueError(
                f"against={against}: rows of table={cfg.table} are compared in the report.md of their run; "
                "leave it out"
            )
        return field_tables(reports, cfg.table, cfg.published)
    if cfg.table is not None:
        return [paper_table(reports, cfg.table, str(cfg.row), against, cfg.published)]
    tables = sweep_tables(reports) if is_sweep(reports) else general_tables(reports)
    return tables + ([] if against is None else comparison_tables(reports, against))


def tables_of_studies(studies: Sequence[Path], cfg: DictConfig) -> list[Table]:
    """The tables of human studies."""
    if cfg.table == TABLE_3:
        return [table_3(read_ratings(folder), cfg.published) for folder in studies]
    return [table for folder in studies for table in study_tables(read_ratings(folder))]


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
