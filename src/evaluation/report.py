"""Step 3 of an evaluation: means of rewards as report.json (for programs), report.md (for people) and a table
on the terminal.

A report belongs to one benchmark and one judge. Evaluating another target reward adds a row; rows of earlier
evaluations are kept. `cases.jsonl` beside it has the scores of each case, so that rows can be compared case
by case, within and across run folders.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from rich.table import Table

from src.differences import leaves
from src.evaluation.comparison import (
    COMPARISON_HEADER,
    COMPARISON_NOTES,
    DETECTABLE_HEADER,
    DETECTABLE_NOTES,
    CaseScores,
    Comparison,
    compare,
    compare_overall,
    comparison_cells,
    detectable_cells,
    overall_scores,
)
from src.evaluation.judging import JudgedCase
from src.evaluation.metrics import (
    METRIC_NOTES,
    CaseMetrics,
    MetricMean,
    metric_cell,
    metric_means,
    metric_names,
    metric_title,
)
from src.evaluation.statistics import Interval, bounds_under_failures, clustered_interval
from src.files import write_atomically
from src.json_files import parse_finite, read_finite_json, read_text
from src.records import MAX_SCORE, PERSPECTIVES, TRACE, Verdict

FIRST_ROWS = ("5/5/5", "3/3/3", "0/0/0", "0/0/0+text")
IDEAL_ROWS = ("ideal (no reward)", "ideal (5/5/5)")
"""Editors without limits (ideal.py): they depend on the sampler, unlike the other rows without a model."""

FEWEST = 7
"""Photographs below which no difference can be significant after Holm's correction."""

LAST_ROWS = ("copy input", "training triplets", *IDEAL_ROWS, "exact target")

CASES = "cases.jsonl"

HEADER = (
    "row",
    "n",
    "clusters",
    "coverage",
    "F acc",
    "F score",
    "P acc",
    "P score",
    "Q acc",
    "Q score",
    "overall",
)
MARKUP = re.compile(
    r"[*`$]|\\(?=[!-/:-@\[-`{-~])|<(?=[A-Za-z/!?])|&(?=#?\w+;)|~(?=~)|!(?=\[)|\[(?=[^\]]*\][(\[:])"
    r"|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])"
)
"""What would be read as markup in a line of Markdown."""

NOTES = (
    "F, P, Q: following, preserving, quality. Score: mean in [0, 5] with its 95 % interval (Student's t on "
    "errors clustered by photograph; "
    "clusters: their number). "
    "Acc: share of cases in which the judge saw success. Coverage: share of cases judged in all three "
    "perspectives; "
    "the others are in no mean and in no acc; the notes of a report say what they could change. "
    "Overall: sqrt(min(F, P) Q) of each case, which is 0 for a copy of the input."
)


@final
@dataclass(frozen=True)
class Summary:
    """One perspective over some cases.

    Attributes:
        acc: share of successes among the judged cases, in [0, 1]; None if the judge gives no verdict on
            success.
        score: mean over the judged cases, in [0, 5]; None if there are none.
        ci95: of the mean, clustered by photograph; None with fewer than two photographs.
        bounds: lowest and highest mean that cases without a score allow.
    """

    acc: float | None
    score: float | None
    ci95: Interval | None
    bounds: Interval


@final
@dataclass(frozen=True)
class Means:
    """All three perspectives over some cases.

    Attributes:
        n: number of cases.
        coverage: share of cases judged in all three perspectives.
        clusters: number of original photographs.
    """

    n: int
    coverage: float
    clusters: int
    following: Summary
    preserving: Summary
    quality: Summary

    @property
    def summaries(self) -> tuple[Summary, Summary, Summary]:
        """In the order of PERSPECTIVES."""
        return self.following, self.preserving, self.quality


@final
@dataclass(frozen=True)
class OverallScore:
    """The overall score over some cases.

    Attributes:
        score: mean over the cases judged in all three perspectives, in [0, 5]; None if there are none.
        ci95: of the mean, clustered by photograph; None with fewer than two photographs.
        n: number of these cases.
    """

    score: float | None
    ci95: Interval | None
    n: int


