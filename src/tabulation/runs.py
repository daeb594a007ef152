"""What a table is made of: the rows of the reports below run folders, each with the settings that its edits
come from.

A folder may be a run or hold runs at any depth: every `evaluation/<benchmark>/<judge>/report.json` below it
is read.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.evaluation.generation_folder import read_settings
from src.evaluation.report import Report, ReportRow, read_report
from src.evaluation.statistics import Interval

Settings = Mapping[str, Any]
"""The nested config of a run, as its .hydra/config.yaml has it (interpolations as they are written)."""


@dataclass(frozen=True)
class ImageMean:
    """The mean of one image metric over a row.

    Attributes:
        mean: in the metric's own unit.
        ci95: clustered by photograph; None where nobody says.
        n: number of cases.
    """

    mean: float
    ci95: Interval | None
    n: int


@dataclass(frozen=True)
class RunReport:
    """A report and where it lies.

    Attributes:
        run: the run folder.
        folder: holds report.json.
        report: its content.
        images: image metrics by row name and key; empty where none were measured.
        networks: what they were measured by, by row name.
    """

    run: Path
    folder: Path
    report: Report
    images: Mapping[str, Mapping[str, ImageMean]]
    networks: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class RunRow:
    """A row of a report that a model made.

    Attributes:
        found: the report.
        row: the row.
        settings: config of the run that the edits come from, and how they were made under `evaluation`; None
            where nobody knows it.
    """

    found: RunReport
    row: ReportRow
    settings: Settings | None

    @property
    def seeds(self) -> tuple[object, object]:
        """Of training and of the edits' noise."""
        settings = self.settings or {}
        return settings.get("seed"), dict(settings.get("evaluation", {})).get("seed")

    @property
    def networks(self) -> Mapping[str, str]:
        """What the row's image metrics were measured by."""
        return self.found.networks.get(self.row.name, {})

    @property
    def images(self) -> Mapping[str, ImageMean]:
        """Image metrics of the row by key."""
        return self.found.images.get(self.row.name, {})


def find_reports(folders: Sequence[Path]) -> list[RunReport]:
    """Every report below the folders, in the order given, each once.

    Raises:
        FileNotFoundError: an unknown folder, or one without a report.
        ValueError: a broken report.
    """
    found: dict[Path, RunReport] = {}
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"no run folder {folder}")
        paths = sorted(report_files(folder))
        if not paths:
            raise FileNotFoundError(
                f"no evaluation/<benchmark>/<judge>/report.json below {folder}; run python -m src.evaluate first"
            )
        for path in paths:
            if path.resolve() not in found:
                found[path.resolve()] = RunReport(
                    path.parents[3], path.parent, read_report(path), *read_image_metrics(path)
                )
    return list(found.values())


def report_files(folder: Path) -> Iterator[Path]:
    """The reports below a folder, through links too: jobs of two sweeps that are the same share one folder."""
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
    """The reports on a benchmark and by a judge.

    Raises:
        ValueError: there is none.
    """
    kept = [
        each
        for each in reports
        if benchmark in (None, each.report.benchmark) and judge in (None, each.report.judge)
    ]
    if not kept:
        there = sorted({f"{each.report.benchmark} by {each.report.judge}" for each in reports})
        raise ValueError(
            f"no report on benchmark_name={benchmark} by judge_name={judge}; there are {', '.join(there)}"
        )
    return kept


def check_comparable(reports: Sequence[RunReport]) -> None:
    """Raise ValueError unless all reports are on one benchmark by one judge: other numbers do not compare."""
    first = reports[0]
    for other in reports[1:]:
        if other.report.benchmark != first.report.benchmark:
            raise ValueError(
                f"{first.run} is about {first.report.benchmark} and {other.run} about {other.report.benchmark}, which do not compare: "
                "say benchmark_name=NAME to choose one"
            )
        if other.report.judge != first.report.judge:
            raise ValueError(
                f"{first.run} was judged by {first.report.judge} and {other.run} by {other.report.judge}, which do not compare: "
                "say judge_name=NAME to choose one"
            )
        check_same_judge(first, other)


