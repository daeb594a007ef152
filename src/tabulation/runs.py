"""Read the rows of the reports below run folders, each with the settings of the run that made its edits.

A folder may be a run or hold runs at any depth: every `evaluation/<benchmark>/<judge>/report.json` below it
is read.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, final

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.evaluation.generation_folder import read_settings
from src.evaluation.report import Report, ReportRow, read_report
from src.evaluation.statistics import Interval
from src.json_files import read_finite_json

Settings = Mapping[str, Any]
"""The nested config of a run as in its .hydra/config.yaml, interpolations unresolved."""


@final
@dataclass(frozen=True)
class ImageMean:
    """The mean of one image metric over a row.

    Attributes:
        mean: in the metric's own unit.
        ci95: clustered by photograph; None if unknown.
        n: number of cases.
    """

    mean: float
    ci95: Interval | None
    n: int


@final
@dataclass(frozen=True)
class RunReport:
    """A report and its files.

    Attributes:
        run: the run folder.
        folder: holds report.json.
        report: its content.
        images: image metrics by row name and key; empty if none were measured.
        networks: that measured them, by row name.
        name: what the user calls its run; None for no name.
    """

    run: Path
    folder: Path
    report: Report
    images: Mapping[str, Mapping[str, ImageMean]]
    networks: Mapping[str, Mapping[str, str]]
    name: str | None = None


@final
@dataclass(frozen=True)
class RunRow:
    """A row of a report that a model made.

    Attributes:
        report: the report.
        row: the row.
        settings: config of the run that made the edits, with how they were made under `evaluation`; None if
            unknown.
    """

    report: RunReport
    row: ReportRow
    settings: Settings | None

    @property
    def seeds(self) -> tuple[object, object]:
        """Seeds of training and of the edits' noise."""
        settings = self.settings or {}
        return settings.get("seed"), dict(settings.get("evaluation", {})).get("seed")

    @property
    def networks(self) -> Mapping[str, str]:
        """Networks that measured the row's image metrics."""
        return self.report.networks.get(self.row.name, {})

    @property
    def images(self) -> Mapping[str, ImageMean]:
        """Image metrics of the row by key."""
        return self.report.images.get(self.row.name, {})


def find_reports(folders: Sequence[Path], names: Sequence[str] | None = None) -> list[RunReport]:
    """Find every report below the folders, in the order given, each once.

    Args:
        folders: runs, or folders that hold runs.
        names: what to call the runs of each folder.

    Raises:
        FileNotFoundError: an unknown folder, or one without a report.
        ValueError: a broken report, or not as many names as folders.
    """
    if names is not None and len(names) != len(folders):
        raise ValueError(
            f"names=[{','.join(names)}]: {len(names)} for {len(folders)} folders; give one for each, in order"
        )
    found: dict[Path, RunReport] = {}
    for folder, name in zip(folders, names or [None] * len(folders), strict=True):
        if not folder.is_dir():
            raise FileNotFoundError(f"no run folder {folder}")
        paths = sorted(report_files(folder))
        if not paths:
            raise FileNotFoundError(
                f"no evaluation/<benchmark>/<judge>/report.json below {folder}; "
                "run python -m src.evaluate first"
            )
        for path in paths:
            if path.resolve() not in found:
                found[path.resolve()] = RunReport(
                    path.parents[3], path.parent, read_report(path), *read_image_metrics(path), name
                )
    return list(found.values())


def report_files(folder: Path) -> Iterator[Path]:
    """Find the reports below a folder, following links: equal jobs of two sweeps share one folder."""
    seen: set[str] = set()
    for name, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(name)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        if "report.json" in files and Path(name).parents[1].name == "evaluation":
            yield Path(name, "report.json")


def select_reports(reports: Sequence[RunReport], benchmark: str | None, judge: str | None) -> list[RunReport]:
    """Select the reports on a benchmark and by a judge.

    Raises:
        ValueError: there is none.
    """
    kept = [
        report
        for report in reports
        if benchmark in (None, report.report.benchmark) and judge in (None, report.report.judge)
    ]
    if not kept:
        there = sorted({f"{report.report.benchmark} by {report.report.judge}" for report in reports})
        raise ValueError(
            f"no report on benchmark_name={benchmark} by judge_name={judge}; there are {', '.join(there)}"
        )
    return kept


def check_comparable(reports: Sequence[RunReport]) -> None:
    """Raise ValueError unless all reports are on one benchmark by one judge: other numbers are not
    comparable.
    """
    first = reports[0]
    for other in reports[1:]:
        if other.report.benchmark != first.report.benchmark:
            raise ValueError(
                f"{first.run} is about {first.report.benchmark} and {other.run} about "
                f"{other.report.benchmark}, "
                "which are not comparable: choose one with benchmark_name=NAME"
            )
        if other.report.judge != first.report.judge:
            raise ValueError(
                f"{first.run} was judged by {first.report.judge} and {other.run} by {other.report.judge}, "
                "which are not comparable: choose one with judge_name=NAME"
            )
        check_same_judge(first, other)


def check_same_judge(first: RunReport, other: RunReport) -> None:
    """Raise ValueError if two different judges have one name."""
    one, two = first.report.fingerprint, other.report.fingerprint
    if one != two:
        raise ValueError(
            f"{first.run} and {other.run} were judged by different versions of {first.report.judge} "
            f"({shorten_fingerprint(one)} and {shorten_fingerprint(two)}), "
            "which are not comparable: judge one of them again with python -m src.evaluate edits=..."
        )