def overall_of(cases: Sequence[CaseScores]) -> OverallScore:
    """The mean of the overall score over cases."""
    known = [(each.score, each.photograph) for each in overall_scores(cases) if each.score is not None]
    if not known:
        return OverallScore(None, None, 0)
    scores = np.array([score for score, _ in known], dtype=float)
    interval = clustered_interval(scores, [photograph for _, photograph in known])
    return OverallScore(float(scores.mean()), within_scale(interval), len(known))


@final
@dataclass(frozen=True)
class ReportRow:
    """One line of a report.

    Attributes:
        name: "5/5/5".
        means: over all cases.
        types: the same per edit type.
        made_by: origin of the edits (checkpoint hash, weights, seed); empty for rows without a model.
        cases: their scores.
        image_metrics: by metric; empty if none was measured.
        measured_by: the networks behind the image metrics.
        contradictory: per perspective, the number of verdicts whose yes or no contradicts their score.
        judged: the cases of a row of this evaluation with their rewards; none of one that was read from a
            file.
    """

    name: str
    means: Means
    types: dict[str, Means]
    made_by: dict[str, Any]
    cases: tuple[CaseScores, ...] = ()
    image_metrics: Mapping[str, MetricMean] = field(default_factory=dict)
    measured_by: Mapping[str, str] = field(default_factory=dict)
    contradictory: tuple[int, ...] = (0, 0, 0)
    judged: tuple[JudgedCase, ...] = field(default=(), compare=False, repr=False)

    @property
    def overall(self) -> OverallScore:
        """Of its cases."""
        return overall_of(self.cases)


@final
@dataclass(frozen=True)
class Report:
    """The content of report.json.

    Attributes:
        benchmark, judge: names.
        fingerprint: of the judge; rows by another judge do not belong in this report.
        rows: in the order shown.
    """

    benchmark: str
    judge: str
    fingerprint: str
    rows: tuple[ReportRow, ...]


def report_row(
    name: str,
    judged: Sequence[JudgedCase],
    made_by: dict[str, Any],
    measured: Sequence[CaseMetrics] = (),
    measured_by: Mapping[str, str] | None = None,
) -> ReportRow:
    """The report's row of these rewards and image metrics.

    Raises:
        ValueError: no case at all.
    """
    by_type: dict[str, list[JudgedCase]] = {}
    for case in judged:
        by_type.setdefault(case.edit_type, []).append(case)
    types = {edit_type: means_over(cases) for edit_type, cases in by_type.items()}
    metrics = metric_means(measured)
    return ReportRow(
        name,
        means_over(judged),
        types,
        made_by,
        scores_by_case(judged),
        metrics,
        dict(measured_by or {}) if metrics else {},
        count_contradictory(judged),
        tuple(judged),
    )


def count_contradictory(judged: Sequence[JudgedCase]) -> tuple[int, ...]:
    """Per perspective, the number of verdicts whose yes or no contradicts their score."""
    rewards = [case.reward for case in judged if case.reward is not None]
    return tuple(
        sum(reward.verdicts[index].is_contradictory for reward in rewards)
        for index in range(len(PERSPECTIVES))
    )


def scores_by_case(judged: Sequence[JudgedCase]) -> tuple[CaseScores, ...]:
    """The scores of every case."""
    found = []
    for case in judged:
        following, preserving, quality = (
            (None, None, None) if case.reward is None else (verdict.score for verdict in case.reward.verdicts)
        )
        found.append(CaseScores(case.id, case.photograph, (following, preserving, quality)))
    return tuple(found)


def means_over(judged: Sequence[JudgedCase]) -> Means:
    """The means over some cases.

    Raises:
        ValueError: no case at all.
    """
    if not judged:
        raise ValueError("means of no case at all; a benchmark needs cases")
    complete = sum(case.reward is not None and not case.reward.failed for case in judged)
    summaries = [
        _summary([(case, case.reward.verdicts[index]) for case in judged if case.reward], len(judged))
        for index in range(len(PERSPECTIVES))
    ]
    return Means(len(judged), complete / len(judged), len({case.photograph for case in judged}), *summaries)


