"""The report of a judge on a benchmark: written, read again, and compared with another judge's, pair by pair.

A folder `<output>/<benchmark>/<judge>/` holds report.json and right.json, how right the judge is on each
pair or group: lists of one length, {"ids", "originals", "<benchmark>/<protocol>/<labels>/<rule>": 0 to 1, or
null where it doesn't count}.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from src.evaluation.judge_benchmarks.answers import Answers
from src.evaluation.judge_benchmarks.benchmark import JudgeBenchmark
from src.evaluation.judge_benchmarks.metric import Fact, JudgeMetric, MeasureOptions, MetricKey, Units
from src.evaluation.statistics import Interval, clustered_interval, holm, sign_flip_p
from src.files import write_atomically
from src.json_files import read_json

REPORT, RIGHT = "report.json", "right.json"
COMPARED = ("exact", "strict", "half", "with_ties_cross", "whole_order", "ties_beside")
"""Rules under which the same pairs count for every judge."""


@final
@dataclass(frozen=True, eq=False)
class JudgeReport:
    """Everything measured of one judge on one benchmark.

    Attributes:
        benchmark, judge, protocol: what was measured.
        data: the benchmark's rows: digest, repeats, contradictions.
        answers: the judge's: file, failures.
        metrics: the most telling one first.
        facts: of the benchmark itself.
    """

    benchmark: str
    judge: str
    protocol: str
    data: Mapping[str, Any]
    answers: Mapping[str, Any]
    metrics: Sequence[JudgeMetric]
    facts: Sequence[Fact]

    def metric(self, kind: str) -> JudgeMetric | None:
        """The figure of a kind."""
        return next((metric for metric in self.metrics if metric.key.kind == kind), None)


@final
@dataclass(frozen=True)
class PairedDifference:
    """How much more often one judge is right than another on the same pairs.

    Attributes:
        kind: of the figure.
        judge, against: the two.
        difference: of shares.
        interval: 95 %, over originals.
        p: of no difference, corrected by Holm over the judges compared.
        n, clusters: pairs and originals.
    """

    kind: str
    judge: str
    against: str
    difference: float
    interval: Interval | None
    p: float
    n: int
    clusters: int


def make_report(benchmark: JudgeBenchmark, answers: Answers, options: MeasureOptions) -> JudgeReport:
    """Measure a judge.

    Raises:
        ValueError: the benchmark doesn't ask judges in this way.
    """
    if answers.protocol not in benchmark.protocols:
        raise ValueError(
            f"edits of {benchmark.name} are compared by their scores, and {answers.source} holds verdicts on "
            "pairs: give scores=FILE"
        )
    found = benchmark.findings()
    contests = benchmark.contests()
    data = {
        "path": str(getattr(benchmark, "path", "")),
        "digest": found.digest,
        "rows": found.rows,
        "contests": len(contests),
        "edits": len(benchmark.edits()),
        "originals": len({contest.case.photograph for contest in contests}),
        "repeated": list(found.repeated),
        "contradictory": {part: list(ids) for part, ids in (found.contradictory or {}).items()},
        "repeats_kept": found.kept,
        "notes": list(found.notes),
    }
    unasked = benchmark.unasked(answers)
    told = {
        "source": answers.source,
        "digest": answers.digest,
        "answers": len(answers.scores) + len(answers.verdicts),
        "failed": answers.failed,
        "repeated": answers.repeated,
        "skipped": answers.skipped,
        "unasked": unasked,
        "notes": list(answers.notes),
        "draws": asdict(options),
    }
    metrics = benchmark.metrics(answers, options)
    return JudgeReport(
        benchmark.name, answers.judge, answers.protocol, data, told, metrics, list(benchmark.facts())
    )


def write_judge_report(report: JudgeReport, folder: Path) -> None:
    """Write report.json and right.json. Raises NotWrittenError."""
    metrics = [_metric_json(metric) for metric in report.metrics]
    whole = {
        "benchmark": report.benchmark,
        "judge": report.judge,
        "protocol": report.protocol,
        "data": report.data,
        "answers": report.answers,
        "metrics": metrics,
        "facts": [_finite(asdict(fact)) for fact in report.facts],
    }
    write_atomically(folder / REPORT, json.dumps(whole, indent=2, ensure_ascii=False) + "\n")
    write_atomically(folder / RIGHT, json.dumps(_right_json(report), ensure_ascii=False) + "\n")


def read_judge_report(folder: Path) -> JudgeReport:
    """Read a report. Raises ValueError for files that are none."""
    try:
        whole = read_json(folder / REPORT)
        right = _read_right(folder / RIGHT)
        metrics = [_metric_of(row, right) for row in whole["metrics"]]
        facts = [Fact(**{**fact, "computed": _number(fact["computed"])}) for fact in whole["facts"]]
        names = [str(whole[name]) for name in ("benchmark", "judge", "protocol")]
        data, answers = dict(whole["data"]), dict(whole["answers"])
    except (AttributeError, KeyError, TypeError, FileNotFoundError) as error:
        raise ValueError(
            f"{folder} holds no report that can be read ({error!r}): measure this judge again"
        ) from error
    return JudgeReport(names[0], names[1], names[2], data, answers, metrics, facts)


def read_reports(folder: Path) -> list[JudgeReport]:
    """All reports on one benchmark, in the order of the judges' names."""
    return [read_judge_report(path.parent) for path in sorted(folder.glob(f"*/{REPORT}"))]