def check_same_cases(rows: Sequence[RunRow]) -> None:
    """Raise ValueError unless all rows have equally many cases and photographs: their means are not
    comparable.
    """
    sizes = {(row.row.means.n, row.row.means.clusters): row for row in rows}
    if len(sizes) > 1:
        one, two = list(sizes.values())[:2]
        raise ValueError(
            f"row {one.row.name!r} of {one.report.run} is over {one.row.means.n} cases and row "
            f"{two.row.name!r} of {two.report.run} over "
            f"{two.row.means.n}, which are not comparable: evaluate both on the same cases (limit=)"
        )


def check_same_networks(rows: Sequence[RunRow]) -> None:
    """Raise ValueError unless the image metrics of all rows come from the same networks and equally many
    cases.
    """
    for other in rows[1:]:
        if other.networks != rows[0].networks:
            one, two = (
                ", ".join(f"{name}: {what}" for name, what in each.networks.items())
                or "nothing that is known"
                for each in (rows[0], other)
            )
            raise ValueError(
                f"image metrics of {rows[0].report.run} were measured by {one} and those of "
                f"{other.report.run} by "
                f"{two}, which are not comparable: measure them by the same (image_metrics=)"
            )
    for key in {key for row in rows for key in row.images}:
        counted = {row.images[key].n: row for row in rows if key in row.images}
        if len(counted) > 1:
            (n, one), (m, two) = list(counted.items())[:2]
            raise ValueError(
                f"{key} is over {n} cases in {one.report.run} and {m} in {two.report.run}, "
                "which are not comparable: measure both on the same"
            )


def shorten_fingerprint(fingerprint: str, most: int = 60) -> str:
    """Shorten a fingerprint to its beginning and end."""
    return fingerprint if len(fingerprint) <= most else f"{fingerprint[: most - 9]}…{fingerprint[-8:]}"


def run_rows(reports: Sequence[RunReport]) -> list[RunRow]:
    """List the rows that a model made, report by report."""
    return [
        RunRow(run_report, row, row_settings(run_report, row))
        for run_report in reports
        for row in run_report.report.rows
        if row.made_by
    ]


def read_image_metrics(path: Path) -> tuple[dict[str, dict[str, ImageMean]], dict[str, dict[str, str]]]:
    """Read the image metrics in a report.json and the networks that measured them, by row.

    Raises:
        ValueError: not numbers.
    """
    found: dict[str, dict[str, ImageMean]] = {}
    networks: dict[str, dict[str, str]] = {}
    try:
        for row in read_finite_json(path)["rows"]:
            networks[row["name"]] = {
                str(name): str(described) for name, described in (row.get("measured_by") or {}).items()
            }
            for key, numbers in (row.get("image_metrics") or {}).items():
                if numbers["mean"] is None:
                    continue
                ci95 = None if numbers.get("ci95") is None else Interval(*numbers["ci95"])
                found.setdefault(row["name"], {})[key] = ImageMean(
                    float(numbers["mean"]), ci95, int(numbers["n"])
                )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} has broken image metrics ({type(error).__name__}: {error}); measure them again"
        ) from error
    return found, networks


def row_settings(run_report: RunReport, row: ReportRow) -> Settings | None:
    """Read the config of the run that made a row's edits: the report's run, or the one that holds the edits
    if they were judged elsewhere.
    """
    run, made_by = run_report.run, dict(row.made_by)
    if "edits" in made_by:
        record = Path(made_by["edits"]).parent / "generation.json"
        if not record.exists():
            return None
        run, made_by = record.parents[3], dict(read_settings(record))
    config = run_config(run)
    how = {name: made_by[name] for name in ("weights", "seed", "sampler") if name in made_by}
    return None if config is None else {**config, "evaluation": how}


def run_config(run: Path) -> Settings | None:
    """Read the config of a run folder: .hydra/config.yaml, else the model config of its export or checkpoint;
    None if there is neither.

    Raises:
        ValueError: a file that can't be read.
    """
    hydra, export, last = (
        run / ".hydra" / "config.yaml",
        run / "editor" / "config.yaml",
        run / "checkpoints" / "last.ckpt",
    )
    try:
        if hydra.exists():
            return _tree(hydra.read_text(encoding="utf-8"))
        if export.exists():
            return {"model": _tree(_tree(export.read_text(encoding="utf-8"))["editor_config"])}
        if last.exists():
            from src import checkpoint  # needs torch

            return {"model": _tree(checkpoint.read(last)["editor_config"])}
    except (yaml.YAMLError, OmegaConfBaseException, KeyError, TypeError) as error:
        raise ValueError(
            f"the config of {run} can't be read ({' '.join(str(error).split())[:120]}); "
            "copy the run folder again"
        ) from error
    return None


def _tree(text: str) -> dict[str, Any]:
    tree = OmegaConf.to_container(_parsed(text))
    if not isinstance(tree, dict):
        raise TypeError("not a tree")
    return {str(name): value for name, value in tree.items()}


@lru_cache(maxsize=1024)
def _parsed(text: str) -> DictConfig | ListConfig:
    """A report has many rows of one run, whose config takes most of the time that tables take."""
    return OmegaConf.create(text)