def _summary(verdicts: Sequence[tuple[JudgedCase, Verdict]], n: int) -> Summary:
    answered = [
        (case.photograph, verdict.score, verdict.success)
        for case, verdict in verdicts
        if verdict.score is not None
    ]
    scores = np.array([score for _, score, _ in answered], dtype=float)
    successes = [success for _, _, success in answered if success is not None]
    interval = within_scale(clustered_interval(scores, [photograph for photograph, _, _ in answered]))
    return Summary(
        acc=float(np.mean(successes)) if successes else None,
        score=float(np.mean(scores)) if answered else None,
        ci95=interval,
        bounds=bounds_under_failures(scores, n),
    )


def within_scale(interval: Interval | None) -> Interval | None:
    """The interval of a mean score, cut off at 0 and 5, outside of which no mean lies."""
    return None if interval is None else Interval(max(0.0, interval.low), min(MAX_SCORE, interval.high))


def merge_reports(old: Report | None, new: Report) -> Report:
    """The new report, with the rows of the old one that it does not replace.

    Rows of another benchmark, or by a judge that has changed, are dropped, as they are not comparable. A row
    that was judged again without being measured keeps its image metrics if its scores are the same.
    """
    kept: tuple[ReportRow, ...] = ()
    rows = new.rows
    if old is not None and (old.benchmark, old.judge, old.fingerprint) == (
        new.benchmark,
        new.judge,
        new.fingerprint,
    ):
        replaced = {row.name: row for row in old.rows}
        rows = tuple(_with_metrics_of(replaced.get(row.name), row) for row in new.rows)
        kept = tuple(row for row in old.rows if row.name not in {row.name for row in rows})
    return Report(
        new.benchmark,
        new.judge,
        new.fingerprint,
        tuple(sorted((*kept, *rows), key=lambda row: row_order(row.name))),
    )


def _with_metrics_of(old: ReportRow | None, new: ReportRow) -> ReportRow:
    if old is None or new.image_metrics or (old.made_by, old.cases) != (new.made_by, new.cases):
        return new
    return replace(new, image_metrics=old.image_metrics, measured_by=old.measured_by)


def comparisons(report: Report) -> list[tuple[Comparison, ...]]:
    """The report's first row (5/5/5 if present) against each of the others: the three perspectives of a pair,
    then its overall score.

    Rows without cases (cases.jsonl was lost) are left out. There are no comparisons if the first row was not
    made by a model.
    """
    known = [row for row in report.rows if row.cases]
    if not known or not known[0].made_by:
        return []
    first, *others = known
    pairs = [(first.name, first.cases, other.name, other.cases) for other in others]
    return [(*compare(*pair), compare_overall(*pair)) for pair in pairs]


def row_order(name: str) -> tuple[int, str]:
    """Sort key: FIRST_ROWS first, references last, all others between them by name; a best of N follows the
    row it is chosen from.
    """
    base, _, rest = name.partition(" best of ")
    # numbers by size: best of 8 before best of 16
    behind = re.sub(r"\d+", lambda number: number.group().zfill(9), rest)
    if base in FIRST_ROWS:
        return FIRST_ROWS.index(base), behind
    if name in LAST_ROWS:
        return len(FIRST_ROWS) + 1 + LAST_ROWS.index(name), ""
    return len(FIRST_ROWS), f"{base} {behind}".strip()


def write_report(folder: Path, report: Report, sections: Sequence[str] = ()) -> None:
    """Write cases.jsonl, report.json and report.md, each atomically.

    Args:
        folder: of the report.
        report: the rows.
        sections: further parts of report.md, before the scores by edit type.
    """
    lines = [{"row": row.name, **asdict(case)} for row in report.rows for case in row.cases]
    write_atomically(folder / CASES, "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines))
    write_atomically(folder / "report.json", json.dumps(_as_json(report), indent=2, allow_nan=False) + "\n")
    write_atomically(folder / "report.md", report_markdown(report, sections))


def read_report(path: Path) -> Report:
    """Read a report that `write_report` wrote.

    Raises:
        ValueError: the file is not a report.
    """
    try:
        content = read_finite_json(path)
        cases = _read_cases(path.with_name(CASES))
        rows = tuple(_row_from_json(row, cases.get(row["name"], ())) for row in content["rows"])
        return Report(content["benchmark"], content["judge"], content["fingerprint"], rows)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a report of this project ({type(error).__name__}: {error}); delete it and "
            "evaluate again"
        ) from error