def paired_differences(reports: Sequence[JudgeReport], kind: str, against: str) -> list[PairedDifference]:
    """Every other judge against one, on the pairs of a figure that both have; p corrected over all of
    them.
    """
    base = next((report for report in reports if report.judge == against), None)
    reference = None if base is None else base.metric(kind)
    if reference is None or reference.units is None:
        return []
    known = reference.units.by_id()
    found = [
        paired_difference(kind, report.judge, against, metric.units.by_id(), known)
        for report in reports
        if report.judge != against
        and (metric := report.metric(kind)) is not None
        and metric.units is not None
    ]
    corrected = holm([each.p for each in found])
    return [replace(each, p=p) for each, p in zip(found, corrected, strict=True)]


def paired_difference(
    kind: str,
    judge: str,
    against: str,
    one: Mapping[str, tuple[float, int]],
    other: Mapping[str, tuple[float, int]],
) -> PairedDifference:
    """The difference on the pairs that both have.

    Raises:
        ValueError: there are none.
    """
    shared = sorted(one.keys() & other.keys())
    if not shared:
        raise ValueError(f"{judge} and {against} have no pair in common under {kind}")
    differences = np.array([one[id][0] - other[id][0] for id in shared])
    clusters = np.array([other[id][1] for id in shared], dtype=int)
    return PairedDifference(
        kind,
        judge,
        against,
        float(differences.mean()),
        clustered_interval(differences, clusters),
        sign_flip_p(differences, clusters),
        len(shared),
        len(np.unique(clusters)),
    )


def _right_json(report: JudgeReport) -> dict[str, Any]:
    compared = [m for m in report.metrics if m.units is not None and m.key.rule in COMPARED]
    by_kind = {metric.key.kind: metric.units.by_id() for metric in compared if metric.units is not None}
    originals = {id: original for found in by_kind.values() for id, (_, original) in found.items()}
    return {
        "ids": list(originals),
        "originals": list(originals.values()),
        **{kind: [found.get(id, (None,))[0] for id in originals] for kind, found in by_kind.items()},
    }


def _read_right(path: Path) -> dict[str, dict[str, tuple[float, int]]]:
    whole = read_json(path)
    ids, originals = whole.pop("ids"), whole.pop("originals")
    return {
        kind: {
            id: (right, original)
            for id, original, right in zip(ids, originals, values, strict=True)
            if right is not None
        }
        for kind, values in whole.items()
    }


def _metric_json(metric: JudgeMetric) -> dict[str, Any]:
    return {
        "key": str(metric.key),
        **asdict(metric.key),
        "value": metric.value,
        "ci95": metric.interval,
        "bounds": metric.bounds,
        "clusters": metric.clusters,
        "failed": metric.failed,
        "chance": dict(metric.chance),
        "human": metric.human,
        "details": dict(metric.details),
    }


def _metric_of(row: Mapping[str, Any], right: Mapping[str, Mapping[str, tuple[float, int]]]) -> JudgeMetric:
    key = MetricKey(*(row[name] for name in ("benchmark", "protocol", "labels", "rule", "n")))
    units = right.get(key.kind)
    return JudgeMetric(
        key,
        row["value"],
        None if row["ci95"] is None else Interval(*row["ci95"]),
        row["clusters"],
        row["failed"],
        None if row["bounds"] is None else Interval(*row["bounds"]),
        row["chance"],
        row["human"],
        row["details"],
        None if units is None else _units(units),
    )


def _units(by_id: Mapping[str, tuple[float, int]]) -> Units:
    values = list(by_id.values())
    return Units(
        list(by_id),
        np.array([right for right, _ in values]),
        np.array([original for _, original in values], dtype=int),
    )


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """NaN is not JSON."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


def _number(value: float | None) -> float:
    return math.nan if value is None else value
