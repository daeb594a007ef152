"""Measures judges whose answers their authors publish, and puts every published number that can be recomputed
beside ours.

    python experiments/judge_benchmarks.py DIR      # half a minute on one core

DIR holds genai_bench_image_edition, imagenhub_human_ratings, viescore_imagenhub and mmrb2_edit. Everything
goes through the public command; writes experiments/results/judge_benchmarks.md.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from src.environment import commit
from src.evaluation.judge_benchmarks.published import published_figures
from src.evaluation.judge_benchmarks.report import JudgeReport, read_reports
from src.evaluation.report import escaped_markdown, markdown_table
from src.files import write_atomically
from src.tabulation.judge_tables import as_printed, leaderboard
from src.tabulation.markdown import markdown_tables

OUTPUT = ROOT / "runs/judge_benchmarks_published"
PAGE = ROOT / "experiments/results/judge_benchmarks.md"
JUDGES = ("gpt4o", "gemini", "llava", "qwenvl")


def commands(folder: Path) -> Iterator[list[str]]:
    """The overrides of each run."""
    genai, ratings = folder / "genai_bench_image_edition", folder / "imagenhub_human_ratings"
    answers = ",".join(f"{folder / 'viescore_imagenhub' / judge}_0shot.jsonl.gz" for judge in JUDGES)
    sample = folder / "mmrb2_edit/sample_task2_edit.json"
    yield [
        "judge_benchmark=genai_bench",
        f"judge_benchmark.path={genai}",
        f"verdicts={genai / 'votes.jsonl'}",
    ]
    for task in ("Text-Guided_IE", "Mask-Guided_IE"):
        place = f"judge_benchmark.path={ratings}"
        yield ["judge_benchmark=imagenhub", place, f"judge_benchmark.task={task}", f"scores=[{answers}]"]
    yield ["judge_benchmark=mmrb2", f"judge_benchmark.path={sample.parent}", f"verdicts={sample}"]


def checks(reports: Sequence[JudgeReport]) -> Iterator[tuple[str, str, str, str]]:
    """(what, printed, ours, by its own definition) of every published number."""
    told = set()
    for report in reports:
        for figure in published_figures():
            metric = report.metric(figure.figure) if figure.is_of(report.judge) else None
            if metric is not None and metric.value is not None:
                meant = report.metric(f"{figure.figure.rpartition('/')[0]}/{figure.means}")
                corrected = "" if meant is None or meant.value is None else as_printed(figure, meant.value)
                ours = as_printed(figure, metric.value)
                yield f"{figure.figure}, {report.judge}", figure.printed, ours, corrected
        for fact in report.facts:
            if fact.printed and (report.benchmark, fact.what) not in told:
                told.add((report.benchmark, fact.what))
                digits = len(fact.printed.partition(".")[2])
                corrected = "" if fact.corrected is None else f"{fact.scale * fact.corrected:.{digits}f}"
                ours = f"{fact.scale * fact.computed:.{digits}f}"
                yield f"{report.benchmark}, {fact.what}", fact.printed, ours, corrected


def page(folder: Path) -> str:
    """The whole page."""
    by_benchmark = [read_reports(place) for place in sorted(OUTPUT.iterdir()) if place.is_dir()]
    found = [check for reports in by_benchmark for check in checks(reports)]
    agree = sum(printed == ours for _, printed, ours, _ in found)
    lines = [[escaped_markdown(what), *rest] for what, *rest in found]
    boards = [table for reports in by_benchmark for table in leaderboard(reports)]
    return (
        "# Judges on benchmarks of preferences\n\n"
        f"`python experiments/judge_benchmarks.py DIR` at {commit()[:12]}. No model was run: the answers are "
        "those that the benchmarks' authors publish, and the commands are `src.evaluate_judge` with "
        "`verdicts=` and `scores=`. Shares are in percent, correlations times 100, with 95 % intervals over "
        "originals; a dagger marks p < 0.05 after Holm's correction.\n\n"
        + markdown_tables(boards)
        .replace(str(folder), "DIR")
        .replace("\n## ", "\n### ")
        .replace("## ", "### ", 1)
        + f"\n## {agree} of {len(found)} published numbers come out as printed\n\n"
        "The last column is what a number is by its own definition where the published formula gives "
        "something else.\n\n" + markdown_table(("number", "printed", "ours", "by its own definition"), lines)
    )


def main(folder: Path) -> None:
    """Measure and write."""
    for overrides in commands(folder):
        command = [sys.executable, "-m", "src.evaluate_judge", *overrides, f"output={OUTPUT}"]
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    write_atomically(PAGE, page(folder))
    print(PAGE)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