def _as_json(report: Report) -> dict[str, Any]:
    rows = []
    for row in report.rows:
        types = {name: asdict(means) for name, means in row.types.items()}
        entry = {"name": row.name, **asdict(row.means), "overall": asdict(row.overall)}
        entry |= {"types": types, "made_by": row.made_by}
        if row.image_metrics:
            entry["image_metrics"] = {name: asdict(mean) for name, mean in row.image_metrics.items()}
            entry["measured_by"] = dict(row.measured_by)
        if any(row.contradictory):
            entry["contradictory"] = list(row.contradictory)
        rows.append(entry)
    compared = [asdict(comparison) for pair in comparisons(report) for comparison in pair]
    return {
        "benchmark": report.benchmark,
        "judge": report.judge,
        "fingerprint": report.fingerprint,
        "rows": rows,
        "comparisons": compared,
    }


def _row_from_json(row: dict[str, Any], cases: Sequence[CaseScores]) -> ReportRow:
    types = {name: _means(means) for name, means in row["types"].items()}
    metrics = {name: _metric_mean(mean) for name, mean in row.get("image_metrics", {}).items()}
    return ReportRow(
        row["name"],
        _means(row),
        types,
        row["made_by"],
        tuple(cases),
        metrics,
        row.get("measured_by", {}),
        tuple(row.get("contradictory", (0, 0, 0))),
    )


def _metric_mean(mean: dict[str, Any]) -> MetricMean:
    return MetricMean(mean["mean"], None if mean["ci95"] is None else Interval(*mean["ci95"]), mean["n"])


def _read_cases(path: Path) -> dict[str, list[CaseScores]]:
    """The cases by row; none if there is no file."""
    found: dict[str, list[CaseScores]] = {}
    lines = read_text(path).split("\n") if path.exists() else ()
    for case in map(parse_finite, filter(str.strip, lines)):
        following, preserving, quality = case["scores"]
        found.setdefault(case["row"], []).append(
            CaseScores(case["id"], case["photograph"], (following, preserving, quality))
        )
    return found


def _means(row: dict[str, Any]) -> Means:
    summaries = []
    for perspective in PERSPECTIVES:
        summary = row[perspective.value]
        ci95 = None if summary["ci95"] is None else Interval(*summary["ci95"])
        summaries.append(Summary(summary["acc"], summary["score"], ci95, Interval(*summary["bounds"])))
    return Means(row["n"], row["coverage"], row["clusters"], *summaries)


def row_cells(row: ReportRow) -> list[str]:
    """A row's cells below HEADER."""
    texts = [row.name, str(row.means.n), str(row.means.clusters), _percent(row.means.coverage)]
    for summary in row.means.summaries:
        texts += ["-" if summary.acc is None else _percent(summary.acc), score_cell(summary)]
    return [*texts, score_cell(row.overall)]


def score_cell(summary: Summary | OverallScore) -> str:
    """A mean with its interval, as in 3.42 [3.30, 3.55]; "-" if nothing was judged."""
    if summary.score is None:
        return "-"
    return f"{summary.score:.2f}" + (
        "" if summary.ci95 is None else f" [{summary.ci95.low:.2f}, {summary.ci95.high:.2f}]"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]], names: int = 0) -> str:
    """A table in GitHub's Markdown; the first column is left-aligned, the others right-aligned.

    Args:
        header: titles.
        lines: cells.
        names: how many columns, from the left, hold what users name, so that nothing in them is markup.
    """
    told = [[*map(escaped_markdown, line[:names]), *line[names:]] for line in lines]
    rows = [header, ["---", *["---:"] * (len(header) - 1)], *told]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def escaped_markdown(text: str) -> str:
    """Text in which nothing is markup, HTML, a formula or a link; one line."""
    return MARKUP.sub(lambda found: f"\\{found.group()}", " ".join(text.split()))


