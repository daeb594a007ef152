"""Tabulates the results of a sweep: as the paper's table of that name if there is one, else all rows, named
by what was varied.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from src.files import write_atomically
from src.sweeps.record import Sweep
from src.tabulation.general import general_tables
from src.tabulation.layouts import LAYOUTS
from src.tabulation.markdown import markdown_tables
from src.tabulation.paper_tables import paper_table
from src.tabulation.runs import find_reports
from src.tabulation.sweeps import is_sweep, sweep_tables

TABLE = "table.md"
TARGET = "5/5/5"


def write_table(sweep: Sweep, folder: Path, runs: Sequence[Path]) -> str:
    """Write `table.md` into a sweep's folder from the reports below its runs.

    Returns:
        What to print: the table and the command that makes it in other formats, or why there is none yet.
    """
    table = f" table={sweep.name}" if sweep.name in LAYOUTS else ""
    command = f"python -m src.tabulate {shlex.join(map(str, runs))}{table}"
    try:
        reports = find_reports(runs)
        tables = (
            [paper_table(reports, sweep.name, TARGET, None, with_published=True)]
            if table
            else sweep_tables(reports)
            if is_sweep(reports)
            else general_tables(reports)
        )
    except (ValueError, FileNotFoundError) as error:
        return f"no table yet ({error}); later: {command}"
    text = markdown_tables(tables)
    write_atomically(folder / TABLE, text)
    sweep.table = TABLE
    return (
        f"{text}\n{folder / TABLE}  (other formats, page of edits: {command} output=table.tex "
        "page=report.html)"
    )
