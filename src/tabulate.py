"""Turn run folders into one Markdown table per benchmark and judge.

    python -m src.tabulate runs/a runs/b
    python -m src.tabulate runs=[runs/a,runs/b] output=table.md
    python -m src.tabulate runs/a runs/b against=runs/no_reward   # each row against the row of the same name in that run, case by case
    python -m src.tabulate runs/a runs/b against=0/0/0            # the rows of each run against its own row 0/0/0

A folder may be a run or hold runs at any depth: every `evaluation/<benchmark>/<judge>/report.json` below it is read.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from src import launch
from src.evaluation.comparison import COMPARISON_HEADER, COMPARISON_NOTES, compare, comparison_cells
from src.evaluation.report import HEADER, Report, Row, cells, markdown_table, read_report
from src.files import write_atomically


def main(cfg: DictConfig) -> None:
    """Find, print, and write if asked to."""
    if not cfg.runs:
        raise ValueError("give one or more run folders: python -m src.tabulate runs/a runs/b")
    reports = found_reports([Path(run) for run in cfg.runs])
    text = tables(reports)
    if cfg.against is not None:
        text += "\n" + comparison_tables(reports, str(cfg.against))
    print(text, end="")
    if cfg.output is not None:
        write_atomically(Path(cfg.output), text)


def found_reports(folders: Sequence[Path]) -> list[tuple[Path, Report]]:
    """Every report below the folders with the run folder it belongs to, in the order given, each once.

    Raises:
        FileNotFoundError: an unknown folder, or one without a report.
        ValueError: a broken report.
    """
    found: dict[Path, Report] = {}
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"no run folder {folder}")
        paths = sorted(folder.glob("**/evaluation/*/*/report.json"))
        if not paths:
            raise FileNotFoundError(f"no evaluation/<benchmark>/<judge>/report.json below {folder}; run python -m src.evaluate first")
        found.update({path: read_report(path) for path in paths})
    return [(path.parents[3], report) for path, report in found.items()]


def tables(reports: Sequence[tuple[Path, Report]]) -> str:
    """One table per benchmark and judge, as numbers by different judges do not compare."""
    groups: dict[tuple[str, str], list[tuple[Path, Report]]] = {}
    for run, report in reports:
        groups.setdefault((report.benchmark, report.judge), []).append((run, report))
    parts = []
    for (benchmark, judge), members in groups.items():
        lines = [[str(run), *cells(row)] for run, report in members for row in report.rows]
        parts.append(f"## {benchmark}, judged by {judge}\n\n{markdown_table(('run', *HEADER), lines)}")
    return "\n".join(parts)


def comparison_tables(reports: Sequence[tuple[Path, Report]], against: str) -> str:
    """Rows compared case by case, one table per benchmark and judge.

    Args:
        reports: with the runs they belong to.
        against: a run folder (each row is compared with the row of the same name there) or the name of a row (each run's rows are compared with it).

    Raises:
        ValueError: neither a run nor a row, a folder of several runs, or nothing that compares.
    """
    pairs = against_run(reports, Path(against)) if Path(against).is_dir() else against_row(reports, against)
    groups: dict[tuple[str, str], list[list[str]]] = {}
    for run, report, row, other_name, other in pairs:
        if row.cases and other.cases:
            compared = comparison_cells(compare(row.name, row.cases, other_name, other.cases))
            groups.setdefault((report.benchmark, report.judge), []).append([str(run), row.name, *compared])
    if not groups:
        names = sorted({row.name for _, report in reports for row in report.rows})
        raise ValueError(f"against={against}: nothing compares with it; give a run folder or one of the rows {', '.join(names)}")
    parts = []
    for (benchmark, judge), lines in groups.items():
        table = markdown_table(("run", "row", *COMPARISON_HEADER), lines)
        parts.append(f"## {benchmark}, judged by {judge}, against {against}\n\n{table}\n{COMPARISON_NOTES}\n")
    return "\n".join(parts)


def against_run(reports: Sequence[tuple[Path, Report]], folder: Path) -> list[tuple[Path, Report, Row, str, Row]]:
    """Every row of other runs with the row of the same name, benchmark and judge in this run.

    Raises:
        ValueError: the folder holds several runs.
    """
    theirs: dict[tuple[str, str, str], Row] = {}
    runs = found_reports([folder])
    if len({run for run, _ in runs}) > 1:
        raise ValueError(f"against={folder} holds {len({run for run, _ in runs})} runs: name one of them")
    for _, report in runs:
        theirs.update({(report.benchmark, report.fingerprint, row.name): row for row in report.rows})
    found = []
    for run, report in reports:
        for row in report.rows:
            other = theirs.get((report.benchmark, report.fingerprint, row.name))
            # Rows without a model are the same everywhere.
            if other is not None and row.made_by and run.resolve() != runs[0][0].resolve():
                found.append((run, report, row, row.name, other))
    return found


def against_row(reports: Sequence[tuple[Path, Report]], name: str) -> list[tuple[Path, Report, Row, str, Row]]:
    """Every row with the named row of the same report."""
    found = []
    for run, report in reports:
        others = [row for row in report.rows if row.name == name]
        found += [(run, report, row, name, other) for other in others for row in report.rows if row.name != name]
    return found


def with_positional_runs(arguments: Sequence[str]) -> list[str]:
    """Hydra overrides in which plain paths have become `runs=[...]`; overrides and flags stay as they are."""
    paths = [argument for argument in arguments if "=" not in argument and not argument.startswith("-")]
    if not paths:
        return list(arguments)
    quoted = ",".join("'" + path.replace("\\", "\\\\").replace("'", "\\'") + "'" for path in paths)
    return [*(argument for argument in arguments if argument not in paths), f"runs=[{quoted}]"]


if __name__ == "__main__":
    sys.argv[1:] = with_positional_runs(sys.argv[1:])
    launch.entry_point(main, "tabulate")
