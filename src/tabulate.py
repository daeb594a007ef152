"""Turn run folders into one Markdown table per benchmark and judge.

    python -m src.tabulate runs/a runs/b
    python -m src.tabulate runs=[runs/a,runs/b] output=table.md

A folder may be a run or hold runs at any depth: every `evaluation/<benchmark>/<judge>/report.json` below it is read.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from src import launch
from src.evaluation.report import HEADER, Report, cells, markdown_table, read_report
from src.files import write_atomically


def main(cfg: DictConfig) -> None:
    """Find, print, and write if asked to."""
    if not cfg.runs:
        raise ValueError("give one or more run folders: python -m src.tabulate runs/a runs/b")
    text = tables(found_reports([Path(run) for run in cfg.runs]))
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
