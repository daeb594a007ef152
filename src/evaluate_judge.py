"""Measure judges on benchmarks of what people prefer: accuracies, correlations, and what chance and people
get.

    python -m src.evaluate_judge judge_benchmark=genai_bench judge_benchmark.path=DIR verdicts=FILE
    python -m src.evaluate_judge judge_benchmark=imagenhub judge_benchmark.path=DIR "scores=[A.jsonl,B.jsonl]"
    python -m src.evaluate_judge judge_benchmark=erb_editscore judge=editscore

Answers made elsewhere need neither a model nor pictures. Each judge gets a report and a page in
<output>/<benchmark>/<judge>/, and all that were ever measured there a leaderboard beside them; a judge that
is asked here continues where it stopped.
"""

import re
from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig

from src import launch
from src.evaluation.judge_benchmarks.answer_files import Known, read_answers
from src.evaluation.judge_benchmarks.answers import Answers, Protocol
from src.evaluation.judge_benchmarks.benchmark import JudgeBenchmark
from src.evaluation.judge_benchmarks.metric import MeasureOptions
from src.evaluation.judge_benchmarks.report import (
    JudgeReport,
    make_report,
    read_reports,
    write_judge_report,
)
from src.files import write_atomically
from src.launch import check_whole_numbers
from src.missing_settings import check_complete
from src.tabulation.html import html_tables
from src.tabulation.judge_tables import judge_tables, leaderboard
from src.tabulation.markdown import markdown_tables
from src.tabulation.table import Table

SAFE = re.compile(r"[^\w.@+-]+")


def main(cfg: DictConfig) -> None:
    """Read or ask, measure, write, print.

    Raises:
        FileNotFoundError, ValueError: settings, rows or answers that can't be used.
    """
    check_settings(cfg)
    benchmark: JudgeBenchmark = instantiate(cfg.judge_benchmark)
    benchmark.contests()
    folder = Path(cfg.output) / benchmark.name
    options = MeasureOptions(cfg.draws, cfg.chance_draws)
    measured = all_answers(cfg, benchmark, folder)
    for answers in measured:
        report = make_report(benchmark, answers, options)
        place = folder / folder_name(answers.judge)
        write_judge_report(report, place)
        tables = judge_tables(report)
        write_pages(tables, place / "report")
        if len(measured) == 1:
            print(markdown_tables(tables))
    tables = board(read_reports(folder), benchmark.findings().digest, cfg.against)
    write_pages(tables, folder / "leaderboard")
    print(markdown_tables(tables))
    print(folder / "leaderboard.html")


def check_settings(cfg: DictConfig) -> None:
    """Raise ValueError for settings that don't fit together, before anything is read."""
    if cfg.judge_benchmark is None:
        options = ", ".join(sorted(path.stem for path in (launch.CONF / "judge_benchmark").glob("*.yaml")))
        raise ValueError(f"give judge_benchmark=, one of {options}")
    given = [name for name in ("judge", "verdicts", "scores") if cfg[name] is not None]
    if len(given) != 1:
        raise ValueError(
            f"{' and '.join(f'{name}=' for name in given) or 'nothing'} says whose answers to measure: give "
            "one of judge=, verdicts=FILE and scores=FILE"
        )
    if cfg.judge is not None and (cfg.judge_name is not None or cfg.reread):
        raise ValueError(
            "judge_name= and reread= are of files of answers, and judge= asks here: leave them out"
        )
    for file in files_of(cfg[given[0]]) if given[0] != "judge" else ():
        if not file.is_file():
            raise FileNotFoundError(f"no file {file}: {given[0]}= is a file of answers, or a list of them")
    check_whole_numbers(cfg, {"draws": 100, "chance_draws": 3, "batch_size": 1})
    check_complete(cfg)


def all_answers(cfg: DictConfig, benchmark: JudgeBenchmark, folder: Path) -> list[Answers]:
    """The answers of every judge named. Raises FileNotFoundError or ValueError."""
    if cfg.judge is not None:
        from src.evaluation.judge_benchmarks.asking import ask

        judge = instantiate(cfg.judge)
        place = folder / folder_name(judge.name)
        return [ask(judge, benchmark.edits(), place, cfg.batch_size, cfg.retry_failed)]
    protocol: Protocol = "verdicts" if cfg.verdicts is not None else "scores"
    if protocol not in benchmark.protocols:
        raise ValueError(
            f"{protocol}=: edits of {benchmark.name} are compared by their scores, so give scores=FILE"
        )
    files = files_of(cfg[protocol])
    if cfg.judge_name is not None and len(files) > 1:
        raise ValueError(
            f"judge_name={cfg.judge_name}: {len(files)} files were given; name each by its own run"
        )
    known = known_ids(benchmark)
    found = [
        answers
        for file in files
        for answers in read_answers(file, protocol, known, benchmark.answer_id, cfg.reread, cfg.judge_name)
    ]
    names = [folder_name(answers.judge) for answers in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"several of these files are of {', '.join(twice)}: give judge_name= and measure one by one"
        )
    return found


def files_of(value: str | ListConfig) -> list[Path]:
    """One file, or a list of them."""
    return [Path(str(each)) for each in ([value] if isinstance(value, str) else value)]


def known_ids(benchmark: JudgeBenchmark) -> Known:
    """The ids that answers may be about."""
    contests = {
        contest.case.id: [candidate.id for candidate in contest.candidates]
        for contest in benchmark.contests()
    }
    edits = frozenset(edit.id for _, edit in benchmark.edits())
    return Known(edits, contests, frozenset(benchmark.pairs()), benchmark.findings().aside)


def folder_name(judge: str) -> str:
    """A judge's name as a folder."""
    return SAFE.sub("_", judge).strip(".") or "judge"


def board(reports: list[JudgeReport], digest: str, against: str | None) -> list[Table]:
    """The leaderboard of the reports on these rows; others are named in a note, never mixed in."""
    same = [report for report in reports if report.data["digest"] == digest]
    others = [report.judge for report in reports if report.data["digest"] != digest]
    tables = leaderboard(same, against)
    if others:
        first = tables[0]
        note = f"Not here, as measured on other rows: {', '.join(others)}."
        tables[0] = Table(
            first.name, first.title, first.label_columns, first.columns, first.lines, (*first.notes, note)
        )
    return tables


def write_pages(tables: list[Table], path: Path) -> None:
    """The same tables as Markdown and as a page. Raises NotWrittenError."""
    write_atomically(path.with_name(f"{path.name}.md"), markdown_tables(tables))
    write_atomically(path.with_name(f"{path.name}.html"), html_tables(tables))


if __name__ == "__main__":
    launch.entry_point(main, "evaluate_judge")