def check_same_judge(first: RunReport, other: RunReport) -> None:
    """Raise ValueError if two judges of one name differ."""
    one, two = first.report.fingerprint, other.report.fingerprint
    if one != two:
        raise ValueError(
            f"{first.run} and {other.run} were judged by different versions of {first.report.judge} ({shorten_fingerprint(one)} and {shorten_fingerprint(two)}), "
            "which do not compare: judge one of them again with python -m src.evaluate edits=..."
        )


def check_same_cases(rows: Sequence[RunRow]) -> None:
    """Raise ValueError unless all rows are over as many cases and photographs: means over others do not
    compare.
    """
    sizes = {(each.row.means.n, each.row.means.clusters): each for each in rows}
    if len(sizes) > 1:
        one, two = list(sizes.values())[:2]
        raise ValueError(
            f"row {one.row.name!r} of {one.found.run} is over {one.row.means.n} cases and row {two.row.name!r} of {two.found.run} over "
            f"{two.row.means.n}, which do not compare: evaluate both on the same cases (limit=)"
        )


def check_same_networks(rows: Sequence[RunRow]) -> None:
    """Raise ValueError unless the image metrics of all rows come from the same networks and are over as many
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
                f"image metrics of {rows[0].found.run} were measured by {one} and those of {other.found.run} by {two}, which do not compare: "
                "measure them by the same (image_metrics=)"
            )
    for key in {key for row in rows for key in row.images}:
        counted = {row.images[key].n: row for row in rows if key in row.images}
        if len(counted) > 1:
            (n, one), (m, two) = list(counted.items())[:2]
            raise ValueError(
                f"{key} is over {n} cases in {one.found.run} and {m} in {two.found.run}, which do not compare: measure both on the same"
            )


def shorten_fingerprint(fingerprint: str, most: int = 60) -> str:
    """A fingerprint's beginning and end."""
    return fingerprint if len(fingerprint) <= most else f"{fingerprint[: most - 9]}…{fingerprint[-8:]}"


def run_rows(reports: Sequence[RunReport]) -> list[RunRow]:
    """The rows that a model made, report by report."""
    return [
        RunRow(each, row, row_settings(each, row))
        for each in reports
        for row in each.report.rows
        if row.made_by
    ]


def read_image_metrics(path: Path) -> tuple[dict[str, dict[str, ImageMean]], dict[str, dict[str, str]]]:
    """The image metrics in a report.json and the networks that they come from, by row.

    Raises:
        ValueError: not numbers.
    """
    found: dict[str, dict[str, ImageMean]] = {}
    networks: dict[str, dict[str, str]] = {}
    try:
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
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


def row_settings(found: RunReport, row: ReportRow) -> Settings | None:
    """The config that a row's edits come from: of the run folder, or of the one that its edits lie in when
    they were judged elsewhere.
    """
    run, made_by = found.run, dict(row.made_by)
    if "edits" in made_by:
        record = Path(made_by["edits"]).parent / "generation.json"
        if not record.exists():
            return None
        run, made_by = record.parents[3], dict(read_settings(record))
    config = run_config(run)
    how = {name: made_by[name] for name in ("weights", "seed", "sampler") if name in made_by}
    return None if config is None else {**config, "evaluation": how}


def run_config(run: Path) -> Settings | None:
    """The config of a run folder: .hydra/config.yaml, else the model config of its export or checkpoint; None
    where there is neither.

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
            f"the config of {run} can't be read ({' '.join(str(error).split())[:120]}); copy the run folder again"
        ) from error
    return None


def _tree(text: str) -> dict[str, Any]:
    tree = OmegaConf.to_container(OmegaConf.create(text))
    if not isinstance(tree, dict):
        raise TypeError("not a tree")
    return {str(name): value for name, value in tree.items()}