def report_markdown(report: Report, sections: Sequence[str] = ()) -> str:
    """The text of report.md, with further sections."""
    parts = [
        f"# {escaped_markdown(f'{report.benchmark}, judged by {report.judge}')}\n",
        markdown_table(HEADER, [row_cells(row) for row in report.rows], names=1),
        f"{NOTES}\n",
        *(f"Note: {escaped_markdown(note)}\n" for note in report_notes(report)),
        *_metrics_part(report),
        *_comparisons_part(report),
        *sections,
        "## By edit type\n",
        "Mean scores F / P / Q.\n",
        _types_table(report),
        "![gallery](gallery.png)\n",
    ]
    return "\n".join(parts)


def _metrics_part(report: Report) -> list[str]:
    measured = _measured(report)
    if not measured:
        return []
    names = metric_names([row.image_metrics for row in measured])
    lines = [
        [
            row.name,
            str(row.means.n),
            *(metric_cell(row.image_metrics.get(name), row.means.n) for name in names),
        ]
        for row in measured
    ]
    table = markdown_table(("row", "n", *(metric_title(name) for name in names)), lines, names=1)
    return [
        "## Image metrics\n",
        table,
        f"{METRIC_NOTES}\n",
        *(f"Note: {escaped_markdown(note)}\n" for note in metric_notes(report)),
    ]


def metric_notes(report: Report) -> list[str]:
    """The networks behind the image metrics, and a warning if rows differ in them."""
    networks: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for row in _measured(report):
        networks.setdefault(tuple(row.measured_by.items()), []).append(row.name)
    told = [
        (names, "; ".join(f"{name}: {described}" for name, described in used))
        for used, names in networks.items()
        if used
    ]
    if len(networks) == 1:
        return [f"{words}." for _, words in told]
    return [f"{', '.join(names)}: {words}." for names, words in told] + [
        "the image metrics were taken by different networks and do not compare."
    ]


def _measured(report: Report) -> list[ReportRow]:
    return [row for row in report.rows if row.image_metrics]


def _comparisons_part(report: Report) -> list[str]:
    pairs = comparisons(report)
    if not pairs:
        return []
    table = markdown_table(
        COMPARISON_HEADER, [comparison_cells(pair[:-1], pair[-1]) for pair in pairs], names=1
    )
    lines = [detectable_cells(pair[:-1]) for pair in pairs if pair[0].paired]
    detectable = [markdown_table(DETECTABLE_HEADER, lines, names=1), f"{DETECTABLE_NOTES}\n"] if lines else []
    heading = f"## {escaped_markdown(pairs[0][0].row)} against the other rows\n"
    return [heading, table, f"{COMPARISON_NOTES}\n", *detectable]


def _types_table(report: Report) -> str:
    types = list(dict.fromkeys(edit_type for row in report.rows for edit_type in row.types))
    lines = []
    for row in report.rows:
        lines.append(
            [
                row.name,
                str(row.means.clusters),
                *(
                    _three_scores(row.types[edit_type]) if edit_type in row.types else "-"
                    for edit_type in types
                ),
            ]
        )
    return markdown_table(("row", "clusters", *map(escaped_markdown, types)), lines, names=1)


def _three_scores(means: Means) -> str:
    return " / ".join("-" if summary.score is None else f"{summary.score:.1f}" for summary in means.summaries)


def report_notes(report: Report) -> list[str]:
    """Caveats for comparing rows: failed or contradictory judgements, different numbers of cases or origins
    of edits.
    """
    found = []
    for row in report.rows:
        if row.means.coverage < 1.0:
            allowed = ", ".join(f"{s.bounds.low:.2f} to {s.bounds.high:.2f}" for s in row.means.summaries)
            found.append(
                f"{row.name}: {_percent(1 - row.means.coverage)} of the cases have no complete reward; F, P, "
                f"Q with all of them: {allowed}."
            )
    found += contradiction_notes(report)
    few = few_photographs(report.rows)
    found += [] if few is None else [few]
    if len({row.means.n for row in report.rows}) > 1:
        found.append("the rows are over different numbers of cases and do not compare.")
    origins: dict[str, list[str]] = {}
    for row in report.rows:
        if row.made_by:
            # the row's name already says how its best of N was chosen
            made_by = {name: value for name, value in row.made_by.items() if name != "best_of"}
            origins.setdefault(json.dumps(made_by, sort_keys=True), []).append(row.name)
    if len(origins) > 1:
        how = _origin_differences([json.loads(made_by) for made_by in origins])
        found.append(
            "the edits were made differently: "
            + "; ".join(
                f"{', '.join(names)}: {text}" for names, text in zip(origins.values(), how, strict=True)
            )
        )
    return found


def few_photographs(rows: Sequence[ReportRow]) -> str | None:
    """A note on intervals that rest on few photographs; None if there are none."""
    fewest = min((row.means.clusters for row in rows), default=FEWEST)
    if fewest >= FEWEST:
        return None
    if fewest < 2:
        return "With one photograph there are no intervals and no tests."
    return (
        f"With {fewest} photographs an interval rests on {fewest} numbers: it can span the scale, or have no "
        f"width where they happen to be equal. From {FEWEST} photographs on a difference can be found."
    )


def contradiction_notes(report: Report) -> list[str]:
    """A note on the rows in which the judge's yes or no contradicts its scores; none if there are none."""
    rows = [
        f"{row.name} {', '.join(map(str, row.contradictory))} of {row.means.n}"
        for row in report.rows
        if any(row.contradictory)
    ]
    if not rows:
        return []
    return [
        f"{report.judge} contradicts itself (yes with at most {TRACE:g} point, or no with {MAX_SCORE:g}) in "
        f"some verdicts on F, P, Q, where Acc and Score can't both be right: {'; '.join(rows)}."
    ]


def _origin_differences(origins: Sequence[Mapping[str, Any]]) -> list[str]:
    """The settings of each origin that are not the same in all, with short checksums and relative paths."""
    flat = [dict(leaves(origin)) for origin in origins]
    names = [
        name
        for name in dict.fromkeys(name for each in flat for name in each)
        if len({json.dumps(each.get(name)) for each in flat}) > 1
    ]
    return [", ".join(f"{name} {_shortened(each[name])}" for name in names if name in each) for each in flat]


def _shortened(value: object) -> str:
    text = str(value)
    if re.fullmatch("[0-9a-f]{32,}", text):
        return text[:12]
    return os.path.relpath(text) if text.startswith("/") else text


def terminal_table(report: Report) -> Table:
    """The report for a terminal; a rule separates the rows without a model."""
    table = Table(title=f"{report.benchmark}, judged by {report.judge}")
    for index, title in enumerate(HEADER):
        table.add_column(title, justify="right" if index else "left", no_wrap=True)
    for row, after in zip(report.rows, (*report.rows[1:], None), strict=True):
        ends = after is not None and bool(row.made_by) and not after.made_by
        table.add_row(*row_cells(row), end_section=ends)
    return table


def terminal_metrics(report: Report) -> Table | None:
    """The image metrics for a terminal, with half the interval's width instead of its ends; None if nothing
    was measured.
    """
    measured = _measured(report)
    if not measured:
        return None
    names = metric_names([row.image_metrics for row in measured])
    table = Table(title=f"{report.benchmark}, image metrics", caption="; ".join(metric_notes(report)) or None)
    for index, title in enumerate(("row", *(metric_title(name).replace("/", "/\n") for name in names))):
        table.add_column(title, justify="right" if index else "left", no_wrap=True)
    for row in measured:
        table.add_row(
            row.name, *(metric_cell(row.image_metrics.get(name), row.means.n, short=True) for name in names)
        )
    return table


def terminal_comparisons(report: Report) -> Table | None:
    """The comparisons for a terminal; None if there are none."""
    pairs = comparisons(report)
    if not pairs:
        return None
    table = Table(title=f"{pairs[0][0].row} against the other rows: difference, p after Holm's correction")
    for index, title in enumerate(COMPARISON_HEADER):
        table.add_column(title, justify="right" if index else "left", no_wrap=True)
    for pair in pairs:
        table.add_row(*comparison_cells(pair[:-1], pair[-1]))
    return table
